"""First models and classes: time, and how near they come to the truth.

Ribosomes and their halves are shown by 41 views (the model of `lamella.particles.views`: contrast transfer, dose, white
noise). The first model begins from random orientations and 8 Å wrong places; its map is compared with the one that the
true poses make, after the rotation that the poses themselves say. Classes begin from poses that are 2° off.

    python -m benchmarks model             # 60 particles
    MODEL_PARTICLES=250 python -m benchmarks model
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.machine import peak_mib
from lamella.fourier import resolution_at, shell_correlation
from lamella.geometry import TiltGeometry
from lamella.geometry.angular_grid import rotation_angle_deg
from lamella.kernels.central_slices import padded_transform, take_terms
from lamella.particles.classify import classify
from lamella.particles.classify_settings import ClassifySettings
from lamella.particles.initial_model import initial_model
from lamella.particles.likelihood import picture_index
from lamella.particles.model_settings import ModelSettings
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
from lamella.runtime import prepare, threads
from lamella.simulate.library import named_template

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

DIAMETER_ANG, VIEWS, BOX, PIXEL = 290.0, 41, 40, 11.0
NOISE = 0.15
"""Noise of a pixel over the highest value of a projection.

3 e/Å² on 11 Å leave 1/√363 of the intensity, and a ribosome's phase of 0.36 rad changes it by up to 0.72, which is
0.073; ice of 1100 Å and the detector double it.
"""


def main() -> None:
    """Print a line for the first model and one for the classes."""
    prepare(torch=True)
    count = int(os.environ.get("MODEL_PARTICLES", "60"))
    whole, large = (_body(name) for name in ("ribosome", "ribosome_large"))
    particles, source, places = _shown([whole], np.zeros(count, np.int64), off_ang=8.0)
    _first_model(particles, source, places, whole)
    kinds = np.random.default_rng(3).permutation(count) % 2
    mixed, pictures, _ = _shown([whole, large], kinds, off_ang=0.0)
    _classes(mixed, pictures, kinds)
    print(f"peak memory {peak_mib():.0f} MiB, {threads()} threads")


def _first_model(particles: ParticleSet, source: ArrayParticles, places: Array, body: Floats) -> None:
    begun = time.perf_counter()
    model = initial_model(particles, source, ModelSettings(diameter=DIAMETER_ANG))
    seconds = time.perf_counter() - begun
    true, found = particles.matrices(), model.particles.matrices()
    turns = np.swapaxes(true, 1, 2) @ found
    middle = turns[int(np.argmin([np.median(rotation_angle_deg(turns, one)) for one in turns]))]
    left, _, right = np.linalg.svd(turns[rotation_angle_deg(turns, middle) < 25].mean(axis=0))
    turn = left @ right
    error = rotation_angle_deg(turns, turn)
    away = model.particles.positions_ang() - places
    centre = np.median(np.einsum("nji,nj->ni", true, away), axis=0)
    same, mirrored = (_agreement(model.maps[0], one, turn, centre) for one in (body, body[::-1, ::-1, ::-1].copy()))
    print(
        f"first model, {len(particles)} particles: {seconds:.0f} s, median error {np.median(error):.1f}°, "
        f"{100 * (error < 20).mean():.0f}% within 20°; FSC with the truth {same[1]:.2f} at 40 Å, "
        f"0.5 at {same[0]:.0f} Å; of the inverted truth {mirrored[1]:.2f}"
    )


def _agreement(found: Floats, body: Floats, turn: Array, centre_ang: Array) -> tuple[float, float]:
    """Where the shell correlation of a map with a turned and moved body falls below 0.5, Å, and what it is at 40 Å."""
    index = picture_index(BOX, BOX // 2, volume=True)
    # F of b(Q x + c) is F_b(Q k) exp(2πi Q k · c)
    terms = take_terms(padded_transform(torch.from_numpy(body)).numpy(), index.index, turn.T[None], BOX)[0]
    terms = terms * np.exp(2j * np.pi / (BOX * PIXEL) * (index.index @ (turn.T @ centre_ang)))
    other = np.zeros(BOX * BOX * (BOX // 2 + 1), np.complex64)
    other[index.flat] = terms
    seen = torch.fft.irfftn(torch.from_numpy(other.reshape(BOX, BOX, -1)), s=(BOX,) * 3).roll(
        (BOX // 2,) * 3, (0, 1, 2)
    )
    frequency, correlation, _ = shell_correlation(torch.from_numpy(found), seen)
    at = float(np.interp(PIXEL / 40, frequency.numpy(), correlation.numpy()))
    return resolution_at(frequency, correlation, 0.5, PIXEL), at


def _classes(particles: ParticleSet, source: ArrayParticles, kinds: NDArray[np.int64]) -> None:
    off = Rotation.from_rotvec(np.random.default_rng(4).normal(size=(len(kinds), 3)) * np.deg2rad(2 / 1.7)).as_matrix()
    near = replace(particles, members=(particles.members[0].with_poses(particles.matrices() @ off),))
    for align in (False, True):
        begun = time.perf_counter()
        found = classify(near, source, ClassifySettings(classes=2, align=align, diameter=DIAMETER_ANG))
        classes = np.concatenate([np.asarray(one.classes) for one in found.particles.members])
        pure = sum(max(((classes == number) & (kinds == kind)).sum() for kind in (0, 1)) for number in (1, 2))
        print(
            f"classes {'with' if align else 'without'} alignment, {len(kinds)} particles: "
            f"{time.perf_counter() - begun:.0f} s, {len(found.changed)} iterations, purity {pure / len(kinds):.3f}, "
            f"compared to {found.resolution_ang:.0f} Å"
        )


def _body(name: str) -> Floats:
    volume = named_template(name, PIXEL).volume
    out = np.zeros((BOX,) * 3, np.float32)
    n = min(BOX, len(volume))
    inner, outer = len(volume) // 2 - n // 2, BOX // 2 - n // 2
    kept = slice(inner, inner + n)
    out[(slice(outer, outer + n),) * 3] = volume[kept, kept, kept]
    return out


def _shown(bodies: list[Floats], kinds: NDArray[np.int64], off_ang: float) -> tuple[ParticleSet, ArrayParticles, Array]:
    """Particles with their true orientations, their pictures, and their true places."""
    rng = np.random.default_rng(1)
    tilts = np.linspace(-60, 60, VIEWS)
    series = TiltSeries(
        name="TS", pixel_size_ang=PIXEL, image_shape_px=(1024, 1024), nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(VIEWS, 85.0), optics=Optics(voltage_kv=300.0),
        pre_exposure=3.0 * np.argsort(np.argsort(np.abs(tilts))), geometry=TiltGeometry.from_angles(tilts, 85.0),
        defocus=Defocus(
            u_ang=np.full(VIEWS, 31000.0), v_ang=np.full(VIEWS, 30000.0), angle_deg=np.full(VIEWS, 30.0)
        ),
    )  # fmt: skip
    count = len(kinds)
    recorded = rng.uniform(-1500, 1500, (count, 3)) * (1, 1, 0.2)
    true = recorded + rng.normal(size=recorded.shape) * off_ang / np.sqrt(3)
    matrices = Rotation.random(count, random_state=1).as_matrix()
    transforms = [padded_transform(torch.from_numpy(body)).numpy() for body in bodies]
    transfer, index = SeriesTransfer(series, BOX, PIXEL), picture_index(BOX, BOX // 2)
    noise = NOISE * float(bodies[0].sum(axis=0).max())
    assert series.geometry is not None
    frames = series.geometry.rotations()
    pictures = []
    for number in range(count):
        slices = take_terms(transforms[kinds[number]], index.index, frames @ matrices[number], BOX)
        moves = frames @ (true[number] - recorded[number]) / PIXEL + BOX // 2
        slices = slices * np.exp(-2j * np.pi / BOX * (moves @ index.index.T))
        terms = np.zeros((VIEWS, BOX * (BOX // 2 + 1)), np.complex64)
        terms[:, index.flat] = slices
        white = np.fft.rfft2(rng.normal(size=(VIEWS, BOX, BOX)) * noise)
        seen = transfer.at(recorded[number]).numpy()
        shown = (terms.reshape(VIEWS, BOX, -1) * seen + white) * seen
        pictures.append(np.fft.irfft2(shown, s=(BOX, BOX)).astype(np.float32))
    member = Particles(
        tomogram=Tomogram(tilt_series=series, size_px=(1024, 1024, 300)),
        coordinates_ang=recorded,
        half_set=np.arange(count) % 2 + 1,
        images=ParticleImages(names=tuple(map(str, range(count))), pixel_size_ang=PIXEL, box_px=BOX),
    ).with_poses(matrices)
    return ParticleSet(members=(member,)), ArrayParticles(pictures), true


if __name__ == "__main__":
    main()
