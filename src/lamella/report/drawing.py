"""Figures as HTML; what cannot be drawn is said in its place."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from lamella.errors import LamellaError
from lamella.report import page
from lamella.report.pictures import as_data_uri, as_svg, as_webp

__all__ = ["cannot", "draw_picture", "draw_plot", "missing"]


def draw_picture(figure: Callable[[], Figure], description: str, caption: str) -> str:
    """A figure of pictures as HTML; what cannot be drawn is said in its place."""
    try:
        return page.picture(as_data_uri(as_webp(figure())), description, caption)
    except (LamellaError, OSError) as error:
        return cannot(description, error)


def draw_plot(figure: Callable[[], Figure], description: str, caption: str, mark: str) -> str:
    """A line plot as HTML; what cannot be drawn is said in its place."""
    try:
        return page.svg(as_svg(figure(), description, mark), caption)
    except (LamellaError, OSError) as error:
        return cannot(description, error)


def missing(what: str) -> str:
    """A line that says what is not there."""
    return f'<p class="missing">{page.text(what)}</p>'


def cannot(what: str, error: Exception) -> str:
    """A line that says what went wrong."""
    return f'<p class="failed">{page.text(f"{what}: could not be drawn: {error}")}</p>'
