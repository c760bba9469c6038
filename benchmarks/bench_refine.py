"""Refinement: time of an iteration, and how near its map comes to that of the true poses; RELION 3.1 beside it.

Ribosomes of known poses, disturbed by 7° and 5 Å, are refined about them. Without data they are shown by 41 views of
white noise (the model of `lamella.particles.views`); with a data set of ``lamella simulate DIR --preset purified`` they
are cut out of its images. Where ``relion_refine`` of RELION 3.1 is installed, the same pictures go to it as classic 3-D
subtomograms with their transfer, and each of its passes searches as far and as finely as ours did. Its map holds all
particles; ours are two half sets that never meet.

    python -m benchmarks refine                                       # 24 particles of 48 px
    REFINE_PARTICLES=250 REFINE_BOX=108 python -m benchmarks refine
    REFINE_TRUTH=DIR REFINE_BINNING=2 python -m benchmarks refine     # truth/ and raw/ of a simulated data set
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import peak_mib
from benchmarks.refine_cases import DIAMETER_ANG, RefineCase, modelled, simulated
from benchmarks.refine_relion import PROGRAM, relion_passes
from lamella.formats.particle_images import open_particles
from lamella.fourier import shell_correlation, soft_mask
from lamella.geometry.angular_grid import rotation_angle_deg
from lamella.kernels.central_slices import padded_transform, take_terms
from lamella.kernels.pose_likelihood import pose_slopes
from lamella.particles.average import average
from lamella.particles.likelihood import picture_index
from lamella.particles.map_fsc import independent_part
from lamella.particles.refine import refine
from lamella.particles.refine_data import ParticleReader
from lamella.particles.refine_settings import RefineSettings
from lamella.particles.refine_state import RefineState
from lamella.particles.sampling import SearchRange, first_range
from lamella.records.map_fsc import MapFsc
from lamella.runtime import prepare, threads

Array = NDArray[np.float64]

LOW_PASS_ANG, RANGE_DEG, STEP_DEG = 40.0, 20.0, 7.5


def main() -> None:
    """Print a line for each iteration, of ours and of RELION's, and the errors that are left."""
    prepare(torch=True)
    with tempfile.TemporaryDirectory() as name:
        # in a process of its own: what making the pictures takes is not refinement's memory
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            case = pool.submit(_case, Path(name)).result()
        print(f"{len(case.particles)} particles of {case.box_px} px, {case.pixel_ang:g} Å; {threads()} threads")
        ours = Ours(case)
        ours.run(int(os.environ.get("REFINE_ITERATIONS", "3")))
        if shutil.which(PROGRAM) is None:
            print(f"{PROGRAM} is not installed: nothing to compare with")
        else:
            for number, one in enumerate(relion_passes(case, ours.ranges, LOW_PASS_ANG, threads()), start=1):
                print(
                    f"RELION {number}: {one.whole_s:6.1f} s, of them expectation {one.expectation_s:6.1f} s; "
                    f"{one.cpu_s:.1f} s of processors; "
                    f"{one.orientations} × {one.places} nodes; "
                    f"{_reached(case, one.volume, one.matrices, one.positions_ang)}; {one.peak_mib:.0f} MiB"
                )
        made = average(case.true(), open_particles(case.particles, case.root))
        print(f"map of the true poses: FSC with the truth 0.5 at {_resolution(case, made.whole):.2f} Å")
        _time_kernels(case)


def _case(root: Path) -> RefineCase:
    prepare(torch=True)
    count = int(os.environ.get("REFINE_PARTICLES", "24"))
    if truth := os.environ.get("REFINE_TRUTH"):
        return simulated(Path(truth), root, count, float(os.environ.get("REFINE_BINNING", "1")))
    return modelled(root, count, int(os.environ.get("REFINE_BOX", "48")))


@dataclass(eq=False)
class Ours:
    """Our refinement, and what each of its iterations searched."""

    case: RefineCase
    ranges: list[SearchRange] = field(default_factory=list)
    _last: float = 0.0
    _last_cpu: float = 0.0

    def run(self, iterations: int) -> None:
        """Refine, and print a line for each iteration."""
        case = self.case
        settings = RefineSettings(
            diameter=DIAMETER_ANG, low_pass=LOW_PASS_ANG, angle_range=RANGE_DEG, angle_step=STEP_DEG,
            iterations=iterations,
        )  # fmt: skip
        diameter = DIAMETER_ANG / case.pixel_ang
        shell = round(case.box_px * case.pixel_ang / LOW_PASS_ANG)
        self.ranges.append(
            first_range(
                case.box_px / shell,
                diameter,
                everywhere=False,
                angle_range_deg=RANGE_DEG,
                angle_step_deg=STEP_DEG,
                shift_range_px=diameter / 6,
            )
        )
        source = open_particles(case.particles, case.root)
        begun, self._last_cpu = time.perf_counter(), time.process_time()
        self._last = begun
        result = refine(case.particles, source, case.body, settings, on_iteration=self._tell)
        print(f"ours: {time.perf_counter() - begun:.1f} s; half maps agree to {result.resolution_ang:.1f} Å")
        del self.ranges[iterations:]

    def _tell(self, state: RefineState) -> None:
        now, cpu, entry = time.perf_counter(), time.process_time(), state.history[-1]
        print(
            f"ours {state.iteration}: {now - self._last:6.1f} s, {cpu - self._last_cpu:.1f} s of processors; "
            f"{entry.orientations} × {entry.places} nodes, compared "
            f"to {entry.compared_ang:.1f} Å; {_reached(self.case, state.whole, state.matrices, state.positions_ang)}; "
            f"{peak_mib():.0f} MiB",
            flush=True,
        )
        self.ranges.append(state.search)
        self._last, self._last_cpu = time.perf_counter(), time.process_time()


def _reached(case: RefineCase, volume: NDArray[np.float32], matrices: Array, positions_ang: Array) -> str:
    angle = rotation_angle_deg(matrices, case.matrices)
    place = np.linalg.norm(positions_ang - case.positions_ang, axis=1) / case.pixel_ang
    return (
        f"FSC with the truth 0.5 at {_resolution(case, volume):.2f} Å; median error {np.median(angle):.2f}°, "
        f"{np.median(place):.3f} px"
    )


def _resolution(case: RefineCase, volume: NDArray[np.float32]) -> float:
    """Where the correlation with the true map, within a sphere, falls below 0.5 for good, Å: dips are stepped over."""
    edge = 0.08 * DIAMETER_ANG / case.pixel_ang
    mask = soft_mask((case.box_px,) * 3, DIAMETER_ANG / 2 / case.pixel_ang, max(edge, 3.0))
    parts = (torch.from_numpy(np.ascontiguousarray(one)) * mask for one in (volume, case.body))
    frequency, curve, terms = (one.numpy() for one in shell_correlation(*parts))
    compared = MapFsc.with_truth(frequency / case.pixel_ang, curve, terms * independent_part(mask.numpy()))
    return compared.resolution_ang() or compared.finest_ang


def _time_kernels(case: RefineCase) -> None:
    """Nanoseconds per term of the two loops."""
    reader = ParticleReader(case.particles, open_particles(case.particles, case.root))
    transform = padded_transform(torch.from_numpy(case.body)).numpy()
    terms = reader.read(0).at(picture_index(reader.box_px, reader.box_px // 3))
    matrices = terms.frames @ case.matrices[0]
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


if __name__ == "__main__":
    main()
