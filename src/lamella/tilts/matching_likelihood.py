"""How well patches agree, all views at once: the likelihood of a slab's views, its gradient, and what it tells.

With the whitened terms of n views brought together, f(k) = (F_v(k) · exp(2πi k · d_v)), and their covariance C(k), the
log-likelihood of the displacements d is −Σ f* C⁻¹ f up to a constant. (C⁻¹ f)_v is the difference of view v from its
prediction by all the others, over that prediction's variance: the gradient matches every view with the reprojection of
the others. What is expected of the curvature is Fisher's information, 2 (2π)² Σ k kᵀ (C⁻¹ ∘ C − 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.tilts.matching_cut import Frequencies

__all__ = ["PatchLikelihood", "Weights"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Weights:
    """The inverse covariance of some views, kept as that of all of them, and the information that follows from it.

    Attributes
    ----------
    precision
        ``(k, n, n)`` float32, of all views: one for all patches.
    hidden
        ``(u,)`` views that are not seen.
    information
        ``(n, 2, n, 2)`` Fisher's, of displacements, Å⁻².
    """

    precision: Tensor
    hidden: Tensor
    information: Array

    @classmethod
    def of(cls, covariance: Tensor, precision: Tensor, seen: NDArray[np.bool_], frequencies: Frequencies) -> Weights:
        """From all views' covariances and inverses ``(k, n, n)``, the views that are not seen taken out."""
        hidden = torch.from_numpy(np.flatnonzero(~seen))
        shared = _without(precision, precision, hidden) * covariance
        shared -= torch.diag(torch.from_numpy(seen).float())
        k = frequencies.k_per_ang
        weight = 2 * (2 * np.pi) ** 2 * frequencies.count
        parts = torch.stack([weight * k[:, i] * k[:, j] for i, j in ((0, 0), (0, 1), (1, 1))])  # (3, k)
        xx, xy, yy = (parts @ shared.flatten(1)).reshape(3, len(seen), len(seen)).double().numpy()
        information = np.empty((len(seen), 2, len(seen), 2))
        information[:, 0, :, 0], information[:, 1, :, 1] = xx, yy
        information[:, 0, :, 1] = information[:, 1, :, 0] = xy
        # moving all views alike changes nothing: rows add up to 0, to the last bit
        information[np.arange(len(seen)), :, np.arange(len(seen))] -= information.sum(axis=2)
        return cls(precision, hidden, information)

    def applied(self, terms: Tensor) -> Tensor:
        """``(k, n, 2)`` inverse covariance of the seen views times terms, which are 0 in those that are not."""
        return _without(self.precision, torch.bmm(self.precision, terms), self.hidden)


def _without(precision: Tensor, product: Tensor, hidden: Tensor) -> Tensor:
    """A product ``(k, n, m)`` of the inverse covariance P turned into that of the seen views alone.

    (C_ss)⁻¹ = P_ss − P_su P_uu⁻¹ P_us.
    """
    if not len(hidden):
        return product
    across = precision[:, :, hidden]
    return product - torch.bmm(across, torch.linalg.solve(across[:, hidden], product[:, hidden]))


@dataclass(frozen=True, eq=False)
class PatchLikelihood:
    """The likelihood of one patch's displacements.

    Attributes
    ----------
    terms
        ``(n, k)`` whitened.
    weights
        of the views that show it.
    frequencies
        of the terms.
    """

    terms: Tensor
    weights: Weights
    frequencies: Frequencies

    def gradient(self, displacement_ang: Array) -> tuple[float, Array]:
        """Log-likelihood, and its gradient ``(n, 2)``, Å⁻¹, at displacements ``(n, 2)`` in the patch's plane, Å."""
        k, count = self.frequencies.k_per_ang, self.frequencies.count
        angle = 2 * np.pi * (torch.from_numpy(displacement_ang).float() @ k.T)
        together = (self.terms * torch.polar(torch.ones_like(angle), angle)).T.contiguous()  # (k, n)
        parts = torch.view_as_real(together)  # (k, n, 2)
        differing = torch.view_as_complex(self.weights.applied(parts).contiguous())
        product = together.conj() * differing
        value = -float((product.real.sum(dim=1) * count).double().sum())
        slope = -4 * np.pi * (product.imag * count[:, None]).T.double() @ k.double()
        return value, slope.numpy()
