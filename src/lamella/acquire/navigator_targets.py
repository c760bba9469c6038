"""Targets that a SerialEM navigator file holds: its points that are marked for acquisition."""

from __future__ import annotations

import re
from pathlib import Path

from lamella.acquire.targets import Target
from lamella.errors import FormatError
from lamella.formats.navigator import read_navigator

__all__ = ["navigator_targets"]


def navigator_targets(path: Path | str) -> tuple[Target, ...]:
    """The points marked for acquisition, about the first of them, which the stage is to be brought to.

    The goniometer turns about the stage's x, so a point that lies ``(dx, dy)`` from the first one on the stage lies at
    ``(dy, −dx)`` in the stage frame, whose y runs along the axis.

    Raises
    ------
    FormatError
        if the file cannot be read, no point is marked, or points of several registrations are.
    """
    marked = [item for item in read_navigator(path)[1] if item.acquire and item.kind == "point"]
    if not marked:
        raise FormatError(f"{path}: no point is marked for acquisition", mend="tick 'Acquire' for the targets and save")
    if len({item.registration for item in marked}) > 1:
        raise FormatError(
            f"{path}: the points marked for acquisition are of several registrations",
            mend="transform them to one in SerialEM, or mark those of one alone",
        )
    x0, y0, _ = marked[0].stage_um
    names = _names([item.label for item in marked])
    return tuple(
        Target(
            name=name,
            x_um=item.stage_um[1] - y0,
            y_um=x0 - item.stage_um[0],
            group=str(item.group) if item.group else "",
        )
        for name, item in zip(names, marked, strict=True)
    )


def _names(labels: list[str]) -> list[str]:
    """Labels as names of series, each one once."""
    names: list[str] = []
    for number, label in enumerate(labels, start=1):
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", label).strip("_") or f"T{number:02d}"
        names.append(f"{name}_{number}" if name in names else name)
    return names
