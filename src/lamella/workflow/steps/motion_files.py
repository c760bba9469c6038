"""Files that the settings of `motion` name. Light to import: planning a run must not load what computes."""

from __future__ import annotations

from pathlib import Path

from lamella.movies.motion_settings import MotionSettings
from lamella.records import TiltSeries

__all__ = ["inputs", "reference_path"]


def reference_path(name: str, root: Path) -> Path:
    """The file that a setting names; a relative name starts from the project's folder."""
    return root / Path(name).expanduser()


def inputs(record: TiltSeries, settings: MotionSettings, root: Path) -> list[Path]:
    """Files beside the record's own that the result depends on: references of the camera."""
    if record.images is not None:
        return []
    return [reference_path(name, root) for name in (settings.gain, settings.dark, settings.defects) if name]
