"""IMOD's files, read into a record: ``.xf .tlt .xtilt``, ``tilt.com`` and ``newst.com``, and ``.defocus``.

How the numbers are meant stands in `imod_geometry` and `imod_defocus`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.angles import read_angles, read_text
from lamella.formats.defocus_exchange import pick_rows
from lamella.formats.image_centre import at_centre_voxel, note_of_move
from lamella.formats.imod_com import CommandFile, number_list, read_command_file
from lamella.formats.imod_defocus import defocus_of_views, read_defocus
from lamella.formats.imod_export import export_series
from lamella.formats.imod_geometry import ImodAlignment, geometry_from_alignment
from lamella.formats.imod_local import LocalAlignments, bent_geometry, depth_left_out, read_local
from lamella.formats.imod_tracks import export_tracks, find_model, import_tracks
from lamella.formats.imod_xf import read_xf
from lamella.formats.mrc import open_mrc
from lamella.formats.view_matching import match_rows, note_of_unused, rows_of_stack
from lamella.geometry import TiltGeometry
from lamella.records import Note, TiltSeries

__all__ = ["export_series", "export_tracks", "import_series", "import_tracks"]

Array = NDArray[np.float64]

_LEFTOVER_PX = 0.05


@dataclass(frozen=True, kw_only=True)
class _Files:
    """The files of one alignment; None where there is none."""

    xf: Path
    tlt: Path
    xtilt: Path | None
    tilt: CommandFile | None
    edf: Path | None
    aligned: Path | None


def import_series(path: Path, series: TiltSeries) -> tuple[TiltSeries, tuple[Note, ...]]:
    """Put IMOD's alignment of a stack into the record of that stack.

    Parameters
    ----------
    path
        the folder with ``NAME.xf``, or that file; beside it ``NAME.tlt``, and ``NAME.xtilt``, ``tilt.com`` and
        ``NAME.defocus`` where they are. A folder that holds a folder NAME is looked into. Where there is a fiducial
        model (``.fid``) and no ``.xf``, the geometry is the nominal one.
    series
        the record. Its pixel size holds for the transforms, unless FULLIMAGE shows that they are for finer images.

    Returns
    -------
    series, notes
        the record with `geometry`, and `defocus` and `hand` where ctfplotter saved them, less the views that IMOD
        excludes or does not have; what was assumed or dropped.

    Raises
    ------
    FormatError
        if a file is missing or damaged, or is about another stack.
    """
    if _only_tracks(Path(path), series):
        nominal = TiltGeometry.from_angles(series.nominal_tilt_deg, series.nominal_axis_deg)
        text = "no .xf: the geometry is the nominal one, without shifts, until align solves it from the tracks"
        return series.with_changes(geometry=nominal), (Note(kind="assumed", where=str(path), text=text),)
    files, notes = _locate(Path(path), series)
    transforms = read_xf(files.xf)
    tilts = read_angles(files.tlt)
    x_tilts = np.zeros(len(tilts)) if files.xtilt is None else read_angles(files.xtilt)
    for other, count in ((files.tlt, len(tilts)), (files.xtilt, len(x_tilts))):
        if count != len(transforms):
            raise FormatError(
                f"{other}: {count} lines, but {files.xf.name} has {len(transforms)}",
                mend="take both from the same alignment",
            )
    rows, how = match_rows(series, tilts, rows_of_stack(series, len(transforms)), str(files.xf))
    if how:
        notes.append(Note(kind="info", where=files.xf.name, text=how))
    notes += note_of_unused(rows, len(transforms), files.xf.name)
    kept, drop_notes = _kept(series, rows, _excluded(files, len(transforms)), files)
    pixel_ang, shape_px, pixel_notes = _pixel(series, files)
    setup, setup_notes = _setup(files, shape_px)
    chosen = rows[kept]
    alignment = replace(
        setup,
        linear=transforms[chosen, :, :2],
        shift_px=transforms[chosen, :, 2],
        tilt_deg=tilts[chosen] + setup.tilt_deg,
        x_tilt_deg=x_tilts[chosen] + setup.x_tilt_deg,
    )
    geometry, leftover = geometry_from_alignment(alignment, pixel_ang, shape_px, str(files.xf))
    notes += [*drop_notes, *pixel_notes, *setup_notes]
    local = _local(files, len(transforms), pixel_ang, notes)
    if local is not None or leftover.max() > _LEFTOVER_PX:
        local = local.select(chosen) if local is not None else None
        size = _aligned_size(files.tilt, files, shape_px, [])[0] if files.tilt is not None else shape_px[::-1]
        geometry, error_px = bent_geometry(geometry, alignment, local, pixel_ang, shape_px, size)
        notes += _bent_notes(files, float(leftover.max()), local, alignment, error_px)
    notes += _magnification_notes(geometry.magnification, files)
    aligned = series.select(kept).with_changes(geometry=geometry)
    defocused, said = _with_defocus(aligned, files.xf.with_suffix(".defocus"), tilts, chosen)
    return defocused, (*notes, *said)


def _with_defocus(
    series: TiltSeries, path: Path, line_tilt_deg: Array, lines: NDArray[np.int64]
) -> tuple[TiltSeries, list[Note]]:
    """The aligned record with ctfplotter's defoci, where their file stands beside the alignment.

    `line_tilt_deg` has an angle for each line of the alignment, which is a view of the stack; `lines` are the record's.
    """
    if not path.is_file() or series.geometry is None:
        return series, []
    ranges = read_defocus(path)
    stated, hand, mended = defocus_of_views(ranges, line_tilt_deg, str(path))
    defocus = at_centre_voxel(pick_rows(stated, lines), series.geometry, hand)
    notes = [Note(kind="info", where=path.name, text=f"version {ranges.version}: defocus of {len(ranges)} ranges")]
    if mended:
        notes.append(Note(kind="assumed", where=path.name, text=mended))
    if ranges.cut_on:
        text = (
            "the phase plate's cut-on frequency is not part of the model: its phase shift is taken for all frequencies"
        )
        notes.append(Note(kind="dropped", where=path.name, text=text))
    if hand != series.hand:
        why = "inverted tilt angles" if hand > 0 else "tilt angles that are not inverted"
        notes.append(Note(kind="overridden", where=path.name, text=f"{why}: a hand of {hand:+d}, as IMOD has it"))
    notes.append(note_of_move(series.geometry, hand, path.name))
    return series.with_changes(defocus=defocus, hand=hand), notes


def _only_tracks(path: Path, series: TiltSeries) -> bool:
    """Whether a path leads to a fiducial model without an alignment."""
    if path.is_file():
        return path.suffix == ".fid" and not path.with_suffix(".xf").is_file()
    folder = path / series.name if (path / series.name).is_dir() else path
    aligned = [file for file in folder.glob("*.xf") if not file.stem.endswith(("local", "prexf"))]
    return not aligned and find_model(path, series) is not None


def _locate(path: Path, series: TiltSeries) -> tuple[_Files, list[Note]]:
    notes: list[Note] = []
    if (path / series.name).is_dir():
        path = path / series.name
    if path.is_dir():
        xf = path / f"{series.name}.xf"
        if not xf.is_file():
            others = [
                other for other in sorted(path.glob("*.xf")) if not other.stem.endswith(("local", "_prexf", "prexf"))
            ]
            if len(others) != 1:
                raise FormatError(
                    f"{path}: no {series.name}.xf (it has {', '.join(other.name for other in others) or 'no .xf'})",
                    mend="name the .xf file itself",
                )
            xf = others[0]
            notes.append(Note(kind="assumed", where=str(path), text=f"{xf.name} was taken for {series.name}"))
    elif path.is_file():
        xf = path.with_suffix(".xf")
    else:
        raise FormatError(f"{path}: not there", mend="name the folder with IMOD's files, or the .xf file")
    tlt, xtilt = xf.with_suffix(".tlt"), xf.with_suffix(".xtilt")
    axis = xf.stem[-1:] if xf.stem[-1:] in ("a", "b") else ""  # IMOD's names for the two axes of a pair
    commands = [xf.with_name(name) for name in (f"tilt{axis}.com", "tilt.com", f"{xf.stem}_tilt.com")]
    command = next((candidate for candidate in commands if candidate.is_file()), None)
    if command is None:
        text = "no tilt.com: no tilt offset, tilt about x, shift or excluded views were taken"
        notes.append(Note(kind="assumed", where=xf.name, text=text))
    aligned = [xf.with_name(f"{xf.stem}{ending}") for ending in ("_ali.mrc", ".ali")]
    edf = xf.with_suffix(".edf")
    files = _Files(
        xf=xf,
        tlt=tlt,
        xtilt=xtilt if xtilt.is_file() else None,
        tilt=None if command is None else read_command_file(command, "tilt"),
        edf=edf if edf.is_file() else None,
        aligned=next((candidate for candidate in aligned if candidate.is_file()), None),
    )
    return files, notes


def _excluded(files: _Files, count: int) -> tuple[tuple[int, ...], str]:
    """Lines (from 1) that IMOD leaves out of the reconstruction, and where it says so."""
    if files.tilt is not None:
        text = " ".join(value for key, value in files.tilt.entries if key in ("EXCLUDELIST", "EXCLUDELIST2", "EXCLUDE"))
        included = " ".join(value for key, value in files.tilt.entries if key == "INCLUDE")
        lines = number_list(text, str(files.tilt.path))
        if included:
            wanted = number_list(included, str(files.tilt.path))
            lines += tuple(line for line in range(1, count + 1) if line not in wanted)
        return lines, files.tilt.path.name
    if files.edf is not None:
        axis = "B" if files.xf.stem.endswith("b") else "A"
        key = f"Setup.Axis{axis}.ExcludeProjections="
        for line in read_text(files.edf, "Etomo file").splitlines():
            if line.startswith(key):
                return number_list(line.removeprefix(key).replace("\\", ""), str(files.edf)), files.edf.name
    return (), ""


def _kept(
    series: TiltSeries, rows: NDArray[np.int64], excluded: tuple[tuple[int, ...], str], files: _Files
) -> tuple[NDArray[np.int64], list[Note]]:
    lines, source = excluded
    missing = rows < 0
    left_out = np.isin(rows, np.array(lines, dtype=np.int64) - 1) & ~missing
    notes = []
    for mask, where, what in ((missing, files.xf.name, "has no line"), (left_out, source, "is excluded")):
        if mask.any():
            named = ", ".join(f"{tilt:g}°" for tilt in series.nominal_tilt_deg[mask])
            notes.append(Note(kind="dropped", where=where, text=f"view(s) at {named}: {what}; left out of the record"))
    kept = np.flatnonzero(~(missing | left_out))
    if not kept.size:
        raise FormatError(f"{files.xf}: no view is left", mend="import the alignment of the same stack")
    return kept, notes


def _pixel(series: TiltSeries, files: _Files) -> tuple[float, tuple[int, int], list[Note]]:
    """Pixel size and (height, width) of the stack that the transforms are for."""
    height, width = series.image_shape_px
    full = () if files.tilt is None else files.tilt.numbers("FULLIMAGE")
    if len(full) < 2 or files.tilt is None or sorted(full[:2]) == sorted((width, height)):
        return series.pixel_size_ang, series.image_shape_px, []
    where, size = files.tilt.path.name, (round(full[0]), round(full[1]))
    for across, along in (size, size[::-1]):
        factor = across / width
        if abs(along / (factor * height) - 1) < 0.01 and abs(factor - 1) > 0.2:
            pixel_ang = series.pixel_size_ang / factor
            text = (
                f"FULLIMAGE {size[0]} {size[1]} against images of {width} × {height}: its pixels were taken to be "
                f"{pixel_ang:g} Å"
            )
            return pixel_ang, (along, across), [Note(kind="assumed", where=where, text=text)]
    text = (
        f"FULLIMAGE {size[0]} {size[1]} is not the images' size, {width} × {height}; shifts were taken in the images' "
        "own pixels, from their own centre"
    )
    return series.pixel_size_ang, series.image_shape_px, [Note(kind="warning", where=where, text=text)]


def _setup(files: _Files, shape_px: tuple[int, int]) -> tuple[ImodAlignment, list[Note]]:
    """What tilt.com adds to every view: offsets of the angles, where axis and volume lie (see `imod_geometry`)."""
    empty = np.zeros(0)
    command = files.tilt
    if command is None:
        zero = np.zeros(1)
        return ImodAlignment(linear=empty, shift_px=empty, tilt_deg=zero, x_tilt_deg=zero), []
    where = command.path.name
    notes = [
        Note(kind="dropped", where=where, text=f"{key} {value}: {what}")
        for key, value in command.entries
        if (what := _IGNORED.get(key)) is not None and value
    ]
    offset = command.numbers("OFFSET") or (0.0,)
    shift = (*command.numbers("SHIFT"), 0.0, 0.0)[:2]
    x_axis_tilt = (command.numbers("XAXISTILT") or (0.0,))[0]
    axis_offset = offset[1] if len(offset) > 1 else 0.0
    full, aligned, subset = _aligned_size(command, files, shape_px, notes)
    axis = [full[side] / 2 - subset[side] - aligned[side] / 2 for side in (0, 1)]
    setup = ImodAlignment(
        linear=empty,
        shift_px=empty,
        tilt_deg=np.array([offset[0]]),
        x_tilt_deg=np.array([-x_axis_tilt]),
        axis_px=(axis[0] + axis_offset, axis[1]),
        volume_px=(-axis[0] - axis_offset - shift[0], -axis[1], shift[1]),
    )
    said = {"OFFSET": any(offset), "XAXISTILT": x_axis_tilt != 0, "SHIFT": any(shift), "SUBSETSTART": any(axis)}
    if taken := [key for key, used in said.items() if used]:
        values = ", ".join(f"{key} {command.get(key)}" for key in taken)
        notes.append(Note(kind="info", where=where, text=f"{values}: taken into angles and shifts"))
    return setup, notes


# Keys that say something about the geometry which the model does not hold.
_IGNORED = {
    "ZFACTORFILE": "shifts that grow with z are not part of the model",
    "COMPRESS": "compression along z is not part of the model",
    "COMPFRACTION": "compression along z is not part of the model",
}


def _aligned_size(
    command: CommandFile, files: _Files, shape_px: tuple[int, int], notes: list[Note]
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """(x, y) of FULLIMAGE, of the aligned images (unbinned), and SUBSETSTART."""
    numbers = command.numbers("FULLIMAGE")
    full = (numbers[0], numbers[1]) if len(numbers) > 1 else (float(shape_px[1]), float(shape_px[0]))
    numbers = command.numbers("SUBSETSTART")
    subset = (numbers[0], numbers[1]) if len(numbers) > 1 else (0.0, 0.0)
    binning = (command.numbers("IMAGEBINNED") or (1.0,))[0]
    if files.aligned is not None:
        _, height, width = open_mrc(files.aligned).shape
        return full, (width * binning, height * binning), subset
    newst = files.xf.with_name("newst.com")
    if newst.is_file():
        stated = read_command_file(newst, "newstack").numbers("SizeToOutputInXandY")
        if len(stated) > 1:
            return full, (stated[0] * binning, stated[1] * binning), subset
    if any(subset):
        text = "SUBSETSTART without the aligned stack: the aligned images were taken to be cut about the centre"
        notes.append(Note(kind="assumed", where=command.path.name, text=text))
        return full, (full[0] - 2 * subset[0], full[1] - 2 * subset[1]), subset
    return full, full, subset


def _local(files: _Files, views: int, pixel_ang: float, notes: list[Note]) -> LocalAlignments | None:
    """The local alignments that tilt.com names, where their file is there."""
    name = files.tilt.get("LOCALFILE") if files.tilt is not None else None
    if not name or files.tilt is None:
        return None
    path = files.tilt.path.parent / Path(name).name
    if path.is_file():
        return read_local(path, views, pixel_ang)
    text = f"LOCALFILE {name}: the file is not there; local alignments were left out"
    notes.append(Note(kind="dropped", where=files.tilt.path.name, text=text))
    return None


def _bent_notes(
    files: _Files, stretch_px: float, local: LocalAlignments | None, alignment: ImodAlignment, error_px: float
) -> list[Note]:
    """What became a local field, how exactly, and what of it no field can say."""
    what = [f"stretch beyond rotation and magnification, up to {stretch_px:.2f} px at the image's corner"]
    if local is not None:
        what.append(f"{local.tilt_deg.shape[1]} × {local.tilt_deg.shape[0]} local alignments")
    kind: Literal["warning", "info"] = "warning" if error_px > _LEFTOVER_PX else "info"
    text = f"{' and '.join(what)} became a local field, to {error_px:.3f} px"
    notes = [Note(kind=kind, where=files.xf.name, text=text)]
    thickness = files.tilt.numbers("THICKNESS") if files.tilt is not None else ()
    if local is not None and thickness:
        left_px = depth_left_out(local, alignment, thickness[0] / 2)
        text = (
            f"local alignments change tilt angles too: a point {thickness[0] / 2:.0f} px off the middle plane lies up "
            f"to {left_px:.2f} px from where the field puts it"
        )
        notes.append(Note(kind="dropped", where=files.xf.name, text=text))
    return notes


def _magnification_notes(magnification: Array, files: _Files) -> list[Note]:
    mean = float(magnification.mean())
    if abs(mean - 1) <= 1e-4:
        return []
    text = f"magnifications average {mean:.5f}, not 1, as IMOD refers them to one view; they were kept"
    return [Note(kind="info", where=files.xf.name, text=text)]
