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
    """The covariance of some views, inverted, and the information that follows from it.

    Attributes
    ----------
    precision
        ``(k, n, n)`` float32; views that are not seen stand alone.
    information
        ``(n, 2, n, 2)`` Fisher's, of displacements, Å⁻².
    """

    precision: Tensor
    information: Array

    @classmethod
    def of(cls, covariance: Tensor, seen: NDArray[np.bool_], frequencies: Frequencies) -> Weights:
        """From ``(k, n, n)`` covariances, with the views that are not seen taken out."""
        use = torch.from_numpy(seen).float()
        both = use[:, None] * use
        cov = covariance * both + torch.diag(1 - use)
        precision = torch.linalg.inv(cov)
        k = frequencies.k_per_ang
        shared = precision * cov - torch.eye(len(seen))
        weight = 2 * (2 * np.pi) ** 2 * frequencies.count
        parts = torch.stack([weight * k[:, i] * k[:, j] for i, j in ((0, 0), (0, 1), (1, 1))])  # (3, k)
        xx, xy, yy = (parts @ shared.flatten(1)).reshape(3, *both.shape).double().numpy()
        information = np.empty((len(seen), 2, len(seen), 2))
        information[:, 0, :, 0], information[:, 1, :, 1] = xx, yy
        information[:, 0, :, 1] = information[:, 1, :, 0] = xy
        # moving all views alike changes nothing: rows add up to 0, to the last bit
        information[np.arange(len(seen)), :, np.arange(len(seen))] -= information.sum(axis=2)
        return cls(precision, information)


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
        differing = torch.view_as_complex(torch.bmm(self.weights.precision, parts))
        product = together.conj() * differing
        value = -float((product.real.sum(dim=1) * count).double().sum())
        slope = -4 * np.pi * (product.imag * count[:, None]).T.double() @ k.double()
        return value, slope.numpy()
