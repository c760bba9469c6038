"""RELION 3.1's refinement of classic 3-D subtomograms, pass by pass, for the benchmark of ours."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.refine_cases import DIAMETER_ANG, RefineCase
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.star import read_star
from lamella.geometry import euler_matrix
from lamella.geometry.angular_grid import healpix_directions
from lamella.particles.sampling import Grids, SearchRange, place_grid
from lamella.workflow.export_relion3 import STAR, export_relion3

__all__ = ["PROGRAM", "RelionPass", "relion_passes"]

Array = NDArray[np.float64]

PROGRAM = "relion_refine"
_FINEST = 6  # order of RELION's grid: 0.9°


@dataclass(frozen=True, kw_only=True, eq=False)
class RelionPass:
    """What one iteration of RELION took and gave.

    Attributes
    ----------
    expectation_s, whole_s
        of the expectation alone, and of expectation and maximisation.
    cpu_s
        of the whole process, all threads together: other work on the machine does not count.
    orientations, places
        nodes of the coarse grid, each particle's; RELION refines the best of them twofold in each of six dimensions.
    peak_mib
        memory of the process.
    volume
        ``(b, b, b)`` map of all particles.
    matrices, positions_ang
        of each particle.
    """

    expectation_s: float
    whole_s: float
    cpu_s: float
    orientations: int
    places: int
    peak_mib: float
    volume: NDArray[np.float32]
    matrices: Array
    positions_ang: Array


def relion_passes(case: RefineCase, ranges: list[SearchRange], low_pass_ang: float, threads: int) -> list[RelionPass]:
    """One pass for each range, of the same particles, first model and poses; both half sets in one map.

    The angle between nodes is the one of RELION's that is nearest to the range's, and it searches as far as makes its
    nodes as many as the range's.
    """
    export_relion3(case.particles, case.root / "relion", case.root)
    write_mrc(case.root / "reference.mrc", case.body, case.pixel_ang)
    return [_pass(case, number, one, low_pass_ang, threads) for number, one in enumerate(ranges, start=1)]


def _pass(case: RefineCase, number: int, search: SearchRange, low_pass_ang: float, threads: int) -> RelionPass:
    order = min(round(float(np.log2(60 / search.angle_step_deg))), _FINEST)
    range_deg = _range_of(order, Grids(search, "C1", DIAMETER_ANG / case.pixel_ang / 2).counts[0])
    begin = ["--i", f"relion/{STAR}", "--ref", "reference.mrc", "--ini_high", f"{low_pass_ang:g}", "--ctf"]
    begin += ["--particle_diameter", f"{DIAMETER_ANG:g}", "--flatten_solvent", "--zero_mask", "--K", "1"]
    begin += ["--sym", "C1", "--pad", "2", "--oversampling", "1", "--dont_check_norm", "--random_seed", "1"]
    go_on = ["--continue", f"relion/run_it{number - 1:03d}_optimiser.star"]
    command = [PROGRAM, *(begin if number == 1 else go_on), "--o", "relion/run", "--iter", str(number)]
    command += ["--healpix_order", str(order), "--sigma_ang", f"{range_deg / 3:.3f}"]
    command += ["--offset_range", f"{search.shift_range_px:.3f}", "--offset_step", f"{search.shift_step_px:.3f}"]
    command += ["--j", str(threads), "--pool", "4"]
    expectation, whole, cpu, peak = _timed(command, case.root, number)
    return RelionPass(
        expectation_s=expectation,
        whole_s=whole,
        cpu_s=cpu,
        orientations=_orientations(order, range_deg),
        places=len(place_grid(search.shift_range_px, search.shift_step_px)),
        peak_mib=peak,
        volume=read_mrc(case.root / f"relion/run_it{number:03d}_class001.mrc")[0],
        **_poses(case, case.root / f"relion/run_it{number:03d}_data.star"),
    )


def _timed(command: list[str], folder: Path, number: int) -> tuple[float, float, float, float]:
    """Seconds of the expectation, the iteration and the processors, and the memory that the process held most, MiB."""
    times: dict[str, float] = {}
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            for words in (f"Expectation iteration {number}", "Maximization"):
                if words in line:
                    times.setdefault(words.split()[0], time.perf_counter())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or len(times) < 2:
        raise RuntimeError("".join(said[-20:]))
    end = time.perf_counter()
    begun = times["Expectation"]
    cpu = used.ru_utime + used.ru_stime
    return times["Maximization"] - begun, end - begun, cpu, used.ru_maxrss / 1024


def _range_of(order: int, nodes: int) -> float:
    """How far RELION's local search goes to have so many nodes, or as nearly as it can, degrees."""
    ranges = 60 / 2**order * np.linspace(0.5, 8, 151)
    counts = np.array([_orientations(order, one) for one in ranges])
    return float(ranges[np.abs(counts - nodes).argmin()])


def _orientations(order: int, range_deg: float) -> int:
    """Nodes of RELION's local search: directions within the range, each with the in-plane angles within it."""
    directions = healpix_directions(order)
    near = int((directions[:, 1] <= range_deg).sum())
    return near * (2 * int(range_deg / (60 / 2**order)) + 1)


def _poses(case: RefineCase, star: Path) -> dict[str, Array]:
    """Poses of a RELION 3 table in the order of the case's particles."""
    table = read_star(star)["particles"]
    row = {name: place for place, name in enumerate(table.text("rlnImageName"))}
    order = [row[name] for name in read_star(case.root / "relion" / STAR)["particles"].text("rlnImageName")]
    angles = [table.numbers(f"rlnAngle{angle}")[order] for angle in ("Rot", "Tilt", "Psi")]
    origins = np.stack([table.numbers(f"rlnOrigin{axis}Angst")[order] for axis in "XYZ"], axis=-1)
    cut_out = np.concatenate([one.coordinates_ang for one in case.particles.members if len(one)])
    return {"matrices": euler_matrix(*angles), "positions_ang": cut_out - origins}
