"""Figures as text that a page can hold: line plots as SVG in the page's colours, pictures as WebP."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lamella.formats.atomic import atomic_path
from lamella.report.plots.style import INK

__all__ = ["as_data_uri", "as_svg", "as_webp", "write_png"]


def as_svg(figure: Figure, title: str, mark: str) -> str:
    """Inline SVG: ink takes the page's colour, and text stays text.

    Parameters
    ----------
    figure
        of lines.
    title
        read out by screen readers.
    mark
        letters and digits that no other SVG of the page has: its ids are made unique with it.
    """
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lamella", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(re.escape(INK), "currentColor", text, flags=re.IGNORECASE)
    # The font is the page's; matplotlib's sizes are kept.
    text = re.sub(r"font: ([0-9.]+px) [^;\"]+", r"font-size: \1", text)
    text = _with_own_ids(text, mark)
    width = float(figure.get_size_inches()[0]) * 96
    head = f'<svg role="img" aria-label="{escape(title)}" style="max-width:{width:.0f}px" '
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', lambda m: f'{head}viewBox="{m[1]}">', text, count=1)
    return re.sub(r"\n\s*", "\n", text)


def as_webp(figure: Figure, *, dots_per_inch: int = 110, quality: int = 72) -> bytes:
    """A figure of pictures as WebP."""
    canvas: Any = FigureCanvasAgg(figure)
    figure.set_dpi(dots_per_inch)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "WEBP", quality=quality, method=3)
    return out.getvalue()


def write_png(path: Path | str, figure: Figure, *, dots_per_inch: int = 150) -> None:
    """Write a figure as a PNG file, whole or not at all, whatever the file's suffix.

    Raises
    ------
    OutputError
        if it cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dots_per_inch)


def as_data_uri(webp: bytes) -> str:
    """A WebP picture as the value of an ``src``."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def _with_own_ids(text: str, mark: str) -> str:
    """Ids of several inline SVGs share one name space in a page."""
    text = re.sub(r'\bid="([^"]+)"', rf'id="{mark}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{mark}-\1"', text)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{mark}-\1)", text)
