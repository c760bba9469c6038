"""Pictures of a body of Gaussians, whose central slices are a formula: what refinement and its parts are tested on."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from lamella.geometry import TiltGeometry
from lamella.particles.views import SeriesTransfer
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

PIXEL = 6.0
PLACES = np.array(
    [[5, 0, 0], [-2, 4, 1], [0, -3, 5], [-4, -3, -2], [2, 3, -5], [0, 5, 4], [-5, 2, -3], [3, -5, 0], [1, 1, 2]], float
)  # px
MASSES = np.array([1.0, 0.8, 1.2, 0.9, 1.1, 0.7, 1.0, 0.6, 1.3])
WIDTH = 0.8  # px
TILTS = np.linspace(-54, 54, 13)


def body(box: int, places: np.ndarray = PLACES, masses: np.ndarray = MASSES) -> np.ndarray:
    """``(box, box, box)`` the body, sampled."""
    line = np.arange(box) - box // 2
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    volume = np.zeros((box,) * 3)
    for (px, py, pz), mass in zip(places, masses, strict=True):
        volume += mass * np.exp(-((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2) / (2 * WIDTH**2))
    return (volume / (2 * np.pi * WIDTH**2) ** 1.5).astype(np.float32)


def series(name: str = "TS") -> TiltSeries:
    """Thirteen views with a defocus."""
    n = len(TILTS)
    return TiltSeries(
        name=name, pixel_size_ang=PIXEL, image_shape_px=(400, 400), nominal_tilt_deg=TILTS,
        nominal_axis_deg=np.full(n, 85.0), optics=Optics(voltage_kv=300.0),
        geometry=TiltGeometry.from_angles(TILTS, 85.0, x_shift_ang=3.0),
        defocus=Defocus(
            u_ang=np.linspace(26000.0, 27000.0, n), v_ang=np.full(n, 26000.0), angle_deg=np.full(n, 20.0),
            phase_shift_deg=np.zeros(n),
        ),
    )  # fmt: skip


def particle_set(
    count: int, box: int, noise: float, seed: int = 1, *, off_px: float = 0.5, places: np.ndarray = PLACES,
    masses: np.ndarray = MASSES,
) -> tuple[ParticleSet, ArrayParticles]:  # fmt: skip
    """Particles in their true poses, cut out up to some pixels beside, with pictures of unit noise times `noise`."""
    generator = np.random.default_rng(seed)
    tilts = series()
    true_px = generator.uniform(-60, 60, (count, 3))
    cut_px = true_px + generator.normal(size=(count, 3)) * off_px
    matrices = Rotation.random(count, random_state=seed).as_matrix()
    bare = Particles(
        tomogram=Tomogram(tilt_series=tilts, size_px=(400, 400, 200)),
        coordinates_ang=cut_px * PIXEL,
        half_set=np.arange(count) % 2 + 1,
        images=ParticleImages(names=tuple(f"{i}.mrcs" for i in range(count)), pixel_size_ang=PIXEL, box_px=box),
        quality={"ParticleDiameterAngst": 18 * PIXEL},
    ).with_poses(matrices, true_px * PIXEL)
    whole = 2 * box  # in which the transfer is multiplied before the picture is cropped
    transfer = SeriesTransfer(tilts, whole, PIXEL)
    ky, kx = np.meshgrid(np.fft.fftfreq(whole), np.fft.rfftfreq(whole), indexing="ij")
    rotations = tilts.geometry.rotations()
    pictures = []
    for index in range(count):
        passed = transfer.at(cut_px[index] * PIXEL).numpy()
        stack = np.zeros((len(TILTS), box, box), np.float32)
        for view, rotation in enumerate(rotations):
            at = (places @ matrices[index].T + true_px[index] - cut_px[index]) @ rotation.T + whole // 2
            phase = np.exp(-2j * np.pi * (kx[..., None] * at[:, 0] + ky[..., None] * at[:, 1]))
            terms = (phase @ masses) * np.exp(-2 * np.pi**2 * WIDTH**2 * (kx**2 + ky**2))
            white = np.fft.rfft2(generator.normal(size=(whole, whole)) * noise)
            shown = np.fft.irfft2((terms * passed[view] + white) * passed[view], s=(whole, whole))
            low = whole // 2 - box // 2
            stack[view] = shown[low : low + box, low : low + box]
        pictures.append(stack)
    return ParticleSet(members=(bare,)), ArrayParticles(pictures)


def turned(particles: ParticleSet, deg: float, seed: int = 2) -> ParticleSet:
    """The same particles, their orientations off by so much."""
    member = particles.members[0]
    axes = np.random.default_rng(seed).normal(size=(len(member), 3))
    axes *= np.deg2rad(deg) / np.linalg.norm(axes, axis=1, keepdims=True)
    wrong = member.matrices() @ Rotation.from_rotvec(axes).as_matrix()
    return ParticleSet(members=(member.with_poses(wrong, member.coordinates_ang),))


def torch_body(box: int) -> torch.Tensor:
    """The body as a tensor."""
    return torch.from_numpy(body(box))
