"""Optics groups of tilt series that were recorded by beam-image shift: one per position of the shift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lamella.formats.mdoc_interpret import MdocSeries
from lamella.records import Note

__all__ = ["optics_groups"]

# Tracking moves the shift by less than this from view to view; targets lie further apart.
POSITION_RADIUS_UM = 1.0


def optics_groups(described: Sequence[MdocSeries]) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    """Name of the optics group of each series, ``optics1``, ``optics2``, …

    Series share a group if voltage and pixel size are the same and the medians of their views' ImageShift lie within
    1 µm, directly or by way of others; a series without ImageShift counts as unshifted.
    """
    positions = [_position(series) for series in described]
    groups = np.arange(len(described))
    for one in range(len(described)):
        for other in range(one):
            same = (described[one].voltage_kv, described[one].pixel_size_ang) == (
                described[other].voltage_kv,
                described[other].pixel_size_ang,
            )
            near = np.hypot(*(positions[one] - positions[other])) <= POSITION_RADIUS_UM
            if same and near:
                groups[groups == groups[one]] = groups[other]
    first_seen = {group: place for place, group in enumerate(dict.fromkeys(groups.tolist()), start=1)}
    names = tuple(f"optics{first_seen[group]}" for group in groups.tolist())
    if len(first_seen) == 1:
        return names, ()
    notes = []
    for name in dict.fromkeys(names):
        members = [place for place, given in enumerate(names) if given == name]
        x, y = np.mean([positions[place] for place in members], axis=0)
        listed = ", ".join(described[place].name for place in members)
        text = f"image shift near ({x:.2f}, {y:.2f}) µm: {listed}"
        notes.append(Note(kind="info", where=f"optics group {name}", text=text))
    return names, tuple(notes)


def _position(series: MdocSeries) -> NDArray[np.float64]:
    shifts = [view.image_shift_um for view in series.views if view.image_shift_um is not None]
    return np.median(np.array(shifts, dtype=np.float64), axis=0) if shifts else np.zeros(2)
