"""What the values of an mdoc say: numbers, dates, file names, and one view's worth of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lamella.formats.mdoc import Mdoc, Section
from lamella.records import Note

__all__ = ["MdocView", "file_name", "moment", "numbers", "understand_view"]

VIEW_KINDS = ("ZValue", "FrameSet")
# keys that lamella understands; every other key is reported as left in the mdoc
UNDERSTOOD = frozenset(
    {
        "Binning",
        "DateTime",
        "DefectFile",
        "Defocus",
        "DoseRate",
        "ExposureDose",
        "ExposureTime",
        "FrameDosesAndNumber",
        "GainReference",
        "ImageFile",
        "ImageShift",
        "ImageSize",
        "Montage",
        "NumSubFrames",
        "PieceCoordinates",
        "PixelSpacing",
        "PriorRecordDose",
        "RotationAndFlip",
        "RotationAngle",
        "SubFramePath",
        "TargetDefocus",
        "TiltAngle",
        "Version",
        "Voltage",
    }
)

_MONTHS = {
    name: place
    for place, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
    )
}
_DATE = re.compile(
    r"(?P<a>\d{1,4})[-/ ](?P<month>[A-Za-z]{3,9}|\d{1,2})[-/ ](?P<b>\d{1,4})[\sT]+"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:\.\d+)?))?\s*(?P<half>[AaPp][Mm])?"
)
_OLDEST_TWO_DIGIT_YEAR = 70


@dataclass(frozen=True, kw_only=True, eq=False)
class MdocView:
    """What one section says of its view; None where it says nothing.

    Attributes
    ----------
    where
        file and section, for messages.
    source
        which of the series' mdocs it is in, from 0.
    section
        the section itself.
    number
        ZValue: the section of the image stack, from 0; None for a frame set.
    tilt_deg
        stage tilt.
    frames, frames_text
        name of the frame file without its folders, and SubFramePath as it stands.
    frame_count
        NumSubFrames.
    time
        DateTime.
    exposure_dose, frame_dose, camera_dose
        ExposureDose; the sum over FrameDosesAndNumber; DoseRate · ExposureTime over the area of an unbinned pixel,
        which is what reached the camera behind the specimen: e/Å².
    counted_frames
        frames that FrameDosesAndNumber counts.
    prior_dose
        PriorRecordDose, e/Å².
    target_defocus_um, defocus_um
        TargetDefocus and Defocus.
    image_shift_um
        ImageShift, (x, y).
    pixel_size_ang
        PixelSpacing of the section.
    rotation_angle_deg
        RotationAngle, which is not the tilt axis.
    rotation_and_flip
        RotationAndFlip.
    piece
        PieceCoordinates (x, y).
    """

    where: str
    source: int
    section: Section
    number: int | None
    tilt_deg: float | None
    frames: str | None
    frames_text: str | None
    frame_count: int | None
    time: datetime | None
    exposure_dose: float | None
    frame_dose: float | None
    camera_dose: float | None
    counted_frames: int | None
    prior_dose: float | None
    target_defocus_um: float | None
    defocus_um: float | None
    image_shift_um: tuple[float, float] | None
    pixel_size_ang: float | None
    rotation_angle_deg: float | None
    rotation_and_flip: int | None
    piece: tuple[float, float] | None


def numbers(text: str | None) -> tuple[float, ...]:
    """The finite numbers of a value, which commas or white space part; empty if any word is none."""
    if text is None:
        return ()
    try:
        values = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        return ()
    return values if all(math.isfinite(value) for value in values) else ()


def moment(text: str | None) -> datetime | None:
    """A DateTime: ``26-Jul-22  11:02:33``, four-digit years, month or day first in ISO's order; None if it is none."""
    match = _DATE.search(text or "")
    if match is None:
        return None
    first, month_text, last = match["a"], match["month"], match["b"]
    year, day = (first, last) if len(first) > 2 else (last, first)
    month = int(month_text) if month_text.isdigit() else _MONTHS.get(month_text[:3].lower(), 0)
    hour = int(match["hour"])
    if match["half"]:
        hour = hour % 12 + (12 if match["half"].lower() == "pm" else 0)
    second = float(match["second"] or 0)
    century = 0 if len(year) > 2 else 1900 if int(year) >= _OLDEST_TWO_DIGIT_YEAR else 2000
    try:
        whole = datetime(century + int(year), month, int(day), hour, int(match["minute"]), int(second))
    except ValueError:
        return None
    return whole.replace(microsecond=int(second % 1 * 1e6))


def file_name(path: str | None) -> str | None:
    """The last part of a Windows, UNC or Unix path; None if there is none."""
    if path is None:
        return None
    name = re.split(r"[\\/]+", path.strip().strip("\"'"))[-1]
    name = re.sub(r"^[A-Za-z]:", "", name).strip()
    return name or None


def understand_view(mdoc: Mdoc, source: int, section: Section, notes: list[Note]) -> MdocView:
    """Read one section; what cannot be read as the number or date that it should be is noted."""
    where = f"{mdoc.path.name}: {section.label}"

    def one(key: str, count: int = 1) -> tuple[float, ...] | None:
        text = section.get(key)
        values = numbers(text)
        if text is not None and len(values) < count:
            notes.append(Note(kind="dropped", where=where, text=f"{key} = '{text}' is not {count} number(s)"))
        return values[:count] if len(values) >= count else None

    def scalar(key: str) -> float | None:
        values = one(key)
        return None if values is None else values[0]

    def pair(key: str) -> tuple[float, float] | None:
        values = one(key, 2)
        return None if values is None else (values[0], values[1])

    def count(key: str) -> int | None:
        value = scalar(key)
        return None if value is None else round(value)

    _tell_of_repeats(section, where, notes)
    date = section.get("DateTime")
    time = moment(date)
    if date is not None and time is None:
        notes.append(Note(kind="dropped", where=where, text=f"DateTime = '{date}' is no date that can be read"))
    pixel = scalar("PixelSpacing")
    frame_dose, counted = _frame_doses(section, where, notes)
    number = numbers(section.name)
    return MdocView(
        where=where,
        source=source,
        section=section,
        number=int(number[0]) if section.kind == "ZValue" and number and number[0] == int(number[0]) >= 0 else None,
        tilt_deg=scalar("TiltAngle"),
        frames=file_name(section.get("SubFramePath")),
        frames_text=section.get("SubFramePath"),
        frame_count=count("NumSubFrames"),
        time=time,
        exposure_dose=scalar("ExposureDose"),
        frame_dose=frame_dose,
        camera_dose=_camera_dose(scalar("DoseRate"), scalar("ExposureTime"), pixel, scalar("Binning")),
        counted_frames=counted,
        prior_dose=scalar("PriorRecordDose"),
        target_defocus_um=scalar("TargetDefocus"),
        defocus_um=scalar("Defocus"),
        image_shift_um=pair("ImageShift"),
        pixel_size_ang=pixel if pixel else None,
        rotation_angle_deg=scalar("RotationAngle"),
        rotation_and_flip=count("RotationAndFlip"),
        piece=pair("PieceCoordinates"),
    )


def _tell_of_repeats(section: Section, where: str, notes: list[Note]) -> None:
    for key in _repeated(entry.key for entry in section.entries):
        values = section.values(key)
        if key in UNDERSTOOD and len(set(values)) > 1:
            text = f"{key} comes {len(values)} times ({', '.join(values)}); the first was taken"
            notes.append(Note(kind="warning", where=where, text=text))


def _repeated(keys: Iterable[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    for key in keys:
        seen[key] = seen.get(key, 0) + 1
    return tuple(key for key, times in seen.items() if times > 1)


def _frame_doses(section: Section, where: str, notes: list[Note]) -> tuple[float | None, int | None]:
    """Sum over the pairs (dose of a frame, number of such frames), and the number of frames."""
    text = section.get("FrameDosesAndNumber")
    values = numbers(text)
    if text is None:
        return None, None
    if not values or len(values) % 2:
        told = f"FrameDosesAndNumber = '{text}' is no list of pairs (dose, number)"
        notes.append(Note(kind="dropped", where=where, text=told))
        return None, None
    doses, counts = values[::2], values[1::2]
    return sum(dose * count for dose, count in zip(doses, counts, strict=True)), round(sum(counts))


def _camera_dose(
    rate: float | None, time_s: float | None, pixel_ang: float | None, binning: float | None
) -> float | None:
    """DoseRate is per unbinned pixel and second."""
    if rate is None or time_s is None or not pixel_ang:
        return None
    unbinned_ang = pixel_ang / (binning or 1.0)
    return rate * time_s / unbinned_ang**2  # e px⁻¹ s⁻¹ · s / (Å px⁻¹)² = e Å⁻²
