"""A tilt series from a stack that no mdoc describes: the user says what the file does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, InputError
from lamella.formats.angles import angles_from_steps, check_angles, read_angles
from lamella.formats.images import StackFile, image_name, open_stack
from lamella.formats.mdoc_axis import axis_from_title, wrap_deg
from lamella.formats.mdoc_interpret import series_name
from lamella.formats.mrc import MrcFile
from lamella.formats.overrides import Imported, Overrides, settle_imaging, settle_optics
from lamella.records import Note, TiltSeries

__all__ = ["series_from_stack"]

Array = NDArray[np.float64]

HEADER: Literal["header"] = "header"
_LOWEST_INT16 = -16384  # counts that begin below this are unsigned ones, less 32768


def series_from_stack(
    stack: Path,
    *,
    angles: str,
    pixel_size: float | str | None = None,
    tilt_axis: float | str | None = None,
    overrides: Overrides | None = None,
) -> Imported:
    """Make the record of one tilt series from a stack of images.

    Parameters
    ----------
    stack
        MRC or TIFF file, one section per view.
    angles
        file of angles, ``START,STEP`` in degrees, or ``header``.
    pixel_size
        Å, or ``header``; None takes `overrides`.
    tilt_axis
        degrees (IMOD's convention), or ``header``; None takes `overrides`.
    overrides
        what else the user states.

    Returns
    -------
    Imported
        one series, views by rising tilt angle, `place` counting the stack's sections from 1.

    Raises
    ------
    FormatError
        if the stack cannot be read, its sections and the angles differ in number, an angle is no angle, or the header
        does not say what it was asked for.
    InputError
        if pixel size or tilt axis is given by nobody.
    """
    overrides = overrides or Overrides()
    stack = Path(stack)
    file = open_stack(stack)
    where = stack.name
    notes: list[Note] = [*(file.notes if isinstance(file, MrcFile) else ()), *_doubts_of_numbers(file, where)]
    tilt = _angles(file, angles, where, notes)
    notes += check_angles(tilt, where, [f"image {number}" for number in range(1, len(tilt) + 1)])
    pixel_size_ang = _pixel_size(file, pixel_size if pixel_size is not None else overrides.pixel_size_ang, where, notes)
    axis_deg = _axis(file, tilt_axis if tilt_axis is not None else overrides.tilt_axis_deg, where, notes)
    optics, optics_notes = settle_optics(overrides, _header_first(file, "voltage_kv"), where)
    imaging, imaging_notes = settle_imaging(overrides, where)
    resolved = str(stack.resolve())
    series = TiltSeries(
        name=series_name(stack.stem if stack.suffix.lower() in (".tif", ".tiff") else stack.name),
        pixel_size_ang=pixel_size_ang,
        original_pixel_size_ang=pixel_size_ang,
        image_shape_px=(file.shape[1], file.shape[2]),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(len(tilt), axis_deg),
        images=tuple(image_name(section, resolved) for section in range(len(tilt))),
        pre_exposure=_doses(len(tilt), overrides, where, notes),
        optics=optics,
        imaging=imaging,
    )
    return Imported((series.sorted_by_tilt(),), (*notes, *optics_notes, *imaging_notes))


def _angles(file: StackFile, angles: str, where: str, notes: list[Note]) -> Array:
    count = file.shape[0]
    if angles == HEADER:
        return _header_values(file, "tilt_deg", "--angles header", where)
    steps = angles_from_steps(angles, count)
    if steps is not None:
        text = f"tilt angles {steps[0]:g}…{steps[-1]:g}°, as given: {angles}"
        notes.append(Note(kind="info", where=where, text=text))
        return steps
    tilt = read_angles(angles)
    if len(tilt) != count:
        more = "an image too few, or a line too many" if len(tilt) > count else "a line too few, or an image too many"
        raise FormatError(
            f"{angles}: {len(tilt)} angles for the {count} images of {where}",
            mend=f"correct the file of angles or the stack ({more})",
        )
    stated = [section.get("tilt_deg") for section in _extended(file)]
    known = [value for value in stated if value is not None]
    if len(known) == count and np.ptp(known) > 0 and np.abs(np.array(known) - tilt).max() > 0.5:
        worst = int(np.abs(np.array(known) - tilt).argmax())
        text = (
            f"the header gives image {worst + 1} a tilt of {known[worst]:g}°, {Path(angles).name} {tilt[worst]:g}°; "
            "the file of angles was taken"
        )
        notes.append(Note(kind="overridden", where=where, text=text))
    return tilt


def _pixel_size(file: StackFile, given: float | str | None, where: str, notes: list[Note]) -> float:
    by_sections = _header_first(file, "pixel_size_ang")
    by_cell = file.pixel_size_ang
    header = by_sections or by_cell
    number = _number(given, "--pixel-size")
    if isinstance(number, str):
        if header is None:
            raise FormatError(f"{where}: the header states no pixel size", mend="state it in Å with --pixel-size")
        if by_sections is not None and by_cell is not None and abs(by_cell / by_sections - 1) > 0.01:
            text = f"the extended header says {by_sections:g} Å, the cell {by_cell:g} Å; the extended header was taken"
            notes.append(Note(kind="warning", where=where, text=text))
        else:
            notes.append(Note(kind="info", where=where, text=f"pixel size {header:g} Å, from the header"))
        return float(header)
    if number is None:
        said = f" (the header says {header:g} Å: --pixel-size header takes it)" if header else ""
        raise InputError(f"{where}: nobody states the pixel size{said}", mend="state it in Å with --pixel-size")
    if not number > 0:
        raise InputError(f"--pixel-size {given}", mend="give a positive pixel size in Å")
    for what, stated in (("extended header", by_sections), ("header's cell", by_cell)):
        if stated is not None and abs(stated / number - 1) > 0.01:
            text = f"pixel size {number:g} Å, as given; the {what} says {stated:g} Å"
            notes.append(Note(kind="overridden", where=where, text=text))
    return number


def _axis(file: StackFile, given: float | str | None, where: str, notes: list[Note]) -> float:
    number = _number(given, "--tilt-axis")
    stated = _header_axis(file)
    if isinstance(number, str):
        if stated is None:
            raise FormatError(f"{where}: the header states no tilt axis", mend="state it in degrees with --tilt-axis")
        axis, text, kind = stated
        notes.append(Note(kind=kind, where=where, text=text))
        return axis
    if number is None:
        raise InputError(f"{where}: nobody states the tilt axis", mend="state it in degrees with --tilt-axis")
    if stated is not None and abs(wrap_deg(stated[0] - number)) > 0.05:
        text = f"tilt axis {number:g}°, as given; the header means {stated[0]:g}° ({stated[1]})"
        notes.append(Note(kind="overridden", where=where, text=text))
    return wrap_deg(number)


def _header_axis(file: StackFile) -> tuple[float, str, Literal["info", "assumed"]] | None:
    """Axis in our convention, how it was understood, and how sure that is."""
    if not isinstance(file, MrcFile):
        return None
    for label in file.header.labels:
        axis = axis_from_title(label)
        if axis is not None:
            return axis, f"tilt axis {axis:g}°, from the header's title '{label.strip()}'", "info"
    said = _header_first(file, "axis_deg")
    if said is None:
        return None
    if file.header.extended_type in ("FEI1", "FEI2"):
        axis = wrap_deg(-said - 90.0)
        return axis, f"extended header {said:g}°, taken as Tomography 5's −a − 90: {axis:g}°", "assumed"
    if any(label.strip().lower().startswith("fei") for label in file.header.labels):
        axis = wrap_deg(-said)
        return axis, f"extended header {said:g}°, of FEI's old layout, whose sign IMOD turns: {axis:g}°", "assumed"
    return wrap_deg(said), f"extended header {said:g}°, taken as it stands", "assumed"


def _number(given: float | str | None, option: str) -> float | Literal["header"] | None:
    if given is None:
        return None
    if isinstance(given, str) and given.strip() == HEADER:
        return HEADER
    try:
        number = float(given)
    except ValueError as error:
        raise InputError(f"{option} {given}", mend="give a number, or 'header'") from error
    if not np.isfinite(number):
        raise InputError(f"{option} {given}", mend="give a finite number, or 'header'")
    return number


def _doses(count: int, overrides: Overrides, where: str, notes: list[Note]) -> Array | None:
    if overrides.dose_per_tilt is None:
        text = "dose unknown: a bare stack states none; --dose-per-tilt states it"
        notes.append(Note(kind="warning", where=where, text=text))
        if overrides.prior_dose is not None:
            text = f"a prior dose of {overrides.prior_dose:g} e/Å² is of no use without --dose-per-tilt"
            notes.append(Note(kind="dropped", where=where, text=text))
        return None
    text = "order of recording taken to be that of the stack's sections, for the dose before each view"
    notes.append(Note(kind="assumed", where=where, text=text))
    return (overrides.prior_dose or 0.0) + overrides.dose_per_tilt * np.arange(count, dtype=np.float64)


def _doubts_of_numbers(file: StackFile, where: str) -> tuple[Note, ...]:
    """Counts of 16 bits that were unsigned, and stand in the file as signed ones."""
    if not isinstance(file, MrcFile) or int(file.header.fields["mode"]) != 1:
        return ()
    lowest, highest, mean = (float(file.header.fields[name]) for name in ("dmin", "dmax", "dmean"))
    if not (lowest < _LOWEST_INT16 and mean < 0 and highest > lowest):
        return ()
    text = (
        f"16-bit numbers from {lowest:g} to {highest:g}, mean {mean:g}: probably unsigned counts less 32768; nothing "
        "was added, since a constant changes no later step but a logarithm"
    )
    return (Note(kind="warning", where=where, text=text),)


def _extended(file: StackFile) -> Sequence[dict[str, float]]:
    return [dict(section) for section in file.extended] if isinstance(file, MrcFile) else []


def _header_values(file: StackFile, name: str, option: str, where: str) -> Array:
    sections = _extended(file)
    values = [section.get(name) for section in sections]
    known = [value for value in values if value is not None]
    if len(known) != file.shape[0]:
        raise FormatError(
            f"{where}: {option}, but its header states an angle for {len(known)} of {file.shape[0]} images",
            mend="name a file of angles, or START,STEP",
        )
    if len(known) > 1 and np.ptp(known) == 0:
        raise FormatError(
            f"{where}: {option}, but its header states {known[0]:g}° for every image",
            mend="name a file of angles, or START,STEP",
        )
    return np.array(known)


def _header_first(file: StackFile, name: str) -> float | None:
    """What the extended header says of the first image, where it says something other than nothing."""
    sections = _extended(file)
    if not sections or name not in sections[0]:
        return None
    value = sections[0][name]
    return value if np.isfinite(value) and (value > 0 or name == "axis_deg") else None
