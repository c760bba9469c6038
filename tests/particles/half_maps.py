"""Half maps with known truth: a signal of known falloff within a body, and independent noise."""

from __future__ import annotations

import numpy as np
import torch

from lamella.fourier import apply_filter, frequency_grid, soft_mask

__all__ = ["body_signal", "with_noise"]


def body_signal(
    size: int, radius_px: float, voxel_size_ang: float, b_factor_ang2: float, rng: np.random.Generator
) -> np.ndarray:
    """Random density (atoms at random places) within a ball, damped by exp(−B k² / 4)."""
    shape = (size,) * 3
    atoms = torch.from_numpy(np.abs(rng.normal(size=shape)).astype(np.float32)) * soft_mask(shape, radius_px, 3)
    k = frequency_grid(shape) / voxel_size_ang
    return apply_filter(atoms, torch.exp(-b_factor_ang2 * k**2 / 4)).numpy()


def with_noise(signal: np.ndarray, sigma: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two copies, each with white noise of its own."""
    one, two = ((signal + sigma * rng.normal(size=signal.shape)).astype(np.float32) for _ in range(2))
    return one, two
