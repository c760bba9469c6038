"""The hot loops of template matching: a turned template's transform times the data's, and the best score of each voxel.

The template's transform is turned by reading it between its samples, so that an orientation costs no transform of the
template. Two orientations share one complex inverse transform, one in its real and one in its imaginary part.

Each loop has a torch version, which is the reference and runs on any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Band", "keep_best", "keep_best_torch", "read_cube", "slice_pair", "slice_pair_torch"]

Floats = NDArray[np.float32]
Complexes = NDArray[np.complex64]
Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_FAST: dict[str, Any] = {"cache": True, "fastmath": {"contract", "reassoc", "nsz", "arcp"}, "error_model": "numpy"}
_TERMS_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class Band:
    """The terms of a half transform that lie within a highest frequency, row after row along x from 0.

    Attributes
    ----------
    shape
        (z, y, x) of the real volume.
    rows
        ``(r, 2)`` z and y index of each row.
    first
        ``(r + 1,)`` where each row's terms begin in flat arrays; row i holds x = 0 … first[i + 1] − first[i] − 1.
    """

    shape: tuple[int, int, int]
    rows: Integers
    first: Integers

    @classmethod
    def of(cls, shape: tuple[int, int, int], highest: float) -> Band:
        """Terms whose frequency is `highest` (cycles per voxel) or less, and below Nyquist on each axis."""
        z, y = (np.fft.fftfreq(n) for n in shape[:2])
        left = highest**2 - z[:, None] ** 2 - y[None] ** 2
        below = (np.abs(z) < 0.5)[:, None] & (np.abs(y) < 0.5)[None]
        rows = np.argwhere((left >= 0) & below)
        counts = np.floor(np.sqrt(left[rows[:, 0], rows[:, 1]]) * shape[2] + 1e-9).astype(np.int64) + 1
        counts = np.minimum(counts, (shape[2] + 1) // 2)
        return cls(shape, rows.astype(np.int64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def __len__(self) -> int:
        return int(self.first[-1])

    def places(self) -> Integers:
        """``(n, 3)`` signed index (x, y, z) of each term: its cycles along each axis of the volume."""
        counts = np.diff(self.first)
        row = np.repeat(np.arange(len(counts)), counts)
        x = np.arange(len(self)) - self.first[row]
        z, y = (self._signed(self.rows[row, axis], axis) for axis in (0, 1))
        return np.stack([x, y, z], axis=-1)

    def frequencies(self) -> Array:
        """``(n, 3)`` frequency (x, y, z) of each term, cycles per voxel."""
        frequencies: Array = self.places() / np.array(self.shape[::-1], np.float64)
        return frequencies

    def flat(self) -> Integers:
        """``(n,)`` place of each term in the raveled half transform ``(z, y, x // 2 + 1)``."""
        counts = np.diff(self.first)
        row = np.repeat(np.arange(len(counts)), counts)
        x = np.arange(len(self)) - self.first[row]
        flat: Integers = (self.rows[row, 0] * self.shape[1] + self.rows[row, 1]) * (self.shape[2] // 2 + 1) + x
        return flat

    def multiplicity(self) -> Floats:
        """``(n,)`` how often each term stands in the whole transform: 2, or 1 in the plane x = 0."""
        out = np.full(len(self), 2.0, np.float32)
        out[self.first[:-1]] = 1.0
        return out

    def _signed(self, index: Integers, axis: int) -> Integers:
        size = self.shape[axis]
        return np.where(index > (size - 1) // 2, index - size, index)


def slice_pair(cube: Complexes, band: Band, data: Complexes, squares: Floats, matrices: Array, out: Complexes) -> Array:
    """Write the transform of two score volumes into one complex array, for its inverse transform.

    Parameters
    ----------
    cube
        ``(c, c, c)`` the template's transform around frequency 0, which is its middle sample c // 2; zyx.
    band, data, squares
        the terms that are compared; ``(n,)`` the data's transform times the weights of the template, and the square of
        these weights (over noise).
    matrices
        ``(2, 3, 3)`` that take a term's place (x, y, z of `Band.places`) to the cube's samples from its middle.
    out
        ``(z, y, x)`` of the band's shape: overwritten where the band is, else left; zero it once.

    Returns
    -------
    Array
        ``(2,)`` the sum of weight² · |template|² over the whole transform, for each orientation.

    Notes
    -----
    Trilinear between the cube's samples: divide the template by the transform of that, in a field twice as large.
    """
    norms = np.zeros((len(band.rows), 2))
    signed = np.stack([band._signed(band.rows[:, axis], axis) for axis in (0, 1)], axis=-1)
    _slice_pair(
        cube.view(np.float32).reshape(*cube.shape, 2), band.rows, signed, band.first, data.view(np.float32), squares,
        matrices.astype(np.float32), out.view(np.float32).reshape(*out.shape, 2), norms,
    )  # fmt: skip
    total: Array = norms.sum(axis=0)
    return total


def keep_best(scores: Complexes, scales: Array, number: int, best: Floats, which: NDArray[np.int32]) -> None:
    """Keep the greatest score of each voxel, and the number of its orientation.

    Parameters
    ----------
    scores
        of two orientations, in the real and the imaginary part.
    scales
        ``(2,)`` what they are multiplied by.
    number
        of the first of the two.
    best, which
        as they are so far, of the same shape; changed.
    """
    flat = scores.reshape(-1).view(np.float32)
    _keep_best(flat, np.float32(scales[0]), np.float32(scales[1]), number, best.reshape(-1), which.reshape(-1))


@njit(inline="always")
def read_cube(cube: Floats, x: Any, y: Any, z: Any) -> tuple[Any, Any]:
    """Trilinear between samples; x, y, z are not negative."""
    i, j, k = np.int32(x), np.int32(y), np.int32(z)
    a, b, c = x - np.float32(i), y - np.float32(j), z - np.float32(k)
    one = np.float32(1)
    w00, w01 = (one - c) * (one - b), (one - c) * b
    w10, w11 = c * (one - b), c * b
    left_re = (
        w00 * cube[k, j, i, 0]
        + w01 * cube[k, j + 1, i, 0]
        + w10 * cube[k + 1, j, i, 0]
        + w11 * cube[k + 1, j + 1, i, 0]
    )
    left_im = (
        w00 * cube[k, j, i, 1]
        + w01 * cube[k, j + 1, i, 1]
        + w10 * cube[k + 1, j, i, 1]
        + w11 * cube[k + 1, j + 1, i, 1]
    )
    i += 1
    right_re = (
        w00 * cube[k, j, i, 0]
        + w01 * cube[k, j + 1, i, 0]
        + w10 * cube[k + 1, j, i, 0]
        + w11 * cube[k + 1, j + 1, i, 0]
    )
    right_im = (
        w00 * cube[k, j, i, 1]
        + w01 * cube[k, j + 1, i, 1]
        + w10 * cube[k + 1, j, i, 1]
        + w11 * cube[k + 1, j + 1, i, 1]
    )
    return left_re + a * (right_re - left_re), left_im + a * (right_im - left_im)


@njit(parallel=True, **_FAST)
def _slice_pair(
    cube: Floats,
    rows: Integers,
    signed: Integers,
    first: Integers,
    data: Floats,
    squares: Floats,
    matrices: Floats,
    out: Floats,
    norms: Array,
) -> None:
    depth, height, width = out.shape[:3]
    middle = np.float32(cube.shape[0] // 2)
    m = matrices
    for row in prange(len(rows)):
        z, y = rows[row, 0], rows[row, 1]
        back_z, back_y = (depth - z) % depth, (height - y) % height
        sz, sy = np.float32(signed[row, 0]), np.float32(signed[row, 1])
        x1 = m[0, 0, 1] * sy + m[0, 0, 2] * sz + middle
        y1 = m[0, 1, 1] * sy + m[0, 1, 2] * sz + middle
        z1 = m[0, 2, 1] * sy + m[0, 2, 2] * sz + middle
        x2 = m[1, 0, 1] * sy + m[1, 0, 2] * sz + middle
        y2 = m[1, 1, 1] * sy + m[1, 1, 2] * sz + middle
        z2 = m[1, 2, 1] * sy + m[1, 2, 2] * sz + middle
        start = first[row]
        norm1, norm2, at_zero1, at_zero2 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for x in range(first[row + 1] - start):
            t = np.float32(x)
            a_re, a_im = read_cube(cube, x1 + m[0, 0, 0] * t, y1 + m[0, 1, 0] * t, z1 + m[0, 2, 0] * t)
            b_re, b_im = read_cube(cube, x2 + m[1, 0, 0] * t, y2 + m[1, 1, 0] * t, z2 + m[1, 2, 0] * t)
            square = squares[start + x]
            add1, add2 = square * (a_re * a_re + a_im * a_im), square * (b_re * b_re + b_im * b_im)
            norm1 += add1
            norm2 += add2
            if x == 0:
                at_zero1, at_zero2 = add1, add2
            re, im = data[2 * (start + x)], data[2 * (start + x) + 1]
            # data times the conjugate of the template
            p_re, p_im = re * a_re + im * a_im, im * a_re - re * a_im
            q_re, q_im = re * b_re + im * b_im, im * b_re - re * b_im
            out[z, y, x, 0] = p_re - q_im
            out[z, y, x, 1] = p_im + q_re
            if x > 0:
                out[back_z, back_y, width - x, 0] = p_re + q_im
                out[back_z, back_y, width - x, 1] = q_re - p_im
        norms[row, 0] = 2.0 * norm1 - at_zero1
        norms[row, 1] = 2.0 * norm2 - at_zero2


@njit(parallel=True, **_FAST)
def _keep_best(scores: Floats, scale1: Any, scale2: Any, number: int, best: Floats, which: NDArray[np.int32]) -> None:
    run = 8192
    for part in prange((len(best) + run - 1) // run):
        for i in range(part * run, min(len(best), (part + 1) * run)):
            one, two = scores[2 * i] * scale1, scores[2 * i + 1] * scale2
            chosen = np.int32(number) if one >= two else np.int32(number + 1)
            value = max(one, two)
            which[i] = chosen if value > best[i] else which[i]
            best[i] = max(best[i], value)


def slice_pair_torch(
    cube: Tensor, places: Tensor, data: Tensor, squares: Tensor, multiplicity: Tensor, matrices: Tensor
) -> tuple[Tensor, Tensor]:
    """Terms ``(2, n)`` of the two scores' transforms over the band, and their norms ``(2,)``: see `slice_pair`.

    Parameters
    ----------
    places, multiplicity
        ``(n, 3)`` and ``(n,)`` of the `Band`.
    """
    terms, norms = torch.empty(2, len(data), dtype=data.dtype, device=data.device), []
    for number, matrix in enumerate(matrices):
        norm = torch.zeros((), dtype=torch.float64, device=data.device)
        for start in range(0, len(data), _TERMS_AT_ONCE):
            part = slice(start, start + _TERMS_AT_ONCE)
            read = _read_torch(cube, places[part].to(matrix.dtype) @ matrix.T + cube.shape[0] // 2)
            norm += (squares[part] * multiplicity[part] * (read.real**2 + read.imag**2)).double().sum()
            terms[number, part] = data[part] * read.conj()
        norms.append(norm)
    return terms, torch.stack(norms)


def keep_best_torch(scores: Tensor, scales: Tensor, number: int, best: Tensor, which: Tensor) -> None:
    """The same as `keep_best`, on any device."""
    for k, part in enumerate((scores.real, scores.imag)):
        value = part * scales[k]
        better = value > best
        which.masked_fill_(better, number + k)
        torch.maximum(best, value, out=best)


def _read_torch(cube: Tensor, places: Tensor) -> Tensor:
    """Trilinear at ``(n, 3)`` xyz."""
    low = places.floor()
    part = (places - low).unbind(-1)
    x, y, z = low.long().unbind(-1)
    size = cube.shape[0]
    flat = cube.reshape(-1)
    out: Tensor | float = 0.0
    for corner in range(8):
        dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2
        weight = torch.ones_like(part[0])
        for step, fraction in zip((dx, dy, dz), part, strict=True):
            weight = weight * (fraction if step else 1 - fraction)
        out = out + weight * flat[((z + dz) * size + y + dy) * size + x + dx]
    return torch.as_tensor(out)
