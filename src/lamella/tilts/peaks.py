"""Peaks of many correlations near their middle, from cross spectra, without transforming back what is far away.

A correlation whose spectrum ends at K cycles per pixel is a smooth function: sampled at 0.3 / K pixels it is known
everywhere. Only the samples within reach are worked out, as two products of small matrices, and the highest is refined
on the polynomial of fourth degree through its neighbours.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["NearPeaks", "refined_peak"]

Array = NDArray[np.float64]

_SAMPLES_PER_CYCLE = 3.3
_STENCIL = 2  # samples to either side of the highest one
_NEWTON_STEPS = 4


class NearPeaks:
    """Finds peaks of correlations given by the low frequencies of their spectra.

    Parameters
    ----------
    size
        of the images, pixels.
    half
        the spectra hold rows 0…half − 1 and −half…−1 and columns 0…half of an rfft.
    finest
        cycles per pixel beyond which the spectra are 0.
    reach_px
        how far from the middle a peak may lie.
    """

    def __init__(self, size: int, half: int, finest: float, reach_px: float) -> None:
        self.step = 1 / (_SAMPLES_PER_CYCLE * max(finest, 2 / size))
        self.inner = max(int(np.ceil(reach_px / self.step)), 1)
        outer = self.inner + _STENCIL
        shifts = torch.arange(-outer, outer + 1, dtype=torch.float64) * self.step
        rows = torch.cat([torch.arange(half), torch.arange(-half, 0)]).double()
        columns = torch.arange(half + 1).double()
        twice = torch.where(columns == 0, 1.0, 2.0).double()
        turn = 2j * torch.pi / size
        self.of_x = (twice[:, None] * torch.exp(turn * columns[:, None] * shifts)).to(torch.complex64)  # (half + 1, s)
        self.of_y = torch.exp(turn * shifts[:, None] * rows).to(torch.complex64)  # (s, 2 half)
        nodes = np.arange(-_STENCIL, _STENCIL + 1)
        self.to_powers = np.linalg.inv(np.vander(nodes, increasing=True).astype(np.float64))

    def find(self, spectra: Tensor) -> tuple[Array, Array]:
        """Shifts ``(l, 2)`` (x, y) in pixels and heights ``(l,)`` of the peaks of spectra ``(l, 2 half, half + 1)``.

        The height is Σ Re(spectrum · phases) over the whole plane. A peak on the edge of the reach stays there.
        """
        along_x = spectra @ self.of_x  # (l, 2 half, s)
        real = torch.einsum("sk,lkt->lst", self.of_y.real, along_x.real)
        samples = (real - torch.einsum("sk,lkt->lst", self.of_y.imag, along_x.imag)).double().numpy()
        count, rim = len(samples), _STENCIL
        within = samples[:, rim:-rim, rim:-rim]
        at = within.reshape(count, -1).argmax(axis=1)
        row, column = at // within.shape[2], at % within.shape[2]
        stencil = np.arange(2 * rim + 1)
        around = samples[
            np.arange(count)[:, None, None], (row[:, None] + stencil)[:, :, None], (column[:, None] + stencil)[:, None]
        ]
        powers = self.to_powers @ around @ self.to_powers.T  # coefficients of y^i x^j
        offset, height = _climbed(powers, np.zeros((count, 2)), 1.0)
        whole = np.stack([column, row], axis=-1) - self.inner
        return (whole + offset) * self.step, height


def refined_peak(spectrum: Tensor, width: int, at: tuple[int, int]) -> tuple[Array, float]:
    """Place (y, x) and height of the peak of a correlation near a sample, from the spectrum, which may reach Nyquist.

    Parameters
    ----------
    spectrum
        ``(h, w // 2 + 1)`` of which the correlation is the irfft2.
    width
        w, even.
    at
        (y, x) shift of the highest sample; the peak lies within one sample of it.
    """
    height = len(spectrum)
    offsets = torch.arange(-_STENCIL, _STENCIL + 1, dtype=torch.float64) / 2
    k_y, k_x = torch.fft.fftfreq(height, dtype=torch.float64), torch.fft.rfftfreq(width, dtype=torch.float64)
    twice = torch.where((k_x == 0) | (k_x == 0.5), 1.0, 2.0).double()
    of_x = twice[:, None] * torch.exp(2j * torch.pi * k_x[:, None] * (at[1] + offsets))
    of_y = torch.exp(2j * torch.pi * k_y * (at[0] + offsets)[:, None])
    around = (of_y.to(spectrum.dtype) @ (spectrum @ of_x.to(spectrum.dtype))).real / (height * width)
    nodes = np.arange(-_STENCIL, _STENCIL + 1)
    to_powers = np.linalg.inv(np.vander(nodes, increasing=True).astype(np.float64))
    samples = around.double().numpy()
    row, column = np.unravel_index(int(samples.argmax()), samples.shape)
    start = np.array([[column, row]]) - float(_STENCIL)
    offset, top = _climbed((to_powers @ samples @ to_powers.T)[None], start, _STENCIL)
    return np.asarray(at) + offset[0, ::-1] / 2, float(top[0])


def _climbed(powers: Array, start: Array, farthest: float) -> tuple[Array, Array]:
    """Place ``(l, 2)`` (x, y) and height of the maximum of polynomials near a start, at most so far along each axis."""
    place = start
    for _ in range(_NEWTON_STEPS):
        value = _derivatives(powers, place)
        gradient = np.stack([value[0, 1], value[1, 0]], axis=-1)
        bends = np.maximum(np.stack([-value[0, 2], -value[2, 0]], axis=-1), 1e-30)
        cross = np.clip(value[1, 1], -0.9 * np.sqrt(bends.prod(axis=-1)), 0.9 * np.sqrt(bends.prod(axis=-1)))
        determinant = bends.prod(axis=-1) - cross**2
        step = np.stack(
            [
                bends[:, 1] * gradient[:, 0] + cross * gradient[:, 1],
                cross * gradient[:, 0] + bends[:, 0] * gradient[:, 1],
            ],
            axis=-1,
        )
        place = np.clip(place + step / determinant[:, None], -farthest, farthest)
    return place, _derivatives(powers, place)[0, 0]


def _derivatives(powers: Array, place: Array) -> Array:
    """``(3, 3, l)`` derivatives of order (y, x) of the polynomials at a place each."""
    degree = powers.shape[1]
    of_axis = []
    for axis in (1, 0):
        at = place[:, axis, None]
        order = np.arange(degree)
        plain = at**order
        first = order * at ** np.maximum(order - 1, 0)
        second = order * (order - 1) * at ** np.maximum(order - 2, 0)
        of_axis.append(np.stack([plain, first, second], axis=1))  # (l, 3, degree)
    return np.moveaxis(of_axis[0] @ powers @ of_axis[1].swapaxes(1, 2), 0, -1)
