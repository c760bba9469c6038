"""Cubes of two tomograms laid on each other: how far each cube of the second still is from its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import fast_size
from lamella.tomograms.combine_rigid import RigidMotion
from lamella.tomograms.combine_search import whitening
from lamella.tomograms.combine_warp import Warp
from lamella.tomograms.combine_working import WorkingPair

__all__ = ["OVERLAP", "PatchShifts", "measure_patches"]

Array = NDArray[np.float64]

OVERLAP = 1.5
"""Cubes per edge of one."""

_SIGNIFICANT = 5.0  # standard deviations of the correlation away from its peak
_CHUNK = 16
_MOST_PATCHES = 600


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchShifts:
    """Local differences of two tomograms.

    Attributes
    ----------
    places_ang
        ``(n, 3)`` centres of the cubes in the first tomogram, Å.
    shifts_ang
        ``(n, 3)`` what was measured: the point p of the first is found where the motion, and the warp if there was one,
        take ``p + shift`` of the first to in the second.
    height
        ``(n,)`` of the peak in standard deviations of the correlation around it.
    """

    places_ang: Array
    shifts_ang: Array
    height: Array

    @property
    def significant(self) -> NDArray[np.bool_]:
        """``(n,)`` peaks that noise alone does not make."""
        return self.height > _SIGNIFICANT

    def within(self, reach_ang: float) -> NDArray[np.bool_]:
        """``(n,)`` shifts that end short of a limit along each axis: those at a search's edge are no peaks."""
        return np.asarray((np.abs(self.shifts_ang) < reach_ang).all(axis=1))


def measure_patches(
    pair: WorkingPair,
    motion: RigidMotion,
    warp: Warp | None,
    edge_ang: float,
    reach_ang: float,
) -> PatchShifts:
    """Correlate cubes of the first tomogram with the second one laid onto it.

    Parameters
    ----------
    motion, warp
        how the second lies now.
    edge_ang
        of a cube.
    reach_ang
        how far a cube may be from its place, per axis.
    """
    grid = pair.first.grid
    edge = max(16, fast_size(round(edge_ang / grid.voxel_ang)))
    centres = _centres(grid.shape, edge)
    moved, inside = pair.laid_on(motion, warp)
    centres = centres[[bool(inside[tuple(c)] > 0) for c in centres]]
    moved *= inside
    del inside
    cubes = _Cubes(pair.first.voxels, edge), _Cubes(moved, edge)
    chunks = [centres[i : i + _CHUNK] for i in range(0, len(centres), _CHUNK)]
    shape = (edge, edge, edge)
    weight = pair.weights(motion, shape)
    white = [whitening(part.mean_power(chunks), shape) * weight for part in cubes]
    reach = int(np.clip(round(reach_ang / grid.voxel_ang), 2, edge // 2 - 2))
    shifts, height = [], []
    for chunk in chunks:
        one, other = (part.spectra(chunk).mul_(factor) for part, factor in zip(cubes, white, strict=True))
        part = _peaks(one.mul_(other.conj()), shape, reach)
        shifts.append(part[0])
        height.append(part[1])
    # the correlation's peak says by how much the moved second must be shifted to lie on the first
    shift = -np.concatenate(shifts)[:, ::-1] * grid.voxel_ang if shifts else np.zeros((0, 3))
    places = (centres - grid.origin)[:, ::-1] * grid.voxel_ang
    return PatchShifts(places_ang=places, shifts_ang=shift, height=np.concatenate(height) if height else np.zeros(0))


def _centres(shape: tuple[int, int, int], edge: int) -> NDArray[np.int64]:
    """``(n, 3)`` centres (z, y, x) of overlapping cubes that fill the volume."""
    step = edge / OVERLAP
    while True:
        lines = []
        for n in shape:
            count = max(1, round((n - edge) / step) + 1)
            first = min(edge // 2, n // 2)
            lines.append(np.round(np.linspace(first, n - 1 - first, count) if count > 1 else [n // 2]))
        centres = np.stack([axis.ravel() for axis in np.meshgrid(*lines, indexing="ij")], axis=-1).astype(np.int64)
        if len(centres) <= _MOST_PATCHES:
            return centres
        step *= 1.15


class _Cubes:
    """Cubes of a volume ``(z, y, x)``, faded out to their sides; beyond the volume there is nothing."""

    def __init__(self, volume: NDArray[np.float32], edge: int) -> None:
        self.edge = edge
        self.margin = [max(0, edge - n) for n in volume.shape]
        self.volume = np.pad(volume, [(n, n) for n in self.margin]) if any(self.margin) else volume
        window = torch.hann_window(edge, periodic=True) ** 0.5
        self.taper = window[:, None, None] * window[:, None] * window

    def spectra(self, centres: NDArray[np.int64]) -> Tensor:
        """``(n, edge, edge, edge // 2 + 1)`` spectra of the cubes around ``(n, 3)`` centres."""
        out = torch.empty(len(centres), self.edge, self.edge, self.edge)
        for number, centre in enumerate(centres):
            start = [int(c) - self.edge // 2 + n for c, n in zip(centre, self.margin, strict=True)]
            cube = torch.from_numpy(self.volume[tuple(slice(a, a + self.edge) for a in start)])
            out[number] = (cube - cube.mean()) * self.taper
        spectra: Tensor = torch.fft.rfftn(out, dim=(1, 2, 3))
        return spectra

    def mean_power(self, chunks: Sequence[NDArray[np.int64]]) -> Tensor:
        """``(edge, edge, edge // 2 + 1)`` mean over the cubes around all centres."""
        total = torch.zeros(self.edge, self.edge, self.edge // 2 + 1)
        for chunk in chunks:
            total += self.spectra(chunk).abs().square_().sum(dim=0)
        return total / max(1, sum(len(chunk) for chunk in chunks))


def _peaks(product: Tensor, shape: tuple[int, int, int], reach: int) -> tuple[Array, Array]:
    """Shift ``(n, 3)`` (z, y, x) in voxels of the highest peak within reach, and its height over the noise."""
    edge = shape[0]
    correlation = torch.fft.irfftn(product, s=shape, dim=(1, 2, 3))
    noise = correlation.flatten(1).std(dim=1)
    near = correlation.roll((reach, reach, reach), dims=(1, 2, 3))[:, : 2 * reach + 1, : 2 * reach + 1, : 2 * reach + 1]
    flat = near.flatten(1).argmax(dim=1)
    span = 2 * reach + 1
    start = torch.stack([flat // span**2, flat // span % span, flat % span], dim=-1).double() - reach
    height = near.flatten(1).max(dim=1).values / noise.clamp_min(1e-30)
    place, step = start, 0.5
    for _ in range(3):
        place = _climb(product, place, step, edge)
        step /= 2
    return place.numpy(), height.double().numpy()


def _climb(product: Tensor, place: Tensor, step: float, edge: int) -> Tensor:
    """Vertex of the parabolas through the correlation at a place and half-steps beside it, along each axis."""
    offsets = torch.tensor([-step, 0.0, step], dtype=torch.float64)
    waves = []
    for axis in range(3):
        frequency = torch.fft.rfftfreq(edge) if axis == 2 else torch.fft.fftfreq(edge)
        turns = 2 * torch.pi * (place[:, axis, None] + offsets)[:, :, None] * frequency.double()
        wave = torch.polar(torch.ones_like(turns), turns).to(product.dtype)
        waves.append(wave)
    terms = product.clone()
    terms[..., 1 : (edge + 1) // 2] *= 2
    values = torch.einsum("nzyx,naz,nby,ncx->nabc", terms, *waves).real.double()
    out = place.clone()
    for axis, line in enumerate((values[:, :, 1, 1], values[:, 1, :, 1], values[:, 1, 1, :])):
        slope, bend = (line[:, 2] - line[:, 0]) / 2, line[:, 0] - 2 * line[:, 1] + line[:, 2]
        move = torch.where(bend < 0, -slope / torch.where(bend < 0, bend, -1.0), torch.sign(slope))
        out[:, axis] += step * move.clamp(-1, 1)
    return out
