"""Cameras that count electrons.

A counting camera puts each electron into one pixel, with an error of place: events are a Poisson process whose rate is
the intensity blurred by a point spread, so their noise is white and DQE(k) = DQE(0) · MTF(k)². The curves here are that
shape through published values at 300 kV (K3: Gatan's data sheet and Sun et al. 2021; Falcon 4: Nakane et al. 2020 and
Thermo Fisher's data sheet). Doses are those that the calibrated camera counts, so DQE(0) is in them.

Two electrons that fall into one neighbourhood within one exposure of the sensor count as one: of x expected there
(1 − exp(−x)) / x are kept (Li et al. 2013).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lamella.simulate.settings import SimulateSettings

__all__ = ["CAMERAS", "Camera", "Sensor", "build_sensor", "camera_of", "count"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A kind of camera.

    Attributes
    ----------
    name
        as an mdoc would have it.
    half, full
        DQE at half of and at Nyquist, over that at 0.
    frame_rate
        exposures of the sensor in a second.
    neighbourhood_px
        pixels within which electrons of one exposure count as one; 0: none are lost.
    """

    name: str
    half: float
    full: float
    frame_rate: float
    neighbourhood_px: float

    def mtf(self, frequency: Array) -> Array:
        """Modulation transfer at frequencies in cycles/px: √(DQE / DQE(0)), with ln DQE a power of the frequency."""
        if self.full >= 1:
            return np.ones_like(frequency)
        power = math.log2(math.log(self.full) / math.log(self.half))
        transfer: Array = np.exp(0.5 * math.log(self.full) * (2 * frequency) ** power)
        return transfer

    def kept(self, rate_per_px_s: Array | float) -> Array:
        """Fraction of the electrons that are counted, at a rate in e/px/s."""
        expected = np.maximum(np.asarray(rate_per_px_s) * self.neighbourhood_px / self.frame_rate, 1e-12)
        kept: Array = -np.expm1(-expected) / expected
        return kept


CAMERAS: Mapping[str, Camera] = MappingProxyType(
    {
        "ideal": Camera(name="Ideal", half=1.0, full=1.0, frame_rate=1.0, neighbourhood_px=0.0),
        "k3": Camera(name="K3", half=0.70, full=0.35, frame_rate=1500.0, neighbourhood_px=7.0),
        "falcon4": Camera(name="Falcon 4", half=0.79, full=0.55, frame_rate=250.0, neighbourhood_px=2.0),
    }
)


def camera_of(settings: SimulateSettings) -> Camera:
    """The camera that a simulation asks for."""
    return CAMERAS[settings.detector]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sensor:
    """One camera's own pixels.

    Attributes
    ----------
    sensitivity
        ``(h, w)`` counts for each electron; 0 for dead pixels.
    gain
        ``(h, w)`` the reference, by which frames are multiplied: 1 / sensitivity as a flat field of finite exposure
        told it, 0 for dead pixels. Hot pixels and columns are not marked in it.
    excess
        ``(h, w)`` counts that a pixel adds, as a multiple of the mean.
    """

    sensitivity: Image
    gain: Image
    excess: Image


FLAT_FIELD_ERROR = 0.003
_SMOOTH, _TILE, _COLUMN, _PIXEL = 0.03, 0.015, 0.01, 0.03  # rms of the parts of a pixel's own sensitivity
_HOT_COLUMN, _HOT_PIXEL = 1.5, 12.0


def build_sensor(settings: SimulateSettings) -> Sensor:
    """The camera's pixels: the same for every series of a seed."""
    shape = settings.image_shape_px
    rng = np.random.default_rng([settings.seed, 7])
    sensitivity = np.ones(shape)
    gain = np.ones(shape)
    if settings.gain and settings.detector != "ideal":
        sensitivity = _structure(shape, rng)
        gain = 1 / (sensitivity * (1 + FLAT_FIELD_ERROR * rng.normal(size=shape)))
    excess = np.zeros(shape)
    height, width = shape
    columns = rng.choice(width, min(settings.hot_columns, width), replace=False)
    excess[:, columns] += _HOT_COLUMN * rng.uniform(0.6, 1.4, len(columns))
    spots = rng.choice(height * width, min(settings.hot_pixels + settings.dead_pixels, height * width), replace=False)
    hot, dead = spots[: settings.hot_pixels], spots[settings.hot_pixels :]
    excess.flat[hot] += _HOT_PIXEL * rng.uniform(0.3, 1.7, len(hot))
    for values in (sensitivity, gain, excess):
        values.flat[dead] = 0
    return Sensor(
        sensitivity=sensitivity.astype(np.float32), gain=gain.astype(np.float32), excess=excess.astype(np.float32)
    )


def _structure(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Sensitivity of mean 1: illumination, the chips' tiles, the columns' amplifiers, and every pixel of its own."""
    height, width = shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None, :]
    a, b, c, d, e = rng.normal(size=5)
    smooth = a * x + b * y + c * (x**2 - 1 / 3) + d * x * y + e * (y**2 - 1 / 3)
    smooth = _SMOOTH * smooth / max(float(smooth.std()), 1e-9)
    tiles = _TILE * rng.normal(size=(4, 8))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 8 // width
    own = _PIXEL * rng.normal(size=shape) + _COLUMN * rng.normal(size=width)
    sensitivity = np.clip(1 + smooth + tiles[rows[:, None], columns[None, :]] + own, 0.3, None)
    scaled: Array = sensitivity / sensitivity.mean()
    return scaled


def count(
    expected: Image, sensor: Sensor | None, camera: Camera, settings: SimulateSettings, rng: np.random.Generator
) -> Image:
    """What the camera counts where this many electrons are expected, ``(h, w)``.

    Parameters
    ----------
    expected
        ``(h, w)`` electrons, blurred by the camera's point spread.
    sensor
        its pixels, or None where the counts are corrected already (a stack of tilt images).
    camera, settings
        the settings' dose rate tells how long the exposure is.
    rng
        of this exposure.

    Returns
    -------
    counts
        whole numbers; without noise the expected counts.
    """
    seconds = exposure_seconds(settings.dose, settings) / max(1, settings.frames)
    rate = expected.astype(np.float64)
    rate *= camera.kept(rate / seconds)
    if sensor is not None:
        level = rate.mean()
        rate = rate * sensor.sensitivity + level * sensor.excess
    if not settings.noise:
        return rate.astype(np.float32)
    counts: Image = rng.poisson(rate).astype(np.float32)
    for _ in range(rng.poisson(settings.xrays / max(1, settings.frames))):
        _hit(counts, rng)
    return counts


def exposure_seconds(dose: float, settings: SimulateSettings) -> float:
    """How long a view of this dose (e/Å²) takes at the camera's dose rate."""
    return dose * settings.pixel_size**2 / settings.dose_rate


def _hit(counts: Image, rng: np.random.Generator) -> None:
    """An X-ray: a bright spot of one to three pixels."""
    height, width = counts.shape
    y, x = int(rng.integers(height)), int(rng.integers(width))
    strength = rng.uniform(20, 150)
    for _ in range(int(rng.integers(1, 4))):
        counts[y, x] += round(strength * rng.uniform(0.3, 1))
        y, x = min(y + int(rng.integers(2)), height - 1), min(x + int(rng.integers(2)), width - 1)
