"""What one step of nonlinear anisotropic diffusion does: the parameters that its implementations share.

The scheme, its sources and the proof of its stability stand in `docs/explanation/denoising.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["EDGE_CONSTANT", "MAX_TIME_STEP", "DiffusionModel", "cosine_third", "gaussian_weights"]

MAX_TIME_STEP = 1.0 / 6.0
"""Explicit steps up to this never raise the variance: eigenvalues of D ≤ 1, those of the 7-point Laplacian ≤ 12."""

EDGE_CONSTANT = 3.31488
"""Makes the flux s·g(s) rise for s below the contrast and fall above it (Weickert 1998, eq. 5.49, exponent 4)."""

_TRUNCATE = 3.0


@dataclass(frozen=True, kw_only=True)
class DiffusionModel:
    """One explicit step u + time_step · div(D ∇u).

    Attributes
    ----------
    mode
        ``eed``: edge-enhancing, ``ced``: coherence-enhancing, ``hybrid``: the first where nothing is coherent, the
        second on coherent structures.
    contrast
        gradient above which EED stops to smooth across an edge, grey values per voxel.
    coherence
        difference μ₁ − μ₃ of the structure tensor's eigenvalues at which CED begins, (grey values per voxel)².
    sigma_px, rho_px
        Gaussian width before the gradient is taken, and that over which the structure tensor is averaged; 0 for none.
    time_step
        at most `MAX_TIME_STEP`.
    alpha
        CED's smoothing across structures, 0…1.
    """

    mode: Literal["eed", "ced", "hybrid"]
    contrast: float
    coherence: float
    sigma_px: float = 1.0
    rho_px: float = 2.0
    time_step: float = 0.1
    alpha: float = 0.001

    def __post_init__(self) -> None:
        if not 0 < self.time_step <= MAX_TIME_STEP:
            raise ValueError(f"a time step of {self.time_step} is outside (0, {MAX_TIME_STEP:.4f}]")
        if self.contrast <= 0 or self.coherence <= 0:
            raise ValueError(f"contrast {self.contrast} and coherence {self.coherence} must be positive")

    @property
    def reach_px(self) -> int:
        """How far one step sees, voxels."""
        return len(gaussian_weights(self.sigma_px)) + len(gaussian_weights(self.rho_px))


def gaussian_weights(width_px: float) -> NDArray[np.float32]:
    """``(radius + 1,)`` weights of a normalised Gaussian at 0, 1, …; cut at three widths."""
    radius = ceil(_TRUNCATE * width_px)
    half = np.exp(-0.5 * (np.arange(radius + 1) / max(width_px, 1e-6)) ** 2)
    return np.asarray(half / (2 * half.sum() - half[0]), dtype=np.float32)


def _cosine_third_polynomial(degree: int = 9) -> tuple[float, ...]:
    """Coefficients, lowest first, of cos(⅔ acos t) on 0 ≤ t ≤ 1: it is analytic there, so few terms do."""
    interpolant = np.polynomial.Chebyshev.interpolate(
        lambda t: np.cos(2 / 3 * np.arccos(np.clip(t, -1, 1))), degree, domain=[0, 1]
    )
    return tuple(float(c) for c in interpolant.convert(kind=np.polynomial.Polynomial).coef)


cosine_third = _cosine_third_polynomial()
"""cos(⅓ acos r) = Σ cosine_third[k] tᵏ with t = √((1 + r)/2): eigenvalues of a 3 × 3 matrix, no branch."""
