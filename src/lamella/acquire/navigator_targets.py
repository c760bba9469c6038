"""Targets that a SerialEM navigator file holds: what is marked in it for acquisition or for tilt series."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lamella.acquire.targets import Target
from lamella.errors import FormatError
from lamella.formats.navigator import read_navigator

__all__ = ["STAGE_TO_SPECIMEN", "navigator_targets", "series_names", "stage_frame"]

STAGE_TO_SPECIMEN = (-1.0, 0.0, 0.0, -1.0)
"""Specimen shift for a way on the stage, as SerialEM's StageToSpecimenMatrix answers where nothing is calibrated."""

_KINDS = ("point", "map")


def navigator_targets(path: Path | str, stage_to_specimen: Sequence[float] = STAGE_TO_SPECIMEN) -> tuple[Target, ...]:
    """The points and maps that are marked, about the first of them, which the stage is to be brought to.

    Parameters
    ----------
    path
        of the file.
    stage_to_specimen
        four numbers: SerialEM's StageToSpecimenMatrix, by rows.

    Raises
    ------
    FormatError
        if the file cannot be read, nothing is marked, or items of several registrations are.
    """
    marked = [item for item in read_navigator(path)[1] if (item.acquire or item.tilt_series) and item.kind in _KINDS]
    if not marked:
        raise FormatError(
            f"{path}: no point and no map is marked for acquisition or for a tilt series",
            mend="tick 'Acquire' or 'Tilt series' for the targets and save",
        )
    if len({item.registration for item in marked}) > 1:
        raise FormatError(
            f"{path}: the items marked for acquisition are of several registrations",
            mend="transform them to one in SerialEM, or mark those of one alone",
        )
    x0, y0, _ = marked[0].stage_um
    names = series_names([item.label for item in marked])
    places = [stage_frame(item.stage_um[0] - x0, item.stage_um[1] - y0, stage_to_specimen) for item in marked]
    return tuple(
        Target(name=name, x_um=x, y_um=y, group=str(item.group) if item.group else "")
        for name, (x, y), item in zip(names, places, marked, strict=True)
    )


def stage_frame(dx_um: float, dy_um: float, stage_to_specimen: Sequence[float]) -> tuple[float, float]:
    """Place in the stage frame of a point that lies `(dx, dy)` further on SerialEM's stage.

    Its specimen shift is (SSX, SSY) = M (dx, dy) with SSX along the tilt axis; the stage frame's x is −SSY, its y SSX.
    """
    xx, xy, yx, yy = stage_to_specimen
    return 0.0 - (yx * dx_um + yy * dy_um), xx * dx_um + xy * dy_um + 0.0


def series_names(labels: Sequence[str]) -> list[str]:
    """Labels as names of series, each one once."""
    names: list[str] = []
    for number, label in enumerate(labels, start=1):
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", label).strip("_") or f"T{number:02d}"
        names.append(f"{name}_{number}" if name in names else name)
    return names
