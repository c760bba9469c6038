"""Nonlinear anisotropic diffusion of a tomogram: what its steps are, and how they are done on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.kernels.diffuse import diffuse_step, edge_strengths, scratch_bytes
from lamella.kernels.diffuse_model import DiffusionModel
from lamella.kernels.diffuse_reference import diffuse_step as diffuse_step_torch
from lamella.tomograms.denoise_settings import DenoiseSettings

__all__ = ["diffuse", "diffusion_bytes", "halo_px", "plan_diffusion"]

Array = NDArray[np.float32]

_CONTRAST_MEDIANS = 2.0  # contrast² in medians of μ₁: noise lies below, the gradients of edges above
_COHERENCE_MEDIANS = 6.0  # coherence in medians of μ₁ − μ₃
_TORCH_BYTES_PER_VOXEL = 220  # the reference's arrays that live at the same time
_INFLUENCE_WIDTHS = 4.0


def plan_diffusion(samples: Array, settings: DenoiseSettings, unit: float) -> list[DiffusionModel]:
    """The model of every step, for the whole volume.

    The noise's own gradients say what an edge is: contrast and coherence, where they are ``auto``, are multiples of
    the median over some samples of the structure tensor's μ₁ and μ₁ − μ₃. Noise falls from step to step, and the two
    with it; so the steps are tried on the samples first.

    Parameters
    ----------
    samples
        ``(n, a, b, c)`` blocks of the volume, in units of `unit`.
    settings
        the user's.
    unit
        grey values in which the volume's unit is 1.
    """
    contrast = None if settings.contrast == "auto" else settings.contrast / unit
    coherence = None if settings.coherence == "auto" else settings.coherence / unit**2
    base = DiffusionModel(
        mode=settings.mode,
        contrast=contrast or 1.0,
        coherence=coherence or 1.0,
        sigma_px=settings.sigma,
        rho_px=settings.rho,
        time_step=settings.time_step,
    )
    if contrast is not None and coherence is not None:
        return [base] * settings.iterations
    blocks, steps = [np.ascontiguousarray(block) for block in samples], []
    for _ in range(settings.iterations):
        mu1, spread = _medians(blocks, base)
        steps.append(
            replace(
                base,
                contrast=contrast or sqrt(_CONTRAST_MEDIANS * mu1),
                coherence=coherence or _COHERENCE_MEDIANS * spread,
            )
        )
        blocks = [diffuse_step(block, steps[-1]) for block in blocks]
    return steps


def _medians(blocks: Sequence[Array], model: DiffusionModel) -> tuple[float, float]:
    """Medians of μ₁ and μ₁ − μ₃ where the volume is not constant."""
    strengths = [edge_strengths(block, model) for block in blocks]
    mu1 = np.concatenate([first.ravel() for first, _ in strengths])
    gap = np.concatenate([second.ravel() for _, second in strengths])
    alive = mu1 > 1e-12
    if not alive.any():
        return 1.0, 1.0
    return float(np.median(mu1[alive])), max(float(np.median(gap[alive])), 1e-12)


def halo_px(settings: DenoiseSettings) -> int:
    """Voxels around a tile that have a say in its result.

    Never more than steps × reach of one step, where the result is exact; usually the width over which diffusion
    spreads, √(2 · time), four times, beside one step's reach: beyond it an influence is below 1e-4 of the noise.
    """
    model = plan_reach(settings)
    spread = ceil(_INFLUENCE_WIDTHS * sqrt(2 * settings.time_step * settings.iterations))
    return min(settings.iterations * model.reach_px, model.reach_px + spread)


def plan_reach(settings: DenoiseSettings) -> DiffusionModel:
    """A model of the settings' widths, for what depends on them alone."""
    return DiffusionModel(mode=settings.mode, contrast=1.0, coherence=1.0, sigma_px=settings.sigma, rho_px=settings.rho)


def diffusion_bytes(shape: tuple[int, int, int], settings: DenoiseSettings, device: str) -> float:
    """Memory for a tile: on a CPU three volumes (one is being read) and the step's rings."""
    voxels = float(np.prod(shape))
    if device != "cpu":
        return _TORCH_BYTES_PER_VOXEL * voxels
    return 12 * voxels + scratch_bytes(shape, plan_reach(settings))


def diffuse(block: Array, steps: Sequence[DiffusionModel], device: str) -> Array:
    """All steps on one block ``(d, h, w)``, which is scratch afterwards."""
    if device == "cpu":
        volume, spare = np.require(block, np.float32, "C"), np.empty(block.shape, np.float32)
        for model in steps:
            diffuse_step(volume, model, spare)
            volume, spare = spare, volume
        return volume
    state = torch.from_numpy(block).to(device)
    for model in steps:
        state = diffuse_step_torch(state, model)
    return np.asarray(state.cpu().numpy(), dtype=np.float32)
