"""Cosine-stretched rows: the sampling of tilt images in which a row of voxels meets a row of samples.

Write the projection model as q = m·Rz(φ)·(u, v) + shift, with

    u = cos t · x + sin t · (y sin ξ + z cos ξ),    v = y cos ξ − z sin ξ      (t: tilt about y, ξ: x-tilt)

Along a row of voxels (y and z fixed) v is constant and u grows by cos t per voxel. So an image is sampled once into
rows of constant v with samples cos t / P apart in u (P phases, stored phase by phase), and then a row of voxels reads
whole rows of samples from a place on, with weights that are the same for all its voxels: no interpolation per voxel.
Rotation in the image, shift, magnification and local field only move the places where the image is sampled.

Where x-tilt is common to the views, v is too. Then each plane z is summed along *lines* of constant v, which are rows
of every view at once, and the voxels are interpolated between the lines of their plane when all views are summed.
Without x-tilt the lines are the voxel rows themselves. Where x-tilt differs from view to view, lines are voxel rows
too, and each is interpolated between two rows of each view.

Views so steep that cos t vanishes have rows with samples 1/3 voxel apart instead; their voxels are interpolated
one by one.

Lengths in this module are in voxels, coordinates count from the tomogram's centre voxel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.kernels.taps import TABLE_STEPS, Linear, Taps, kaiser_bessel, pair_table, quad_table

__all__ = ["Box", "RowPlan", "RowWindow"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEEP = 0.15  # |cos t| below which rows are not stretched
_OVERSAMPLING = 3  # least oversampling of samples between which one interpolates linearly
_LINE_OVERSAMPLING = 1.2  # oversampling of lines between which four taps interpolate
_COMMON_DEG = 1e-6  # x-tilts that differ by less are one
_STEEPEST_COMMON_DEG = 60.0  # lines of one v would lie too far from the voxels' rows
_STEEPEST_DEG = 80.0  # of single views, such as those of another axis


@dataclass(frozen=True, kw_only=True)
class Box:
    """The voxels of a tomogram.

    Attributes
    ----------
    shape
        (z, y, x); the centre voxel is ``n // 2``.
    voxel_size_ang
        edge of a voxel, Å.
    """

    shape: tuple[int, int, int]
    voxel_size_ang: float

    def first(self) -> tuple[int, int, int]:
        """(z, y, x) of voxel (0, 0, 0), counted from the centre voxel."""
        nz, ny, nx = self.shape
        return -(nz // 2), -(ny // 2), -(nx // 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class RowWindow:
    """The lines and samples that a block of voxels needs; the samples lie in one flat buffer.

    Attributes
    ----------
    lines
        first line and number of lines.
    layout
        ``(n, 6)`` per view: offset in the buffer, phases, samples per phase, number of rows, first row, place of sample
        0; sample k of phase p stands at that place + phases·k + p.
    shift
        ``(n,)`` what whole sample places are counted from, see `RowPlan.window`.
    size
        samples in all.
    """

    lines: tuple[int, int]
    layout: Ints
    shift: Ints
    size: int

    def select(self, views: Ints) -> RowWindow:
        """Some views' samples, in the order given, where they lie in the buffer of all."""
        return replace(self, layout=self.layout[views], shift=self.shift[views])


@dataclass(frozen=True, kw_only=True, eq=False)
class RowPlan:
    """How voxels, lines and the rows of each view meet.

    Voxel (x, y, z) lies at place ρ = ρy·y + ρz·z among the lines. On line l, it reads between samples floor(τ) and
    floor(τ) + 1 of rows floor(ν) and floor(ν) + 1, with τ = τx·x + τl·l + τz·z and ν = νl·l + νz·z.

    Attributes
    ----------
    rho
        (ρy, ρz).
    line_table
        ``(TABLE_STEPS + 1, 4)`` weights of lines −1, 0, 1, 2 from floor(ρ) on; None where lines are voxel rows.
    phases
        ``(n,)`` P; 0 for steep views, whose rows are not stretched.
    spacing_u, spacing_v
        ``(n,)`` distance of samples and of rows, voxels; spacing_u has the sign of cos t.
    tau, nu
        ``(n, 3)`` coefficients of (x, l, z), and ``(n, 2)`` of (l, z).
    table_u, table_v
        ``(TABLE_STEPS + 1,)`` weight of the left of two taps by the place between them.
    taps_u, taps_v
        interpolation kernels by whose transform the samples' spectrum must be divided; None: must not.
    exact_v
        True where every line is a row of every view.
    """

    rho: tuple[float, float]
    line_table: NDArray[np.float32] | None
    phases: Ints
    spacing_u: Array
    spacing_v: Array
    tau: Array
    nu: Array
    table_u: NDArray[np.float32]
    table_v: NDArray[np.float32]
    taps_u: Taps | None
    taps_v: Taps | None
    exact_v: bool

    @classmethod
    def fine(cls, geometry: TiltGeometry) -> RowPlan:
        """Rows so fine that interpolation hardly errs up to the voxels' Nyquist frequency: for back-projection.

        Raises
        ------
        GeometryError
            if an x-tilt is 80° or more, or all are one of 60° or more.
        """
        tilt = _angles(geometry)
        steep = np.abs(tilt.cos) < _STEEP
        phases = np.where(steep, 0, np.ceil(_OVERSAMPLING * np.abs(tilt.cos) - 1e-6)).astype(np.int64)
        spacing_u = np.where(steep, 1 / _OVERSAMPLING, tilt.cos / np.maximum(phases, 1))
        if not tilt.common:
            return _per_view(tilt, phases, spacing_u, np.full(len(phases), 1 / _OVERSAMPLING), Linear(), Linear())
        if tilt.sin_x[0] == 0:
            return _per_line(tilt, phases, spacing_u, 1.0, None, Linear(), None)
        taps = kaiser_bessel(_LINE_OVERSAMPLING)
        return _per_line(tilt, phases, spacing_u, 1 / _LINE_OVERSAMPLING, quad_table(taps), Linear(), taps)

    @classmethod
    def rays(cls, geometry: TiltGeometry) -> RowPlan:
        """One ray per voxel along x and along y, with linear interpolation: Joseph's projector.

        A ray (sample) takes from each plane z one mean of its nearest voxels, with weights that sum to 1.
        P. M. Joseph 1982, IEEE Trans. Med. Imaging 1:192.

        Raises
        ------
        GeometryError
            if an x-tilt is 80° or more, or all are one of 60° or more.
        """
        tilt = _angles(geometry)
        steep = np.abs(tilt.cos) < _STEEP
        phases = np.where(steep, 0, 1).astype(np.int64)
        spacing_u = np.where(steep, 1.0, tilt.cos)
        if not tilt.common:
            return _per_view(tilt, phases, spacing_u, tilt.cos_x, None, None)
        table = None if tilt.sin_x[0] == 0 else quad_table(Linear())
        return _per_line(tilt, phases, spacing_u, float(tilt.cos_x[0]), table, None, None)

    @classmethod
    def slices(cls, geometry: TiltGeometry, spacing_u: float) -> tuple[RowPlan, Array]:
        """Rows of evenly spaced samples, `spacing_u` voxels apart in every view: for inversion by slices.

        Lines are those of the views' mean x-tilt ξ₀. A view of another x-tilt ξ has rows that lie cos ξ / cos ξ₀ times
        as far apart, and what lies z above the mid-plane is slip·z beside its row, in voxels along v.

        Returns
        -------
        plan, and the slip of each view: (n,) sin ξ₀ cos ξ / cos ξ₀ − sin ξ.

        Raises
        ------
        GeometryError
            if an x-tilt is 80° or more, or all are one of 60° or more.
        """
        tilt = _angles(geometry)
        mean = float(np.deg2rad(geometry.x_tilt_deg.mean()))
        level = bool(abs(mean) < np.deg2rad(_COMMON_DEG))
        cos_x, sin_x = (1.0, 0.0) if level else (float(np.cos(mean)), float(np.sin(mean)))
        pitch = 1.0 if level else 1 / _LINE_OVERSAMPLING
        taps = None if level else kaiser_bessel(_LINE_OVERSAMPLING)
        along_line = tilt.sin * tilt.sin_x / cos_x * pitch
        along_z = tilt.sin * (sin_x * tilt.sin_x / cos_x + tilt.cos_x)
        plan = cls(
            rho=(cos_x / pitch, -sin_x / pitch),
            line_table=None if taps is None else quad_table(taps),
            phases=np.zeros(len(geometry), np.int64),
            spacing_u=np.full(len(geometry), spacing_u),
            spacing_v=pitch * tilt.cos_x / cos_x,
            tau=np.stack([tilt.cos, along_line, along_z], axis=-1) / spacing_u,
            nu=np.tile([1.0, 0.0], (len(geometry), 1)),
            table_u=pair_table(Linear()),
            table_v=np.ones(TABLE_STEPS + 1, np.float32),
            taps_u=None,
            taps_v=taps,
            exact_v=True,
        )
        slip: Array = sin_x * tilt.cos_x / cos_x - tilt.sin_x
        return plan, slip

    def __len__(self) -> int:
        return len(self.phases)

    def select(self, views: Ints) -> RowPlan:
        """The plan of some views, in the order given."""
        chosen = {name: getattr(self, name)[views] for name in ("phases", "spacing_u", "spacing_v", "tau", "nu")}
        return replace(self, **chosen)

    def window(self, first: tuple[int, int, int], shape: tuple[int, int, int]) -> RowWindow:
        """The lines and samples that a block of voxels meets.

        Parameters
        ----------
        first, shape
            (z, y, x) of the block's first voxel, counted from the centre voxel, and its size.

        Notes
        -----
        In a stretched view, voxel number i of a line with whole sample place n = floor(τl·l + τz·z) reads sample
        ``n // P − shift + i`` of phase ``n % P``. In a steep view it reads sample ``floor(τ) − shift``.
        """
        (z0, y0, x0), (nz, ny, nx) = first, shape
        planes = np.array([z0, z0 + nz - 1.0])
        places = np.floor([self.rho[0] * y + self.rho[1] * z for y in (y0, y0 + ny - 1) for z in planes])
        reach = (0, 1) if self.line_table is None else (-1, 3)
        lines = int(places.min()) + reach[0], int(places.max()) + reach[1]
        corners = np.array([(line, z) for line in (lines[0], lines[1] - 1) for z in planes], np.float64)  # (4, 2)
        tau, nu = np.floor(self.tau[:, 1:] @ corners.T), np.floor(self.nu @ corners.T)  # (n, 4)
        steep = self.phases == 0
        phases = np.maximum(self.phases, 1)
        across = np.sort(self.tau[:, :1] * np.array([x0, x0 + nx - 1.0]), axis=1)
        low, high = tau.min(axis=1) - 1, tau.max(axis=1) + 2  # one more at each end, for rounding
        shift = np.where(steep, np.floor(across[:, 0]) + low, low // phases).astype(np.int64)
        last = np.where(steep, np.ceil(across[:, 1]) + high, high // phases + nx - 1).astype(np.int64)
        spare = 0 if self.exact_v else 1
        first_row = nu.min(axis=1).astype(np.int64) - spare
        rows = nu.max(axis=1).astype(np.int64) + 1 + 2 * spare - first_row
        samples = last - shift + 1
        ends = np.cumsum(phases * samples * rows)
        layout = np.stack(
            [
                ends - phases * samples * rows,
                phases,
                samples,
                rows,
                first_row,
                np.where(steep, shift, phases * (shift + x0)),
            ],
            axis=1,
        ).astype(np.int64)
        return RowWindow(
            lines=(lines[0], lines[1] - lines[0]), layout=layout.astype(np.int64), shift=shift, size=int(ends[-1])
        )

    def coefficients(self) -> Array:
        """``(n, 6)`` τx τl τz νl νz and 1 for steep views, as the compiled loops take them."""
        return np.column_stack([self.tau, self.nu, self.phases == 0]).astype(np.float64)


@dataclass(frozen=True)
class _Angles:
    cos: Array
    sin: Array
    cos_x: Array
    sin_x: Array
    common: bool


def _angles(geometry: TiltGeometry) -> _Angles:
    common = bool(np.ptp(geometry.x_tilt_deg) < _COMMON_DEG)
    worst = int(np.argmax(np.abs(geometry.x_tilt_deg)))
    if abs(geometry.x_tilt_deg[worst]) >= (_STEEPEST_COMMON_DEG if common else _STEEPEST_DEG):
        raise GeometryError(
            f"view {worst + 1} has an x-tilt of {geometry.x_tilt_deg[worst]:.1f} degrees",
            mend="level the specimen (geometry.regauge), or look whether the tilt axis is stated 90 degrees off",
        )
    x_tilt = np.full(len(geometry), geometry.x_tilt_deg.mean()) if common else geometry.x_tilt_deg
    tilt, x_tilt = np.deg2rad(geometry.y_tilt_deg), np.deg2rad(x_tilt)
    return _Angles(np.cos(tilt), np.sin(tilt), np.cos(x_tilt), np.sin(x_tilt), common)


def _per_line(
    tilt: _Angles, phases: Ints, spacing_u: Array, pitch: float, line_table: NDArray[np.float32] | None,
    taps_u: Taps | None, taps_v: Taps | None,
) -> RowPlan:  # fmt: skip
    """Lines of constant v, `pitch` apart, that are rows of every view: y = (pitch·l + z sin ξ) / cos ξ on line l."""
    cos_x, sin_x = float(tilt.cos_x[0]), float(tilt.sin_x[0])
    tau = np.stack([tilt.cos, tilt.sin * (sin_x / cos_x * pitch), tilt.sin / cos_x], axis=-1) / spacing_u[:, None]
    return RowPlan(
        rho=(cos_x / pitch, -sin_x / pitch),
        line_table=line_table,
        phases=phases,
        spacing_u=spacing_u,
        spacing_v=np.full(len(phases), pitch),
        tau=tau,
        nu=np.tile([1.0, 0.0], (len(phases), 1)),
        table_u=pair_table(Linear()),
        table_v=np.ones(TABLE_STEPS + 1, np.float32),
        taps_u=taps_u,
        taps_v=taps_v,
        exact_v=True,
    )


def _per_view(
    tilt: _Angles, phases: Ints, spacing_u: Array, spacing_v: Array, taps_u: Taps | None, taps_v: Taps | None
) -> RowPlan:
    """Lines that are voxel rows, interpolated between rows that are different ones in each view."""
    tau = np.stack([tilt.cos, tilt.sin * tilt.sin_x, tilt.sin * tilt.cos_x], axis=-1) / spacing_u[:, None]
    return RowPlan(
        rho=(1.0, 0.0),
        line_table=None,
        phases=phases,
        spacing_u=spacing_u,
        spacing_v=spacing_v,
        tau=tau,
        nu=np.stack([tilt.cos_x, -tilt.sin_x], axis=-1) / spacing_v[:, None],
        table_u=pair_table(Linear()),
        table_v=pair_table(Linear()),
        taps_u=taps_u,
        taps_v=taps_v,
        exact_v=False,
    )
