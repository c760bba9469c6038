"""Gaussian, non-local means and total variation, as strong as the volume's noise asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from lamella.records import ArrayVolume
from lamella.runtime import threads
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.strength import NoiseSpectrum, best_strength
from lamella.tomograms.tiles import plan_tiles

__all__ = ["METHODS", "Recipe", "recipe"]

Array = NDArray[np.float32]
Work = Callable[[Array], Array]

METHODS = ("gaussian", "nlm", "tv")
"""What is made ready here; it runs on the processor, whatever the device."""
_FIRST = {"gaussian": 1.4, "tv": 0.8}  # where the search for a strength begins: px, noise
_WIDEST_PX = 5.0
_STRONGEST = 8.0  # times the first guess
_REACH = 4.0  # Gaussian widths
_PATCH_PX, _SEARCH_PX = 3, 3  # non-local means: edge of the patches, and how far alike ones are looked for
_TRIED_BLOCKS = {"gaussian": 8, "tv": 4}  # of the samples, on which strengths are tried: as many as is quick
_CHANCE = 1.2  # h² in standard deviations of the squared distance between patches of mere noise
_TV_STEPS = 50
_PIECE = {"gaussian": 2**22, "nlm": 2**18, "tv": 2**21}  # voxels that one thread works on, halo included
_BYTES_PER_VOXEL = {"gaussian": 20, "nlm": 24, "tv": 44}


class Recipe:
    """One of the three filters with its strength, for blocks in units of the noise.

    Attributes
    ----------
    strength
        gaussian: width in voxels; nlm: h, tv: weight, in noise.
    halo_px
        how far around it a voxel's result depends on the volume.
    bytes_per_voxel
        memory that a block takes, all threads together.
    piece_voxels
        voxels that one thread works on at a time, halo included.
    """

    def __init__(self, method: str, strength: float) -> None:
        self.method, self.strength = method, strength
        self.halo_px = _halo(method, strength)
        self.bytes_per_voxel = float(_BYTES_PER_VOXEL[method])
        self.piece_voxels = max(_PIECE[method], (4 * self.halo_px) ** 3)

    def __call__(self, block: Array) -> Array:
        """Filter a block ``(d, h, w)``, pieces of it side by side."""
        work = _work(self.method, self.strength)
        pieces = plan_tiles(block.shape, self.halo_px, lambda size: float(np.prod(size)), float(self.piece_voxels))
        if len(pieces) == 1:
            return work(block)
        source, out = ArrayVolume(block), np.empty_like(block)
        with ThreadPoolExecutor(threads()) as pool:
            for piece, part in zip(pieces, pool.map(lambda one: one.crop(work(one.read(source))), pieces), strict=True):
                out[piece.core] = part
        return out


def recipe(settings: DenoiseSettings, blocks: Sequence[Array]) -> Recipe:
    """Choose the strength of ``gaussian``, ``nlm`` or ``tv``.

    Parameters
    ----------
    settings
        `width` states a Gaussian's width; `strength` multiplies what nlm and tv are found to need.
    blocks
        samples of the volume, in units of its noise, about its mean.

    Notes
    -----
    Without a stated width the strength of gaussian and tv is that of most likeness to the truth, estimated with the
    volume's own noise spectrum (`lamella.tomograms.strength`), so that noise which neighbours share is smoothed more.
    Gaussian: SciPy. Non-local means (Buades, Coll & Morel 2005; Darbon et al. 2008) and total variation (Rudin, Osher &
    Fatemi 1992, by Chambolle 2004): scikit-image; the latter with a fixed number of steps, so that all tiles agree.
    """
    method = settings.method
    if method == "gaussian" and settings.width != "auto":
        return Recipe(method, settings.width)
    if method == "nlm":
        return Recipe(method, settings.strength * _patch_distance(blocks))
    first = _FIRST[method]
    highest = _WIDEST_PX if method == "gaussian" else _STRONGEST * first
    found = best_strength(partial(_work, method), first, (first / 8, highest), blocks[: _TRIED_BLOCKS[method]])
    return Recipe(method, found * (1.0 if method == "gaussian" else settings.strength))


def _patch_distance(blocks: Sequence[Array]) -> float:
    """h of non-local means: from how much the distances between patches of mere noise differ by chance.

    A squared distance per voxel is 2 in units of the noise's variance, and scatters about it by 2 √(2 / n), n the
    number of independent values in a patch. With white noise h is 0.8, as scikit-image advises.
    """
    independent = max(1.0, _PATCH_PX**3 / NoiseSpectrum(np.stack(blocks)).shared())
    return sqrt(_CHANCE * 2 * sqrt(2 / independent))


def _work(method: str, strength: float) -> Work:
    if method == "gaussian":
        return lambda block: gaussian_filter(block, strength, mode="nearest", truncate=_REACH)
    if method == "nlm":
        # scikit-image drops axes of length 1
        return lambda block: denoise_nl_means(
            block, patch_size=_PATCH_PX, patch_distance=_SEARCH_PX, h=strength, sigma=1.0, fast_mode=True
        ).reshape(block.shape)
    smooth: Any = denoise_tv_chambolle  # has no types
    return lambda block: smooth(block, weight=strength, eps=0.0, max_num_iter=_TV_STEPS)


def _halo(method: str, strength: float) -> int:
    """Exact for gaussian and nlm. The influence in total variation travels a voxel per step, but fades: by 2 √steps
    voxels it is some 1e-4 of the noise for weights of 0.8 to 3."""
    if method == "gaussian":
        return int(_REACH * strength + 0.5)
    return _PATCH_PX // 2 + _SEARCH_PX if method == "nlm" else ceil(2 * sqrt(_TV_STEPS))
