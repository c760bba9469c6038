"""Refinement: time of an iteration, and how near its map comes to that of the true poses.

Ribosomes of known poses are shown by 41 views (the model of `lamella.particles.views`: contrast transfer, dose, white
noise), their poses disturbed by 7° and 5 Å, and refined with default settings. RELION 3.1.3 compares on 3-D
subtomograms of the same particles: `lamella export --format relion3`, then `relion_refine`.

    python -m benchmarks refine            # 40 particles of 64 px
    REFINE_PARTICLES=250 REFINE_BOX=108 python -m benchmarks refine
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from lamella.fourier import shell_correlation
from lamella.geometry import TiltGeometry
from lamella.geometry.angular_grid import rotation_angle_deg
from lamella.kernels.central_slices import padded_transform, take_terms
from lamella.kernels.pose_likelihood import pose_slopes
from lamella.particles.likelihood import picture_index
from lamella.particles.refine import refine
from lamella.particles.refine_data import ParticleReader
from lamella.particles.refine_maps import MapSums, half_correlation, signal_to_noise
from lamella.particles.refine_settings import RefineSettings
from lamella.particles.refine_state import RefineState
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

DIAMETER_ANG = 290.0
VIEWS = 41
NOISE = 3.0
"""Noise of a pixel over the highest value of a projection: about that of an ice of 1100 Å at 3 e/Å² a view."""


def main() -> None:
    """Print one line per iteration and the errors that are left."""
    prepare(torch=True)
    count, box = int(os.environ.get("REFINE_PARTICLES", "40")), int(os.environ.get("REFINE_BOX", "64"))
    pixel = round(1.45 * DIAMETER_ANG / box, 2)
    body = _centred(named_template("ribosome", pixel).volume, box)
    truth, source = _particles(body, count, box, pixel)
    _time_kernels(truth, source, body)
    settings = RefineSettings(diameter=DIAMETER_ANG)
    true_shell = _true_poses(truth, source, body, settings)
    begun = last = time.perf_counter()

    def tell(state: RefineState) -> None:
        nonlocal last
        now = time.perf_counter()
        entry = state.history[-1]
        print(
            f"iteration {state.iteration}: {now - last:6.1f} s, compared to {entry.compared_ang:5.1f} Å, halves "
            f"{entry.resolution_ang:5.1f} Å, {entry.orientations} × {entry.places} nodes",
            flush=True,
        )
        last = now

    result = refine(_disturbed(truth), source, body, settings, on_iteration=tell)
    shell = _shell(torch.from_numpy(result.whole), body, settings)
    angle = rotation_angle_deg(result.particles.matrices(), truth.matrices())
    place = np.linalg.norm(result.particles.positions_ang() - truth.positions_ang(), axis=1) / pixel
    print(f"{count} particles × {VIEWS} views of {box} px: {time.perf_counter() - begun:.0f} s on {threads()} threads")
    print(f"FSC with the truth 0.5 at {box * pixel / shell:.2f} Å; true poses {box * pixel / true_shell:.2f} Å")
    print(f"median error {np.median(angle):.2f}° and {np.median(place):.3f} px")


def _time_kernels(truth: ParticleSet, source: ArrayParticles, body: np.ndarray) -> None:
    """Microseconds per thousand terms of the two loops."""
    reader = ParticleReader(truth, source)
    transform = padded_transform(torch.from_numpy(body)).numpy()
    terms = reader.read(0).at(picture_index(reader.box_px, reader.box_px // 3))
    matrices = terms.frames @ truth.matrices()[0]
    moves = np.zeros((len(matrices), 3))
    for name, call in (
        ("slices", lambda: take_terms(transform, terms.at.index, matrices, reader.box_px)),
        (
            "likelihood and slopes",
            lambda: pose_slopes(transform, terms.at.index, matrices, moves, terms.data, terms.squares, reader.box_px),
        ),
    ):
        call()
        begun = time.perf_counter()
        for _ in range(10):
            call()
        each = (time.perf_counter() - begun) / 10
        print(f"{name}: {each * 1e3:.2f} ms for {terms.data.size} terms ({each / terms.data.size * 1e9:.1f} ns each)")


def _true_poses(truth: ParticleSet, source: ArrayParticles, body: np.ndarray, settings: RefineSettings) -> float:
    """Shell at which the map of the true poses correlates with the truth by 0.5."""
    reader = ParticleReader(truth, source)
    whole = picture_index(reader.box_px, reader.box_px // 2)
    sums = [MapSums(reader.box_px, np.eye(3)[None]) for _ in range(2)]
    member = truth.members[0]
    moved = (truth.positions_ang() - member.coordinates_ang) / reader.pixel_size_ang
    noise = np.ones(reader.box_px // 2 + 1)
    for index, half in enumerate(member.half_set):  # type: ignore[arg-type]
        terms = reader.read(index).at(whole).over_noise(noise)
        sums[half - 1].add(terms, member.matrices()[index][None], moved[index][None], np.ones(1))
    halves = [one.unfiltered() for one in sums]
    fsc = half_correlation(*halves, torch.ones(()))
    return _shell(sums[0].plus(sums[1]).regularised(signal_to_noise(fsc, whole=True)), body, settings)


def _shell(volume: torch.Tensor, body: np.ndarray, settings: RefineSettings) -> float:
    correlation = shell_correlation(volume, torch.from_numpy(body))[1].numpy()
    below = np.flatnonzero(correlation[1:] < 0.5)
    if not len(below):
        return float(len(correlation) - 1)
    shell = int(below[0]) + 1
    high, low = correlation[shell - 1], correlation[shell]
    return float(shell - 1 + (high - 0.5) / (high - low))


def _centred(volume: np.ndarray, box: int) -> np.ndarray:
    out = np.zeros((box,) * 3, np.float32)
    n = min(box, len(volume))
    inner, outer = len(volume) // 2 - n // 2, box // 2 - n // 2
    out[outer : outer + n, outer : outer + n, outer : outer + n] = volume[
        inner : inner + n, inner : inner + n, inner : inner + n
    ]
    return out


def _particles(body: np.ndarray, count: int, box: int, pixel: float) -> tuple[ParticleSet, ArrayParticles]:
    generator = np.random.default_rng(1)
    tilts = np.linspace(-60, 60, VIEWS)
    series = TiltSeries(
        name="TS", pixel_size_ang=pixel, image_shape_px=(1024, 1024), nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(VIEWS, 85.0), optics=Optics(voltage_kv=300.0),
        pre_exposure=3.0 * np.argsort(np.argsort(np.abs(tilts))), geometry=TiltGeometry.from_angles(tilts, 85.0),
        defocus=Defocus(
            u_ang=np.full(VIEWS, 31000.0), v_ang=np.full(VIEWS, 30000.0), angle_deg=np.full(VIEWS, 30.0),
            phase_shift_deg=np.zeros(VIEWS),
        ),
    )  # fmt: skip
    true = generator.uniform(-1500, 1500, (count, 3)) * (1, 1, 0.2)
    matrices = Rotation.random(count, random_state=1).as_matrix()
    member = Particles(
        tomogram=Tomogram(tilt_series=series, size_px=(1024, 1024, 300)),
        coordinates_ang=true + generator.normal(size=true.shape) * 5 / np.sqrt(3),
        half_set=np.arange(count) % 2 + 1,
        images=ParticleImages(names=tuple(map(str, range(count))), pixel_size_ang=pixel, box_px=box),
    ).with_poses(matrices, true)
    transform, transfer = padded_transform(torch.from_numpy(body)).numpy(), SeriesTransfer(series, box, pixel)
    index = picture_index(box, box // 2)
    noise = NOISE * float(body.sum(axis=0).max())
    assert series.geometry is not None
    frames = series.geometry.rotations()
    pictures = []
    for number in range(count):
        squares = transfer.at(member.coordinates_ang[number])
        slices = take_terms(transform, index.index, frames @ matrices[number], box)
        moves = frames @ (true[number] - member.coordinates_ang[number]) / pixel + box // 2
        slices = slices * np.exp(-2j * np.pi / box * (moves @ index.index.T))
        terms = torch.zeros(VIEWS, box * (box // 2 + 1), dtype=torch.complex64)
        terms[:, torch.from_numpy(index.flat)] = torch.from_numpy(slices.astype(np.complex64))
        white = torch.from_numpy(generator.normal(size=(VIEWS, box, box)).astype(np.float32) * noise)
        shown = torch.fft.irfft2(terms.reshape(VIEWS, box, -1) * squares, s=(box, box)) + white
        pictures.append(torch.fft.irfft2(torch.fft.rfft2(shown) * squares, s=(box, box)).numpy())
    return ParticleSet(members=(member,)), ArrayParticles(pictures)


def _disturbed(truth: ParticleSet) -> ParticleSet:
    """Seven degrees off, where they were cut out: five ångström off."""
    member = truth.members[0]
    turns = np.random.default_rng(2).normal(size=(len(member), 3)) * np.deg2rad(7) / np.sqrt(3)
    matrices = member.matrices() @ Rotation.from_rotvec(turns).as_matrix()
    return replace(truth, members=(member.with_poses(matrices, member.coordinates_ang),))


if __name__ == "__main__":
    main()
