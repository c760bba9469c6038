"""Fourier shell correlation of two half tomograms, from large boxes in the specimen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.fourier import fast_size
from lamella.kernels.half_shells import pair_sums, shell_places
from lamella.progress import Progress, no_progress
from lamella.records import VolumeSource
from lamella.records.half_fsc import HalfFsc
from lamella.tomograms.coverage import Coverage

__all__ = ["HalfSums", "half_sums"]

Array = NDArray[np.float64]
Size = tuple[int, int, int]

_SIDE = 256  # voxels of a box across the beam
_DEEPEST = 320  # and along it
_VOXELS = 120 * 2**20  # of all boxes together, of each half
_TAPER = 0.12  # of a box's side, over which it fades at each end
_LEAST_TAPER = 4.0
_MARGIN = 0.05  # of the field, left out at its rim, which tilted views do not cover


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfSums:
    """Sums over shells, box by box.

    Attributes
    ----------
    sums
        ``(boxes, 4, s)`` Re A·B*, |A|², |B|² and the number of terms.
    frequency
        ``(s,)`` cycles/px.
    independent
        part of the terms that are independent of each other: a window that fades ties neighbours together.
    """

    sums: Array
    frequency: Array
    independent: float

    def curve(self, voxel_size_ang: float, without: int | None = None) -> HalfFsc:
        """The correlation over all boxes, or over all but one."""
        kept = np.delete(self.sums, without, axis=0) if without is not None else self.sums
        cross, even, odd, terms = kept.sum(axis=0)
        both = np.sqrt(even * odd)
        correlation = np.divide(cross, both, out=np.zeros_like(cross), where=both > 0)
        return HalfFsc(
            frequency_per_ang=self.frequency / voxel_size_ang,
            correlation=correlation,
            terms=terms * self.independent,  # a pair of conjugate terms is two real numbers
        )


def half_sums(
    even: VolumeSource,
    odd: VolumeSource,
    coverage: Coverage,
    thickness_px: float | None,
    *,
    middle_px: float = 0.0,
    progress: Progress = no_progress,
) -> HalfSums:
    """Compare two halves in boxes spread over the field.

    Parameters
    ----------
    even, odd
        `(z, y, x)`, of one size.
    coverage
        of the views: terms that no view measured, the missing wedge above all, are left out.
    thickness_px
        of the specimen; None: the volume's.
    middle_px
        height of the specimen's middle above the centre voxel.
    progress
        told after each box.

    Raises
    ------
    ImageError
        if the halves differ in size, are too small, hold a voxel that is not finite, or one of them is constant.

    Notes
    -----
    Each box fades to its mean towards its sides and, with the same soft edge, beyond the specimen's surfaces, so that
    neither edges nor the empty volume above and below count. Sums over shells are added over the boxes before the
    ratio is taken.
    """
    if even.shape != odd.shape:
        raise ImageError(f"halves of {even.shape} and {odd.shape} voxels", mend="reconstruct both again")
    if min(even.shape) < 2 * _LEAST_TAPER:
        raise ImageError(f"halves of {even.shape} voxels have no shell correlation", mend="reconstruct a thicker one")
    size, window_z = _depth(even.shape, thickness_px)
    window = [window_z, *(_taper(n) for n in size[1:])]
    thickness = float(window_z.sum())
    places = shell_places(size, coverage.normals, coverage.half_step, 0.5 / thickness)
    corners = list(_corners(even.shape, size, middle_px))
    last = max(size) // 2 + 1
    sums = np.zeros((len(corners), 4, last))
    for number, corner in enumerate(corners):
        a, b = (_terms(half, corner, size, window, name) for half, name in ((even, "even"), (odd, "odd")))
        pair_sums(a, b, places, size[2] % 2 == 0, sums[number])
        progress((number + 1) / len(corners), "comparing the halves")
    independent = float(np.prod([line.sum() ** 2 / (line**2).sum() / len(line) for line in window]))
    return HalfSums(sums=sums, frequency=np.arange(last) / max(size), independent=independent)


def _depth(shape: Size, thickness_px: float | None) -> tuple[Size, Array]:
    """Size of a box, and its window along z."""
    ny, nx = (_even_below(n - 2 * int(_MARGIN * n)) for n in shape[1:])
    side_y, side_x = (min(_even_below(_SIDE), n) for n in (ny, nx))
    taper = max(_LEAST_TAPER, _TAPER * min(shape[0], side_x))
    wanted = shape[0] if thickness_px is None else thickness_px + 2 * taper
    depth = _even_below(int(min(fast_size(int(np.ceil(wanted))), _DEEPEST, shape[0])))
    line = _taper(depth)
    if thickness_px is not None:
        beyond = np.abs(np.arange(depth) - depth // 2) - thickness_px / 2
        line = np.minimum(line, 0.5 * (1 + np.cos(np.pi * np.clip(beyond / taper, 0, 1))))
    return (depth, side_y, side_x), line


def _even_below(size: int) -> int:
    """The largest even size that transforms fast and is not above `size`."""
    return next(n for n in range(size - size % 2, 0, -2) if fast_size(n) == n)


def _taper(size: int) -> Array:
    width = max(_LEAST_TAPER, _TAPER * size)
    place = np.arange(size) + 0.5
    inward = np.minimum(place, size - place)
    line: Array = 0.5 * (1 - np.cos(np.pi * np.clip(inward / width, 0, 1)))
    return line


def _corners(shape: Size, size: Size, middle_px: float) -> Iterator[Size]:
    """First voxels of the boxes: about the specimen's middle along z, spread over the field."""
    starts = []
    for n, side in zip(shape[1:], size[1:], strict=True):
        rim = int(_MARGIN * n)
        count = max(1, round((n - 2 * rim) / side))
        starts.append(np.unique(np.rint(np.linspace(rim, max(n - rim - side, rim), count)).astype(int)))
        if count == 1:
            starts[-1] = np.array([(n - side) // 2])
    places = list(product(*starts))
    most = max(2, _VOXELS // int(np.prod(size)))
    chosen = np.unique(np.rint(np.linspace(0, len(places) - 1, min(most, len(places)))).astype(int))
    z = min(max(shape[0] // 2 + round(middle_px) - size[0] // 2, 0), shape[0] - size[0])
    for number in chosen:
        y, x = places[number]
        yield z, int(y), int(x)


def _terms(half: VolumeSource, corner: Size, size: Size, window: list[Array], name: str) -> NDArray[np.complex64]:
    """Transform of a box, faded to its mean."""
    block = torch.from_numpy(half.block(*(slice(at, at + n) for at, n in zip(corner, size, strict=True))))
    low, high = (float(edge) for edge in torch.aminmax(block))
    if not np.isfinite(low + high):
        raise ImageError(f"the {name} half holds voxels that are not finite", mend="reconstruct it again")
    if low == high:
        raise ImageError(f"the {name} half is constant where the halves are compared", mend="reconstruct it again")
    z, y, x = (torch.from_numpy(line.astype(np.float32)) for line in window)
    mean = float((block @ x @ y).double() @ z.double() / (z.double().sum() * y.double().sum() * x.double().sum()))
    faded = (block - mean).mul_(x).mul_((z[:, None] * y)[:, :, None])  # a copy: the block may be the caller's own
    del block
    terms: NDArray[np.complex64] = torch.fft.rfftn(faded).numpy()
    return terms
