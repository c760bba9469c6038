"""A record's alignment as IMOD's files: ``.xf .tlt .xtilt``, local alignments, ``tilt.com`` and ``newst.com``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from lamella.errors import FormatError
from lamella.formats.angles import write_angles
from lamella.formats.atomic import atomic_text
from lamella.formats.image_centre import at_image_centre
from lamella.formats.imod_defocus import write_defocus
from lamella.formats.imod_geometry import ImodAlignment, alignment_from_geometry
from lamella.formats.imod_local_write import local_from_geometry, write_local
from lamella.formats.imod_write import newst_com, tilt_com
from lamella.formats.imod_xf import write_xf
from lamella.geometry import TiltGeometry
from lamella.records import Note, TiltSeries

__all__ = ["export_series"]

_TOLD_PX = 0.01  # of a field's part that is not linear, which a file of its own must say
_CLOSE_PX = 0.05


def export_series(series: Sequence[TiltSeries], folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write each series' alignment for IMOD, into ``FOLDER/NAME/``.

    ``NAME.xf``, ``NAME.tlt``, ``NAME.xtilt``, ``NAME.rawtlt``, ``tilt.com``, for a local field that is not linear
    ``NAMElocal.xf``, for a record with defoci ``NAME.defocus``, and where the record names images ``newst.com``, which
    takes the record's views from their stacks in the record's order: run ``newst.com``, then ``tilt.com``, in that
    folder.

    Parameters
    ----------
    series
        records with geometry.
    folder
        where to write.
    root
        the folder that the records' relative names start from.

    Raises
    ------
    FormatError
        if a record has no geometry.
    """
    written: list[Path] = []
    notes: list[Note] = []
    for record in series:
        paths, said = _export_one(record, Path(folder) / record.name, Path(root))
        written += paths
        notes += said
    return tuple(written), tuple(notes)


def _export_one(record: TiltSeries, folder: Path, root: Path) -> tuple[list[Path], list[Note]]:
    geometry, name = record.geometry, record.name
    if geometry is None:
        raise FormatError(f"{name}: the record has no alignment", mend="run align first, or import one")
    notes: list[Note] = []
    alignment, left_px = alignment_from_geometry(geometry, record.pixel_size_ang, record.image_shape_px)
    common_x_tilt = float(np.mean(geometry.x_tilt_deg))
    paths = [folder / f"{name}{suffix}" for suffix in (".xf", ".tlt", ".xtilt", ".rawtlt")]
    write_xf(paths[0], np.concatenate([alignment.linear, alignment.shift_px[..., None]], axis=-1))
    write_angles(paths[1], geometry.y_tilt_deg, decimals=5)
    write_angles(paths[2], geometry.x_tilt_deg - common_x_tilt, decimals=5)
    write_angles(paths[3], record.nominal_tilt_deg, decimals=3)
    height, width = record.image_shape_px
    turned = abs(math.sin(math.radians(float(np.median(geometry.z_rot_deg))))) > math.sqrt(0.5)
    size = (
        (height, width) if turned else (width, height)
    )  # (x, y) of the aligned images, which the axis crosses upright
    local_name = ""
    if left_px > _TOLD_PX:
        local_name = f"{name}local.xf"
        paths.append(folder / local_name)
        notes.append(_export_local(record, geometry, alignment, size, paths[-1]))
    if record.defocus is not None:
        paths.append(folder / f"{name}.defocus")
        stated = at_image_centre(record.defocus, geometry, record.hand)
        write_defocus(paths[-1], geometry.y_tilt_deg, stated, record.hand)
        notes.append(_defocus_note(record, paths[-1]))
    paths.append(folder / "tilt.com")
    atomic_text(paths[-1], tilt_com(record, size, -common_x_tilt, local_name))
    if record.images is None:
        text = "the record names movies, not images: no newst.com was written"
        notes.append(Note(kind="dropped", where=name, text=text))
    else:
        paths.append(folder / "newst.com")
        atomic_text(paths[-1], newst_com(record, size, folder, root))
    return paths, notes


def _defocus_note(record: TiltSeries, path: Path) -> Note:
    """What the defocus file is about, and what it wants of the one who uses it."""
    text = f"defoci at the centres of the raw images, axes in them: give ctfphaseflip {record.name}.xf as TransformFile"
    if record.hand > 0:
        text += ", and InvertTiltAngles, which says a hand of +1"
    return Note(kind="info", where=path.name, text=text)


def _export_local(
    record: TiltSeries, geometry: TiltGeometry, alignment: ImodAlignment, size: tuple[int, int], path: Path
) -> Note:
    """Write the local field beyond its linear part as local alignments, and say how exactly it is followed."""
    pixel_ang = record.pixel_size_ang
    depth_px = (record.thickness_ang or 0.0) / 2 / pixel_ang
    local, error_px, deep_px = local_from_geometry(
        geometry, alignment, pixel_ang, record.image_shape_px, size, depth_px
    )
    write_local(path, local, pixel_ang)
    rows, columns = local.tilt_deg.shape[:2]
    kind: Literal["warning", "info"] = "warning" if deep_px > _CLOSE_PX else "info"
    text = (
        f"the local field became {columns} × {rows} local alignments, to {error_px:.3f} px in the middle plane and "
        f"{deep_px:.3f} px {depth_px:.0f} px off it"
    )
    return Note(kind=kind, where=path.name, text=text)
