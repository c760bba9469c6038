"""What part of each view is signal, by frequency, from the power of the views alone.

Noise of counting is white, so the power at the finest frequencies, where no detail is left, is its level; what lies
above it at coarser ones is signal. No geometry enters, so that scores of several geometries of the same views rest on
the same expectation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.fourier import edge_taper, radial_average
from lamella.tilts.working import WorkingImages

__all__ = ["FINEST", "ViewSpectra", "view_spectra"]

Array = NDArray[np.float64]

FINEST = 0.36  # cycles per working pixel: finer detail is not compared
_EMPTY = (0.42, 0.49)  # where the level of noise is read
_TELLING = (0.02, 0.15)  # where a view's strength of signal is read
_MOST_COHERENT = 0.97
_LEAST_STRENGTH = 0.02


@dataclass(frozen=True, eq=False)
class ViewSpectra:
    """Signal and noise of the views, per pixel and frequency.

    Attributes
    ----------
    frequency
        ``(s,)`` cycles per working pixel, from 0 to 0.5.
    signal
        ``(s,)`` mean power of the signal.
    strength
        ``(n,)`` of each view's signal over that.
    noise
        ``(n,)`` power of each view's noise.
    """

    frequency: Array
    signal: Array
    strength: Array
    noise: Array

    def power(self, frequency: Array) -> Array:
        """``(n, ...)`` signal and noise together at each view's own frequencies ``(n, ...)``."""
        return self._signal(frequency) + self._each(self.noise, frequency)

    def coherence(self, frequency: Array) -> Array:
        """``(n, ...)`` the part that is signal, 0…1; 0 beyond the finest frequency that is compared."""
        signal = self._signal(frequency)
        part = signal / np.maximum(signal + self._each(self.noise, frequency), 1e-20)
        return np.clip(np.where(frequency <= FINEST, part, 0.0), 0.0, _MOST_COHERENT)

    def _signal(self, frequency: Array) -> Array:
        return np.interp(frequency, self.frequency, self.signal) * self._each(self.strength, frequency)

    @staticmethod
    def _each(values: Array, like: Array) -> Array:
        return values.reshape(-1, *[1] * (like.ndim - 1))


def view_spectra(images: WorkingImages) -> ViewSpectra:
    """Measure them."""
    shape = (int(images.stack.shape[-2]), int(images.stack.shape[-1]))
    window = edge_taper(shape, 0.2 * min(shape))
    energy = float((window**2).sum())
    curves = []
    for image in images.stack:
        frequency, curve = radial_average(torch.fft.rfft2(image * window).abs() ** 2, shape)
        curves.append(_smoothed(curve.numpy()) / energy)
    at, power = frequency.numpy(), np.stack(curves)
    noise = power[:, (at > _EMPTY[0]) & (at < _EMPTY[1])].mean(axis=1)
    signal = np.maximum(power.mean(axis=0) - noise.mean(), 0.0)
    band = (at > _TELLING[0]) & (at < _TELLING[1])
    own = ((power - noise[:, None]) * signal)[:, band].sum(axis=1)
    strength = np.maximum(own / max(float((signal[band] ** 2).sum()), 1e-20), _LEAST_STRENGTH)
    return ViewSpectra(at, signal, strength, noise)


def _smoothed(curve: Array, width: int = 5) -> Array:
    padded = np.pad(curve, width // 2, mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), "valid")
