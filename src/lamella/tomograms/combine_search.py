"""About how one tomogram lies on another: every turn in the plane, any shift, both hands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from torch import Tensor

from lamella.fourier import fast_size, frequency_grid, shell_index
from lamella.geometry import rotation_z
from lamella.progress import Progress
from lamella.tomograms.combine_rigid import RigidMotion
from lamella.tomograms.combine_working import WorkingPair, WorkingVolume, band

__all__ = ["Found", "search_motion", "whitened", "whitening"]

Array = NDArray[np.float64]
Voxels = NDArray[np.float32]

_STEP_DEG = 2.0
_CANDIDATES = 3
_MARGIN_DEG = 6.0  # about a turn that is stated
_OTHER_HAND = 1.3  # by how much a mirrored tomogram must correlate better


@dataclass(frozen=True, kw_only=True)
class Found:
    """Where the search ended.

    Attributes
    ----------
    motion
        a turn in the plane and a shift.
    correlation, mirrored_correlation
        of the two volumes in the frequencies that both measure, as the second is and with z turned to −z.
    mirrored_turn_deg
        the turn under which the mirrored one correlates best.
    """

    motion: RigidMotion
    correlation: float
    mirrored_correlation: float
    mirrored_turn_deg: float

    @property
    def mirrored(self) -> bool:
        """Whether the two tomograms have opposite hands."""
        return self.mirrored_correlation > _OTHER_HAND * max(self.correlation, 0.0)


def search_motion(pair: WorkingPair, turn_deg: float | None, progress: Progress) -> Found:
    """Find the turn and the shift under which two tomograms correlate best.

    Parameters
    ----------
    turn_deg
        about how far the specimen was turned from the first to the second; None: any turn.

    Notes
    -----
    Sums along z hold what both series measure whole, the plane kz = 0, so their correlation over all turns shows the
    few that are possible; a correlation of the volumes under each, in the frequencies that both measure, decides, and
    finds the depth and the hand. All spectra are whitened shell by shell.
    """
    turns = _turns(pair.first, pair.second, turn_deg, progress)
    best, mirrored = (
        max((_in_depth(one, turn, shift) for turn, shift in turns), key=lambda found: found[1])
        for one in (pair, pair.mirrored())
    )
    progress(1.0, "turn found")
    return Found(
        motion=best[0],
        correlation=best[1],
        mirrored_correlation=mirrored[1],
        mirrored_turn_deg=mirrored[0].turn_deg,
    )


def whitened(terms: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Spectra `(..., y, x // 2 + 1)` divided by the rms amplitude of their shells; the terms are overwritten."""
    inner = terms.ndim - len(shape)
    power = torch.zeros(terms.shape[inner:])
    for one in terms.reshape(-1, *terms.shape[inner:]):
        power += one.real**2
        power += one.imag**2
    return terms.mul_(whitening(power / max(1, int(np.prod(terms.shape[:inner]))), shape))


def whitening(power: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What spectra of some power `(y, x // 2 + 1)` or `(z, y, x // 2 + 1)` are multiplied by to be white."""
    index = shell_index(shape, power.device).flatten()
    count = torch.bincount(index).clamp_min(1)
    mean = torch.bincount(index, power.flatten().double()) / count
    return mean.sqrt().clamp_min(1e-20).reciprocal().float()[index].reshape(power.shape)


def _turns(
    first: WorkingVolume, second: WorkingVolume, turn_deg: float | None, progress: Progress
) -> list[tuple[float, Array]]:
    """The likeliest turns in degrees, each with its shift (x, y) in Å, the best first."""
    size = fast_size(int(1.5 * max(*first.grid.shape[1:], *second.grid.shape[1:])))
    one, other = _sheet(first, size), _sheet(second, size)
    weight = band(frequency_grid((size, size)), first.grid.voxel_ang)
    terms = whitened(torch.fft.rfft2(torch.from_numpy(one)), (size, size)) * weight
    span = (0.0, 360.0) if turn_deg is None else (turn_deg - _MARGIN_DEG, turn_deg + _MARGIN_DEG)
    grid = np.arange(*span, _STEP_DEG)
    scores = []
    for number, turn in enumerate(grid):
        scores.append(_flat_score(terms, other, float(turn), weight))
        progress(0.8 * number / len(grid), "searching the turn")
    chosen: list[tuple[float, Array]] = []
    for place in np.argsort([-score for score, _ in scores]):
        turn = float(grid[place])
        if all(abs((turn - known + 180) % 360 - 180) > 3 * _STEP_DEG for known, _ in chosen):
            fine = turn + np.arange(-1.5, 1.51, 0.5) * _STEP_DEG / 2
            _score, best = max((_flat_score(terms, other, float(a), weight)[0], float(a)) for a in fine)
            chosen.append((best, _flat_score(terms, other, best, weight)[1] * first.grid.voxel_ang))
        if len(chosen) == _CANDIDATES:
            break
    return chosen


def _sheet(volume: WorkingVolume, size: int) -> Voxels:
    """The sum along z, its sides faded out, with the centre voxel at size // 2."""
    sheet = volume.voxels.sum(axis=0)
    ny, nx = sheet.shape
    fade = [np.clip(np.minimum(np.arange(n), n - 1 - np.arange(n)) / (n / 16), 0, 1) for n in (ny, nx)]
    sheet = (sheet - sheet.mean()) * fade[0][:, None] * fade[1]
    # the centre stands between pixels where cubes of voxels were averaged
    offset = volume.grid.origin[1:] - size // 2
    out: Voxels = affine_transform(sheet.astype(np.float32), np.ones(2), offset, (size, size), order=1)
    return out


def _flat_score(terms: Tensor, other: Voxels, turn_deg: float, weight: Tensor) -> tuple[float, Array]:
    """Best correlation at one turn, and the shift (x, y) in pixels there."""
    size = other.shape[0]
    cos, sin = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    back = np.array([[cos, sin], [-sin, cos]])  # (y, x): p2 = Rz(turn) · p1
    turned = affine_transform(other, back, size // 2 - back @ np.full(2, size // 2), order=1)
    there = whitened(torch.fft.rfft2(torch.from_numpy(turned)), (size, size)) * weight
    correlation = torch.fft.irfft2(terms * there.conj(), s=(size, size)) / _norm(terms, there, (size, size))
    place = int(correlation.argmax())
    shift = np.array([place % size, place // size], np.float64)
    return float(correlation.max()), np.where(shift > size / 2, shift - size, shift)


def _in_depth(pair: WorkingPair, turn_deg: float, shift_ang: Array) -> tuple[RigidMotion, float]:
    """The motion with its depth, and the correlation of the volumes."""
    motion = RigidMotion(rotation=rotation_z(-turn_deg), shift_ang=np.array([*shift_ang, 0.0]))
    grid = pair.first.grid
    nz, ny, nx = grid.shape
    depth = fast_size(nz + pair.second.grid.shape[0] // 2)
    shape = (depth, ny, nx)
    weight = pair.weights(motion, shape)

    moved, inside = pair.laid_on(motion, None, depth)
    moved *= inside
    del inside
    there = whitened(torch.fft.rfftn(torch.from_numpy(moved)), shape).mul_(weight)
    del moved
    one = np.zeros(shape, np.float32)
    fade = np.clip(np.minimum(np.arange(nx), nx - 1 - np.arange(nx)) / 8, 0, 1).astype(np.float32)
    np.multiply(pair.first.voxels, fade, out=one[:nz])
    here = whitened(torch.fft.rfftn(torch.from_numpy(one)), shape).mul_(weight)
    norm = _norm(here, there, shape)
    del one, weight
    product = here.mul_(there.conj())
    del here, there
    correlation = torch.fft.irfftn(product, s=shape)
    correlation /= norm
    del product
    reach = 8  # pixels in the plane: the sheets have found it already
    around = torch.arange(-reach, reach + 1)
    near = correlation[:, around % ny][:, :, around % nx]
    place = np.array(np.unravel_index(int(near.argmax()), near.shape), np.float64) - (0, reach, reach)
    place[0] -= depth if place[0] > depth / 2 else 0
    change = place[::-1] * grid.voxel_ang
    return RigidMotion(rotation=motion.rotation, shift_ang=motion.shift_ang + change), float(near.max())


def _norm(a: Tensor, b: Tensor, shape: tuple[int, ...]) -> float:
    """What the inverse transform of a · b* is divided by to be a correlation coefficient."""
    double = torch.full((a.shape[-1],), 2.0)
    double[0] = 1.0
    if shape[-1] % 2 == 0:
        double[-1] = 1.0
    power = [
        sum(
            float((plane.abs().square() * double).sum(dtype=torch.float64))
            for plane in part.reshape(-1, *part.shape[-2:])
        )
        for part in (a, b)
    ]
    return max(float(np.sqrt(power[0] * power[1])) / float(np.prod(shape)), 1e-30)
