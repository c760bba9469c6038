"""AreTomo's alignment file ``.aln``, global and local, read into a record and written, with its ``_CTF.txt``.

A line of its table holds SEC (section of the stack), ROT (tilt axis), GMAG, TX, TY (pixels of the unbinned stack), and
TILT. A point p projects to Rz(ROT) · Ry(TILT) · p + (TX, TY) from the image's centre, which is IMOD's (n / 2, see
`imod_geometry`); a patch of the local table adds its shift there, where patches are placed in the same axes before TX
and TY are added. TILT contains AlphaOffset. BetaOffset is the specimen's tilt about x: a rigid turn of its frame, which
AreTomo applies to no projection; here it becomes the tilt about x, which shows the same pictures of a level specimen.
GMAG is always 1.

Sources: AreTomo3's CSaveXF (the ``.xf`` that it writes of the same numbers), GCorrPatchShift (the resampling),
CAlignParam and CSaveAlignFile (offsets, file), CTileSpectra and CTiltInducedZ (sign of BetaOffset).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.aretomo_ctf import export_ctf, find_ctf, import_ctf
from lamella.formats.aretomo_file import Aln, AlnPatches, read_aln, write_aln
from lamella.formats.aretomo_local import fit_field, patches_of_field
from lamella.formats.images import open_stack, split_name
from lamella.formats.imod_geometry import half_pixel
from lamella.formats.located import locate
from lamella.formats.view_matching import match_rows, note_of_unused
from lamella.geometry import TiltGeometry
from lamella.records import Note, TiltSeries

__all__ = ["export_series", "import_series"]

Array = NDArray[np.float64]

_LARGEST_LEFT_OUT_PX = 1.0


def import_series(path: Path, series: TiltSeries) -> tuple[TiltSeries, tuple[Note, ...]]:
    """Put AreTomo's alignment of a stack into the record of that stack.

    Parameters
    ----------
    path
        the ``.aln`` file, or the folder that has ``NAME.aln``; ``NAME_CTF.txt`` beside it gives the defoci.
    series
        the record; its images are those of the stack, unbinned.

    Returns
    -------
    series, notes
        the record with `geometry`, and `defocus` where it is there, less the views that AreTomo found dark; what was
        assumed or dropped.

    Raises
    ------
    FormatError
        if the file is missing, damaged, or about another stack.
    """
    file, notes = locate(Path(path), series.name, ".aln")
    aln = read_aln(file)
    where = file.name
    notes += [Note(kind="dropped", where=where, text=text) for text in aln.unread]
    scale, scale_notes = _scale(aln, series, where)
    rows, how = match_rows(series, aln.tilt_deg, _candidates(series, aln), str(file))
    if how:
        notes.append(Note(kind="info", where=where, text=how))
    notes += note_of_unused(rows, len(aln.section), where)
    kept = np.flatnonzero(rows >= 0)
    if len(kept) < len(series):
        named = ", ".join(f"{tilt:g}°" for tilt in series.nominal_tilt_deg[rows < 0])
        text = f"view(s) at {named}: dark, or without a line; left out of the record"
        notes.append(Note(kind="dropped", where=where, text=text))
    chosen = rows[kept]
    notes += [*scale_notes, *_header_notes(aln, where)]
    pixel_ang = series.pixel_size_ang / scale
    shape_px = series.image_shape_px
    if scale != 1 and aln.raw_size is not None:
        shape_px = (aln.raw_size[1], aln.raw_size[0])
    shift_px = aln.shift_px[chosen] - half_pixel(shape_px)
    geometry = TiltGeometry.from_angles(
        aln.tilt_deg[chosen],
        aln.axis_deg[chosen],
        x_tilt_deg=aln.beta_offset_deg,
        x_shift_ang=shift_px[:, 0] * pixel_ang,
        y_shift_ang=shift_px[:, 1] * pixel_ang,
    )
    if aln.patches is not None:
        patches = aln.patches.select(chosen)
        centred = patches.place_px + shift_px[:, None]  # (n, p, 2) from our centre pixel, TX and TY added
        field, residual_ang = fit_field(centred * pixel_ang, patches.shift_px * pixel_ang, patches.good)
        geometry = geometry.with_terms(field=field)
        text = (
            f"local alignment of {patches.good.shape[1]} patches: a field of {field.nodes_ang.shape[3]} × "
            f"{field.nodes_ang.shape[2]} nodes follows them to {residual_ang / pixel_ang:.2f} px rms"
        )
        notes.append(Note(kind="info", where=where, text=text))
    aligned = series.select(kept).with_changes(geometry=geometry)
    if (ctf := find_ctf(file)) is not None:
        aligned, said = import_ctf(ctf, aligned, aln, chosen)
        notes += said
    return aligned, tuple(notes)


def export_series(series: Sequence[TiltSeries], folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write each series' alignment as ``FOLDER/NAME.aln``, and its defoci as ``FOLDER/NAME_CTF.txt``.

    Sections are those of the record's stack (`place`); sections of it that the record does not have are listed as dark.

    Parameters
    ----------
    series
        records with geometry.
    folder
        where to write.
    root
        the folder that the records' relative names start from: the stack's number of sections is read there.

    Raises
    ------
    FormatError
        if a record has no geometry, or a magnification that AreTomo cannot say.
    """
    written: list[Path] = []
    notes: list[Note] = []
    for record in series:
        target = Path(folder) / f"{record.name}.aln"
        aln, said = _aln_of(record, Path(root))
        write_aln(target, aln)
        written.append(target)
        notes += said
        if record.defocus is not None:
            written.append(target.with_name(f"{record.name}_CTF.txt"))
            notes += export_ctf(written[-1], record, aln)
    return tuple(written), tuple(notes)


def _aln_of(record: TiltSeries, root: Path) -> tuple[Aln, list[Note]]:
    geometry, name = record.geometry, record.name
    if geometry is None:
        raise FormatError(f"{name}: the record has no alignment", mend="run align first, or import one")
    notes = _left_out(record, geometry)
    shift_px = geometry.shifts_ang() / record.pixel_size_ang + half_pixel(record.image_shape_px)
    place = np.asarray(record.place, dtype=np.int64)
    count = max(int(place.max()), _sections(record, root))
    missing = np.setdiff1d(np.arange(1, count + 1), place)
    order = np.argsort(place)
    guessed = np.interp(missing, place[order], record.nominal_tilt_deg[order])
    if missing.size:
        text = (
            f"section(s) {', '.join(map(str, missing.tolist()))} of the stack are not in the record and were listed as "
            "dark, with angles interpolated between their neighbours'"
        )
        notes.append(Note(kind="assumed", where=name, text=text))
    offset = geometry.y_tilt_deg - record.nominal_tilt_deg
    height, width = record.image_shape_px
    patches = None
    if geometry.field is not None:
        places_ang, shifts_ang = patches_of_field(geometry.field)
        patches = AlnPatches(
            place_px=places_ang / record.pixel_size_ang - (shift_px - half_pixel(record.image_shape_px))[:, None],
            shift_px=shifts_ang / record.pixel_size_ang,
            good=np.ones(shifts_ang.shape[:2], dtype=bool),
        )
    aln = Aln(
        raw_size=(width, height, count),
        section=place - 1,
        axis_deg=geometry.z_rot_deg,
        magnification=np.ones(len(record)),
        shift_px=shift_px,
        tilt_deg=geometry.y_tilt_deg,
        dark=tuple(
            (int(number) - 1, int(number) - 1, float(tilt)) for number, tilt in zip(missing, guessed, strict=True)
        ),
        alpha_offset_deg=float(np.median(offset)),
        beta_offset_deg=float(np.mean(geometry.x_tilt_deg)),
        patches=patches,
    )
    return aln, notes


def _sections(record: TiltSeries, root: Path) -> int:
    """Sections of the stack that `place` counts, where the record still names that stack; else 0."""
    named = [split_name(image) for image in record.images or ()]
    files = {file for _, file in named}
    same = [section for section, _ in named] == [int(place) - 1 for place in np.asarray(record.place)]
    if len(files) != 1 or not same or not (root / next(iter(files))).is_file():
        return 0
    return open_stack(root / next(iter(files))).shape[0]


def _left_out(record: TiltSeries, geometry: TiltGeometry) -> list[Note]:
    """What the file cannot say: refused where it matters, else told."""
    notes = []
    reach_px = np.hypot(*record.image_shape_px) / 2
    stretch_px = float(np.abs(geometry.magnification - 1).max() * reach_px)
    if stretch_px > _LARGEST_LEFT_OUT_PX:
        raise FormatError(
            f"{record.name}: magnifications move the image's corners by {stretch_px:.1f} px, which AreTomo cannot say",
            mend="align without magnifications, or export to imod",
        )
    if stretch_px > 0:
        text = f"magnifications are left out: up to {stretch_px:.3f} px at the image's corner"
        notes.append(Note(kind="dropped", where=record.name, text=text))
    mean = float(np.mean(geometry.x_tilt_deg))
    if abs(mean) > 1e-6:
        text = f"the tilt about x, {mean:.3f}°, was written as BetaOffset, which AreTomo applies to no projection"
        notes.append(Note(kind="info", where=record.name, text=text))
    spread = float(np.abs(geometry.x_tilt_deg - mean).max())
    if spread > 1e-6:
        text = f"the tilt about x differs between views by up to {spread:.3f}°; only its mean was written"
        notes.append(Note(kind="dropped", where=record.name, text=text))
    return notes


def _scale(aln: Aln, series: TiltSeries, where: str) -> tuple[float, list[Note]]:
    """How many pixels of AreTomo's stack one pixel of the record's images has."""
    height, width = series.image_shape_px
    if aln.raw_size is None or aln.raw_size[:2] == (width, height):
        return 1.0, []
    factor = aln.raw_size[0] / width
    if abs(aln.raw_size[1] / (factor * height) - 1) > 0.01 or abs(factor - 1) < 0.2:
        raise FormatError(
            f"{where}: RawSize {aln.raw_size[0]} × {aln.raw_size[1]}, but {series.name} has {width} × {height} pixels",
            mend="import the alignment of the same stack",
        )
    text = (
        f"RawSize {aln.raw_size[0]} × {aln.raw_size[1]} against images of {width} × {height}: its pixels were "
        f"taken to be {series.pixel_size_ang / factor:g} Å"
    )
    return factor, [Note(kind="assumed", where=where, text=text)]


def _candidates(series: TiltSeries, aln: Aln) -> dict[str, NDArray[np.int64]]:
    """Ways in which SEC may count: sections of the record's stack from 0 or 1, or views by rising tilt angle."""
    place = np.asarray(series.place, dtype=np.int64)
    ways = {
        "": _rows(aln.section + 1, place),
        "SEC counts from 1": _rows(aln.section, place),
        "SEC counts the views by rising tilt angle": _rows(aln.section, np.arange(len(series))),
        "SEC counts the views by rising tilt angle, from 1": _rows(aln.section - 1, np.arange(len(series))),
    }
    numbers = {*aln.section.tolist(), *(section for _, section, _ in aln.dark)}
    if 0 not in numbers:  # nothing counts from 0: the other readings come first
        ways = dict(sorted(ways.items(), key=lambda way: not way[0].endswith("from 1")))
    if aln.raw_size is not None and aln.raw_size[2] in numbers:
        ways = {name: rows for name, rows in ways.items() if name.endswith("from 1")}
    most = max(int((rows >= 0).sum()) for rows in ways.values())
    return {name: rows for name, rows in ways.items() if (rows >= 0).sum() == most}


def _rows(numbers: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Line of each wanted number, −1 where none has it."""
    line = {int(number): row for row, number in enumerate(numbers)}
    return np.array([line.get(int(number), -1) for number in wanted], dtype=np.int64)


def _header_notes(aln: Aln, where: str) -> list[Note]:
    notes = []
    if np.abs(aln.magnification - 1).max() > 1e-5:
        text = "GMAG is not 1; AreTomo resamples no image by it, and it was not taken"
        notes.append(Note(kind="dropped", where=where, text=text))
    if aln.thickness_px:
        text = f"Thickness {aln.thickness_px}: the file does not say in which pixels; it was not taken"
        notes.append(Note(kind="dropped", where=where, text=text))
    if aln.alpha_offset_deg:
        text = f"AlphaOffset {aln.alpha_offset_deg:g}° is contained in TILT already"
        notes.append(Note(kind="info", where=where, text=text))
    if aln.beta_offset_deg:
        text = (
            f"BetaOffset {aln.beta_offset_deg:g}° became the tilt about x: the specimen's frame is turned, no picture"
        )
        notes.append(Note(kind="info", where=where, text=text))
    return notes
