"""What an mdoc means, before any image is looked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.angles import check_angles
from lamella.formats.mdoc import Mdoc
from lamella.formats.mdoc_axis import stated_axis, wrap_deg
from lamella.formats.mdoc_dose import doses_before_views, doses_of_views
from lamella.formats.mdoc_order import recording_order
from lamella.formats.mdoc_values import UNDERSTOOD, VIEW_KINDS, MdocView, file_name, numbers, understand_view
from lamella.formats.overrides import Overrides, settle
from lamella.records import Note

__all__ = ["MdocSeries", "NotATiltSeries", "interpret", "series_name"]

_DEFOCUS_TOLERANCE_UM = 0.5
_SUFFIXES = (".mrc", ".st", ".mrcs")
OVERRIDE = "_override"


class NotATiltSeries(FormatError):
    """An mdoc that is sound, but describes something else: a montage, a single picture."""


@dataclass(frozen=True, eq=False)
class MdocSeries:
    """A tilt series as its mdocs describe it.

    Attributes
    ----------
    name
        the mdoc's name without ``.mdoc``, and without ``.mrc`` or ``.st``.
    mdocs
        the files, usually one.
    views
        in the order of recording, whatever the order of the sections.
    pixel_size_ang, tilt_axis_deg, voltage_kv
        what the user gave, else what the file states, else None.
    image_file
        ImageFile without its folders, or None.
    image_size_px
        ImageSize, (x, y), or None.
    dose, pre_exposure
        ``(n,)`` e/Å² of each view and before it, or None where unknown.
    notes
        what was assumed, dropped, overridden or contradictory.
    """

    name: str
    mdocs: tuple[Mdoc, ...]
    views: tuple[MdocView, ...]
    pixel_size_ang: float | None
    tilt_axis_deg: float | None
    voltage_kv: float | None
    image_file: str | None
    image_size_px: tuple[int, int] | None
    dose: NDArray[np.float64] | None
    pre_exposure: NDArray[np.float64] | None
    notes: tuple[Note, ...]

    @property
    def tilt_deg(self) -> NDArray[np.float64]:
        """``(n,)`` stage tilts in the order of recording."""
        return np.array([view.tilt_deg for view in self.views], dtype=np.float64)

    @property
    def where(self) -> str:
        """How a message names the series' files."""
        return ", ".join(mdoc.path.name for mdoc in self.mdocs)


def series_name(file: str) -> str:
    """Name of a series from its mdoc's: without ``.mdoc``, without ``.mrc`` or ``.st``, without ``_override``."""
    name = file.removesuffix(".mdoc")
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name.removesuffix(OVERRIDE)


def interpret(
    mdocs: Mdoc | Sequence[Mdoc], overrides: Overrides | None = None, *, name: str | None = None
) -> MdocSeries:
    """Understand the mdoc, or the several mdocs, of one tilt series.

    Raises
    ------
    NotATiltSeries
        if it is a montage, or holds no view.
    FormatError
        if a view has no tilt angle, one image is in two sections, or no order can be had; the section is named.
    """
    files = (mdocs,) if isinstance(mdocs, Mdoc) else tuple(mdocs)
    overrides = overrides or Overrides()
    where = ", ".join(mdoc.path.name for mdoc in files)
    notes: list[Note] = []
    views = _views(files, where, notes)
    _refuse_montage(files, views, where, notes)
    if not views:
        kinds = Counter(section.kind for mdoc in files for section in mdoc.sections)
        held = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
        raise NotATiltSeries(f"{where}: no ZValue or FrameSet section ({held})", mend="leave the file out")
    _refuse_missing_angles(views)
    _refuse_twins(views)
    rank, order_notes = recording_order(views, where)
    notes += order_notes
    views = [views[place] for place in np.argsort(rank)]
    rank = np.arange(len(views))
    angles = np.array([view.tilt_deg for view in views], dtype=np.float64)
    notes += check_angles(angles, where, [view.section.label for view in views])
    dose, dose_notes = doses_of_views(views, overrides, where)
    before, before_notes = doses_before_views(views, dose, rank, overrides, where)
    notes += [*dose_notes, *before_notes]
    pixel_size, pixel_notes = _pixel_size(files, views, overrides, where)
    axis, axis_notes = stated_axis(files, views, where)
    given_axis = None if overrides.tilt_axis_deg is None else wrap_deg(overrides.tilt_axis_deg)
    if given_axis is not None and any(note.kind == "assumed" for note in axis_notes):
        axis, axis_notes = None, ()  # nothing to assume where the user says it
    axis, given_notes = settle(given_axis, axis, "tilt axis", "°", where)
    notes += [*pixel_notes, *axis_notes, *given_notes]
    notes += _defocus_notes(views)
    notes += _frame_notes(views, where)
    notes += _unused_keys(files, where)
    size = numbers(_header_value(files, "ImageSize"))
    return MdocSeries(
        name=name or series_name(files[0].path.name),
        mdocs=files,
        views=tuple(views),
        pixel_size_ang=pixel_size,
        tilt_axis_deg=axis,
        voltage_kv=_voltage(files),
        image_file=file_name(_header_value(files, "ImageFile")),
        image_size_px=(round(size[0]), round(size[1])) if len(size) >= 2 else None,
        dose=dose,
        pre_exposure=before,
        notes=tuple(notes),
    )


def _views(mdocs: Sequence[Mdoc], where: str, notes: list[Note]) -> list[MdocView]:
    """Every section that is a view; each other section, and each line that is none, is noted."""
    views = []
    kinds = {section.kind for mdoc in mdocs for section in mdoc.sections}
    chosen = next((kind for kind in VIEW_KINDS if kind in kinds), None)
    for source, mdoc in enumerate(mdocs):
        for line in mdoc.malformed:
            text = f"'{line.text.strip()[:60]}' is neither a section nor a 'key = value' line"
            notes.append(Note(kind="dropped", where=f"{mdoc.path.name}: line {line.number}", text=text))
        for section in mdoc.sections:
            if section.kind == chosen:
                views.append(understand_view(mdoc, source, section, notes))
            else:
                text = f"a section of kind {section.kind} is no view"
                notes.append(Note(kind="dropped", where=f"{mdoc.path.name}: {section.label}", text=text))
    return views


def _refuse_montage(mdocs: Sequence[Mdoc], views: Sequence[MdocView], where: str, notes: list[Note]) -> None:
    pieces = {view.piece for view in views if view.piece is not None}
    mapped = any(section.kind == "MontSection" for mdoc in mdocs for section in mdoc.sections)
    if mapped or len(pieces) > 1:
        raise NotATiltSeries(
            f"{where}: a montage of {len(pieces) or len(views)} pieces (a map), not a tilt series",
            mend="leave the file out",
        )
    if _header_value(mdocs, "Montage") == "1" and views:
        text = "the header says Montage = 1, but no section is a piece of one; read as a tilt series"
        notes.append(Note(kind="warning", where=where, text=text))


def _refuse_missing_angles(views: Sequence[MdocView]) -> None:
    for view in views:
        if view.tilt_deg is None:
            raise FormatError(
                f"{view.where}: no TiltAngle that is a number", mend="write the angle, or take the section out"
            )


def _refuse_twins(views: Sequence[MdocView]) -> None:
    """One image in two sections: the same ZValue, or the same frame file."""
    numbers_seen: dict[tuple[int, int], MdocView] = {}
    frames_seen: dict[str, MdocView] = {}
    for view in views:
        if view.section.kind == "ZValue" and view.number is None:
            raise FormatError(
                f"{view.where}: '{view.section.name}' is no section of an image stack", mend="number it from 0"
            )
        twin = None if view.number is None else numbers_seen.setdefault((view.source, view.number), view)
        if twin is not None and twin is not view:
            raise FormatError(
                f"{view.where}: the same image as {twin.where}: ZValue {view.number} twice",
                mend="take one of the two sections out",
            )
        if view.frames is None:
            continue
        twin = frames_seen.setdefault(view.frames, view)
        if twin is not view:
            raise FormatError(
                f"{view.where}: the same frames as {twin.where}: {view.frames}",
                mend="take one of the two sections out",
            )


def _header_value(mdocs: Sequence[Mdoc], key: str) -> str | None:
    return next((value for mdoc in mdocs if (value := mdoc.header.get(key)) is not None), None)


def _pixel_size(
    mdocs: Sequence[Mdoc], views: Sequence[MdocView], overrides: Overrides, where: str
) -> tuple[float | None, tuple[Note, ...]]:
    """PixelSpacing of the sections, which must agree, or of the header."""
    header = [value[0] for mdoc in mdocs if (value := numbers(mdoc.header.get("PixelSpacing"))) and value[0] > 0]
    stated = [(view.pixel_size_ang, view.where) for view in views if view.pixel_size_ang]
    notes: list[Note] = []
    size = stated[0][0] if stated else header[0] if header else None
    for other, place in stated:
        if size is not None and other is not None and abs(other - size) > 1e-3 * size:
            if overrides.pixel_size_ang is None:
                raise FormatError(
                    f"{place}: PixelSpacing {other:g} Å, but {size:g} Å in {stated[0][1]}",
                    mend="state the images' pixel size with --pixel-size, or take the section out",
                )
            text = f"PixelSpacing {other:g} Å differs from the first section's {size:g} Å; the given size was taken"
            notes.append(Note(kind="overridden", where=place, text=text))
    if stated and header and size is not None and abs(header[0] - size) > 1e-3 * size:
        text = f"PixelSpacing is {header[0]:g} Å in the header and {size:g} Å in the sections; the sections' was taken"
        notes.append(Note(kind="warning", where=where, text=text))
    settled, given_notes = settle(overrides.pixel_size_ang, size, "pixel size", " Å", where)
    return settled, (*notes, *given_notes)


def _voltage(mdocs: Sequence[Mdoc]) -> float | None:
    said = [_header_value(mdocs, "Voltage")]
    said += [section.get("Voltage") for mdoc in mdocs for section in mdoc.sections]
    return next((value[0] for text in said if (value := numbers(text)) and value[0] > 0), None)


def _defocus_notes(views: Sequence[MdocView]) -> tuple[Note, ...]:
    off = [
        (abs(view.target_defocus_um - view.defocus_um), view)
        for view in views
        if view.target_defocus_um is not None
        and view.defocus_um is not None
        and abs(view.target_defocus_um - view.defocus_um) > _DEFOCUS_TOLERANCE_UM
    ]
    if not off:
        return ()
    most, view = max(off, key=lambda pair: pair[0])
    text = (
        f"TargetDefocus ({view.target_defocus_um:g} µm) and Defocus ({view.defocus_um:g} µm) disagree in {len(off)} "
        f"section(s), by up to {most:.3g} µm; TargetDefocus was taken as the nominal defocus"
    )
    return (Note(kind="warning", where=view.where, text=text),)


def _frame_notes(views: Sequence[MdocView], where: str) -> tuple[Note, ...]:
    notes = []
    for view in views:
        if view.counted_frames is not None and view.frame_count is not None and view.counted_frames != view.frame_count:
            text = (
                f"NumSubFrames says {view.frame_count} frames, FrameDosesAndNumber {view.counted_frames}; "
                "the frame file itself decides"
            )
            notes.append(Note(kind="warning", where=view.where, text=text))
    turns = sorted({view.rotation_and_flip for view in views if view.rotation_and_flip is not None})
    if turns:
        text = (
            f"RotationAndFlip {', '.join(map(str, turns))}: how frames and gain stand to the image; images of a stack "
            "stand as they should, of frame files this alone cannot tell whether they were saved turned"
        )
        notes.append(Note(kind="info", where=where, text=text))
    return tuple(notes)


def _unused_keys(mdocs: Sequence[Mdoc], where: str) -> tuple[Note, ...]:
    blocks = [block for mdoc in mdocs for block in (mdoc.header, *mdoc.sections)]
    unused = sorted({entry.key for block in blocks for entry in block.entries} - UNDERSTOOD)
    if not unused:
        return ()
    return (Note(kind="dropped", where=where, text=f"keys that stay in the mdoc alone: {', '.join(unused)}"),)
