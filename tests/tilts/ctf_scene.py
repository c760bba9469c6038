"""Tilt images of random scatterers in a slab, whose contrast transfer and Fisher bound are known.

Nothing of lamella's simulator or of its estimator is in it but the phase of the lens: points are projected by hand, in
slices of depth, each with its own transfer, under white noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.optics import contrast_transfer, electron_wavelength_ang
from lamella.records import ArrayImages, Defocus, Optics, TiltSeries

Array = NDArray[np.float64]
PAD = 64


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is simulated; `strength` is the power of the scatterers over the noise's at low frequency."""

    tilts: tuple[float, ...] = (0.0,)
    size: int = 512
    pixel: float = 4.0
    axis: float = 85.0
    thickness: float = 1600.0
    strength: float = 0.3
    b_factor: float = 300.0
    defocus: float = 30000.0
    spread: float = 300.0
    astigmatism: tuple[float, float] = (150.0, -200.0)
    hand: int = -1
    phase_deg: float = 0.0
    contrast: float = 0.07
    voltage: float = 300.0
    shift: float = 60.0
    x_tilt: float = 0.0
    sag: float = 0.0
    slice_ang: float = 80.0
    seed: int = 1


def truth(scene: Scene) -> TiltSeries:
    """The true record."""
    rng = np.random.default_rng([scene.seed, 77])
    n = len(scene.tilts)
    geometry = TiltGeometry.from_angles(
        scene.tilts, scene.axis, x_tilt_deg=scene.x_tilt,
        x_shift_ang=rng.normal(0, scene.shift, n), y_shift_ang=rng.normal(0, scene.shift, n),
    )  # fmt: skip
    mean = scene.defocus + rng.normal(0, scene.spread, n)
    half, angle = np.hypot(*scene.astigmatism), np.rad2deg(np.arctan2(*scene.astigmatism[::-1])) / 2
    return TiltSeries(
        name="scene", pixel_size_ang=scene.pixel, image_shape_px=(scene.size, scene.size),
        nominal_tilt_deg=np.array(scene.tilts), nominal_axis_deg=np.full(n, scene.axis), geometry=geometry,
        defocus=Defocus(u_ang=mean + half, v_ang=mean - half, angle_deg=np.full(n, angle)), hand=scene.hand,
        optics=Optics(voltage_kv=scene.voltage, amplitude_contrast=scene.contrast),
    )  # fmt: skip


def make(scene: Scene) -> tuple[TiltSeries, ArrayImages]:
    """The true record and its images."""
    rng = np.random.default_rng([scene.seed, 78])
    series = truth(scene)
    field = scene.size * scene.pixel
    reach = np.array([field * 0.5 / np.cos(np.deg2rad(max(map(abs, scene.tilts)))) + 800, field * 0.5 + 800])
    lie = np.deg2rad(scene.axis)
    wide = np.abs([np.cos(lie), np.sin(lie)]) @ reach, np.abs([np.sin(lie), np.cos(lie)]) @ reach
    density = 0.05 / scene.pixel**2  # per Å²: many in every resolved area
    count = int(4 * wide[0] * wide[1] * density)
    points = rng.uniform(-1, 1, (count, 3)) * [wide[0], wide[1], scene.thickness / 2]
    points[:, 2] += scene.sag * (points[:, 0] ** 2 + points[:, 1] ** 2) / (field / 2) ** 2
    assert series.geometry is not None
    assert series.defocus is not None
    views = range(len(scene.tilts))
    images = [_view(scene, series.geometry, series.defocus, points, v, rng, density) for v in views]
    return series, ArrayImages(np.stack(images))


def _view(
    scene: Scene,
    geometry: TiltGeometry,
    defocus: Defocus,
    points: Array,
    view: int,
    rng: np.random.Generator,
    density: float,
) -> NDArray[np.float32]:
    one = geometry.select([view])
    places = one.project(points)[0] / scene.pixel + scene.size // 2
    depth = one.depth_ang(points)[0]
    near = (places > -PAD + 8).all(axis=1) & (places < scene.size + PAD - 8).all(axis=1)
    places, depth = places[near], depth[near]
    padded = scene.size + 2 * PAD
    ky, kx = np.fft.fftfreq(padded)[:, None] / scene.pixel, np.fft.rfftfreq(padded)[None] / scene.pixel
    falloff = np.exp(-scene.b_factor / 4 * (kx**2 + ky**2) / 2).astype(np.float32)
    total = np.zeros((padded, padded // 2 + 1), np.complex64)
    # a tilted slab holds more scatterers per area of the image
    cosine = float(one.rotations()[0, 2, 2])
    scale = np.sqrt(scene.strength / (density / cosine) / scene.pixel**2)
    number = np.floor(depth / scene.slice_ang).astype(int)
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=number[order][0] - 1))
    for group in np.split(order, starts[1:]):
        at = np.floor(places[group] + PAD).astype(int) % padded
        drawn = np.bincount(at[:, 1] * padded + at[:, 0], minlength=padded * padded).reshape(padded, padded)
        u, v = (float(part[view]) + scene.hand * float(depth[group].mean()) for part in (defocus.u_ang, defocus.v_ang))
        transfer = contrast_transfer(
            (padded, padded), scene.pixel, defocus_u_ang=u, defocus_v_ang=v, angle_deg=float(defocus.angle_deg[view]),
            voltage_kv=scene.voltage, amplitude_contrast=scene.contrast, phase_shift_deg=scene.phase_deg,
        ).numpy()  # fmt: skip
        total += scipy.fft.rfft2(drawn.astype(np.float32)) * transfer
    image = -scale * scipy.fft.irfft2(total * falloff, s=(padded, padded))[PAD:-PAD, PAD:-PAD]
    return (100 + image + rng.normal(size=image.shape)).astype(np.float32)


def fisher_bound_ang(scene: Scene, highest_per_ang: float) -> Array:
    """``(n,)`` least standard error of each view's defocus if all else were known (exact for a thin film).

    Power of the noise 1 + S sin²: rings of a slab are damped by the sinc of its extent in depth.
    """
    wavelength = electron_wavelength_ang(scene.voltage)
    area = (scene.size * scene.pixel) ** 2
    k = np.linspace(1 / 60, highest_per_ang, 4000)
    bounds = []
    for tilt, defocus in zip(scene.tilts, np.full(len(scene.tilts), scene.defocus), strict=True):
        through = scene.thickness / np.cos(np.deg2rad(tilt))
        power = scene.strength * np.exp(-scene.b_factor / 2 * k**2 / 2)
        damping = np.sinc(wavelength * k**2 * through)
        phase = 2 * np.pi * wavelength * defocus * k**2 - np.pi * 2.7e7 * wavelength**3 * k**4
        phase += 2 * np.arcsin(scene.contrast) + 2 * np.deg2rad(scene.phase_deg)
        mean = 1 + power * (1 - damping * np.cos(phase)) / 2
        change = power * damping * np.sin(phase) * np.pi * wavelength * k**2
        information = np.sum((change / mean) ** 2 * np.pi * k) * (k[1] - k[0]) * area
        bounds.append(information**-0.5)
    return np.array(bounds)
