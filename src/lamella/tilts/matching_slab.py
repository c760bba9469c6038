"""What the views of a slab share: the covariance of their Fourier terms, measured from the series itself.

Views are central slices of the specimen's transform. At a frequency k of the slab's plane the slices of views v and w
stand at heights that differ by k · (s_v − s_w), with s the views' slopes; a slab of thickness T is correlated over
1 / T along kz. With signal, noise and a Gaussian process along kz the covariance of n views is n × n at each k, and its
inverse predicts every view from all the others with the right weights: no missing wedge, no filter to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.tilts.links import neighbour_links
from lamella.tilts.matching_cut import Frequencies, PatchTerms

__all__ = ["SlabModel", "measure_slab_model"]

Array = NDArray[np.float64]

_THINNEST_ANG = 150.0  # slab that is tried, and up to 64 times as thick
_LEAST_SHARED = 0.01  # coherence below which a ring is noise
_MOST_SHARED = 0.97
_LEAST_OF_MOST = 0.1  # and below this part of the most coherent ring's
_COARSEST_RINGS = 1.5
_STEPS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class SlabModel:
    """Power and coherence of the views, by rings of the frequency in the images.

    Attributes
    ----------
    power
        ``(n, r)`` of each view's terms by ring.
    coherence
        ``(n, r)`` signal's part of it, 0…1.
    thickness_ang
        of the slab.
    step_per_ang
        width of a ring, cycles/Å.
    blur_per_ang
        standard deviation of the window's power spectrum along one axis, cycles/Å.
    significance
        of what the views share, in standard deviations of chance.
    """

    power: Tensor
    coherence: Tensor
    thickness_ang: float
    step_per_ang: float
    blur_per_ang: float
    significance: float = 0.0

    def rings(self, frequencies: Frequencies, plane: Array) -> Tensor:
        """``(n, k)`` ring of each term of a patch's plane in each view."""
        return image_rings(frequencies, plane, self.step_per_ang, self.power.shape[1])

    def useful(self, frequencies: Frequencies, plane: Array) -> Tensor:
        """``(k,)`` which terms two views share at least."""
        own = torch.gather(self.coherence, 1, self.rings(frequencies, plane))
        return (own > 0).sum(dim=0) >= 2

    def whitened(self, terms: Tensor, frequencies: Frequencies, plane: Array) -> Tensor:
        """Terms ``(n, k)`` whose mean square is 1 in every view and ring."""
        return terms * torch.gather(self.power, 1, self.rings(frequencies, plane)).clamp_min(1e-20).rsqrt()

    def covariance(self, slopes: Array, frequencies: Frequencies, plane: Array) -> Tensor:
        """``(k, n, n)`` of whitened terms."""
        apart = torch.from_numpy(slopes[:, None] - slopes[None]).float().flatten(0, 1)
        shared = _shared(apart, frequencies, self.thickness_ang, self.blur_per_ang).T
        # across a window's width there is no telling slow changes of brightness from detail
        detail = 1 - torch.exp(-0.5 * (frequencies.ring / _COARSEST_RINGS) ** 2)
        root = (torch.gather(self.coherence, 1, self.rings(frequencies, plane)) * detail).sqrt().T  # (k, n)
        out: Tensor = shared.reshape(len(frequencies), len(slopes), -1) * root[:, :, None] * root[:, None]
        out.diagonal(dim1=1, dim2=2).fill_(1.0)
        return out


def image_rings(frequencies: Frequencies, plane: Array, step_per_ang: float, rings: int) -> Tensor:
    """``(n, k)`` ring of |frequency| in the images: a view tilted more shows a plane's detail finer."""
    inverse = torch.from_numpy(np.linalg.inv(plane)).float()  # k_image = plane⁻ᵀ k
    seen = torch.einsum("nij,ki->nkj", inverse, frequencies.k_per_ang)
    length: Tensor = torch.linalg.vector_norm(seen, dim=-1)
    return (length / step_per_ang).round().long().clamp(max=rings - 1)


def _shared(apart: Tensor, frequencies: Frequencies, thickness_ang: float, blur_per_ang: float) -> Tensor:
    """``(l, k)`` correlation of noiseless slices as a window sees them, for slopes ``(l, 2)`` apart.

    exp(−a (k · Δs)²), a = 2π² T² / 12: the slab's density spread over z as a Gaussian of the slab's variance
    (`lamella.tilts.slab`), averaged over the frequencies that the window mixes, k ± its blur.
    """
    narrow = 2 * np.pi**2 * thickness_ang**2 / 12
    mixed = 1 + 2 * narrow * blur_per_ang**2 * (apart**2).sum(dim=-1, keepdim=True)
    return torch.exp(-narrow * (apart @ frequencies.k_per_ang.T) ** 2 / mixed) / mixed.sqrt()


def measure_slab_model(
    patches: Sequence[PatchTerms],
    slopes: Array,
    plane: Array,
    order: NDArray[np.int64],
    frequencies: Frequencies,
    blur_per_ang: float,
    independent: float,
    thickness_ang: float = 0.0,
) -> SlabModel:
    """Power, coherence and thickness of some patches as the views lie now.

    Parameters
    ----------
    patches
        of all frequencies that may be used.
    slopes, plane
        ``(n, 2)`` and ``(n, 2, 2)`` of the plane in which they lie.
    order
        ``(n,)`` views by rising tilt.
    frequencies
        of the patches' terms.
    blur_per_ang, independent
        of the patches' window: `Cutter.blur_per_ang`, `Cutter.independent`.
    thickness_ang
        of the slab; 0 fits it.

    Notes
    -----
    Where views are still misplaced by d, detail finer than about 4 d is not coherent and gets no weight, so that
    matching goes from coarse detail to fine by itself. Coherence is ring(r) · view(v): least squares over the pairs of
    near views, the thickness the one that leaves the least. It is followed outwards up to the ring where it first
    vanishes: beyond the first zero of the contrast transfer the sign of what two views share depends on how far each
    is tilted.
    """
    n, rings = len(order), int(frequencies.ring.max()) + 1
    step = float(frequencies.k_per_ang.norm(dim=-1).max()) / (rings - 1)
    own = image_rings(frequencies, plane, step, rings)
    seen = torch.from_numpy(np.stack([patch.seen for patch in patches])).float()  # (p, n)
    squares = torch.stack([patch.terms.abs() ** 2 for patch in patches]).sum(dim=0) * frequencies.count
    counts = frequencies.count.expand_as(squares)
    power = _summed(squares, own, rings) / _summed(counts, own, rings).clamp_min(1e-9)
    power = _smoothed(power) / seen.sum(dim=0).clamp_min(1)[:, None]
    model = SlabModel(power, torch.ones_like(power), thickness_ang, step, blur_per_ang)
    pairs = torch.from_numpy(neighbour_links(order, _STEPS))
    first, second = pairs[:, 0], pairs[:, 1]
    products = torch.zeros(len(pairs), len(frequencies))
    for patch in patches:
        white = model.whitened(patch.terms, frequencies, plane)
        products += (white[first] * white[second].conj()).real
    seen_pairs = (seen.T @ seen)[first, second][:, None]
    ring = torch.div(own[first] + own[second] + 1, 2, rounding_mode="floor")
    apart = torch.from_numpy(slopes).float()
    apart = apart[first] - apart[second]
    tries = [thickness_ang] if thickness_ang else list(_THINNEST_ANG * 2 ** np.arange(0, 6.01, 1 / 6))
    best: tuple[float, float, Tensor, Tensor] | None = None
    for thickness in tries:
        expected = _shared(apart, frequencies, float(thickness), blur_per_ang)
        # Σ over a ring: data times model and model times model, each pair as often as it was seen
        found = _summed(products * expected * frequencies.count, ring, rings)
        norm = _summed(expected**2 * frequencies.count, ring, rings) * seen_pairs
        gain = float((found.sum(dim=0).clamp_min(0) ** 2 / norm.sum(dim=0).clamp_min(1e-9)).sum())
        if best is None or gain > best[0]:
            best = gain, float(thickness), found, norm
    assert best is not None  # one thickness is tried at least
    # products of unrelated terms of power 1 have the variance ½; what patches that overlap share counts once
    chance = (0.5 * best[3][:, 2:].sum() / independent).sqrt()
    significance = float(best[2][:, 2:].sum() / chance.clamp_min(1e-9))
    return SlabModel(power, _coherence(best[2], best[3], pairs, n), best[1], step, blur_per_ang, significance)


def _coherence(found: Tensor, norm: Tensor, pairs: Tensor, n: int) -> Tensor:
    """``(n, r)`` coherence of each view from the sums over rings of its pairs."""
    curve = (found.sum(dim=0) / norm.sum(dim=0).clamp_min(1e-9)).clamp_min(0)
    least = max(_LEAST_SHARED, _LEAST_OF_MOST * float(curve[2:].max()))
    dead = torch.nonzero((curve < least) & (torch.arange(len(curve)) > 3))
    if len(dead):
        curve[int(dead[0]) :] = 0
    # how much more or less than the others a view shares, from its pairs: u_v u_w = found / expected
    wanted, have = (found * curve).sum(dim=1), (norm * curve**2).sum(dim=1)
    strength = torch.ones(n)
    for _ in range(30):
        top, bottom = torch.zeros(n), torch.zeros(n)
        for here, there in ((pairs[:, 0], pairs[:, 1]), (pairs[:, 1], pairs[:, 0])):
            top.index_add_(0, here, wanted * strength[there])
            bottom.index_add_(0, here, have * strength[there] ** 2)
        strength = 0.5 * strength + 0.5 * (top / bottom.clamp_min(1e-9)).clamp(0.05, 3.0)
    return (strength[:, None] ** 2 * curve[None]).clamp(0, _MOST_SHARED)


def _summed(values: Tensor, ring: Tensor, rings: int) -> Tensor:
    """``(l, r)`` sums of ``(l, k)`` values over rings ``(l, k)``."""
    return torch.zeros(len(values), rings).scatter_add_(1, ring, values.float())


def _smoothed(curves: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool1d(curves[None], 3, 1, 1, count_include_pad=False)[0]
