"""Texture that a denoised tomogram shows between its structures, and how much of it the halves hold."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from lamella.fourier import shell_sums
from lamella.tomograms.support_band import Band, measured_region

if TYPE_CHECKING:
    from lamella.tomograms.support import Halves

__all__ = ["Texture", "measure_texture"]

Array = NDArray[np.float64]
Size = tuple[int, int, int]
Slices = tuple[slice, slice, slice]
Mask = NDArray[np.bool_]

PLAIN = 0.2
"""Contrast from which texture is plain to see: three standard deviations of it exceed half of a structure's rms."""
_EDGE = 64  # voxels along the edge of a block whose spectrum is taken
_PER_AXIS = 6
_CLEAR = 0.25  # of a window may be visible structure in what counts as half between structures
_LEAST = 0.02  # of the volume, without which nothing is said
_ERRORS = 2.0  # standard errors that a shell's cross power must have to count


@dataclass(frozen=True, kw_only=True)
class Texture:
    """What is drawn away from all visible structure, in all frequencies that some view measures.

    Attributes
    ----------
    contrast
        rms of that part of it which is not in the data, over the rms of visible structure that is.
    supported
        share of its power that the specimen explains, as the raw other half shows it.
    passed
        share of its power that is the raw noise of its own half, passed on by a filter; the rest is the method's own.
    """

    contrast: float
    supported: float
    passed: float

    @property
    def plain(self) -> bool:
        """Whether one would take it for structure."""
        return self.contrast >= PLAIN


def measure_texture(
    halves: Halves, band: Band, visible: Mask, flagged: Mask, block_px: int, window_px: float
) -> Texture | None:
    """Compare what is shown between structures with what the halves' cross spectrum holds there, shell by shell.

    Parameters
    ----------
    halves
        raw and denoised, as for the map.
    band
        of the halves; gives geometry and background. Frequencies beyond its end are judged here, too.
    visible, flagged
        ``(z, y, x)`` by blocks of `block_px` voxels, where structure is visible, and where the data do not show it: a
        made-up body is no measure of texture unless there is nothing else.
    window_px
        standard deviation of the windows in which that was judged.

    Returns
    -------
    texture
        None where nothing is visible, or hardly anything lies between.

    Notes
    -----
    With d = f(even), r = odd, and n = even − odd: of a shell's drawn power D = ⟨d d⟩ the specimen explains A² / S, with
    A = ⟨d r⟩ and S = ⟨even odd⟩, whatever the gain of the filter; its own half's noise explains B² / N, with B = ⟨d n⟩,
    N = ⟨n n⟩ / 2. Single windows are too small to say so of weak texture; the volume as a whole is not.
    """
    device = torch.device("cpu")
    crowd = np.clip(gaussian_filter(visible.astype(np.float32), window_px / block_px, mode="nearest") / _CLEAR, 0, 1)
    true = visible & ~flagged
    masks = (true if true.any() else visible).astype(np.float32), (1 - crowd).astype(np.float32)
    if min(float(mask.mean()) for mask in masks) <= 0 or float(masks[1].mean()) < _LEAST:
        return None
    blocks = _blocks(halves.even.shape)
    depth, height, width = (part.stop - part.start for part in blocks[0])
    size: Size = (depth, height, width)
    region = band.structure(size, device)
    if band.normals is not None and band.spacing_rad is not None:
        region = region * measured_region(size, band.normals, band.spacing_rad, device)
    count = shell_sums(torch.ones_like(region), size).numpy()
    taper = _taper(size)
    powers = np.zeros((2, 6, len(count)))
    weight = np.zeros(2)
    for block in blocks:
        fields = [_filtered(values, taper, region) for values in halves.block(block, [(0, 0)] * 3)]
        for number, mask in enumerate(masks):
            local = mask[np.ix_(*(np.arange(part.start, part.stop) // block_px for part in block))]
            powers[number] += _powers([torch.fft.rfftn(field * torch.from_numpy(local)) for field in fields], size)
            weight[number] += float(((taper.numpy() * local) ** 2).sum(dtype=np.float64))
    if min(weight) <= 0:
        return None
    structure, rest = powers
    return _texture(structure, rest, weight, count * len(blocks))


def _texture(structure: Array, rest: Array, weight: Array, modes: Array) -> Texture | None:
    drawn, agreement, common, cross, noise, own = rest
    shown = (drawn + common) / 2  # of the halves' mean, which is what one looks at
    # the chance that is in a product with noise: of agreement, and of the halves' own
    chance = drawn * noise / np.maximum(modes, 1)
    strong = cross > _ERRORS * noise / np.sqrt(np.maximum(modes, 1))
    explained = np.where(strong, np.maximum(agreement**2 - chance, 0) / np.where(strong, cross, 1.0), 0.0)
    explained = np.minimum(explained, np.maximum(shown, 0))
    total, solid = float(shown.sum()), float((structure[0] + structure[2]).sum() / 2)
    if not (total > 0 and solid > 0):
        return None
    passed = float((own**2 / np.maximum(noise, 1e-12 * max(float(noise.max()), 1e-30))).sum() / drawn.sum())
    unsupported = max(0.0, total - float(explained.sum())) / weight[1]
    return Texture(
        contrast=float(np.sqrt(unsupported / (solid / weight[0]))),
        supported=float(explained.sum()) / total,
        passed=min(1.0, passed),
    )


def _powers(terms: list[Tensor], size: Size) -> Array:
    """By shell: drawn, agreement with the raw other half, common, the raw halves' cross power, noise, own noise."""
    even, odd, clean_even, clean_odd = terms
    noise = even - odd

    def cross(a: Tensor, b: Tensor) -> Array:
        out: Array = shell_sums((a * b.conj()).real.double(), size).numpy()
        return out

    return np.stack(
        [
            (cross(clean_even, clean_even) + cross(clean_odd, clean_odd)) / 2,
            (cross(clean_even, odd) + cross(clean_odd, even)) / 2,
            cross(clean_even, clean_odd),
            cross(even, odd),
            cross(noise, noise) / 2,
            cross(clean_even - clean_odd, noise) / 2,
        ]
    )


def _filtered(values: NDArray[np.float32], taper: Tensor, region: Tensor) -> Tensor:
    block = torch.from_numpy(values - values.mean(dtype=np.float64).astype(np.float32)) * taper
    out: Tensor = torch.fft.irfftn(torch.fft.rfftn(block) * region, s=block.shape)
    return out


def _taper(size: Size) -> Tensor:
    lines = [torch.from_numpy(np.hanning(n + 2)[1:-1].astype(np.float32)) for n in size]
    return lines[0][:, None, None] * lines[1][:, None] * lines[2]


def _blocks(shape: tuple[int, ...]) -> list[Slices]:
    """Up to six along each axis, side by side from the first voxel to the last, overlapping where they do not fit."""
    sizes = [min(_EDGE, n - n % 2 if n > 1 else 1) for n in shape]
    starts = [
        sorted({int(start) for start in np.linspace(0, n - edge, min(_PER_AXIS, -(-n // edge)))})
        for n, edge in zip(shape, sizes, strict=True)
    ]
    z, y, x = sizes
    return [(slice(a, a + z), slice(b, b + y), slice(c, c + x)) for a, b, c in product(*starts)]
