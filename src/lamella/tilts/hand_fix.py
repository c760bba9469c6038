"""What to do where the data say that defocus grows with depth (a hand of +1), which a calibrated microscope does not.

Two things make it so, and no defocus tells them apart. Where the axis's sense or the sign of the tilts is wrong, the
specimen was inverted, and its map is a mirror image: the axis is turned by 180° (`regauge`'s inversion). Where the
images are mirrored, they are mirrored back, and the axis with them (`geometry.mirror`). Both end with a hand of −1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import InputError
from lamella.geometry import TiltGeometry, mirror, regauge
from lamella.progress import Progress, no_progress
from lamella.records import ImageSink, ImageSource, TiltSeries

__all__ = ["fix_hand", "mirror_image", "weigh_causes"]

_MIRRORED = 4  # of SerialEM's RotationAndFlip: the picture is mirrored before it is turned
_LIKE_DEG = 6.0
_UNLIKE_DEG = 12.0
_OPPOSITE_DEG = 120.0  # `align` states an axis within 90° of the nominal one; other programs need not
_SURE = 2

_TURNED = ("CtfMeasuredHand", "CtfSagAngst")
"""Quality numbers whose sign goes with the specimen's z."""
_MIRRORED_TOO = ("AlignAxisChangeDeg", "CtfXTiltOffsetDeg")
"""Those whose sign goes with the image's x as well."""


def fix_hand(
    series: TiltSeries,
    how: Literal["axis", "mirror"],
    images: ImageSource | None = None,
    write: ImageSink | None = None,
    *,
    even: ImageSource | None = None,
    odd: ImageSource | None = None,
    write_even: ImageSink | None = None,
    write_odd: ImageSink | None = None,
    matrices: ArrayLike | None = None,
    progress: Progress = no_progress,
) -> TiltSeries:
    """Give a series the other hand, by one of the two changes that leave its defocus as it is.

    Parameters
    ----------
    series
        the record, with a geometry.
    how
        ``axis``: every z_rot turns by 180°, and the images stay; the map becomes its mirror image. ``mirror``: images
        are mirrored left to right, and all that lies in them; the map is turned by 180° about y.
    images, even, odd
        the record's images, in its order; wanted for ``mirror`` alone.
    write, write_even, write_odd
        take the mirrored images.
    matrices
        ``(..., 3, 3)`` orientations of particles that were picked in this series already: ``axis`` is refused then.
    progress
        told the fraction of the images written.

    Returns
    -------
    TiltSeries
        with the other hand. The nominal axis changes with the geometry: it is where a later alignment starts, and what
        tells it the axis's sense; what the microscope said stands in the record that import made. Mirrored images have
        no names yet (images, even_images, odd_images are None), nor have tables of their movies' motion, which
        describe frames that are not mirrored; `frame_turn` has the mirroring in it.

    Raises
    ------
    InputError
        if there is no geometry, or images and sinks for ``mirror`` are not given in pairs, or are too few.
    GeometryError
        if the axis of particles with orientations shall be turned.
    """
    geometry = series.geometry
    if geometry is None:
        raise InputError(f"{series.name}: the views are not aligned", mend="run align first")
    if how == "axis":
        return _with_turned_axis(series, geometry, matrices)
    pairs = [(images, write), (even, write_even), (odd, write_odd)]
    wanted = [series.images, series.even_images, series.odd_images]
    for (source, sink), names in zip(pairs, wanted, strict=True):
        if (source is None) != (sink is None) or (source is None and names is not None):
            raise InputError(f"{series.name}: images to mirror, or where to write them, are missing", mend="give both")
        if source is not None and (len(source), *source.shape[1:]) != (len(series), *series.image_shape_px):
            raise InputError(
                f"{series.name}: images of shape {source.shape} for {len(series)} views of {series.image_shape_px}",
                mend="give the record's own images",
            )
    given = [(source, sink) for source, sink in pairs if source is not None and sink is not None]
    for number, (source, sink) in enumerate(given):
        for view in range(len(series)):
            sink(view, mirror_image(source.view(view)))
            progress((number * len(series) + view + 1) / (len(given) * len(series)), "mirroring the images")
    return _mirrored_record(series, geometry)


def mirror_image(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image ``(h, w)`` mirrored left to right about its centre pixel ``w // 2``, which stays where it is.

    Along an even side the first column has no counterpart: it stays.
    """
    flipped = image[:, ::-1]
    return np.ascontiguousarray(flipped if image.shape[1] % 2 else np.roll(flipped, 1, axis=1))


def _with_turned_axis(series: TiltSeries, geometry: TiltGeometry, matrices: ArrayLike | None) -> TiltSeries:
    turned = regauge(geometry, invert=True, hand=series.hand, matrices=matrices)
    by = float((turned.geometry.z_rot_deg - geometry.z_rot_deg)[0])
    changes: dict[str, Any] = {"geometry": turned.geometry, "hand": turned.hand}
    quality = _signed(series, _TURNED)
    if "AlignAxisDeg" in series.quality:
        quality["AlignAxisDeg"] = series.quality["AlignAxisDeg"] + by
    return series.with_changes(**changes, nominal_axis_deg=series.nominal_axis_deg + by, quality=quality)


def _mirrored_record(series: TiltSeries, geometry: TiltGeometry) -> TiltSeries:
    defocus = series.defocus
    seen = mirror(geometry, series.hand, astigmatism_deg=None if defocus is None else defocus.angle_deg)
    if defocus is not None and seen.astigmatism_deg is not None:
        defocus = replace(defocus, angle_deg=seen.astigmatism_deg)
    quality = _signed(series, (*_TURNED, *_MIRRORED_TOO))
    if "AlignAxisDeg" in series.quality:
        quality["AlignAxisDeg"] = -series.quality["AlignAxisDeg"]
    return series.with_changes(
        geometry=seen.geometry,
        hand=seen.hand,
        defocus=defocus,
        nominal_axis_deg=-series.nominal_axis_deg,
        frame_turn=(-series.frame_turn % 4) | (series.frame_turn & _MIRRORED ^ _MIRRORED),
        images=None,
        even_images=None,
        odd_images=None,
        metadata=None,
        quality=quality,
    )


def _signed(series: TiltSeries, names: tuple[str, ...]) -> dict[str, float]:
    return {name: -series.quality[name] for name in names if name in series.quality}


def weigh_causes(series: TiltSeries) -> str:
    """What makes a hand of +1, both causes with what speaks for each in a record, in one sentence.

    What is weighed: the camera's orientation as the mdoc states it (``RotationAndFlip`` among the quality numbers, the
    turn that frames still had), and whether the found axis is the stated one, its mirror image, or runs against it.
    """
    evidence, score = [], 0
    for said, weight in (_of_the_camera(series), _of_the_axis(series)):
        if said:
            evidence.append(said)
            score += weight
    verdict = {
        1: "so mirrored images are the likelier cause",
        -1: "so the axis's sense or the sign of the tilts is the likelier cause",
        0: "which does not tell the two apart" if evidence else "and the record does not tell the two apart",
    }[int(np.sign(score))]
    return (
        "a hand of +1 has two causes that no defocus tells apart: the sense of the tilt axis or the sign of the tilts "
        "is wrong, and the tomogram is a mirror image (--fix axis turns it), or the images are mirrored (--fix mirror "
        "mirrors them back); " + "; ".join([*evidence, verdict])
    )


def _of_the_camera(series: TiltSeries) -> tuple[str, int]:
    """What the camera's orientation says, and how it weighs: +1 for mirrored images, −1 against."""
    stated = series.quality.get("RotationAndFlip")
    if series.frame_turn:
        mirrored = bool(series.frame_turn & _MIRRORED)
        return f"the frames were {'mirrored and turned' if mirrored else 'turned'} by what their titles ask for", -1
    if stated is None:
        return "", 0
    if not int(stated) & _MIRRORED:
        return f"RotationAndFlip {stated:.0f} mirrors nothing", -1
    if series.movies is None:
        return "", 0  # SerialEM's own stack has its pictures as they should stand
    return f"RotationAndFlip {stated:.0f} mirrors the camera's pictures, and frames may be saved without that", 1


def _of_the_axis(series: TiltSeries) -> tuple[str, int]:
    """Whether the found axis is the stated one, its mirror image, or runs against it."""
    if series.geometry is None:
        return "", 0
    found, stated = float(series.geometry.z_rot_deg.mean()), float(series.nominal_axis_deg.mean())
    if abs((found - stated + 180) % 360 - 180) > _OPPOSITE_DEG:
        return f"the axis that was imported, {found:.1f}°, runs against the stated one, {stated:.1f}°", -_SURE
    plain, mirrored = (abs((found - axis + 90) % 180 - 90) for axis in (stated, -stated))
    if mirrored < _LIKE_DEG and plain > _UNLIKE_DEG:
        return f"the found axis, {found:.1f}°, is the mirror image of the stated one, {stated:.1f}°", 1
    if plain < _LIKE_DEG and mirrored > _UNLIKE_DEG:
        text = f"the found axis, {found:.1f}°, is the stated one, {stated:.1f}°, not its mirror image"
        return f"{text}, so that nothing mirrored the images after it was stated", -1
    return "", 0
