"""Pictures of bodies of Gaussians, whose slices are exact, as tilt series show them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from lamella.fourier import frequency_axes
from lamella.geometry import TiltGeometry
from lamella.particles.views import SeriesTransfer, view_rotations
from lamella.records import (
    ArrayParticles,
    Defocus,
    Optics,
    ParticleImages,
    Particles,
    ParticleSet,
    TiltSeries,
    Tomogram,
)

Array = NDArray[np.float64]

# x, y, z, width (Å) and mass: no mirror image of this can be turned onto it
BODY = np.array([
    [0.0, 0.0, 0.0, 42.0, 1.0],
    [70.0, 10.0, 0.0, 26.0, 0.45],
    [-10.0, 65.0, 20.0, 24.0, 0.4],
    [5.0, -25.0, 75.0, 22.0, 0.4],
    [-60.0, -35.0, -30.0, 20.0, 0.3],
    [35.0, 50.0, -55.0, 18.0, 0.25],
])  # fmt: skip
DIAMETER_ANG = 260.0


def tilt_series(name: str = "TS", views: int = 21, pixel_size_ang: float = 4.0, dose: float = 3.0) -> TiltSeries:
    """From −60° to 60° about an axis at 86.5°, with defocus and dose."""
    tilts = np.linspace(-60, 60, views)
    defocus = 30000 + 300 * np.sin(np.arange(views))
    return TiltSeries(
        name=name,
        pixel_size_ang=pixel_size_ang,
        image_shape_px=(1024, 1024),
        nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(views, 85.0),
        pre_exposure=np.abs(tilts) / tilts.max() * dose * views,
        optics=Optics(voltage_kv=300.0),
        geometry=TiltGeometry.from_angles(tilts, 86.5, x_tilt_deg=0.7),
        defocus=Defocus(u_ang=defocus, v_ang=defocus - 400, angle_deg=np.full(views, 12.0)),
    )


def body_terms(body: ArrayLike, points: Array) -> NDArray[np.complex128]:
    """Transform of a body at points ``(..., 3)`` in cycles per Å."""
    out = np.zeros(points.shape[:-1], complex)
    squares = (points**2).sum(axis=-1)
    for x, y, z, width, mass in np.asarray(body):
        out += mass * np.exp(-2 * np.pi**2 * width**2 * squares - 2j * np.pi * (points @ (x, y, z)))
    return out


def body_map(body: ArrayLike, box_px: int, voxel_ang: float) -> NDArray[np.float32]:
    """Its density ``(box, box, box)``, origin at box // 2."""
    line = (np.arange(box_px) - box_px // 2) * voxel_ang
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    out = np.zeros((box_px,) * 3)
    for bx, by, bz, width, mass in np.asarray(body):
        far = (x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2
        out += mass * np.exp(-far / (2 * width**2)) / ((2 * np.pi) ** 1.5 * width**3)
    return out.astype(np.float32)


def pictures_of(
    bodies: Sequence[ArrayLike],
    kinds: NDArray[np.int64],
    *,
    box_px: int = 32,
    pixel_ang: float = 12.0,
    snr: float = 0.2,
    offset_ang: float = 0.0,
    seed: int = 0,
    series: Sequence[TiltSeries] | None = None,
) -> tuple[ParticleSet, ArrayParticles, Array, Array]:
    """Pictures of particles, each of one of several bodies, in random orientations.

    Parameters
    ----------
    kinds
        ``(n,)`` the body of each particle.
    snr
        variance of the first body's picture over that of the noise, before the transfer, in the box.
    offset_ang
        standard deviation of each coordinate from where the record says.

    Returns
    -------
    particles, source, matrices, places_ang
        without orientations; the true ones; and the true places less those of the record.
    """
    rng = np.random.default_rng(seed)
    series = [tilt_series("TS_01"), tilt_series("TS_02")] if series is None else series
    n = len(kinds)
    matrices = Rotation.random(n, random_state=seed).as_matrix()
    offsets = rng.normal(size=(n, 3)) * offset_ang
    ky, kx = (line.numpy() / pixel_ang for line in frequency_axes((box_px, box_px)))
    plane = np.stack(np.broadcast_arrays(kx, ky, 0 * kx), axis=-1)
    norm = np.sqrt((np.abs(body_terms(bodies[0], plane)) ** 2).sum() * 2) / box_px**2 / pixel_ang**2
    gain = np.sqrt(snr) / norm / pixel_ang**2
    owner = np.arange(n) * len(series) // n
    members, arrays = [], []
    for number, one in enumerate(series):
        chosen = np.flatnonzero(owner == number)
        recorded = rng.uniform(-1500, 1500, (len(chosen), 3)) * (1, 1, 0.2)
        transfer, turned = SeriesTransfer(one, box_px, pixel_ang), view_rotations(one)
        for index, place in zip(chosen, recorded, strict=True):
            points = np.einsum("yxk,vkj->vyxj", plane, turned @ matrices[index])  # k · M is Mᵀ k
            phase = np.exp(-2j * np.pi * np.einsum("yxk,vk->vyx", plane, turned @ offsets[index]))
            terms = gain * body_terms(bodies[kinds[index]], points) * phase
            terms += np.fft.rfft2(rng.normal(size=(len(one), box_px, box_px)))
            pictures = np.fft.irfft2(terms * transfer.at(place).numpy(), s=(box_px, box_px))
            arrays.append(np.roll(pictures, (box_px // 2,) * 2, (1, 2)).astype(np.float32))
        names = tuple(f"{one.name}/{k + 1}" for k in range(len(chosen)))
        members.append(
            Particles(
                tomogram=Tomogram(tilt_series=one, size_px=(1024, 1024, 300)),
                coordinates_ang=recorded,
                names=names,
                images=ParticleImages(names=names, pixel_size_ang=pixel_ang, box_px=box_px),
                half_set=np.arange(len(chosen)) % 2 + 1,
                quality={"ParticleDiameterAngst": DIAMETER_ANG},
            )
        )
    return ParticleSet(members=tuple(members)), ArrayParticles(arrays), matrices, offsets
