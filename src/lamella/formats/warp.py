"""Warp's, WarpTools' and M's tilt series: an ``.xml`` read into a record, and written with its ``.tomostar``.

Warp puts a point w of its volume, from the volume's centre, at

    Rz(AxisAngle) · Ry(−(Angle + LevelAngleY)) · Rx(LevelAngleX) · w + AxisOffset

in Å from the image's middle, W / 2 pixels from the first pixel's centre, and takes GridMovement at that place away. Its
z counts the other way (w = (x, y, −z)), as in IMOD's slices, which makes the tilt Ry(Angle + LevelAngleY) and the tilt
about x −LevelAngleX here. A volume warp moves w before, a matter of depth that no image can show.

Defocus grows with Warp's depth, and the other way where AreAnglesInverted: that is a hand of −1, and of +1. Defoci are
in µm, phase shifts in units of π.

Warp's own import of an ``.xf`` takes −A⁻¹ d for the offset as it is, half a pixel beside IMOD's centre along every even
side; here the half pixel is kept.

Sources: the equations of Warp's TiltSeries (GetPositionsInOneTilt) and warpylib's of the same, Matrix3.Euler, its cubic
grids (natural splines), and Warp's own import of a real ``.xf``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_text
from lamella.formats.image_maps import bend, image_grid
from lamella.formats.images import split_name
from lamella.formats.located import locate
from lamella.formats.view_matching import match_rows, note_of_unused, rows_of_stack
from lamella.formats.warp_file import WarpSeries, read_warp, write_warp
from lamella.formats.warp_grid import WarpGrid
from lamella.geometry import TiltGeometry
from lamella.records import Defocus, Note, TiltSeries

__all__ = ["export_series", "import_series"]

Array = NDArray[np.float64]

_LARGEST_LEFT_OUT_PX = 1.0
_TOLD_PX = 0.01
_FINER = 4  # nodes of ours to a cell of Warp's, where it has few
_MOST_CELLS = 24
_CHECKS = 41


def import_series(path: Path, series: TiltSeries) -> tuple[TiltSeries, tuple[Note, ...]]:
    """Put Warp's alignment, and its defoci where there are any, into a record.

    Parameters
    ----------
    path
        the ``.xml``, or the folder that has ``NAME.xml``.
    series
        the record. Views are found by the names of their movies or images, else by order and tilt angle.

    Returns
    -------
    series, notes
        the record with `geometry`, less the views that Warp does not use; what was assumed or dropped.

    Raises
    ------
    FormatError
        if the file is missing, damaged or about another series, or warps the volume by more than a pixel.
    """
    file, notes = locate(Path(path), series.name, ".xml", (".", "warp_tiltseries"))
    warp = read_warp(file)
    where = file.name
    rows, how = _rows(warp, series, str(file))
    if how:
        notes.append(Note(kind="info", where=where, text=how))
    notes += note_of_unused(rows, len(warp.angles_deg), where)
    used = (rows >= 0) & warp.use[rows]
    if not used.all():
        named = ", ".join(f"{tilt:g}°" for tilt in series.nominal_tilt_deg[~used])
        text = f"view(s) at {named}: not in it, or not used (UseTilt); left out of the record"
        notes.append(Note(kind="dropped", where=where, text=text))
    if not used.any():
        raise FormatError(f"{file}: none of its views is used", mend="select views in Warp")
    kept = np.flatnonzero(used)
    notes += _left_in_file(warp, series, file)
    geometry, said = _geometry(warp, rows[kept], series, where)
    changes: dict[str, Any] = {"geometry": geometry}
    defocus = _defocus(warp, rows[kept])
    hand = 1 if warp.angles_inverted else -1
    if defocus is not None:
        changes |= {"defocus": defocus, "hand": hand}
    if hand != series.hand:
        text = f"AreAnglesInverted is {warp.angles_inverted}: a hand of {hand:+d}"
        taken = ", as Warp has it" if defocus is not None else "; without a defocus nobody measured it: not taken"
        kind = "overridden" if defocus is not None else "info"
        notes.append(Note(kind=kind, where=where, text=text + taken))  # type: ignore[arg-type]
    return series.select(kept).with_changes(**changes), (*notes, *said)


def export_series(series: Sequence[TiltSeries], folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``FOLDER/tomostar/NAME.tomostar`` and ``FOLDER/warp_tiltseries/NAME.xml`` for each series.

    A movie's or image's name in them starts from ``FOLDER/tomostar``. Magnifications and local fields are written as
    movement grids, which say them.

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
        tomostar = Path(folder) / "tomostar" / f"{record.name}.tomostar"
        warp, said = _warp_of(record, tomostar.parent, Path(root))
        target = Path(folder) / "warp_tiltseries" / f"{record.name}.xml"
        write_warp(target, warp)
        atomic_text(tomostar, _tomostar(warp))
        written += [target, tomostar]
        notes += said
    return tuple(written), tuple(notes)


def _rows(warp: WarpSeries, series: TiltSeries, where: str) -> tuple[NDArray[np.int64], str]:
    """Entry of every view, −1 where it has none: by the names of movies or images, else by order."""
    entry = {_stem(name): row for row, name in enumerate(warp.movies)}
    for what in ("movies", "images"):
        names = getattr(series, what)
        if names is None or len(entry) < len(warp.movies):
            continue
        rows = np.array([entry.get(_stem(name), -1) for name in names], dtype=np.int64)
        if (rows >= 0).any():
            return match_rows(series, warp.angles_deg, {f"views found by their {what}' names": rows}, where)
    return match_rows(series, warp.angles_deg, rows_of_stack(series, len(warp.angles_deg)), where)


def _stem(name: str) -> str:
    section, file = split_name(name)
    plain = PurePosixPath(file.replace("\\", "/"))
    return plain.stem if section is None else f"{section}@{plain.stem}"


def _geometry(
    warp: WarpSeries, rows: NDArray[np.int64], series: TiltSeries, where: str
) -> tuple[TiltGeometry, list[Note]]:
    offset = warp.offset_ang[rows] - _middle_ang(series)
    geometry = TiltGeometry.from_angles(
        warp.angles_deg[rows] + warp.level_deg[1],
        warp.axis_deg[rows],
        x_tilt_deg=-warp.level_deg[0],
        x_shift_ang=offset[:, 0],
        y_shift_ang=offset[:, 1],
    )
    grids = [warp.grid(f"GridMovement{axis}") for axis in "XY"]
    if all(grid.is_zero for grid in grids):
        return geometry, []
    planes = [grid.planes(len(warp.angles_deg))[rows] for grid in grids]
    height, width = series.image_shape_px
    size, corner = np.array([width, height]), np.array([width // 2, height // 2])

    def moved(view: int, q: Array) -> Array:
        flat = q.reshape(-1, 2)
        u = (flat / series.pixel_size_ang + corner) / size
        by = [WarpGrid.values(plane[view], u[:, 0], u[:, 1]) for plane in planes]
        return (flat - np.stack(by, axis=-1)).reshape(q.shape)

    theirs = [max(max(grid.nodes.shape[axis] for grid in grids) - 1, 1) for axis in (2, 1)]
    cells = [n * max(1, min(_FINER, _MOST_CELLS // n)) for n in theirs]
    bent, error_px = bend(geometry, moved, series.image_shape_px, series.pixel_size_ang, (cells[0], cells[1]))
    most_px = max(float(np.abs(grid.nodes).max()) for grid in grids) / series.pixel_size_ang
    what = "turns, magnifications and shifts" if bent.field is None else f"a local field, to {error_px:.4f} px"
    text = f"movement grids of up to {most_px:.2f} px became {what}"
    return bent, [Note(kind="warning" if error_px > _TOLD_PX else "info", where=where, text=text)]


def _middle_ang(series: TiltSeries) -> Array:
    """(x, y) from Warp's middle of an image to our centre pixel, Å: 0 along an even side."""
    height, width = series.image_shape_px
    return np.array([width // 2 - width / 2, height // 2 - height / 2]) * series.pixel_size_ang


def _left_in_file(warp: WarpSeries, series: TiltSeries, file: Path) -> list[Note]:
    """What has no place in the record: refused where it moves points, else told."""
    notes = []
    warped = max(float(np.abs(warp.grid(f"GridVolumeWarp{axis}").nodes).max()) for axis in "XYZ")
    if warped > _LARGEST_LEFT_OUT_PX * series.pixel_size_ang:
        raise FormatError(
            f"{file}: GridVolumeWarp moves the specimen by up to {warped:.1f} Å, by place, depth and dose, which the "
            "model has no term for",
            mend="import the .xml from before M refined the volume warp",
        )
    if warped > 0:
        text = f"GridVolumeWarp, up to {warped:.2f} Å, is left out"
        notes.append(Note(kind="dropped", where=file.name, text=text))
    stretch = warp.magnification - np.eye(2)
    if np.abs(stretch).max() > 1e-6:
        reach_px = float(np.linalg.norm(stretch, 2)) * math.hypot(*series.image_shape_px) / 2
        text = (
            f"MagnificationCorrection, {reach_px:.2f} px at the image's corner, is left out: Warp applies it to "
            "particles, not to places"
        )
        notes.append(Note(kind="dropped", where=file.name, text=text))
    turned = max(float(np.abs(warp.grid(f"GridAngle{axis}").nodes).max()) for axis in "XYZ")
    if turned > 0:
        text = f"GridAngle, up to {turned:.2f}°, is left out: it turns particles and moves no point"
        notes.append(Note(kind="dropped", where=file.name, text=text))
    return notes


def _defocus(warp: WarpSeries, rows: NDArray[np.int64]) -> Defocus | None:
    """Defocus of the volume's centre in each view, where Warp fitted one per view."""
    n = len(warp.angles_deg)
    names = ("GridCTF", "GridCTFDefocusDelta", "GridCTFDefocusAngle", "GridCTFPhase")
    if n > 1 and warp.grid(names[0]).nodes.shape[0] == 1:
        return None
    middle = np.array([0.5])
    mean, delta, angle, phase = (
        np.array([WarpGrid.values(plane, middle, middle)[0] for plane in warp.grid(name).planes(n)])[rows]
        for name in names
    )
    best = np.full(len(rows), warp.ctf_resolution_ang) if warp.ctf_resolution_ang > 0 else None
    return Defocus(
        u_ang=1e4 * (mean + delta / 2),
        v_ang=1e4 * (mean - delta / 2),
        angle_deg=angle,
        max_resolution_ang=best,
        phase_shift_deg=180 * phase if np.any(phase) else None,
    )


def _warp_of(record: TiltSeries, folder: Path, root: Path) -> tuple[WarpSeries, list[Note]]:
    geometry, name = record.geometry, record.name
    if geometry is None:
        raise FormatError(f"{name}: the record has no alignment", mend="run align first, or import one")
    notes: list[Note] = []
    tilt_x, tilt_y, z_rot = _with_common_x_tilt(geometry, record, notes)
    movies = _movies(record, folder, root, notes)
    grids: dict[str, WarpGrid] = {}
    if geometry.field is not None or np.abs(geometry.magnification - 1).max() > 1e-9:
        grids |= _movement(record, geometry, notes)
    if record.defocus is not None:
        u, v = record.defocus.u_ang * 1e-4, record.defocus.v_ang * 1e-4
        values = {"GridCTF": (u + v) / 2, "GridCTFDefocusDelta": u - v, "GridCTFDefocusAngle": record.defocus.angle_deg}
        if record.defocus.phase_shift_deg is not None:
            values["GridCTFPhase"] = record.defocus.phase_shift_deg / 180
        grids |= {key: WarpGrid(np.asarray(column)[:, None, None]) for key, column in values.items()}
    dose = record.pre_exposure
    if dose is None:
        text = "nobody stated a dose: views were numbered by the size of their tilt angle in its place"
        notes.append(Note(kind="assumed", where=name, text=text))
        dose = np.argsort(np.argsort(np.abs(record.nominal_tilt_deg))).astype(np.float64)
    resolution = record.defocus.max_resolution_ang if record.defocus is not None else None
    warp = WarpSeries(
        angles_deg=tilt_y,
        dose=np.asarray(dose),
        axis_deg=z_rot,
        use=np.ones(len(record), dtype=bool),
        offset_ang=geometry.shifts_ang() + _middle_ang(record),
        movies=movies,
        angles_inverted=record.hand > 0,
        level_deg=(-tilt_x, 0.0),
        ctf_resolution_ang=float(np.median(resolution)) if resolution is not None else 0.0,
        ctf=_ctf(record),
        grids=grids,
        data_directory=str(folder.resolve()),
    )
    return warp, notes


def _with_common_x_tilt(geometry: TiltGeometry, record: TiltSeries, notes: list[Note]) -> tuple[float, Array, Array]:
    """One tilt about x for all views, which is all that Warp has, and the other two angles."""
    mean = float(np.mean(geometry.x_tilt_deg))
    spread = float(np.abs(geometry.x_tilt_deg - mean).max())
    if spread > 1e-6:
        text = f"the tilt about x differs between views by up to {spread:.3f}°; only its mean was written"
        notes.append(Note(kind="dropped", where=record.name, text=text))
    return mean, geometry.y_tilt_deg, geometry.z_rot_deg


def _movement(record: TiltSeries, geometry: TiltGeometry, notes: list[Note]) -> dict[str, WarpGrid]:
    """Movement grids that say magnification and field: on the coarsest grid that follows them to a hundredth pixel."""
    shifts, scale = geometry.shifts_ang(), geometry.magnification

    def moved_back(view: int, q: Array) -> Array:
        """What Warp takes away at q, where its own terms put a point."""
        magnified = scale[view] * (q - shifts[view]) + shifts[view]
        shown = magnified if geometry.field is None else magnified + geometry.field.displacement(view, magnified)
        return np.asarray(q - shown)

    start = (1, 1) if geometry.field is None else tuple(n - 1 for n in geometry.field.nodes_ang.shape[:1:-1])
    shape_px, pixel_ang = record.image_shape_px, record.pixel_size_ang
    checks = image_grid(shape_px, pixel_ang, (_CHECKS, _CHECKS))
    u = np.linspace(0, 1, _CHECKS)
    places = np.stack(np.meshgrid(u, u), axis=-1).reshape(-1, 2)
    wanted = [moved_back(view, checks).reshape(-1, 2) for view in range(len(geometry))]
    best: tuple[float, Array] | None = None
    for finer in (1, 2, 4, 8):
        cells = tuple(min(finer * n, _MOST_CELLS) for n in start)
        grid = image_grid(shape_px, pixel_ang, (cells[0] + 1, cells[1] + 1))
        nodes = np.stack([moved_back(view, grid) for view in range(len(geometry))])  # (n, gy, gx, 2)
        error = 0.0
        for view, target in enumerate(wanted):
            for axis in (0, 1):
                found = WarpGrid.values(nodes[view, ..., axis], places[:, 0], places[:, 1])
                error = max(error, float(np.abs(found - target[:, axis]).max()) / pixel_ang)
        if best is None or error < best[0]:
            best = error, nodes
        if error < _TOLD_PX:
            break
    assert best is not None
    what = "magnifications" if geometry.field is None else "the local field"
    text = f"{what} became movement grids of {best[1].shape[2]} × {best[1].shape[1]} nodes, to {best[0]:.4f} px"
    kind = "info" if best[0] < _TOLD_PX else "warning"
    notes.append(Note(kind=kind, where=record.name, text=text))  # type: ignore[arg-type]
    return {f"GridMovement{axis}": WarpGrid(best[1][..., index]) for index, axis in enumerate("XY")}


def _movies(record: TiltSeries, folder: Path, root: Path, notes: list[Note]) -> tuple[str, ...]:
    if record.movies is not None:
        return tuple(os.path.relpath((root / name).resolve(), folder.resolve()) for name in record.movies)
    sections = [split_name(image) for image in record.images or ()]
    if sections and all(section is None for section, _ in sections):
        return tuple(os.path.relpath((root / file).resolve(), folder.resolve()) for _, file in sections)
    names = tuple(f"{record.name}_{int(place):03d}.mrc" for place in np.asarray(record.place))
    text = (
        f"Warp wants a file for each view, and the record names sections of a stack: split the stack into {names[0]} … "
        "beside the .tomostar"
    )
    notes.append(Note(kind="warning", where=record.name, text=text))
    return names


def _ctf(record: TiltSeries) -> dict[str, str]:
    """Warp's CTF parameters; defocus in µm, phase shift in units of π."""
    optics, defocus = record.optics, record.defocus
    mean = 1.0 if defocus is None else float(np.mean(defocus.u_ang + defocus.v_ang)) * 0.5e-4
    shifts = None if defocus is None else defocus.phase_shift_deg
    phase = 0.0 if shifts is None else float(np.mean(shifts)) / 180
    values: dict[str, float] = {"PixelSize": record.pixel_size_ang, "Defocus": mean, "DefocusDelta": 0.0}
    values |= {"DefocusAngle": 0.0, "PhaseShift": phase, "Bfactor": 0.0, "Scale": 1.0}
    values |= {"Cs": optics.spherical_aberration_mm, "Amplitude": optics.amplitude_contrast}
    if optics.voltage_kv is not None:
        values["Voltage"] = optics.voltage_kv
    return {name: f"{value:.9g}" for name, value in values.items()}


def _tomostar(warp: WarpSeries) -> str:
    lines = ["", "data_", "", "loop_", "_wrpMovieName #1", "_wrpAngleTilt #2", "_wrpAxisAngle #3", "_wrpDose #4"]
    lines += [
        f"  {movie}  {angle:.6f}  {axis:.6f}  {dose:.6f}"
        for movie, angle, axis, dose in zip(warp.movies, warp.angles_deg, warp.axis_deg, warp.dose, strict=True)
    ]
    return "".join(f"{line}\n" for line in lines)
