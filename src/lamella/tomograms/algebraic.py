"""Algebraic reconstruction of a block of voxels: corrections from groups of views, round after round."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.kernels.loops import Loops
from lamella.kernels.rows import RowPlan, RowWindow
from lamella.tomograms.scheme import Scheme

__all__ = ["Iteration", "bytes_held", "ray_lengths"]

Ints = NDArray[np.int64]

_SHORTEST = 0.1  # rays that cross less than this part of the box's thickness say too little
_LEAST_MET = 1e-3  # summed weight below which a voxel counts as met by no ray
_LEAST_CHORD = 1.0  # voxels of a mask on a ray, below which it is not trusted more


class Iteration:
    """x ← x + λ C Pᵀ R (b − P x), group after group of the views; R and C are 1 over the sums of rows and columns of P.

    All views in one group: SIRT (Gilbert 1972, J. Theor. Biol. 36:105; with these weights Gregor & Benson 2008, IEEE
    Trans. Med. Imaging 27:918). One view in each: SART (Andersen & Kak 1984, Ultrason. Imaging 6:81). Between them lie
    ordered subsets (Wang & Jiang 2004, J. X-ray Sci. Technol. 12:169).

    The sum of a voxel's column over a group is at most the number of its views, and at most its sum over all views: the
    smaller of these two stands for it. With one group it is the sum; with more it errs only on the side of smaller
    steps, at the borders of images, and needs no volume for each group.

    A ray that leaves the box through a side is compared by its mean density along the path inside, so that material
    beside the box does not pile up at its border.

    Parameters
    ----------
    plan, window, first, shape
        the rays and the block of voxels.
    data
        image values along the rays, 0 where there is no image; overwritten.
    scheme
        which views correct voxels, in what order, and how far.
    mask
        of the block's shape; voxels where it is 0 stay 0, and rays are taken to cross nothing there.
    """

    def __init__(
        self,
        plan: RowPlan,
        window: RowWindow,
        first: tuple[int, int, int],
        shape: tuple[int, int, int],
        data: Tensor,
        loops: Loops,
        scheme: Scheme,
        mask: Tensor | None = None,
    ) -> None:
        self.plan, self.window, self.first, self.loops, self.scheme = plan, window, first, loops, scheme
        self.parts = [_Part.of(plan, window, group) for group in scheme.groups]
        self.volume = torch.zeros(shape, device=data.device)
        self.correction = torch.empty_like(self.volume)
        self.target = data
        self.residual, self.weighted = torch.zeros_like(data), torch.zeros_like(data)
        self.minus_inverse = self._ray_weights(shape, mask)
        self.steps = self._voxel_weights(mask)
        self.touched = False

    def _ray_weights(self, shape: tuple[int, int, int], mask: Tensor | None) -> Tensor:
        """−1 over the sum of each ray's weights, 0 for rays that are not used; `target` becomes the sum along a ray."""
        sums = torch.zeros_like(self.target)
        self.loops.project(self.correction.fill_(1.0), self.plan, self.window, self.first, sums)
        full, length = ray_lengths(self.plan, shape)
        for view, part in enumerate(_slices(self.window)):
            used = (sums[part] > _SHORTEST * full[view]) & (self.target[part] != 0)
            self.target[part] *= sums[part] * used / length[view]
            if mask is None:
                sums[part] *= used
        if mask is not None:
            met = torch.zeros_like(sums)
            self.loops.project(mask, self.plan, self.window, self.first, met)
            sums = met.clamp_(min=_LEAST_CHORD).mul_(self.target != 0)
        return torch.where(sums > 0, -1 / sums, 0.0)

    def _voxel_weights(self, mask: Tensor | None) -> dict[int, Tensor]:
        """By the number of views in a group: relaxation over the sum of each voxel's weights, 0 where it stays 0."""
        views = np.concatenate(self.scheme.groups)
        used = (self.minus_inverse < 0).float()
        met = torch.empty_like(self.volume)
        whole = _Part.of(self.plan, self.window, views)
        self.loops.back_project(used, whole.plan, whole.window, self.first, met)
        inside = met > _LEAST_MET
        if mask is not None:
            inside &= mask != 0
        relaxation = self.scheme.relaxation
        return {
            size: torch.where(inside, relaxation / met.clamp(min=_LEAST_MET, max=size), 0.0)
            for size in self.scheme.sizes
        }

    def round(self) -> float:
        """One correction from every group; Σ R (b − P x)² of all rays, each as it was before its correction."""
        total = 0.0
        for part, group in zip(self.parts, self.scheme.groups, strict=True):
            total += self._differ(part)
            self.loops.back_project(self.weighted, part.plan, part.window, self.first, self.correction)
            self.volume.addcmul_(self.correction, self.steps[len(group)])
            if self.scheme.sign > 0:
                self.volume.clamp_(min=0)
            elif self.scheme.sign < 0:
                self.volume.clamp_(max=0)
            self.touched = True
        return total

    def misfit(self, views: Ints) -> tuple[float, float]:
        """What some views' mean densities along rays differ by from the voxels', and what they are: mean squares' sums.

        Each frequency k across the tilt axis counts k-fold. A volume holds k times as many terms of frequency k as one
        view's slice through it, so this stands for the error of the volume, of which the views are slices.
        """
        self._differ(_Part.of(self.plan, self.window, views))
        missed = whole = 0.0
        for view in views:
            part = _slices(self.window)[view]
            samples = int(self.window.layout[view, 2])
            step = 1 / (samples * abs(float(self.plan.spacing_u[view])))  # cycles per voxel
            missed += _by_frequency(self.weighted[part].reshape(-1, samples)) * step
            whole += _by_frequency((self.target[part] * self.minus_inverse[part]).reshape(-1, samples)) * step
        return missed, whole

    def _differ(self, part: _Part) -> float:
        """Fill a group's part of `weighted` with R (b − P x); Σ R (b − P x)²."""
        for s in part.slices:
            torch.neg(self.target[s], out=self.residual[s])
        if self.touched:
            self.loops.project(self.volume, part.plan, part.window, self.first, self.residual)
        total = 0.0
        for s in part.slices:
            torch.mul(self.residual[s], self.minus_inverse[s], out=self.weighted[s])
            total -= float(torch.dot(self.residual[s], self.weighted[s]))
        return total


@dataclass(frozen=True, eq=False)
class _Part:
    """Some views' part of the rays, which lie where they lie among all."""

    plan: RowPlan
    window: RowWindow
    slices: list[slice]

    @classmethod
    def of(cls, plan: RowPlan, window: RowWindow, views: Ints) -> _Part:
        """The part of some views; neighbours in the buffer are one slice."""
        slices: list[slice] = []
        for part in sorted((_slices(window)[view] for view in views), key=lambda s: s.start):
            if slices and slices[-1].stop == part.start:
                slices[-1] = slice(slices[-1].start, part.stop)
            else:
                slices.append(part)
        return cls(plan.select(views), window.select(views), slices)


def _slices(window: RowWindow) -> list[slice]:
    return [
        slice(offset, offset + phases * samples * rows)
        for offset, phases, samples, rows, *_rest in window.layout.tolist()
    ]


def _by_frequency(rows: Tensor) -> float:
    """Σ over rows and frequencies of k |F(k)|², k in whole numbers, per sample."""
    terms = torch.fft.rfft(rows, dim=1)
    power = (terms.real.square() + terms.imag.square()).sum(dim=0, dtype=torch.float64)
    numbers = torch.arange(len(power), dtype=torch.float64, device=rows.device)
    return float(torch.dot(power, numbers)) / rows.shape[1]


def ray_lengths(plan: RowPlan, shape: tuple[int, int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per view the sum of weights on a ray through the whole box, and the length of its path in voxel edges."""
    nz, _ny, nx = shape
    cos = np.abs(plan.tau[:, 0] * plan.spacing_u)
    through = np.minimum(nz / np.maximum(cos, 1e-9), nx / np.sqrt(np.maximum(1 - cos**2, 1e-9)))
    steep = plan.phases == 0
    # ψ-weights sum to 1 per plane on stretched rays; steep rays are one voxel apart and sum to their length
    full = np.where(steep, through, nz)
    return full, np.where(steep, through, nz / np.maximum(cos, 1e-9)) / plan.spacing_v  # rays lie cos ξ apart along v


def bytes_held(plan: RowPlan, first: tuple[int, int, int], shape: tuple[int, int, int], scheme: Scheme) -> int:
    """Most bytes that an `Iteration` on a block of that shape holds, its data, its mask and a copy of the result."""
    return 4 * (math.prod(shape) * (4 + len(scheme.sizes)) + 6 * plan.window(first, shape).size)
