"""How much of a frequency belongs to one view, where several views measure it: exact weights for any tilt angles.

A view is a central slice of the volume's transform. In a slab of finite thickness each slice is as thick as the slab is
thin: view j holds what lies within 1/Lⱼ of its plane, Lⱼ being the length of its rays inside the slab. So at the
frequency K, on the plane of view i, the back-projections of all views add up to

    Σⱼ Lⱼ h(Lⱼ K·nⱼ),    h(x) = max(0, 1 − |x|)

times what one of them holds (nⱼ: direction of view j's rays), and dividing by that sum makes them one. Radermacher
1992 (in *Electron Tomography*, ed. J. Frank) has sinc for h, which dense angles make negative; the triangle, from the
overlap of slices, is that of Harauz & van Heel 1986, Optik 73:146. For evenly spaced angles the sum is 1 / (k Δθ) where
slices overlap: the ramp.

What a view's dose took counts less. With qⱼ the part of the frequency that is left in view j, the weight of view i is

    qᵢ Σⱼ qⱼ² Lⱼ h / (Σⱼ qⱼ Lⱼ h)²,

so that views share a frequency as they hold it, and one that is damaged in all of them, or seen by a damaged view
alone, is not raised to what it was: its noise would be, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from lamella.geometry import TiltGeometry

__all__ = ["Sharing", "share_row", "slab_paths_px"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sharing:
    """What one view shares its frequencies with.

    Attributes
    ----------
    view
        its own place among the views.
    slopes
        ``(n, 2)`` Lⱼ (û·nⱼ, v̂·nⱼ): distance from slice j, in slices' thicknesses, per cycle/voxel along u and v.
    paths
        ``(n,)`` Lⱼ, voxels.
    kept
        ``(entries, n)`` what the dose left in each view, over |k| from 0 to `highest` cycles per voxel; one entry of
        ones where that is unknown.
    highest
        frequency of the last entry.
    rounds
        0: weights as above. Else the amplitude that so many rounds of simultaneous iteration restore, of a frequency
        that is seen by the part µ of all rays: 1 − (1 − µ)^rounds.
    """

    view: int
    slopes: NDArray[np.float32]
    paths: NDArray[np.float32]
    kept: NDArray[np.float32]
    highest: float
    rounds: int = 0

    @classmethod
    def of(
        cls, geometry: TiltGeometry, view: int, paths_px: Array, kept: Array | None, highest: float, rounds: int = 0
    ) -> Sharing:
        """That of one view of a geometry, whose rays are `paths_px` long; `kept` is ``(n, entries)``."""
        rotations = geometry.rotations()
        u, v = _axes(geometry, view)
        slopes = paths_px[:, None] * np.stack([rotations[:, 2] @ u, rotations[:, 2] @ v], axis=1)
        table = np.ones((1, len(geometry))) if kept is None else np.ascontiguousarray(kept.T)
        return cls(
            view=view,
            slopes=slopes.astype(np.float32),
            paths=paths_px.astype(np.float32),
            kept=table.astype(np.float32),
            highest=highest,
            rounds=rounds,
        )

    def weights(self, ku: Tensor, kv: Tensor) -> Tensor:
        """Weights at frequencies in cycles per voxel, on their device."""
        sums, squares, all_rays = (torch.zeros_like(ku) for _ in range(3))
        entries = len(self.kept)
        place = (torch.hypot(ku, kv) * ((entries - 1) / self.highest)).clamp(max=max(entries - 1.001, 0))
        low = place.long()
        kept = torch.from_numpy(self.kept).to(ku.device)

        def left(j: int) -> Tensor:
            column = kept[:, j]
            if entries == 1:
                return column.expand_as(ku)
            found: Tensor = column[low] + (place - low) * (column[low + 1] - column[low])
            return found

        for j, (a, b) in enumerate(self.slopes.tolist()):
            path = float(self.paths[j])
            part = left(j) * path
            seen = part * (1 - (a * ku + b * kv).abs()).clamp(min=0)
            sums += seen
            squares += left(j) * seen
            all_rays += part
        weight: Tensor = left(self.view) * squares / sums**2
        if self.rounds:
            weight *= 1 - (1 - sums / all_rays) ** self.rounds
        return weight


def _axes(geometry: TiltGeometry, view: int) -> tuple[Array, Array]:
    """Directions in the specimen along which u and v are measured: the first two rows of Ry(t) Rx(ξ)."""
    one = geometry.select([view]).with_terms(z_rot_deg=0.0, field=None).rotations()[0]
    return one[0], one[1]


def slab_paths_px(geometry: TiltGeometry, shape: tuple[float, float, float]) -> Array:
    """``(n,)`` lengths of the views' rays inside a slab of (z, y, x) voxels: cut off by its nearest pair of sides."""
    beam = np.abs(geometry.rotations()[:, 2, ::-1])  # (n, zyx)
    out: Array = (np.asarray(shape, np.float64) / np.maximum(beam, 1e-9)).min(axis=1)
    return out


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def share_row(start, step, count, view, slopes, paths, kept, highest, rounds, out):  # type: ignore[no-untyped-def]
    """Weights of `count` frequencies (ku, kv) = start + i·step into `out`: the loop of `Sharing.weights`."""
    entries, views = kept.shape
    scale = np.float32((entries - 1) / highest)
    one, nothing = np.float32(1), np.float32(0)
    for i in range(count):
        ku, kv = np.float32(start[0] + i * step[0]), np.float32(start[1] + i * step[1])
        low, part = 0, nothing
        if entries > 1:
            place = min(np.sqrt(ku * ku + kv * kv) * scale, np.float32(entries - 1.001))
            low = int(place)
            part = place - np.float32(low)
        near, far = kept[low], kept[min(low + 1, entries - 1)]
        sums, squares, all_rays = nothing, nothing, nothing
        for j in range(views):
            left = near[j] + part * (far[j] - near[j])
            seen = left * paths[j]
            all_rays += seen
            seen *= max(one - abs(slopes[j, 0] * ku + slopes[j, 1] * kv), nothing)
            sums += seen
            squares += left * seen
        weight = (near[view] + part * (far[view] - near[view])) * squares / (sums * sums)
        if rounds:
            weight *= one - (one - sums / all_rays) ** rounds
        out[i] = weight
