"""Files that the settings of `denoise` name. Light to import: planning a run must not load what computes."""

from __future__ import annotations

from pathlib import Path

from lamella.records import Tomogram
from lamella.tomograms.denoise_settings import DenoiseSettings

__all__ = ["BOTH_HALVES", "NETWORKS", "inputs", "model_path"]

NETWORKS = ("n2n", "n2v", "wedge")
"""Methods that a network does."""

BOTH_HALVES = ("n2n", "wedge")
"""Methods whose result is the mean of both halves, each denoised by itself."""


def model_path(settings: DenoiseSettings, root: Path) -> Path | None:
    """The trained network that the settings name; a relative name starts from the project's folder."""
    if settings.method not in NETWORKS or not settings.model:
        return None
    return root / Path(settings.model).expanduser()


def inputs(record: Tomogram, settings: DenoiseSettings, root: Path) -> list[Path]:
    """Files beside the record's own that the result depends on: a trained network."""
    path = model_path(settings, root)
    return [] if path is None else [path]
