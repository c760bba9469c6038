"""A particle of Gaussian blobs without symmetry, and tomograms that hold it at known poses: exact in Fourier space."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from lamella.geometry import TiltGeometry
from lamella.records import Optics, TiltSeries, Tomogram

BLOBS = np.array([[0, 0, 0], [60, 0, 0], [0, 45, 30], [-40, -35, 10], [10, -30, -50], [-20, 40, -35]], float)
MASSES = np.array([1.5, 1.0, 1.2, 0.8, 1.0, 0.7])
SIGMA = 16.0
DIAMETER = 190.0


def blob_map(size: int, voxel: float, places=BLOBS, masses=MASSES, sigma: float = SIGMA) -> np.ndarray:
    """`(size, size, size)` mass, its origin at voxel size // 2."""
    return tomogram_of([np.zeros(3)], [np.eye(3)], (size,) * 3, voxel, places, masses, sigma)


def tomogram_of(centres, matrices, shape, voxel, places=BLOBS, masses=MASSES, sigma: float = SIGMA) -> np.ndarray:
    """`shape` (z, y, x) volume of particles; centres in Å from voxel n // 2."""
    out = np.zeros(shape, np.float64)
    axes = [(np.arange(n) - n // 2) * voxel for n in shape]
    for centre, matrix in zip(centres, matrices, strict=True):
        for place, mass in zip(centre + places @ np.asarray(matrix).T, masses, strict=True):
            z, y, x = (np.exp(-0.5 * ((axis - p) / sigma) ** 2) for axis, p in zip(axes, place[::-1], strict=True))
            out += mass * z[:, None, None] * y[:, None] * x
    return out.astype(np.float32)


TILTS = tuple(np.arange(-60, 61, 3.0))


def series_of(tilts=TILTS, name="TS_01", pixel=5.0) -> TiltSeries:
    n = len(tilts)
    return TiltSeries(
        name=name, pixel_size_ang=pixel, image_shape_px=(128, 128), nominal_tilt_deg=np.asarray(tilts, float),
        nominal_axis_deg=np.zeros(n), geometry=TiltGeometry.from_angles(tilts), optics=Optics(voltage_kv=300.0),
    )  # fmt: skip


def tomogram_record(shape, voxel=10.0, **changes) -> Tomogram:
    series = series_of(**changes)
    binning = voxel / series.pixel_size_ang
    z, y, x = (2 * round(n * binning / 2) for n in shape)
    return Tomogram(tilt_series=series.with_changes(image_shape_px=(y, x)), size_px=(x, y, z), binning=binning)


def unseen_removed(volume: np.ndarray, most_deg: float) -> np.ndarray:
    """The volume without what views about y up to an angle do not see."""
    terms = np.fft.rfftn(volume)
    kz, kx = np.fft.fftfreq(volume.shape[0])[:, None, None], np.fft.rfftfreq(volume.shape[2])
    return np.fft.irfftn(
        terms * (np.abs(kz) <= np.tan(np.deg2rad(most_deg)) * np.abs(kx) + 1e-9), s=volume.shape, axes=(0, 1, 2)
    )


def scattered(count: int, shape, voxel: float, apart: float, rng) -> np.ndarray:
    """Centres that keep a distance from each other and from the borders."""
    half = np.array(shape[::-1]) * voxel / 2 - 0.6 * apart
    out: list[np.ndarray] = []
    while len(out) < count:
        place = rng.uniform(-half, half)
        if all(np.linalg.norm(place - other) > apart for other in out):
            out.append(place)
    return np.array(out)


def turned(count: int, seed: int) -> np.ndarray:
    return Rotation.random(count, random_state=seed).as_matrix()
