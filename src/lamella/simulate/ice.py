"""The grain of vitreous ice: noise of the specimen, the same in neighbouring frames and gone a few electrons later.

The projected potential of N molecules per area has the spectrum N · w² · S(k), with w a molecule's integrated potential
and S the structure factor of the amorphous ice. Under the beam molecules wander by about 1 Å for each e/Å² (McMullan,
Vinothkumar & Henderson 2015), so the grain keeps its coarse parts longer than its fine ones: the correlation of what
two exposures N apart show at k is exp(−2 π² k² u² N).
"""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.optics import electron_wavelength_ang
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.transfer import ViewOptics, interaction_per_volt_ang, transfer_phase

__all__ = ["IceGrain"]

Image = NDArray[np.float32]

MOLECULES_PER_A3 = 0.0311
"""Of ice of 0.93 g/cm³."""
POTENTIAL_OF_A_MOLECULE = 113.0
"""V·Å³: the mean inner potential of ice, 3.5 V, over the number of molecules."""
TILE_ANG = 400.0
"""Edge of the pieces of the image whose grain shares one defocus."""


def structure_factor(k: NDArray[np.float64]) -> NDArray[np.float64]:
    """S(k) of amorphous ice, k in 1/Å: nearly incompressible at low k, a first peak at 1/3.7 Å, 1 far out."""
    peak = 1.5 * np.exp(-(((k - 0.27) / 0.045) ** 2))
    return np.asarray(0.05 + 0.95 / (1 + np.exp(-(k - 0.24) / 0.02)) + peak, dtype=np.float64)


class IceGrain:
    """The grain in the frames of one view, one after the other.

    Parameters
    ----------
    optics, geometry, settings
        of the view.
    shape_px
        (height, width) of the padded image.
    rng
        of this view's grain.
    """

    def __init__(
        self,
        optics: ViewOptics,
        geometry: TiltGeometry,
        settings: SimulateSettings,
        shape_px: tuple[int, int],
        rng: np.random.Generator,
    ) -> None:
        self._optics, self._shape, self._rng = optics, shape_px, rng
        self._pixel = settings.pixel_size
        self._mobility = settings.ice_mobility
        self._state: NDArray[np.complex64] | None = None
        slant = max(abs(float(geometry.rotations()[0, 2, 2])), 0.05)
        self._path = settings.thickness / slant
        density = MOLECULES_PER_A3 * self._path * POTENTIAL_OF_A_MOLECULE**2  # V² Å⁴: spectrum per area
        # white noise of unit variance per pixel has the spectrum pixel² per area
        self._scale = settings.ice_noise * math.sqrt(density) / self._pixel
        size = round(TILE_ANG / self._pixel / 2) * 2
        self._tile = 4 * scipy.fft.next_fast_len(min(max(size, 64), 256) // 4, real=True)
        self._tilt = geometry.rotations()[0]
        self._filters: dict[int, Image] = {}

    def frame(self, dose_since_last: float) -> Image:
        """Contrast ``(h, w)`` of the grain in the next frame, which lies an exposure (e/Å²) after the last."""
        height, width = self._shape
        fresh = scipy.fft.rfft2(self._rng.standard_normal(self._shape, dtype=np.float32), workers=1)
        if self._state is None:
            self._state = fresh
        else:
            rate = 2 * math.pi**2 * self._mobility**2 * dose_since_last / self._pixel**2
            rows, columns = (
                np.exp(-rate * frequency**2).astype(np.float32)
                for frequency in (np.fft.fftfreq(height), np.fft.rfftfreq(width))
            )
            kept = np.multiply.outer(rows, columns)
            self._state *= kept
            fresh *= np.sqrt(np.maximum(1 - kept**2, 0))
            self._state += fresh
        white = scipy.fft.irfft2(self._state, s=self._shape, workers=1)
        return self._filtered(np.asarray(white, dtype=np.float32))

    def _filtered(self, white: Image) -> Image:
        """Apply each place's own transfer: pieces that overlap by a quarter, whose windows add up to 1."""
        size = self._tile
        ramp = size // 4
        step = size - ramp
        height, width = self._shape
        rows, columns = -(-(height + ramp) // step), -(-(width + ramp) // step)
        padded = np.zeros((rows * step + ramp, columns * step + ramp), dtype=np.float32)
        padded[ramp : ramp + height, ramp : ramp + width] = white
        out = np.zeros_like(padded)
        line = np.ones(size, dtype=np.float32)
        line[:ramp] = np.sin(np.pi / 2 * (np.arange(ramp) + 0.5) / ramp) ** 2
        line[-ramp:] = line[:ramp][::-1]
        window = line[:, None] * line
        for row in range(rows):
            for column in range(columns):
                x, y = column * step, row * step
                part = (slice(y, y + size), slice(x, x + size))
                middle = size / 2 - ramp
                terms = scipy.fft.rfft2(padded[part] * window, workers=1)
                terms *= self._filter(
                    self._depth((x + middle - width // 2) * self._pixel, (y + middle - height // 2) * self._pixel)
                )
                out[part] += scipy.fft.irfft2(terms, s=window.shape, workers=1)
        return out[ramp : ramp + height, ramp : ramp + width]

    def _depth(self, x_ang: float, y_ang: float) -> float:
        """Depth of the slab's middle plane at a place of the image, from the rotation alone."""
        inverse = np.linalg.inv(self._tilt[:2, :2])
        x, y = inverse @ np.array([x_ang, y_ang])
        return float(self._tilt[2, 0] * x + self._tilt[2, 1] * y)

    def _filter(self, depth_ang: float) -> Image:
        """Root of the power that one piece shows for white noise of unit variance."""
        step = 50.0
        key = round(depth_ang / step)
        found = self._filters.get(key)
        if found is None:
            optics = self._optics
            shape = (self._tile, self._tile)
            k2, phase, envelope = transfer_phase(optics, shape, self._pixel, key * step)
            k = np.sqrt(k2)
            if optics.contrast_transfer:
                # mean of sin² over the depths that the path crosses
                spread = np.sinc(electron_wavelength_ang(optics.voltage_kv) * k2 * self._path)
                power = 4 * envelope**2 * (0.5 - 0.5 * np.cos(2 * phase) * spread)
            else:
                power = np.ones_like(k2)
            strength = self._scale * interaction_per_volt_ang(optics.voltage_kv)
            found = (strength * np.sqrt(power * structure_factor(k))).astype(np.float32)
            self._filters[key] = found
        return found
