"""Small specimens with independent noise in two halves, for networks that learn in seconds."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from lamella.records import ArrayVolume
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.networks.patches import TrainingSet
from lamella.tomograms.networks.wedge import Wedge

TINY = {"channels": 4, "depth": 2, "patch": 32, "batch": 2, "epochs": 3, "learning_rate": 3e-3}


def blobs(shape: tuple[int, int, int], seed: int = 1) -> np.ndarray:
    """Dark balls of one size, variance 1."""
    random = np.random.default_rng(seed)
    points = np.zeros(shape, np.float32)
    points[tuple(random.integers(3, n - 3, size=int(np.prod(shape) / 1500)) for n in shape)] = -1.0
    out = gaussian_filter(points, 2.0)
    return (out / out.std()).astype(np.float32)


def noisy(truth: np.ndarray, sigma: float, seed: int, colour_px: float | tuple[float, ...] = 0.0) -> np.ndarray:
    """The truth with white noise, or with smoothed noise of the same variance."""
    noise = np.random.default_rng(seed).normal(size=truth.shape)
    if np.any(colour_px):
        noise = gaussian_filter(noise, colour_px)
        noise /= noise.std()
    return (truth + sigma * noise).astype(np.float32)


def halves(shape: tuple[int, int, int] = (32, 72, 72), sigma: float = 2.0, seed: int = 1) -> tuple[np.ndarray, ...]:
    """The truth and two halves."""
    truth = blobs(shape, seed)
    return truth, noisy(truth, sigma, seed + 10), noisy(truth, sigma, seed + 20)


def training_set(first: np.ndarray, second: np.ndarray | None = None, **changes) -> TrainingSet:
    """Volumes in memory as something to learn from; without a second one, for noise2void."""
    one = ArrayVolume(first)
    values = {"name": "TS", "voxel_size_ang": 10.0, "wedge": Wedge(-60.0, 60.0)} | changes
    return TrainingSet(first=one, second=one if second is None else ArrayVolume(second), **values)


def settings(method: str = "n2n", **changes) -> DenoiseSettings:
    """A tiny network and few epochs."""
    return DenoiseSettings(method=method, **TINY | changes)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation coefficient."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
