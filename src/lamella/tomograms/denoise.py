"""Denoise a tomogram tile by tile: anisotropic diffusion, bilateral filter, median."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import ImageError, PostconditionError
from lamella.kernels.neighbourhood import ball, bilateral, bilateral_reference, median, median_reference
from lamella.progress import Progress, no_progress
from lamella.records import VolumeSink, VolumeSource
from lamella.runtime import choose_device, free_memory_bytes, prepare
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.diffusion import diffuse, diffusion_bytes, halo_px, plan_diffusion
from lamella.tomograms.survey import Samples, Survey, noise_sd, survey
from lamella.tomograms.tiles import Tile, plan_tiles

__all__ = ["DenoiseResult", "denoise"]

Array = NDArray[np.float32]
Size = tuple[int, int, int]

_MEAN_TOLERANCE = 0.1  # of the noise's standard deviation: a median moves the mean of skewed noise, nothing else may


@dataclass(frozen=True, kw_only=True)
class DenoiseResult:
    """What was done to a volume.

    Attributes
    ----------
    method, mode
        as in the settings; mode is empty unless the method is nad.
    noise_before, noise_after
        robust standard deviation of what is finer than a Gaussian of 3 voxels, grey values.
    mean
        of the whole volume, before; after it is the same.
    iterations
        steps done: 1 for a filter.
    contrast, coherence
        nad: of the first step and of the last, grey values per voxel and their square.
    tiles, halo_px
        number of tiles, and how far each reads beyond what it keeps.
    device
        where the work was done.
    """

    method: str
    mode: str
    noise_before: float
    noise_after: float
    mean: float
    iterations: int
    contrast: tuple[float, float] | None
    coherence: tuple[float, float] | None
    tiles: int
    halo_px: int
    device: str


@dataclass(frozen=True)
class _Filter:
    """A method made ready for one volume; it works in units of the noise, about the mean."""

    apply: Callable[[Array], Array]
    halo_px: int
    bytes_of: Callable[[Size], float]
    iterations: int = 1
    contrast: tuple[float, float] | None = None
    coherence: tuple[float, float] | None = None


def denoise(
    volume: VolumeSource,
    settings: DenoiseSettings,
    sink: VolumeSink,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> DenoiseResult:
    """Denoise a volume, contrast of either sign, block by block.

    Parameters
    ----------
    volume
        `(z, y, x)`, any linear grey values.
    settings
        method and strength.
    sink
        takes the result, each block once.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        told after every tile.

    Raises
    ------
    ImageError
        if the volume is empty, constant, or holds a voxel that is not finite.
    SettingsError
        if the memory allowed does not hold the smallest tiles.
    PostconditionError
        if the result is not finite, constant, of another mean, or as noisy as before.

    Notes
    -----
    Noise, contrast and coherence are found once for the whole volume, so that tiles agree. A tile reads a halo as wide
    as what can change its core, so that no seam shows. Formulas: `docs/explanation/denoising.md`.
    """
    if min(volume.shape) == 0:
        raise ImageError(f"a volume of shape {volume.shape}", mend="reconstruct the tomogram again")
    prepare()
    device = choose_device(device)
    samples = Samples.of(volume)
    before = survey(volume, samples)
    work = _filter(settings, samples, before, device)
    tiles = plan_tiles(volume.shape, work.halo_px, work.bytes_of, _budget_bytes(settings, device))
    after, moved, total = _run(volume, sink, work, tiles, samples, before, progress)
    _check(before, noise_sd(after.blocks), moved / total, settings)
    return DenoiseResult(
        method=settings.method,
        mode=settings.mode if settings.method == "nad" else "",
        noise_before=before.noise,
        noise_after=noise_sd(after.blocks),
        mean=before.mean,
        iterations=work.iterations,
        contrast=work.contrast,
        coherence=work.coherence,
        tiles=len(tiles),
        halo_px=work.halo_px,
        device=device,
    )


def _filter(settings: DenoiseSettings, samples: Samples, before: Survey, device: str) -> _Filter:
    """Make the chosen method ready."""
    on_cpu = device == "cpu"
    if settings.method == "median":
        radius = settings.size // 2
        if on_cpu:
            return _Filter(lambda block: median(block, settings.size), radius, _per_voxel(16))
        on_device = _on_device(lambda block: median_reference(block, settings.size), device)
        return _Filter(on_device, radius, _per_voxel(20))
    if settings.method == "bilateral":
        radius = int(np.abs(ball(settings.spatial)[0]).max())
        if on_cpu:
            return _Filter(
                lambda block: bilateral(block, settings.spatial, settings.value_range), radius, _per_voxel(16)
            )
        return _Filter(
            _on_device(lambda block: bilateral_reference(block, settings.spatial, settings.value_range), device),
            radius,
            _per_voxel(40),
        )
    unit = (samples.blocks - np.float32(before.mean)) / np.float32(before.noise)
    steps = plan_diffusion(unit, settings, before.noise)
    return _Filter(
        apply=lambda block: diffuse(block, steps, device),
        halo_px=halo_px(settings),
        bytes_of=lambda shape: diffusion_bytes(shape, settings, device),
        iterations=len(steps),
        contrast=(steps[0].contrast * before.noise, steps[-1].contrast * before.noise),
        coherence=(steps[0].coherence * before.noise**2, steps[-1].coherence * before.noise**2),
    )


def _per_voxel(count: int) -> Callable[[Size], float]:
    return lambda shape: float(count) * shape[0] * shape[1] * shape[2]


def _on_device(work: Callable[[torch.Tensor], torch.Tensor], device: str) -> Callable[[Array], Array]:
    def apply(block: Array) -> Array:
        return np.asarray(work(torch.from_numpy(block).to(device)).cpu().numpy(), dtype=np.float32)

    return apply


def _budget_bytes(settings: DenoiseSettings, device: str) -> float:
    return free_memory_bytes(device) / 2 if settings.memory == "auto" else settings.memory * 2**30


def _run(
    volume: VolumeSource,
    sink: VolumeSink,
    work: _Filter,
    tiles: list[Tile],
    samples: Samples,
    before: Survey,
    progress: Progress,
) -> tuple[Samples, float, float]:
    """Filter every tile; the result's samples, the sum of its difference from the mean, and its number of voxels."""
    after, moved, total = samples.emptied(), 0.0, 0.0
    low, high = np.inf, -np.inf
    mean, noise = np.float32(before.mean), np.float32(before.noise)
    for done, tile in enumerate(tiles):
        progress(done / len(tiles), f"tile {done + 1} of {len(tiles)}")
        block = tile.read(volume)
        block -= mean
        block /= noise
        result = tile.crop(work.apply(block))
        moved += float(result.sum(dtype=np.float64)) * before.noise
        total += result.size
        result *= noise
        result += mean
        if not np.isfinite(result).all():
            raise PostconditionError("denoise made voxels that are not finite", mend="lower denoise.time_step")
        low, high = min(low, float(result.min())), max(high, float(result.max()))
        corner = (tile.core[0].start, tile.core[1].start, tile.core[2].start)
        after.fill(corner, result)
        sink(*corner, result)
    if low == high:
        raise PostconditionError(
            "denoise left a constant volume", mend="use fewer denoise.iterations or a smaller denoise.contrast"
        )
    progress(1.0, "")
    return after, moved, total


def _check(before: Survey, noise_after: float, moved: float, settings: DenoiseSettings) -> None:
    """The result must have the volume's mean and less noise."""
    if abs(moved) > _MEAN_TOLERANCE * before.noise:
        raise PostconditionError(
            f"denoise moved the volume's mean by {moved:.3g}, {moved / before.noise:.2g} of its noise",
            mend="use another denoise.method",
        )
    if noise_after >= before.noise:
        raise PostconditionError(
            f"{settings.method} left as much noise ({noise_after:.3g}) as there was ({before.noise:.3g})",
            mend="raise denoise.contrast or denoise.iterations, or use denoise.mode eed or hybrid",
        )
