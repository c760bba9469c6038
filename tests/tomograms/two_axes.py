"""One specimen of Gaussian blobs in two tomograms, each without what its tilt series would not have measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry, rotation_x, rotation_y, rotation_z
from lamella.records import ArrayVolume, TiltSeries, Tomogram
from lamella.tomograms.combine_rigid import RigidMotion

VOXEL = 20.0
SHAPE = (40, 120, 124)  # z, y, x
TILTS = np.arange(-60, 61, 3.0)
SIGMA = 28.0


def motion_of(turn_deg=90.0, tilt_deg=(0.0, 0.0), shift_ang=(0.0, 0.0, 0.0)) -> RigidMotion:
    """A motion under which the specimen was turned by `turn_deg` from the first to the second series."""
    small = rotation_y(tilt_deg[1]) @ rotation_x(tilt_deg[0])
    return RigidMotion(rotation=small @ rotation_z(-turn_deg), shift_ang=np.array(shift_ang, np.float64))


def specimen(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.float64]:
    """Places of the blobs, Å, as dense in a larger volume."""
    rng = np.random.default_rng(seed)
    reach = 1.3 * max(shape[1:]) * VOXEL / 2
    count = round(1500 * (max(shape[1:]) / max(SHAPE[1:])) ** 2)
    return rng.uniform(-1, 1, size=(count, 3)) * [reach, reach, 240.0]


def render(points, shape=SHAPE, sigma=SIGMA) -> NDArray[np.float32]:
    """Blobs of peak −1 (mass is dark), ``(z, y, x)``."""
    lines = [(np.arange(n) - n // 2) * VOXEL for n in shape]
    z, y, x = (
        np.exp(-((line[:, None] - points[:, axis]) ** 2) / (2 * sigma**2))
        for line, axis in zip(lines, (2, 1, 0), strict=True)
    )
    return -np.einsum("zp,yp,xp->zyx", z, y, x, optimize=True).astype(np.float32)


def wedge_of(shape, widest_deg=60.0) -> NDArray[np.bool_]:
    """What a series about y measures: an rfft's samples within its tilt range, or as near to it as a slab's views."""
    kz = np.abs(np.fft.fftfreq(shape[0]))[:, None, None]
    kx = np.fft.rfftfreq(shape[2])[None, None]
    beyond = kz * np.cos(np.deg2rad(widest_deg)) - kx * np.sin(np.deg2rad(widest_deg))
    return np.broadcast_to(beyond < 0.5 / shape[0], (shape[0], shape[1], shape[2] // 2 + 1))


def measured(points, shape=SHAPE, noise=0.1, seed=0) -> NDArray[np.float32]:
    """A tomogram: the blobs and noise, both only where the series measures."""
    rng = np.random.default_rng([seed, 9])
    whole = render(points, shape) + noise * rng.normal(size=shape).astype(np.float32)
    terms = np.fft.rfftn(whole) * wedge_of(shape)
    terms[0, 0, 0] = 0
    return np.fft.irfftn(terms, s=shape, axes=(0, 1, 2)).astype(np.float32)


def series_of(name: str, **changes) -> TiltSeries:
    """An aligned series without pictures."""
    n = len(TILTS)
    values = {
        "name": name,
        "pixel_size_ang": VOXEL,
        "image_shape_px": SHAPE[1:],
        "nominal_tilt_deg": TILTS,
        "nominal_axis_deg": np.zeros(n),
        "geometry": TiltGeometry.from_angles(TILTS),
        "images": tuple(f"{i + 1:06d}@{name}.mrc" for i in range(n)),
    }
    return TiltSeries(**values | changes)


def tomogram_of(series: TiltSeries, shape=SHAPE) -> Tomogram:
    """The record of a tomogram of a shape."""
    return Tomogram(tilt_series=series, size_px=(shape[2], shape[1], shape[0]))


@dataclass(frozen=True, eq=False)
class TwoAxes:
    """Both tomograms, the motion between them, and the specimen in the first one's frame."""

    first: ArrayVolume
    second: ArrayVolume
    motion: RigidMotion
    points: NDArray[np.float64]


def two_axes(motion: RigidMotion, warp=None, noise=0.1, seed=0, shape=SHAPE) -> TwoAxes:
    """A specimen seen twice; `warp` says where its points were in the second, in the first one's frame."""
    points = specimen(seed, shape)
    moved = points if warp is None else points + warp(points)
    return TwoAxes(
        first=ArrayVolume(measured(points, shape, noise, seed)),
        second=ArrayVolume(measured(motion.to_second(moved), shape, noise, seed + 1)),
        motion=motion,
        points=points,
    )
