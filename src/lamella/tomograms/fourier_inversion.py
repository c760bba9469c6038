"""Direct Fourier inversion: every image a slice of the volume's transform, slab by slab."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.fourier import fast_size
from lamella.geometry import TiltGeometry
from lamella.kernels.backproject import lines_of, lines_to_voxels
from lamella.kernels.gather import RowReader
from lamella.kernels.rows import Box, RowPlan, RowWindow
from lamella.kernels.sampling import ImageGrid
from lamella.kernels.slices import PlaneGrid, invert_plane
from lamella.progress import Progress
from lamella.records import VolumeSink
from lamella.runtime import threads
from lamella.tomograms.memory import MemoryBudget
from lamella.tomograms.reprojection import Reprojection
from lamella.tomograms.slabs import cut_slabs
from lamella.tomograms.tilt_images import StoredViews, one_thread_each

__all__ = ["inversion_plan", "invert_views"]

Array = NDArray[np.float64]

_SPACING = 1 / 1.2  # of samples along a row, voxels
_BAND = 0.53  # cycles per voxel; images hold nothing beyond 0.5, and so no sample of theirs is cut
_FADE = 16  # samples at each end of a row, beyond those that voxels need, over which it fades to 0
_SLIP_PX = 0.25  # a row may pass a voxel at so much, where x-tilts differ
_LEAST_PLANES = 8  # that are worth a transform of their own
_ROWS = 32  # of a slab, at most


def inversion_plan(geometry: TiltGeometry) -> RowPlan:
    """The rows that are read as slices."""
    return RowPlan.slices(geometry, _SPACING)[0]


def invert_views(
    stored: StoredViews,
    geometry: TiltGeometry,
    grid: ImageGrid,
    plan: RowPlan,
    box: Box,
    output: VolumeSink,
    *,
    budget: MemoryBudget,
    check: Reprojection | None,
    progress: Progress,
) -> int:
    """Sum the slices of filtered views in the transform of each plane across the tilt axis; pass voxels to `output`.

    What lies on one line along x and z of constant v appears on one row of every view: the volume is a pile of planes
    that do not know of each other, each with a transform of two dimensions. Rows are read where the local field has
    moved them. Planes that are leaning, as an x-tilt makes them, are interpolated to voxels along v in the end. Where
    x-tilts differ from view to view, planes of voxels are taken in pieces so thin that no voxel is further than a
    quarter of a voxel from its row.

    Returns
    -------
    number of slabs.

    Raises
    ------
    InputError
        if x-tilts differ so much that there is no such plane.
    SettingsError
        if the budget holds no slab.
    """
    work = _Inversion(stored, geometry, grid, plan, box)
    (nz, ny, nx), (z0, y0, x0) = box.shape, box.first()
    workers = budget.side_by_side(work.bytes_of_plane, threads(), "inverting a plane")
    left = budget.less(workers * work.bytes_of_plane)
    rows = work.rows_within(left)
    slabs = cut_slabs(rows, ny, 1)
    with one_thread_each(workers) as pool:
        for number, (y, height) in enumerate(slabs):
            again = check.slab(number, (z0, y0 + y, x0), (nz, height, nx), stored.device) if check else None
            for piece in work.pieces:
                lines = work.lines(piece, y0 + y, height)
                list(pool.map(partial(work.read, lines), range(len(geometry))))
                list(pool.map(partial(work.invert, lines), range(lines.count)))
                block = work.voxels(lines, y0 + y, height)
                output(piece.first, y, 0, block)
                if again:
                    again.add(piece.first, torch.from_numpy(block))
            if again:
                again.finish()
            progress((number + 1) / len(slabs), "inverting slices")
    return len(slabs)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Piece:
    """Planes of voxels that share rows: `first` of the box, `planes`, and who reads the rows at their middle."""

    first: int
    planes: int
    reader: RowReader
    grid: PlaneGrid


@dataclass(frozen=True, kw_only=True, eq=False)
class _Lines:
    """The lines of a slab in a piece: samples ``(n, line, sample)`` and what they become, ``(z, line, x)``."""

    piece: _Piece
    first: int
    samples: NDArray[np.float32]
    planes: NDArray[np.float32]

    @property
    def count(self) -> int:
        return int(self.samples.shape[1])


class _Inversion:
    """What is the same for all slabs."""

    def __init__(self, stored: StoredViews, geometry: TiltGeometry, grid: ImageGrid, plan: RowPlan, box: Box) -> None:
        self.stored, self.plan, self.box = stored, plan, box
        slip = RowPlan.slices(geometry, _SPACING)[1]
        nz, _ny, nx = box.shape
        most = float(np.abs(slip).max())
        planes = nz if most * nz / 2 <= _SLIP_PX else int(2 * _SLIP_PX / most)
        if planes < min(_LEAST_PLANES, nz):
            raise InputError(
                f"x-tilts range over {np.ptp(geometry.x_tilt_deg):.1f} degrees, and fourier takes series of one axis",
                mend="set reconstruct.method to wbp, which weights and sums such views exactly",
            )
        edges = np.linspace(0, nz, math.ceil(nz / planes) + 1).round().astype(int)
        z0 = box.first()[0]
        self.pieces = [
            _Piece(
                first=int(a), planes=int(b - a), grid=PlaneGrid(shape=(int(b - a), nx)),
                reader=RowReader(grid, _slipped(geometry, slip * (z0 + (a + b) // 2) * box.voxel_size_ang), plan),
            )
            for a, b in itertools.pairwise(edges)
        ]  # fmt: skip

    @property
    def bytes_of_plane(self) -> int:
        """Most that a plane takes while it is inverted."""
        thickest = max(self.pieces, key=lambda piece: piece.planes)
        return thickest.grid.bytes + 12 * len(self.plan) * self._samples(thickest)

    def rows_within(self, budget: MemoryBudget) -> int:
        """Rows of a slab."""
        (nz, ny, nx), (z0, y0, _x0) = self.box.shape, self.box.first()
        thickest = max(self.pieces, key=lambda piece: piece.planes)
        per_line = 4 * (len(self.plan) * self._samples(thickest) + thickest.planes * nx)
        per_row = 4 * thickest.planes * nx + (8 * nz * nx if self.plan.line_table is not None else 0)
        few, many = (lines_of(self.plan, z0, nz, y0, n)[1] for n in (1, 33))
        if self.plan.line_table is None:
            few, many = 1, 33
        each, least = (many - few) / 32 * per_line + per_row, few * per_line + per_row
        budget.require(least, "a row of the tomogram by inversion")
        lean = max(few - 6, 0)  # lines that a single row needs beside its own
        return int(np.clip(1 + (budget.for_slabs - least) / each, 1, min(max(_ROWS, 4 * lean), ny)))

    def lines(self, piece: _Piece, y: int, rows: int) -> _Lines:
        """Room for the lines of some rows of voxels, from `y` on, counted from the centre voxel."""
        z0 = self.box.first()[0] + piece.first
        first, count = (y, rows) if self.plan.line_table is None else lines_of(self.plan, z0, piece.planes, y, rows)
        samples = np.empty((len(self.plan), count, self._samples(piece)), np.float32)
        planes = np.empty((piece.planes, count, self.box.shape[2]), np.float32)
        return _Lines(piece=piece, first=first, samples=samples, planes=planes)

    def read(self, lines: _Lines, view: int) -> None:
        """Take a view's samples, and fade their ends."""
        rows = lines.samples[view]
        count, samples = rows.shape
        start = self._starts(lines)[view]
        together = count if (start == start[0]).all() else 1
        for line in range(0, count, together):
            layout = np.zeros((len(self.plan), 6), np.int64)
            layout[view] = 0, 1, samples, together, lines.first + line, start[line]
            window = RowWindow(lines=(0, 0), layout=layout, shift=layout[:, 0], size=together * samples)
            image = self.stored.tensor[view].numpy()
            lines.piece.reader.read(image, view, window, rows[line : line + together].reshape(-1))
        self.stored.let_go()
        fade = 0.5 - 0.5 * np.cos(np.pi * (np.arange(_FADE) + 0.5) / _FADE)
        rows[:, :_FADE] *= fade.astype(np.float32)
        rows[:, -_FADE:] *= fade[::-1].astype(np.float32)

    def invert(self, lines: _Lines, line: int) -> None:
        """Sum a line's slices."""
        piece = lines.piece
        out = np.empty((piece.planes, self.box.shape[2]), np.float32)
        origin = self._middles(lines)[:, line] - self._starts(lines)[:, line]
        rows = np.ascontiguousarray(lines.samples[:, line])
        invert_plane(rows, self.plan.tau[:, [0, 2]], origin, _BAND * _SPACING, piece.grid, out)
        lines.planes[:, line] = out

    def voxels(self, lines: _Lines, y: int, rows: int) -> NDArray[np.float32]:
        """The voxels of some rows, from their lines."""
        if self.plan.line_table is None:
            return lines.planes
        out = np.empty((lines.piece.planes, rows, self.box.shape[2]), np.float32)
        first = np.array([self.box.first()[0] + lines.piece.first, lines.first, self.box.first()[2]])
        lines_to_voxels(lines.planes, self.plan.line_table, np.array(self.plan.rho), first, y, out)
        return out

    def _samples(self, piece: _Piece) -> int:
        """Samples of a row: what the voxels need in any view, and the faded ends."""
        nx = self.box.shape[2]
        span = np.abs(self.plan.tau[:, 0]) * nx + np.abs(self.plan.tau[:, 2]) * piece.planes
        return int(fast_size(math.ceil(float(span.max())) + 2 * _FADE + 4))

    def _middles(self, lines: _Lines) -> Array:
        """``(n, line)`` place τ of the middle voxel of each line."""
        piece, (z0, _y0, x0) = lines.piece, self.box.first()
        x, z = x0 + self.box.shape[2] // 2, z0 + piece.first + piece.planes // 2
        tau, line = self.plan.tau, lines.first + np.arange(lines.count)
        out: Array = tau[:, :1] * x + tau[:, 1:2] * line + tau[:, 2:] * z
        return out

    def _starts(self, lines: _Lines) -> NDArray[np.int64]:
        """``(n, line)`` place of each line's first sample."""
        return np.floor(self._middles(lines)).astype(np.int64) - self._samples(lines.piece) // 2


def _slipped(geometry: TiltGeometry, along_v_ang: Array) -> TiltGeometry:
    """The geometry for reading rows so far beside where the plan has them."""
    turn = np.deg2rad(geometry.z_rot_deg)
    move = geometry.magnification * along_v_ang
    return replace(
        geometry,
        x_shift_ang=geometry.x_shift_ang - np.sin(turn) * move,
        y_shift_ang=geometry.y_shift_ang + np.cos(turn) * move,
    )
