"""What the formats of a defocus alone share: rows of a file into a record, and a record into rows."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.formats.image_centre import at_centre_voxel, at_image_centre, note_of_move
from lamella.formats.stated_optics import StatedOptics, take_optics
from lamella.geometry import TiltGeometry
from lamella.records import Defocus, Note, TiltSeries

__all__ = ["defocus_of_images", "pick_rows", "series_with_defocus", "stated_optics"]


def series_with_defocus(
    series: TiltSeries, stated: Defocus, optics: StatedOptics, where: str
) -> tuple[TiltSeries, tuple[Note, ...]]:
    """Put defoci that a program states of the images, a row per view, into an aligned record.

    Raises
    ------
    InputError
        if the record is not aligned: where the tomogram's centre lies in the images is then unknown.
    """
    geometry = _geometry(series)
    taken, notes = take_optics(optics, series, where)
    defocus = at_centre_voxel(stated, geometry, series.hand)
    changed = series.with_changes(defocus=defocus, optics=taken)
    return changed, (*notes, note_of_move(geometry, series.hand, where))


def defocus_of_images(series: TiltSeries) -> tuple[Defocus, NDArray[np.int64]]:
    """The defoci at the images' centres, a row per section that is left of the stack in its order; and those views."""
    if series.defocus is None:
        raise InputError(
            f"{series.name}: no defocus of its views is known", mend="run ctf first, or name its record with --input"
        )
    order = np.argsort(np.asarray(series.place), kind="stable")
    return pick_rows(at_image_centre(series.defocus, _geometry(series), series.hand), order), order


def pick_rows(defocus: Defocus, rows: NDArray[np.int64]) -> Defocus:
    """Some rows, in the order given."""
    parts: dict[str, Any] = {
        entry.name: None if (column := getattr(defocus, entry.name)) is None else column[rows]
        for entry in fields(Defocus)
    }
    return Defocus(**parts)


def stated_optics(series: TiltSeries) -> StatedOptics:
    """The record's constants, as a file states them."""
    optics = series.optics
    return StatedOptics(
        pixel_size_ang=series.pixel_size_ang,
        voltage_kv=optics.voltage_kv,
        spherical_aberration_mm=optics.spherical_aberration_mm,
        amplitude_contrast=optics.amplitude_contrast,
    )


def _geometry(series: TiltSeries) -> TiltGeometry:
    if series.geometry is None:
        raise InputError(
            f"{series.name}: the views are not aligned, so that nobody knows where the tomogram's centre lies in them",
            mend="run align first, or name an aligned record with --input",
        )
    return series.geometry
