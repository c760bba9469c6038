"""Denoise a tomogram tile by tile, by any method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError, PostconditionError
from lamella.progress import Progress, no_progress
from lamella.records import VolumeSink, VolumeSource
from lamella.runtime import choose_device, free_memory_bytes, prepare
from lamella.tomograms.classical import METHODS
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.filters import Filter, choose_filter
from lamella.tomograms.networks.checkpoint import Model
from lamella.tomograms.networks.inference import network_filter
from lamella.tomograms.survey import Samples, Survey, noise_sd, survey
from lamella.tomograms.tiles import Tile, plan_tiles

__all__ = ["DenoiseResult", "denoise"]

Array = NDArray[np.float32]

_MEAN_TOLERANCE = 0.1  # of the noise's standard deviation: a median moves the mean of skewed noise, nothing else may
_NETWORK_TOLERANCE = 0.5  # a network states means place by place, with an error that adds up where nothing is
_NETWORKS = ("n2n", "n2v", "wedge")


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
    strength
        gaussian: width in voxels; nlm: h, tv: weight, both in units of the noise; None for other methods.
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
    strength: float | None
    tiles: int
    halo_px: int
    device: str


def denoise(
    volume: VolumeSource,
    settings: DenoiseSettings,
    sink: VolumeSink,
    *,
    model: Model | None = None,
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
    model
        n2n, n2v, wedge: the trained network.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        told after every tile.

    Raises
    ------
    ImageError
        if the volume is empty, constant, or holds a voxel that is not finite.
    InputError
        if a method that wants a network is given none, or one that was trained for another method.
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
    device = "cpu" if settings.method in METHODS else choose_device(device)
    samples = Samples.of(volume)
    before = survey(volume, samples)
    if settings.method in _NETWORKS:
        work = network_filter(model, settings.method, device)
    else:
        work = choose_filter(settings, samples, before, device)
    tiles = plan_tiles(volume.shape, work.halo_px, work.bytes_of, _budget_bytes(settings, device), work.align)
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
        strength=work.strength,
        tiles=len(tiles),
        halo_px=work.halo_px,
        device=device,
    )


def _budget_bytes(settings: DenoiseSettings, device: str) -> float:
    return free_memory_bytes(device) / 2 if settings.memory == "auto" else settings.memory * 2**30


def _run(
    volume: VolumeSource,
    sink: VolumeSink,
    work: Filter,
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
            "denoise left a constant volume",
            mend="use fewer denoise.iterations or a smaller denoise.contrast; a network wants more denoise.epochs",
        )
    progress(1.0, "")
    return after, moved, total


def _check(before: Survey, noise_after: float, moved: float, settings: DenoiseSettings) -> None:
    """The result must have the volume's mean and less noise."""
    network = settings.method in _NETWORKS
    if abs(moved) > (_NETWORK_TOLERANCE if network else _MEAN_TOLERANCE) * before.noise:
        raise PostconditionError(
            f"denoise moved the volume's mean by {moved:.3g}, {moved / before.noise:.2g} of its noise",
            mend="train for more denoise.epochs" if network else "use another denoise.method",
        )
    if noise_after >= before.noise:
        raise PostconditionError(
            f"{settings.method} left as much noise ({noise_after:.3g}) as there was ({before.noise:.3g})",
            mend="train for more denoise.epochs, or on more tomograms"
            if network
            else "raise denoise.contrast or denoise.iterations, or use denoise.mode eed or hybrid",
        )
