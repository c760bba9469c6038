"""The sections and titles of an mdoc as SerialEM writes them: what our own tilt series say of themselves.

Keys, units and their order are those of SerialEM's help ("File Formats and Other Documentation") and of its source
(`MdocDefines.h`); SpecimenShift is what PACEtomo adds to them. A key whose value is not known is left out, as SerialEM
does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["WrittenView", "clock_text", "serialem_section", "serialem_titles"]

_ORDER = (
    "MinMaxMean",
    "TiltAngle",
    "StagePosition",
    "StageZ",
    "Magnification",
    "Intensity",
    "ExposureDose",
    "DoseRate",
    "PixelSpacing",
    "SpotSize",
    "Defocus",
    "ImageShift",
    "RotationAngle",
    "ExposureTime",
    "Binning",
    "CameraIndex",
    "DividedBy2",
    "MagIndex",
    "TargetDefocus",
    "PriorRecordDose",
    "SubFramePath",
    "NumSubFrames",
    "FrameDosesAndNumber",
    "DateTime",
    "SpecimenShift",
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, kw_only=True)
class WrittenView:
    """What a section says of its view.

    Attributes
    ----------
    tilt_deg
        the stage's angle.
    dose, dose_before
        of this view, and what the specimen had before, e/Å².
    pixel_size_ang
        of the image.
    defocus_um, target_defocus_um
        the lens's, and what was wanted; positive is underfocus here, SerialEM's are negative then.
    axis_deg
        the tilt axis as `geometry` states it.
    exposure_s
        of the view.
    extremes
        least, largest and mean count.
    when
        it was exposed.
    stage_um
        x, y and z of the stage.
    image_shift_um
        x and y. SerialEM states them in units of the deflectors, which are near µm on Thermo Fisher's microscopes.
    specimen_shift_um
        the same on the specimen, the first of them along the tilt axis, where that is known.
    conditions
        other keys of the section, of the microscope's state: Magnification, SpotSize …
    frames, frame_count
        the frame file as SubFramePath names it, and how many frames it holds; None where there is none.
    """

    tilt_deg: float
    dose: float
    dose_before: float
    pixel_size_ang: float
    defocus_um: float
    target_defocus_um: float
    axis_deg: float
    exposure_s: float
    extremes: tuple[float, float, float]
    when: datetime
    stage_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    image_shift_um: tuple[float, float] = (0.0, 0.0)
    specimen_shift_um: tuple[float, float] | None = None
    conditions: Mapping[str, object] = field(default_factory=dict)
    frames: str | None = None
    frame_count: int = 0


def serialem_section(view: WrittenView) -> dict[str, object]:
    """Keys and values of a section, in SerialEM's order."""
    low, high, mean = view.extremes
    x, y, z = view.stage_um
    values: dict[str, object] = {
        "TiltAngle": f"{view.tilt_deg:.5f}",
        "StagePosition": f"{_short(x)} {_short(y)}",
        "StageZ": _short(z),
        "ExposureDose": f"{view.dose:.6g}",
        "PriorRecordDose": f"{view.dose_before:.6g}",
        "PixelSpacing": f"{view.pixel_size_ang:.10g}",
        "Defocus": f"{-view.defocus_um:.4f}",
        "ImageShift": " ".join(_short(value) for value in view.image_shift_um),
        # Of the image from the tilt axis along its x: 90° more than the axis from its y, which the title states.
        "RotationAngle": f"{(view.axis_deg + 270) % 360 - 180:g}",
        "ExposureTime": f"{view.exposure_s:.6g}",
        "Binning": "1",
        "MinMaxMean": f"{low:g} {high:g} {mean:g}",
        "TargetDefocus": f"{-view.target_defocus_um:g}",
        **_frame_keys(view),
        "DateTime": clock_text(view.when, "%Y"),
        **view.conditions,
    }
    if view.specimen_shift_um is not None:
        values["SpecimenShift"] = " ".join(_short(value) for value in view.specimen_shift_um)
    places = {key: place for place, key in enumerate(_ORDER)}
    return {key: values[key] for key in sorted(values, key=lambda key: places.get(key, len(places)))}


def serialem_titles(what: str, axis_deg: float, when: datetime, begun: str = "") -> tuple[str, ...]:
    """The two titles: what wrote the file and when, and the tilt axis.

    Parameters
    ----------
    what
        wrote it.
    axis_deg
        the tilt axis as `geometry` states it.
    when
        of the first image.
    begun
        where a series that goes to both sides began, which IMOD reads: ``dosym = 8.0`` or ``bidir = 8.0``.
    """
    return (
        f"SerialEM: {what}                 {clock_text(when, '%y')}",
        f"    Tilt axis angle = {axis_deg:.1f}, binning = 1  {begun}".rstrip(),
    )


def clock_text(when: datetime, year: str) -> str:
    """A date as SerialEM writes it, in English whatever the user's locale is; `year` is ``%Y`` or ``%y``."""
    return f"{when:%d}-{_MONTHS[when.month - 1]}-{when.strftime(year)}  {when:%H:%M:%S}"


def _frame_keys(view: WrittenView) -> dict[str, object]:
    if view.frames is None:
        return {}
    return {
        "SubFramePath": view.frames,
        "NumSubFrames": str(view.frame_count),
        "FrameDosesAndNumber": f"{view.dose / max(view.frame_count, 1):.6g} {view.frame_count}",
    }


def _short(value: float) -> str:
    """A place in µm to a tenth of a nanometre, without zeros behind it."""
    return f"{round(value, 4) + 0.0:g}" if abs(value) < 100 else f"{value:.4f}"
