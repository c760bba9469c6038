"""A tomogram whose specimen's faces are known: bodies with detail of their own in a slab, in noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lamella.geometry import rotation_x, rotation_y

__all__ = ["SHAPE", "THICKNESS_ANG", "VOXEL_ANG", "noise", "slab"]

VOXEL_ANG = 16.0
SHAPE = (96, 192, 192)
THICKNESS_ANG = 800.0

_RADIUS_ANG = 80.0

Volume = NDArray[np.float32]


def noise(rng: np.random.Generator, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """Noise of standard deviation 1 whose grain is larger than a voxel within a layer."""
    out = gaussian_filter(rng.standard_normal(shape).astype(np.float32), (0.0, 0.6, 0.6))
    return np.asarray(out / out.std(), dtype=np.float32)


def slab(
    rng: np.random.Generator,
    *,
    x_tilt_deg: float = 0.0,
    y_tilt_deg: float = 0.0,
    offset_ang: float = 0.0,
    bodies: int = 900,
    noisy: float = 1.0,
) -> Volume:
    """Bodies 160 Å wide that lie within a slab, in noise of deviation `noisy`; the slab's normal is Rx · Ry · z."""
    turn = rotation_x(x_tilt_deg) @ rotation_y(y_tilt_deg)
    size = np.array(SHAPE[::-1])
    places = rng.uniform(-0.55, 0.55, (bodies, 3)) * size * VOXEL_ANG
    places[:, 2] = rng.uniform(-1, 1, bodies) * (THICKNESS_ANG / 2 - _RADIUS_ANG)
    index = np.rint((places @ turn.T + [0, 0, offset_ang]) / VOXEL_ANG).astype(int) + size // 2
    x, y, z = index[((index >= 0) & (index < size)).all(axis=1)].T
    marks = np.zeros(SHAPE, np.float32)
    marks[z, y, x] = 1
    within = np.clip(gaussian_filter(marks, _RADIUS_ANG / VOXEL_ANG / 2.5) / 0.006, 0, 1)
    detail = gaussian_filter(rng.standard_normal(SHAPE).astype(np.float32), 0.8)
    detail = np.clip(detail / detail.std(), -2, 2)
    return np.asarray(noisy * noise(rng) + 2.2 * within * (detail - 0.5), dtype=np.float32)
