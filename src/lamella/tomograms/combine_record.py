"""One record of two tilt series: the views of both, in the first one's frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lamella.errors import InputError
from lamella.geometry import ImageField, TiltGeometry, regauge
from lamella.geometry.regauge import normalise_field
from lamella.records import TiltSeries
from lamella.tomograms.combine_rigid import RigidMotion
from lamella.tomograms.combine_warp import Warp

__all__ = ["check_pair", "combined_name", "dose_before_second", "exposed_later", "second_in_first"]

_FIELD_NODES = 5  # per axis, where only the warp makes a field
_SAME = 1e-3  # relative: pixel sizes, voltages


def check_pair(first: TiltSeries, second: TiltSeries) -> None:
    """Whether two series can be one record.

    Raises
    ------
    InputError
        if they are one and the same, not aligned, or differ in pixel size, image size, hand, optics or imaging.
    """
    if first.name == second.name or first.images == second.images:
        raise InputError(f"{first.name} and {second.name} are one series", mend="name two series of one specimen")
    for series in (first, second):
        if series.geometry is None or series.images is None:
            raise InputError(f"{series.name}: the views are not aligned", mend="run align first")
    both = f"{first.name} and {second.name}"
    for what, one, other, unit in (
        ("pixels", first.pixel_size_ang, second.pixel_size_ang, " Å"),
        ("a voltage", first.optics.voltage_kv, second.optics.voltage_kv, " kV"),
        ("a spherical aberration", first.optics.spherical_aberration_mm, second.optics.spherical_aberration_mm, " mm"),
        ("an amplitude contrast", first.optics.amplitude_contrast, second.optics.amplitude_contrast, ""),
    ):
        if one != other and (one is None or other is None or abs(one - other) > _SAME * abs(one)):
            raise InputError(
                f"{both} have {what} of {one}{unit} and {other}{unit}",
                mend="bring both to one (`lamella new` states them; `lamella convert` resamples images)",
            )
    if first.image_shape_px != second.image_shape_px:
        sizes = " and ".join(f"{w} × {h}" for h, w in (first.image_shape_px, second.image_shape_px))
        raise InputError(f"{both} have images of {sizes} pixels", mend="crop or pad one with `lamella convert`")
    if first.imaging != second.imaging:
        raise InputError(f"{both}: one is bright and one dark field", mend="combine two series of one kind")
    if first.hand != second.hand:
        raise InputError(
            f"{both} have opposite hands ({first.hand:+d} and {second.hand:+d})",
            mend="set ctf.handedness alike for both, and run ctf again",
        )


def combined_name(first: str, second: str) -> str:
    """What both names begin with, where that says something (TS_01a, TS_01b → TS_01); else both (TS_01_TS_07).

    What remains of the two has to be one letter or digit, or a word after a separator: TS_01 and TS_02 begin alike
    and are two specimens by their names.
    """
    stem = next((first[:i] for i, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), first)
    rest = (first[len(stem) :], second[len(stem) :])
    words = all(part.isalpha() for part in rest)
    stem = stem.rstrip("_-. ")
    return stem if stem and words else f"{first}_{second}"


def dose_before_second(first: TiltSeries, second: TiltSeries) -> float | None:
    """Dose in e/Å² that is to be added to the second's, the specimen having had the first's before; None if unknown.

    0 where the second's own record begins no earlier than the first's ends.
    """
    if first.pre_exposure is None or second.pre_exposure is None or first.view_dose is None:
        return None
    end = float((first.pre_exposure + first.view_dose).max())
    begin = float(np.min(second.pre_exposure))
    return 0.0 if begin >= end - 1e-3 * max(end, 1.0) else end


def exposed_later(series: TiltSeries, added_dose: float | None) -> TiltSeries:
    """The series with so much dose before it besides, e/Å²; as it is where doses are unknown."""
    if series.pre_exposure is None or added_dose is None:
        return series
    return series.with_changes(pre_exposure=series.pre_exposure + added_dose)


def second_in_first(second: TiltSeries, motion: RigidMotion, warp: Warp | None) -> TiltSeries:
    """The second series described in the first one's frame; no picture changes.

    Parameters
    ----------
    motion, warp
        the point p of the first tomogram is the point ``motion.to_second(p + warp(p))`` of the second.
    """
    assert second.geometry is not None
    defocus = second.defocus
    moved = regauge(
        second.geometry,
        motion.rotation,
        motion.shift_ang,
        hand=second.hand,
        defocus_ang=None if defocus is None else np.stack([defocus.u_ang, defocus.v_ang]),
    )
    if defocus is not None and moved.defocus_ang is not None:
        defocus = replace(defocus, u_ang=moved.defocus_ang[0], v_ang=moved.defocus_ang[1])
    geometry = moved.geometry
    if warp is not None:
        half = tuple(n * second.pixel_size_ang / 2 for n in second.image_shape_px[::-1])
        geometry = _with_warp(geometry, warp, (half[0], half[1]))
    return second.with_changes(geometry=geometry, defocus=defocus)


def _with_warp(geometry: TiltGeometry, warp: Warp, half_width_ang: tuple[float, float]) -> TiltGeometry:
    """What a warp moves in the images, of points of the plane z = 0, added to the local field.

    What of it a view's global terms can say goes into them.
    """
    field = geometry.field
    if field is None:
        field = ImageField(np.zeros((len(geometry), 2, _FIELD_NODES, _FIELD_NODES)), half_width_ang)
    places = field.places_ang.reshape(-1, 2)
    nodes = np.empty_like(field.nodes_ang)
    matrices, flat = geometry.matrices(), geometry.with_terms(field=None)
    for view in range(len(geometry)):
        points = flat.select([view]).back_project(places[None], 0.0)[0]
        moved = warp.at(points) @ matrices[view].T  # (rows · columns, 2)
        moved = moved + field.displacement(view, places + moved)
        nodes[view] = moved.T.reshape(nodes.shape[1:])
    return normalise_field(geometry.with_terms(field=ImageField(nodes, field.half_width_ang)))
