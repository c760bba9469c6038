"""A tilt series of bodies made of Gaussians, whose pictures are exact: projections and transforms in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry, euler_matrix
from lamella.optics import contrast_transfer
from lamella.records import Defocus, Optics, Particles, TiltSeries, Tomogram

Array = NDArray[np.float64]

SIGMA_ANG = 14.0
# an asymmetric body within 50 Å of its origin: places and weights
PLACES_ANG = np.array([[40.0, 0, 0], [-25, 30, 0], [0, -35, 20], [10, 15, -40], [0, 0, 0]])
WEIGHTS = np.array([1.0, 1.5, 0.8, 1.2, 2.0])


def body(box_px: int, voxel_ang: float) -> NDArray[np.float32]:
    """The body in a box, origin at box // 2: density per Å³ times the voxel's volume."""
    line = (np.arange(box_px) - box_px // 2) * voxel_ang
    out = np.zeros((box_px,) * 3)
    for place, weight in zip(PLACES_ANG, WEIGHTS, strict=True):
        x, y, z = (np.exp(-((line - p) ** 2) / 2 / SIGMA_ANG**2) for p in place)
        out += weight * z[:, None, None] * y[:, None] * x
    return (out * voxel_ang**3 / (2 * np.pi * SIGMA_ANG**2) ** 1.5).astype(np.float32)


def projection(
    shape: tuple[int, int], pixel_ang: float, centre_px: Array, rotation: Array, magnification: float = 1.0
) -> Array:
    """Mass per pixel of the body turned by a rotation, its origin at `centre_px` (x, y)."""
    out = np.zeros(shape)
    for place, weight in zip(PLACES_ANG @ rotation.T, WEIGHTS, strict=True):
        at = centre_px + magnification * place[:2] / pixel_ang
        x, y = (
            np.exp(-((np.arange(n) - a) ** 2) * pixel_ang**2 / 2 / SIGMA_ANG**2)
            for n, a in zip(shape[::-1], at, strict=True)
        )
        out += weight * y[:, None] * x
    return out * pixel_ang**2 / (2 * np.pi * SIGMA_ANG**2)


def tilt_series(
    tilts: Array, pixel_ang: float = 5.0, size: tuple[int, int] = (120, 140), *, ctf: bool = False, name: str = "TS"
) -> TiltSeries:
    """An aligned series with shifts that are no whole pixels."""
    n = len(tilts)
    rng = np.random.default_rng(5)
    defocus = Defocus(
        u_ang=np.full(n, 16000.0), v_ang=np.full(n, 15000.0), angle_deg=np.full(n, 30.0),
        max_resolution_ang=np.linspace(6, 20, n),
    )  # fmt: skip
    return TiltSeries(
        name=name,
        pixel_size_ang=pixel_ang,
        image_shape_px=size,
        nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(n, 85.0),
        optics=Optics(voltage_kv=300.0),
        defocus=defocus if ctf else None,
        geometry=TiltGeometry.from_angles(
            tilts, 85.0, x_tilt_deg=1.0, x_shift_ang=rng.uniform(-6, 6, n), y_shift_ang=rng.uniform(-6, 6, n)
        ),
    )


def images_of(particles: Particles, *, noise: float = 0.0, grey: float = 100.0, seed: int = 3) -> NDArray[np.float32]:
    """Bright-field images of the particles: grey, less mass, with what the contrast transfer makes of it, and noise."""
    series = particles.tilt_series
    geometry = series.geometry
    assert geometry is not None
    height, width = series.image_shape_px
    rng = np.random.default_rng(seed)
    places = geometry.project(particles.positions_ang()) / series.pixel_size_ang + (width // 2, height // 2)
    rotations, matrices = geometry.rotations(), particles.matrices()
    images = np.empty((len(series), height, width), np.float32)
    for view in range(len(series)):
        image = rng.normal(0, noise, (height, width)) if noise else np.zeros((height, width))
        for number, matrix in enumerate(matrices):
            mass = projection((height, width), series.pixel_size_ang, places[view, number], rotations[view] @ matrix)
            if series.defocus is not None:
                u, v = series.defocus_at(particles.positions_ang()[number])
                ctf = contrast_transfer(
                    (height, width), series.pixel_size_ang, defocus_u_ang=u[view], defocus_v_ang=v[view],
                    angle_deg=series.defocus.angle_deg[view], voltage_kv=300.0,
                )  # fmt: skip
                mass = np.fft.irfft2(np.fft.rfft2(mass) * ctf.numpy(), s=mass.shape)
            image -= mass
        images[view] = image + grey
    return images


def particles_in(series: TiltSeries, positions_ang: Array, angles_deg: Array, **changes: object) -> Particles:
    """Particles of a series."""
    height, width = series.image_shape_px
    tomogram = Tomogram(tilt_series=series, size_px=(width, height, 40))
    return Particles(tomogram=tomogram, coordinates_ang=positions_ang, angles_deg=angles_deg, **changes)  # type: ignore[arg-type]


def random_particles(series: TiltSeries, count: int, seed: int = 1, reach_ang: float = 0.0) -> Particles:
    """Particles anywhere near the middle, turned at random."""
    rng = np.random.default_rng(seed)
    tilt = np.degrees(np.arccos(rng.uniform(-1, 1, count)))
    angles = np.stack([rng.uniform(-180, 180, count), tilt, rng.uniform(-180, 180, count)], axis=1)
    return particles_in(series, rng.uniform(-reach_ang, reach_ang, (count, 3)), angles)


def turned(angles_deg: Array) -> Array:
    """Matrices of angles."""
    return euler_matrix(*np.asarray(angles_deg).T)
