"""Tracks of beads and patches between lamella and IMOD: the fiducial model ``NAME.fid``.

A contour is one point of the specimen; each of its points lies on one section of the pre-aligned stack. That stack is
the raw one moved by ``NAME.prexg`` (transforms about the images' centres, as in ``.xf``) and maybe binned. Ours is
written for the record's views as they are, with a ``.prexg`` that moves nothing.

tiltalign's own solution of real beads shows the convention: with c = n / 2, A (p − c) + d is where its model puts a
bead of the fiducial model at p; that is IMOD's centre, half a pixel from ours along an even side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.angles import read_angles, write_angles
from lamella.formats.atomic import atomic_text
from lamella.formats.imod_geometry import half_pixel
from lamella.formats.imod_model import ImodModel, read_model, write_model
from lamella.formats.imod_write import align_com, prenewst_com
from lamella.formats.imod_xf import read_xf, write_xf
from lamella.formats.view_matching import match_rows, rows_of_stack
from lamella.records import Note, TiltSeries
from lamella.records.tracks import Tracks

__all__ = ["export_tracks", "find_model", "import_tracks"]

Array = NDArray[np.float64]

_OFF_SECTION = 0.1


def import_tracks(path: Path, series: TiltSeries) -> tuple[Tracks | None, tuple[Note, ...]]:
    """Tracks of IMOD's fiducial model, in the views of a record.

    Parameters
    ----------
    path
        the ``.fid`` file, or the folder that has ``NAME.fid`` (also in a folder NAME). Beside it are looked for
        ``NAME.prexg``, and ``NAME.rawtlt`` or ``NAME.tlt`` to tell which section is which view.
    series
        the record.

    Returns
    -------
    tracks, notes
        what was followed, unsolved, a label for each contour; None, without a note, where a folder has no model.

    Raises
    ------
    FormatError
        if the model is damaged, has no contour of two views, puts two points of a contour into one view, or belongs
        to a stack of another size.
    """
    file = find_model(Path(path), series)
    if file is None:
        return None, ()
    model = read_model(file)
    sections = _sections(file, model)
    rows, notes = _rows(file, series, model)
    observed = np.full((len(series), len(sections), 2), np.nan)
    to_raw, transform_note = _to_raw(file, series, model)
    notes.append(transform_note)
    view_of = {int(row): view for view, row in enumerate(rows) if row >= 0}
    for contour, (numbers, points) in enumerate(sections):
        for section, point in zip(numbers, points, strict=True):
            if int(section) in view_of:
                observed[view_of[int(section)], contour] = to_raw(int(section), point)
    kept = np.isfinite(observed[..., 0]).sum(axis=0) >= 2
    if not kept.any():
        raise FormatError(
            f"{file}: no contour lies on two views of {series.name}", mend="import the same stack's model"
        )
    if not kept.all():
        text = f"{int((~kept).sum())} contour(s) with fewer than two points in the record's views were left out"
        notes.append(Note(kind="dropped", where=file.name, text=text))
    labels = _labels(model)[kept]
    text = f"{int(kept.sum())} tracks, seen {int(np.isfinite(observed[:, kept, 0]).sum())} times"
    notes.append(Note(kind="info", where=file.name, text=text))
    return Tracks.observed(observed[:, kept] * series.pixel_size_ang, labels=labels, kind="beads"), tuple(notes)


def export_tracks(
    series: TiltSeries, tracks: Tracks, folder: Path, root: Path
) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write tracks so that IMOD's bead tracker and tiltalign go on from them, into ``FOLDER/NAME/``.

    ``NAME.fid``, ``NAME.prexg`` (which moves nothing), ``NAME.rawtlt``, ``align.com`` and, where the record names
    images, ``prenewst.com``, which gathers the record's views into the stack that the model lies on.
    """
    folder = Path(folder) / series.name
    height, width = series.image_shape_px
    shift = np.array([width // 2 + 0.5, height // 2 + 0.5])
    contours = []
    for point in range(tracks.count):
        views = np.flatnonzero(tracks.seen[:, point])
        places = tracks.observations_ang[views, point] / series.pixel_size_ang + shift
        contours.append(np.column_stack([places, views]))
    counted = np.array_equal(tracks.labels, np.arange(1, tracks.count + 1))
    model = ImodModel(
        contours=tuple(contours),
        size_px=(width, height, len(series)),
        pixel_ang=series.pixel_size_ang,
        labels=() if counted else tuple(str(label) for label in tracks.labels),
    )
    paths = [folder / f"{series.name}{suffix}" for suffix in (".fid", ".prexg", ".rawtlt")]
    write_model(paths[0], model)
    still = np.concatenate([np.eye(2), np.zeros((2, 1))], axis=1)
    write_xf(paths[1], np.broadcast_to(still, (len(series), 2, 3)))
    write_angles(paths[2], series.nominal_tilt_deg, decimals=3)
    paths.append(folder / "align.com")
    atomic_text(paths[-1], align_com(series))
    if series.images is not None:
        paths.append(folder / "prenewst.com")
        atomic_text(paths[-1], prenewst_com(series, folder, Path(root)))
    return tuple(paths), ()


def find_model(path: Path, series: TiltSeries) -> Path | None:
    """The fiducial model that a path leads to, or None."""
    if path.is_file():
        file = path if path.suffix == ".fid" else path.with_suffix(".fid")
        return file if file.is_file() else None
    folder = path / series.name if (path / series.name).is_dir() else path
    file = folder / f"{series.name}.fid"
    if file.is_file():
        return file
    others = sorted(folder.glob("*.fid"))
    return others[0] if len(others) == 1 else None


def _sections(file: Path, model: ImodModel) -> list[tuple[NDArray[np.int64], Array]]:
    """Sections (from 0) and places (x, y) of each contour's points."""
    out = []
    for number, points in enumerate(model.contours, start=1):
        sections = np.rint(points[:, 2])
        if (np.abs(points[:, 2] - sections) > _OFF_SECTION).any() or (sections < 0).any():
            raise FormatError(
                f"{file}: contour {number} has a point between sections", mend="give the fiducial model, not one in 3-D"
            )
        if len(np.unique(sections)) < len(sections):
            twice = int(sections[np.flatnonzero(np.diff(np.sort(sections)) == 0)[0]]) + 1
            raise FormatError(
                f"{file}: contour {number} has two points on a section, such as {twice}", mend="delete one in 3dmod"
            )
        out.append((sections.astype(np.int64), points[:, :2]))
    return out


def _labels(model: ImodModel) -> NDArray[np.int64]:
    """The contours' own labels where each has a number, else their count."""
    if model.labels and all(label.isdigit() and 0 < int(label) < 2**31 for label in model.labels):
        return np.array([int(label) for label in model.labels], dtype=np.int64)
    return np.arange(1, len(model.contours) + 1)


def _rows(file: Path, series: TiltSeries, model: ImodModel) -> tuple[NDArray[np.int64], list[Note]]:
    """Section (from 0) of every view, −1 where it has none."""
    count = model.size_px[2]
    angles = next((file.with_suffix(end) for end in (".rawtlt", ".tlt") if file.with_suffix(end).is_file()), None)
    if angles is not None:
        tilts = read_angles(angles)
        rows, how = match_rows(series, tilts, rows_of_stack(series, len(tilts)), str(angles))
        return rows, [Note(kind="info", where=file.name, text=how)] if how else []
    ways = rows_of_stack(series, count)
    if not ways:
        raise FormatError(
            f"{file}: {count} sections do not fit the {len(series)} views of {series.name}",
            mend=f"put {series.name}.rawtlt beside it, with an angle for each section",
        )
    how, rows = next(iter(ways.items()))
    text = f"no tilt angles beside it: {how or 'its sections were taken for those of the stack'}"
    return rows, [Note(kind="assumed", where=file.name, text=text)]


class _ToRaw:
    """From a place in the pre-aligned stack to pixels from the raw image's centre pixel."""

    def __init__(self, model: ImodModel, binning: float, transforms: Array | None, offset_px: Array) -> None:
        self.centre = np.array(model.size_px[:2]) / 2
        self.binning, self.transforms, self.offset_px = binning, transforms, offset_px

    def __call__(self, section: int, place: Array) -> Array:
        moved = (place - self.centre) * self.binning
        if self.transforms is not None:
            row = self.transforms[section]
            moved = np.linalg.solve(row[:, :2], moved - row[:, 2])
        return np.asarray(moved - self.offset_px)


def _to_raw(file: Path, series: TiltSeries, model: ImodModel) -> tuple[_ToRaw, Note]:
    height, width = series.image_shape_px
    prexg = file.with_suffix(".prexg")
    binning = _binning(file, series, model)
    offset = half_pixel(series.image_shape_px)
    if not prexg.is_file():
        if model.size_px[:2] != (width, height):
            raise FormatError(
                f"{file}: made on images of {model.size_px[0]} × {model.size_px[1]}, those of {series.name} have "
                f"{width} × {height} pixels, and there is no {prexg.name}",
                mend=f"put {prexg.name} beside it",
            )
        text = f"no {prexg.name}: the model was taken to lie on the raw images"
        return _ToRaw(model, 1.0, None, offset), Note(kind="assumed", where=file.name, text=text)
    transforms = read_xf(prexg)
    if len(transforms) < model.size_px[2]:
        raise FormatError(
            f"{prexg}: {len(transforms)} lines for {model.size_px[2]} sections",
            mend="take both from the same alignment",
        )
    if not (np.abs(np.linalg.det(transforms[:, :, :2])) > 1e-6).all():
        raise FormatError(f"{prexg}: a transform flattens the image", mend="take the file as IMOD wrote it")
    text = f"{prexg.name} undone" + (f", binning {binning:g}" if binning != 1 else "")
    return _ToRaw(model, binning, transforms, offset), Note(kind="info", where=file.name, text=text)


def _binning(file: Path, series: TiltSeries, model: ImodModel) -> float:
    """Pixels of the raw images to one of the pre-aligned ones: by pixel sizes where both are known, else by sizes."""
    height, width = series.image_shape_px
    if model.size_px[:2] == (width, height):
        return 1.0
    by_size = max(round(width / max(model.size_px[0], 1)), 1)
    if model.pixel_ang is None or model.pixel_ang == 1.0:
        return float(by_size)
    exact = model.pixel_ang / series.pixel_size_ang
    whole = max(round(exact), 1)
    if abs(exact / whole - 1) > 0.02:
        raise FormatError(
            f"{file}: pixels of {model.pixel_ang:g} Å, no multiple of the {series.pixel_size_ang:g} Å of {series.name}",
            mend="correct the record's pixel size, or import the same stack's model",
        )
    return float(whole)
