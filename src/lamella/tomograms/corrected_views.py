"""Views corrected for their contrast transfer, each place with the defocus at its depth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.geometry import TiltGeometry
from lamella.kernels.rows import Box
from lamella.kernels.sampling import ImageGrid, ViewFilter, filtered_spectrum, samples_of
from lamella.optics.ctf import phase_aberration
from lamella.optics.restoration import restoring_filter, signal_to_noise
from lamella.records import TiltSeries
from lamella.tomograms.correction import Correction, Layer, depth_planes
from lamella.tomograms.reconstruct_settings import ReconstructSettings

__all__ = ["ViewCorrection"]

Array = NDArray[np.float64]

_COLUMNS = 128


class ViewCorrection:
    """Corrects views on the finer grid on which they are stored.

    Parameters
    ----------
    series, geometry
        with defocus and voltage.
    correction
        the method, and the layers of planes that read images of their own.
    grid, box
        of the views and of the tomogram.
    settings
        the supposed ratio of signal to noise of Wiener's filter.

    Notes
    -----
    At a place of a view, what lies in one plane of the specimen has a depth that is linear in the place: lines of
    one depth run along the tilt axis. The view is corrected as a whole for some levels of depth, no more than twice the
    tolerance apart, and each place takes the two levels next to its depth, weighted linearly by their distance: no
    seams, and the phase of the mean of two transfers is that of the depth between them.

    A place of a view is on the ray of voxels at many heights. In *strips* it is corrected for the plane z = 0. In
    *slabs* (3D-CTF: Jensen & Kornberg 2000, Ultramicroscopy 84:57; Turoňová et al. 2017, J. Struct. Biol. 199:187) each
    layer of planes reads images that are corrected for its own height.

    Work, per view: one transform of the image, which weighted back-projection takes anyhow, and one inverse transform
    to the finer grid per level. All layers share the levels; only depths that occur in the box are covered, D = h cos t
    + w sin |t| of a box h high and w wide across the axis, so that there are 1 + D / (2 · tolerance) levels. Memory:
    the stored views times the number of layers, in a temporary file where it is short, and per thread four images.
    """

    def __init__(
        self,
        series: TiltSeries,
        geometry: TiltGeometry,
        correction: Correction,
        grid: ImageGrid,
        box: Box,
        settings: ReconstructSettings,
    ) -> None:
        self.series, self.correction, self.grid, self.settings = series, correction, grid, settings
        self.planes = depth_planes(geometry)
        self.depths = np.stack([_depths_in(geometry, layer, box) for layer in correction.layers], axis=1)  # (n, l, 2)

    def levels_ang(self, view: int) -> Array:
        """Depths for which a view is corrected, Å, evenly spaced."""
        low, high = float(self.depths[view, :, 0].min()), float(self.depths[view, :, 1].max())
        if not self.planes[view].any():
            return np.zeros(1)
        if high - low < self.correction.tolerance_ang / 4:
            return np.array([(low + high) / 2])
        return np.linspace(low, high, 1 + math.ceil((high - low) / (2 * self.correction.tolerance_ang)))

    def sample(self, view: int, padded: Tensor, what: ViewFilter, outs: Sequence[Tensor]) -> None:
        """An extended image, filtered, corrected and on the finer grid, for each layer into one of `outs`."""
        levels = self.levels_ang(view)
        fine = filtered_spectrum(padded, self.grid, what)
        del padded
        transfer = _Transfer(self.series, view, levels, self.grid, self.correction, self.settings, fine.device)
        if len(levels) == 1:
            samples_of(fine, self.grid, transfer.at_level(0), outs[0])
            for out in outs[1:]:
                out.copy_(outs[0])
            return
        for out in outs:
            out.zero_()
        image = torch.empty(self.grid.stored, device=fine.device)
        for level in range(len(levels)):
            samples_of(fine, self.grid, transfer.at_level(level), image)
            for number, out in enumerate(outs):
                self._blend(view, number, levels, level, image, out)

    def _blend(self, view: int, number: int, levels: Array, level: int, image: Tensor, out: Tensor) -> None:
        """Add one level's image to a layer's, where the layer's depths are nearer to it than the next level is."""
        start, slow, fast = (self._depth_on_grid(view, number) - (levels[0], 0, 0)) / (levels[1] - levels[0])
        low, high = (self.depths[view, number] - levels[0]) / (levels[1] - levels[0])
        rows, columns = out.shape
        along = start + fast * np.arange(columns)
        ends = np.clip(np.sort(np.stack([along, along + slow * (rows - 1)]), axis=0), low, high)
        near = np.flatnonzero((ends[0] < level + 1) & (ends[1] > level - 1))
        if len(near) == 0:
            return
        part = slice(int(near[0]), int(near[-1]) + 1)
        place = torch.from_numpy(slow * np.arange(rows)).float().to(out.device)[:, None]
        weight = place + torch.from_numpy(along[part]).float().to(out.device)
        weight.clamp_(low, high).sub_(level).abs_().neg_().add_(1).clamp_(min=0)
        out[:, part].addcmul_(weight, image[:, part])

    def _depth_on_grid(self, view: int, number: int) -> Array:
        """``(3,)``: the depth of a layer at stored sample (a, b) is c₀ + c₁ a + c₂ b, Å."""
        constant, x, y, z = self.planes[view]
        (slow_start, slow_step), (fast_start, fast_step) = self.grid.stored_places_ang()
        slow, fast = (x, y) if self.grid.swapped else (y, x)
        start = constant + z * self.correction.layers[number].height_ang + slow * slow_start + fast * fast_start
        return np.array([start, slow * slow_step, fast * fast_step])


class _Transfer:
    """What a view's spectrum is multiplied by, level by level."""

    def __init__(
        self,
        series: TiltSeries,
        view: int,
        levels_ang: Array,
        grid: ImageGrid,
        correction: Correction,
        settings: ReconstructSettings,
        device: torch.device,
    ) -> None:
        defocus, optics = series.defocus, series.optics
        assert defocus is not None
        assert optics.voltage_kv is not None
        assert correction.method != "none"
        self.method = correction.method
        spread = np.broadcast_to(levels_ang, (len(series), len(levels_ang)))
        u, v = (part[view] for part in defocus.at_depth(spread, series.hand))
        self.changes = u - u[0]
        slow, fast = (torch.from_numpy(line).float().to(device) for line in grid.fine_frequencies())
        shape = (len(slow), len(fast))
        self.phase, self.per_ang = (torch.empty(shape, device=device) for _ in range(2))
        self.signal_to_noise = torch.empty(shape, device=device) if self.method == "wiener" else None
        shift = 0.0 if defocus.phase_shift_deg is None else float(defocus.phase_shift_deg[view])
        constant = math.radians(shift) + math.asin(optics.amplitude_contrast)
        for start in range(0, len(fast), _COLUMNS):  # some at a time, within the caches
            part = slice(start, start + _COLUMNS)
            ky, kx = (fast[None, part], slow[:, None]) if grid.swapped else (slow[:, None], fast[None, part])
            self.phase[:, part] = constant + phase_aberration(
                ky, kx, defocus_u_ang=float(u[0]), defocus_v_ang=float(v[0]), angle_deg=float(defocus.angle_deg[view]),
                voltage_kv=optics.voltage_kv, spherical_aberration_mm=optics.spherical_aberration_mm,
            )  # fmt: skip
            self.per_ang[:, part] = phase_aberration(
                ky, kx, defocus_u_ang=1.0, defocus_v_ang=1.0, angle_deg=0.0, voltage_kv=optics.voltage_kv,
                spherical_aberration_mm=0.0,
            )  # fmt: skip
            if self.signal_to_noise is not None:
                self.signal_to_noise[:, part] = signal_to_noise(
                    torch.hypot(kx, ky), strength=settings.snr_strength, falloff=settings.snr_falloff,
                    high_pass_ang=settings.snr_high_pass,
                )  # fmt: skip

    def at_level(self, level: int) -> _Factor:
        return _Factor(self, float(self.changes[level]))


class _Factor:
    """The filter of one level, some columns at a time."""

    def __init__(self, transfer: _Transfer, change_ang: float) -> None:
        self.transfer, self.change_ang = transfer, change_ang

    def __call__(self, columns: slice) -> Tensor:
        whole = self.transfer
        phase = torch.add(whole.phase[:, columns], whole.per_ang[:, columns], alpha=self.change_ang)
        ratio = None if whole.signal_to_noise is None else whole.signal_to_noise[:, columns]
        return restoring_filter(phase, whole.method, ratio)


def _depths_in(geometry: TiltGeometry, layer: Layer, box: Box) -> Array:
    """``(n, 2)`` least and greatest depth in each view of the box's plane at the layer's height, Å."""
    _nz, ny, nx = box.shape
    corners = [
        (x * nx / 2 * box.voxel_size_ang, y * ny / 2 * box.voxel_size_ang, layer.height_ang)
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    depth = geometry.depth_ang(corners)
    return np.stack([depth.min(axis=1), depth.max(axis=1)], axis=1)
