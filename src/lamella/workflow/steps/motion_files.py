"""Files that the settings of `motion` name. Light to import: planning a run must not load what computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamella.movies.motion_settings import MotionSettings
from lamella.records import TiltSeries

__all__ = ["inputs", "mean_frames", "reference_path"]


def reference_path(name: str, root: Path) -> Path:
    """The file that a setting names; a relative name starts from the project's folder."""
    return root / Path(name).expanduser()


def inputs(record: TiltSeries, settings: MotionSettings, root: Path) -> list[Path]:
    """Files beside the record's own that the result depends on: references of the camera."""
    if record.images is not None:
        return []
    return [reference_path(name, root) for name in (settings.gain, settings.dark, settings.defects) if name]


def mean_frames(record: TiltSeries, settings: MotionSettings) -> float:
    """How many frames a movie of the series gives, as far as its record tells; 0 where it does not.

    A record counts the raw frames of EER movies, of which `motion` sums many into one.
    """
    if record.frame_counts is None or record.movies is None:
        return 0.0
    counts = float(np.mean(record.frame_counts))
    if not all(Path(movie).suffix.lower() == ".eer" for movie in record.movies):
        return counts
    if settings.eer_frames:
        return counts / settings.eer_frames
    doses = record.view_dose
    return counts if doses is None else min(counts, float(np.mean(doses)) / settings.eer_dose)
