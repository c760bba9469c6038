"""Small copies of tomograms, on which two of them are registered, and what their spectra are weighted by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import ImageError
from lamella.records import ArrayVolume, VolumeSource
from lamella.tomograms.combine_coverage import Coverage
from lamella.tomograms.combine_resample import Grid, resample
from lamella.tomograms.combine_rigid import RigidMotion
from lamella.tomograms.combine_warp import Warp

__all__ = ["WorkingPair", "WorkingVolume", "band", "working_volume"]

Array = NDArray[np.float64]
Voxels = NDArray[np.float32]

WORKING_VOXEL_ANG = 20.0
_FINEST_ANG, _COARSEST_ANG = 50.0, 600.0
_FINEST_PX = 2.2  # what interpolation leaves alone
_CLIP = 4.0  # robust standard deviations: gold may not outvote the rest


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkingVolume:
    """A tomogram averaged over cubes of voxels, without its mean, outliers cut, deviation 1.

    Attributes
    ----------
    voxels
        ``(z, y, x)``.
    grid
        where they lie.
    deviation
        what the values were divided by.
    """

    voxels: Voxels
    grid: Grid
    deviation: float = 1.0

    @property
    def source(self) -> ArrayVolume:
        """As other parts read it."""
        return ArrayVolume(self.voxels)

    def mirrored(self) -> WorkingVolume:
        """With z turned to −z."""
        n = self.grid.shape[0]
        origin = self.grid.origin
        grid = Grid(
            shape=self.grid.shape,
            voxel_ang=self.grid.voxel_ang,
            origin_px=(n - 1 - float(origin[0]), float(origin[1]), float(origin[2])),
        )
        return WorkingVolume(voxels=np.ascontiguousarray(self.voxels[::-1]), grid=grid, deviation=self.deviation)


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkingPair:
    """Two tomograms that are to be laid on each other.

    Attributes
    ----------
    first, second
        their small copies, of one voxel size.
    coverages
        of each series in its own frame: only frequencies that both measure are compared.
    names
        of the two series, for messages.
    """

    first: WorkingVolume
    second: WorkingVolume
    coverages: tuple[Coverage, Coverage]
    names: tuple[str, str]

    def mirrored(self) -> WorkingPair:
        """With the second's z turned to −z."""
        return replace(self, second=self.second.mirrored())

    def laid_on(self, motion: RigidMotion, warp: Warp | None, planes: int | None = None) -> tuple[Voxels, Voxels]:
        """The second ``(planes, y, x)`` in the first one's frame, and how far it reaches there (0 … 1).

        Planes of the first's grid, or as many as are asked for.
        """
        nz, ny, nx = self.first.grid.shape
        block = (slice(0, planes or nz), slice(0, ny), slice(0, nx))
        return resample(self.second.source, self.second.grid, motion, warp, self.first.grid, block)

    def weights(self, motion: RigidMotion, shape: tuple[int, int, int]) -> Tensor:
        """Weight of each frequency in an rfft of `shape` in the first one's frame: the band, where both measure."""
        ky, kx = torch.fft.fftfreq(shape[1])[:, None], torch.fft.rfftfreq(shape[2])[None]
        second = self.coverages[1].turned(motion.rotation.T)
        out = torch.empty(shape[0], shape[1], shape[2] // 2 + 1)
        for z, kz in enumerate(torch.fft.fftfreq(shape[0])):  # plane by plane: there are many terms
            length = (kz**2 + ky**2 + kx**2).sqrt()
            both = self.coverages[0].at(kz, ky, kx)[0] * second.at(kz, ky, kx)[0]
            out[z] = both * band(length, self.first.grid.voxel_ang)
        return out


def working_volume(source: VolumeSource, voxel_ang: float, name: str) -> WorkingVolume:
    """Average a tomogram over cubes of voxels to about 20 Å, a few planes at a time.

    Raises
    ------
    ImageError
        if it holds numbers that are not finite, or nothing.
    """
    step = max(1, round(WORKING_VOXEL_ANG / voxel_ang))
    nz, ny, nx = source.shape
    count = (nz // step, ny // step, nx // step)
    if min(count) < 8:
        raise ImageError(f"{name}: a tomogram of {nx} × {ny} × {nz} voxels", mend="give one of 16 voxels or more")
    out = np.empty(count, np.float32)
    for z in range(count[0]):
        planes = source.block(slice(z * step, (z + 1) * step), slice(0, count[1] * step), slice(0, count[2] * step))
        out[z] = planes.reshape(step, count[1], step, count[2], step).mean(axis=(0, 2, 4))
    if not np.isfinite(out).all():
        raise ImageError(f"{name}: the tomogram holds numbers that are not finite", mend="reconstruct it again")
    some = out[:: max(1, count[0] // 16), ::2, ::2]
    middle = float(np.median(some))
    spread = 1.4826 * float(np.median(np.abs(some - middle)))
    if spread == 0:
        raise ImageError(f"{name}: most of the tomogram's voxels are alike", mend="reconstruct it again")
    np.clip(out, middle - _CLIP * spread, middle + _CLIP * spread, out=out)
    out -= out.mean()
    deviation = float(out.std())
    out /= deviation
    origin = tuple((n // 2 - (step - 1) / 2) / step for n in (nz, ny, nx))
    grid = Grid(shape=count, voxel_ang=step * voxel_ang, origin_px=(origin[0], origin[1], origin[2]))
    return WorkingVolume(voxels=out, grid=grid, deviation=deviation)


def band(frequency: Tensor, voxel_ang: float) -> Tensor:
    """Soft band of frequencies (cycles per voxel) that registration goes by: 600 Å to 50 Å, or what voxels hold."""
    k = frequency / voxel_ang
    high = 1 / max(_FINEST_ANG, _FINEST_PX * voxel_ang)
    low = 1 / _COARSEST_ANG
    return torch.exp(-0.5 * ((k - high).clamp_min(0) / (0.15 * high)) ** 2) * (1 - torch.exp(-0.5 * (k / low) ** 2))
