"""The classical filters, made ready for one volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.kernels.neighbourhood import ball, bilateral, bilateral_reference, median, median_reference
from lamella.tomograms.classical import METHODS, recipe
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.diffusion import diffuse, diffusion_bytes, halo_px, plan_diffusion
from lamella.tomograms.survey import Samples, Survey

__all__ = ["Filter", "choose_filter", "on_device", "per_voxel"]

Array = NDArray[np.float32]
Size = tuple[int, int, int]


@dataclass(frozen=True)
class Filter:
    """A method made ready for one volume; it works in units of the noise, about the mean.

    Attributes
    ----------
    apply
        denoises a block, halo included.
    halo_px
        how far around it a voxel's result depends on the volume.
    bytes_of
        memory that a block of some size takes.
    align
        blocks begin at multiples of it.
    iterations, contrast, coherence, strength
        as `DenoiseResult` states them.
    """

    apply: Callable[[Array], Array]
    halo_px: int
    bytes_of: Callable[[Size], float]
    align: int = 1
    iterations: int = 1
    contrast: tuple[float, float] | None = None
    coherence: tuple[float, float] | None = None
    strength: float | None = None


def choose_filter(settings: DenoiseSettings, samples: Samples, before: Survey, device: str) -> Filter:
    """Make a classical method ready, of strengths that suit the whole volume."""
    on_cpu = device == "cpu"
    if settings.method == "median":
        radius = settings.size // 2
        if on_cpu:
            return Filter(lambda block: median(block, settings.size), radius, per_voxel(16))
        work = on_device(lambda block: median_reference(block, settings.size), device)
        return Filter(work, radius, per_voxel(20))
    if settings.method == "bilateral":
        radius = int(np.abs(ball(settings.spatial)[0]).max())
        if on_cpu:
            return Filter(lambda block: bilateral(block, settings.spatial, settings.value_range), radius, per_voxel(16))
        return Filter(
            on_device(lambda block: bilateral_reference(block, settings.spatial, settings.value_range), device),
            radius,
            per_voxel(40),
        )
    unit = (samples.blocks - np.float32(before.mean)) / np.float32(before.noise)
    if settings.method in METHODS:
        chosen = recipe(settings, list(unit))
        return Filter(chosen, chosen.halo_px, per_voxel(chosen.bytes_per_voxel), strength=chosen.strength)
    steps = plan_diffusion(unit, settings, before.noise)
    return Filter(
        apply=lambda block: diffuse(block, steps, device),
        halo_px=halo_px(settings),
        bytes_of=lambda shape: diffusion_bytes(shape, settings, device),
        iterations=len(steps),
        contrast=(steps[0].contrast * before.noise, steps[-1].contrast * before.noise),
        coherence=(steps[0].coherence * before.noise**2, steps[-1].coherence * before.noise**2),
    )


def per_voxel(count: float) -> Callable[[Size], float]:
    """Memory of a block, so many bytes for each of its voxels."""
    return lambda shape: float(count) * shape[0] * shape[1] * shape[2]


def on_device(work: Callable[[torch.Tensor], torch.Tensor], device: str) -> Callable[[Array], Array]:
    """Work that is done by torch on a device, for arrays."""

    def apply(block: Array) -> Array:
        return np.asarray(work(torch.from_numpy(block).to(device)).cpu().numpy(), dtype=np.float32)

    return apply
