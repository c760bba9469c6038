"""Beads against the truth: centres beside Fisher's bound, the geometry's error, time and memory, on simulated series.

Each series is of 41 views of 1024² px, as the simulator's microscope leaves it; beads are followed from the nominal
angles and whole-view (coarse) shifts, nothing else. Centres are told by the beads' whole profile or by their edges. The
error is of the projected specimen points after the best rigid motion; "at the bound" is that of the same solve with
centres that are off by noise of Fisher's bound and nothing else. Memory is the most that was held above what the images
and imports hold, over the size of the stack as float32.

LAMELLA_BENCH_BEADS=beads20,beads60   chooses cases;  LAMELLA_BENCH_FOLDER=…   keeps the simulated stacks there
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.machine import machine_name, peak_mib

STAGE = {"pixel_size": 4.0, "tilt_noise": 0.05, "axis_variation": 0.03, "deformation": 0.0}
CASES: dict[str, dict[str, Any]] = {
    "beads20": {"beads": 20, "seed": 21, **STAGE},
    "beads5": {"beads": 5, "seed": 22, **STAGE},
    "beads60": {"seed": 23},
}


def main() -> None:
    """Print the table."""
    chosen = os.environ.get("LAMELLA_BENCH_BEADS", "")
    print(machine_name())
    print(f"{'case':9}{'by':8}{'tracks':>7}{'nm':>6}{'centre':>8}{'bound':>7}", end="")
    print(f"{'error':>7}{'at bound':>9}{'s':>7}{'x stack':>9}")
    with tempfile.TemporaryDirectory() as scratch:
        for case in chosen.split(",") if chosen else CASES:
            folder = Path(os.environ.get("LAMELLA_BENCH_FOLDER", scratch)) / case
            for centred_by in ("profile", "edges"):
                command = [sys.executable, "-m", "benchmarks.bench_beads", case, str(folder), centred_by]
                print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def measure(case: str, folder: Path, centred_by: Literal["profile", "edges"]) -> str:
    """One row of the table."""
    from lamella import runtime

    runtime.prepare(torch=True)
    from lamella.formats.images import open_images
    from lamella.formats.relion import read_tilt_series
    from lamella.formats.star import read_star
    from lamella.geometry import TiltGeometry
    from lamella.records import ArrayImages
    from lamella.tilts.coarse import coarse_shifts
    from lamella.tilts.fiducials import follow_beads
    from lamella.tilts.working import prepare

    if not folder.exists():
        wanted = {"frames": 0, "truth_binning": 0.0, **CASES[case]}
        chosen = [word for name, value in wanted.items() if name != "seed" for word in ("--set", f"{name}={value}")]
        command = ["simulate", str(folder), "--preset", "beads", "--seed", str(wanted["seed"]), *chosen]
        subprocess.run([str(Path(sys.executable).with_name("lamella")), *command], check=True, capture_output=True)
    series = read_tilt_series(folder / "truth" / "tilt_series.star", folder)[0]
    true, pixel = series.geometry, series.pixel_size_ang
    source = open_images(series.images, folder)
    images = ArrayImages(np.stack([source.view(view) for view in range(len(series))]))
    table = next(iter(read_star(folder / "truth" / "beads.star").values()))
    beads = np.stack([table.numbers(f"rlnCenteredCoordinate{axis}Angst") for axis in "XYZ"], axis=-1)
    nominal = TiltGeometry.from_angles(3.0 * np.round(series.nominal_tilt_deg / 3.0), series.nominal_axis_deg)
    before = peak_mib()
    began = time.perf_counter()
    start = coarse_shifts(prepare(images, pixel, 256), nominal).geometry
    found = follow_beads(images, pixel, start, centred_by=centred_by)
    spent = time.perf_counter() - began
    stack_mib = images.array.nbytes / 2**20
    memory = (peak_mib() - before) / stack_mib
    seen_at, bound = found.tracks.observations_ang, found.bound_ang
    apart = seen_at[:, :, None] - true.project(beads)[:, None]
    which = np.nanmedian(np.linalg.norm(apart, axis=-1), axis=0).argmin(axis=1)
    off = apart[:, np.arange(len(which)), which]
    half = pixel * images.shape[-1] / 2
    field = beads[(np.abs(beads[:, :2]) < half).all(axis=1)]
    error = _solved_error(seen_at, bound, found.geometry, true, field)
    noise = np.random.default_rng(1).normal(size=seen_at.shape) * bound[..., None]
    at_bound = _solved_error(seen_at - off + noise, bound, found.geometry, true, field)
    centre, limit = np.sqrt(np.nanmean(off**2)), np.sqrt(np.nanmean(bound**2))
    return (
        f"{case:9}{centred_by:8}{found.tracks.count:7d}{found.diameter_ang / 10:6.1f}{centre / pixel:8.3f}"
        f"{limit / pixel:7.3f}{error / pixel:7.3f}{at_bound / pixel:9.3f}{spent:7.1f}{memory:9.2f}"
    )


def _solved_error(seen_at: Any, bound: Any, start: Any, true: Any, points: Any) -> float:
    """Error of the geometry solved from centres with the terms that predict best, Å."""
    from lamella.records.tracks import Tracks
    from lamella.tilts.compare import geometry_error
    from lamella.tilts.parameterisations import solve_best

    weights = np.where(np.isfinite(bound), 1 / np.nan_to_num(bound, nan=1.0) ** 2, 0.0)
    best = solve_best(Tracks.observed(seen_at, weights), start)
    return geometry_error(best.solution.geometry, true, points).rms_ang


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(measure(sys.argv[1], Path(sys.argv[2]), "edges" if sys.argv[3] == "edges" else "profile"))
    else:
        main()
