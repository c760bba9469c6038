"""How radiation fades the structure from frame to frame."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.optics import critical_exposure
from lamella.simulate.settings import SimulateSettings

__all__ = ["Fading"]

Image = NDArray[np.float32]


class Fading:
    """Amplitude that is left of a structure, in the layout of rfft2 of a padded image.

    The curve of Grant & Grigorieff (eLife 2015), exp(−N / 2 Ne(k)), averaged over the exposures N that a frame
    integrates: as `lamella.optics.dose_filter`, with what does not depend on the exposure worked out once.
    """

    def __init__(self, shape_px: tuple[int, int], settings: SimulateSettings) -> None:
        k = np.hypot(np.fft.fftfreq(shape_px[0])[:, None], np.fft.rfftfreq(shape_px[1])) / settings.pixel_size
        k[0, 0] = np.inf
        critical = critical_exposure(torch.from_numpy(k), settings.voltage).numpy()
        self._rate = (0.5 / critical).astype(np.float32)
        self._rate[0, 0] = 0

    def left(self, before: float, dose: float) -> Image:
        """For a frame of this dose after this exposure, e/Å²."""
        spread = np.maximum(self._rate * np.float32(dose), np.float32(1e-6))
        left: Image = np.exp(self._rate * np.float32(-before)) * (-np.expm1(-spread) / spread)
        return left
