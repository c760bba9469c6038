"""How bright each pixel is behind a supporting film: matter too strong for contrast that is linear in its potential."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lamella.simulate.transfer import ViewOptics, interaction_per_volt_ang, transfer_phase
from lamella.simulate.transmission import FilmPicture

__all__ = ["film_image"]


def film_image(film: FilmPicture, optics: ViewOptics, pixel_size_ang: float) -> NDArray[np.float32]:
    """``(h, w)`` brightness of the padded image behind a film, 1 where there is none.

    Notes
    -----
    The film changes the wave to √T · exp(i σ V), which the lens transfers by E(k) · exp(i χ(k)); the image is its
    square: an opaque edge has Fresnel's fringes, and thick carbon all orders of its phase. Without contrast transfer
    the image is the transmission alone.
    """
    if not optics.contrast_transfer:
        return film.transmission
    phase = film.potential * np.float32(interaction_per_volt_ang(optics.voltage_kv))
    wave = (np.sqrt(film.transmission) * np.exp(1j * phase)).astype(np.complex64)
    shape = (wave.shape[0], wave.shape[1])
    _, turn, envelope = transfer_phase(optics, shape, pixel_size_ang, film.depth_ang, whole=True)
    turn -= math.asin(optics.amplitude_contrast)  # what the film takes away is in its transmission
    transfer = (envelope * np.exp(1j * turn)).astype(np.complex64)
    transfer[0, 0] = 1
    wave = scipy.fft.ifft2(scipy.fft.fft2(wave, workers=1) * transfer, workers=1)
    return np.asarray(wave.real**2 + wave.imag**2, dtype=np.float32)
