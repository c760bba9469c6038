"""The tilt axis that an mdoc states: two programs, two conventions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from lamella.formats.mdoc import Mdoc
from lamella.formats.mdoc_values import MdocView
from lamella.records import Note

__all__ = ["axis_from_title", "stated_axis", "wrap_deg"]

_NUMBER = r"\s*=\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_SERIALEM = re.compile(r"tilt\s+axis\s+angle" + _NUMBER, re.IGNORECASE)
_TOMO5 = re.compile(r"TiltAxisAngle" + _NUMBER, re.IGNORECASE)


def wrap_deg(angle_deg: float) -> float:
    """The same direction within (−180, 180]."""
    if -180.0 < angle_deg <= 180.0:
        return angle_deg + 0.0  # no negative zero
    return round(180.0 - (180.0 - angle_deg) % 360.0, 9)


def axis_from_title(title: str) -> float | None:
    """Axis in lamella's (IMOD's) convention of one title; None if it states none.

    SerialEM's ``Tilt axis angle`` is that angle; Tomography 5's ``TiltAxisAngle`` a means −a − 90.
    """
    if match := _SERIALEM.search(title):
        return wrap_deg(float(match[1]))
    if match := _TOMO5.search(title):
        return wrap_deg(round(-float(match[1]) - 90.0, 6))
    return None


def stated_axis(mdocs: Sequence[Mdoc], views: Sequence[MdocView], where: str) -> tuple[float | None, tuple[Note, ...]]:
    """The axis that the titles state, degrees.

    Where SerialEM left no such title (frame sets), RotationAngle − 90 is taken aloud: the two agree so in every file of
    SerialEM's that states both. Tomography 5's RotationAngle has another meaning and is not used.
    """
    notes: list[Note] = []
    found: list[tuple[float, str, str]] = []
    for mdoc in mdocs:
        for title in mdoc.titles:
            axis = axis_from_title(title)
            if axis is not None:
                found.append((axis, title, mdoc.path.name))
    if found:
        axis, title, name = found[0]
        if _TOMO5.search(title) and not _SERIALEM.search(title):
            text = f"tilt axis {axis:g}°, from Tomography 5's convention (its TiltAxisAngle a means −a − 90)"
            notes.append(Note(kind="info", where=name, text=text))
        for other, _, other_name in found[1:]:
            if abs(wrap_deg(other - axis)) > 0.05:
                text = f"another title states a tilt axis of {other:g}°; {axis:g}°, the first, was taken"
                notes.append(Note(kind="warning", where=other_name, text=text))
        return axis, tuple(notes)
    angles = [view.rotation_angle_deg for view in views if view.rotation_angle_deg is not None]
    by_serialem = any(
        "serialem" in text.lower() for mdoc in mdocs for text in (*mdoc.titles, mdoc.header.get("Version") or "")
    )
    if not angles or not by_serialem:
        return None, ()
    axis = wrap_deg(round(float(np.median(angles)) - 90.0, 6))
    text = (
        f"no title states the tilt axis; {axis:g}° was taken, SerialEM's RotationAngle less 90; --tilt-axis states it"
    )
    return axis, (Note(kind="assumed", where=where, text=text),)
