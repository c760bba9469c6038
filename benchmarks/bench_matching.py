"""Projection matching against the truth: error, time and memory on simulated crowded slabs, from coarse and bad starts.

Each case is a stack of 41 × 1024² as the preset ``cellular`` makes it: no beads, an opaque film in a corner. The start
has the nominal angles, an axis 0.4° or 2° off, and shifts that wander by several pixels. The error is of the projected
specimen points after the best rigid motion, pixels of the stack; beside it the error of the same geometry with the
true local field, which tells the two parts apart.

LAMELLA_BENCH_MATCHING=1,2   chooses seeds;  LAMELLA_BENCH_FOLDER=…   keeps the simulated stacks there
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import machine_name, peak_mib

SEEDS = (31, 32)
STARTS = {"near": (0.4, 0.7), "far": (2.0, 2.0)}
"""Error of the axis, degrees, and step from view to view of the shifts' random walk, pixels."""


def main() -> None:
    """Print the table."""
    chosen = os.environ.get("LAMELLA_BENCH_MATCHING", "")
    seeds = [int(seed) for seed in chosen.split(",")] if chosen else SEEDS
    print(machine_name())
    head = f"{'before px':>9} {'after px':>8} {'true field':>10} {'axis °':>7} {'s':>6} {'x stack':>7}"
    print(f"{'seed':>4} {'start':6} {head}")
    with tempfile.TemporaryDirectory() as scratch:
        for seed in seeds:
            folder = Path(os.environ.get("LAMELLA_BENCH_FOLDER", scratch)) / f"cellular{seed}"
            if not (folder / "truth").is_dir():
                _simulate(folder, seed)
            for start in STARTS:
                command = [sys.executable, "-m", "benchmarks.bench_matching", str(folder), start]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                print(f"{seed:4} {start:6} {(done.stdout or done.stderr).strip().splitlines()[-1]}", flush=True)


def _simulate(folder: Path, seed: int) -> None:
    command = [sys.executable, "-m", "lamella", "simulate", str(folder), "--preset", "cellular", "--seed", str(seed)]
    for value in ("frames=0", "truth_binning=0"):
        command += ["--set", value]
    subprocess.run(command, check=True, capture_output=True)


def run_one(folder: Path, start: str) -> str:
    """Match one series; a row of the table."""
    from lamella import runtime

    runtime.prepare(torch=True)
    from lamella.formats.images import open_images
    from lamella.formats.relion import read_tilt_series
    from lamella.tilts.compare import geometry_error
    from lamella.tilts.matching import match_projections
    from lamella.tilts.working import prepare

    true = read_tilt_series(folder / "truth" / "tilt_series.star", folder)[0]
    assert true.geometry is not None
    truth, pixel, n = true.geometry, true.pixel_size_ang, len(true)
    images = prepare(open_images(true.images, folder), pixel, 768)
    axis_error, step = STARTS[start]
    walk = np.cumsum(np.random.default_rng(1).normal(size=(n, 2)), axis=0) * step * pixel
    walk -= walk.mean(axis=0)
    begin = truth.with_terms(
        y_tilt_deg=true.nominal_tilt_deg,
        x_tilt_deg=0.0,
        z_rot_deg=truth.z_rot_deg.mean() + axis_error,
        magnification=1.0,
        x_shift_ang=truth.x_shift_ang + walk[:, 0],
        y_shift_ang=truth.y_shift_ang + walk[:, 1],
        field=None,
    )
    half = pixel * np.array(true.image_shape_px[::-1]) / 2
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3)) * [*half, 800.0]
    held, clock = peak_mib(), time.perf_counter()
    found = match_projections(images, begin, dose=true.pre_exposure).geometry
    seconds, memory = time.perf_counter() - clock, peak_mib() - held
    stack_mib = n * np.prod(true.image_shape_px) * 4 / 2**20
    before, after, ideal = (
        geometry_error(geometry, truth, points).rms_ang / pixel
        for geometry in (begin, found, found.with_terms(field=truth.field))
    )
    axis = float((found.z_rot_deg - truth.z_rot_deg).mean())
    return f"{before:9.2f} {after:8.3f} {ideal:10.3f} {axis:7.3f} {seconds:6.1f} {memory / stack_mib:7.2f}"


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(run_one(Path(sys.argv[1]), sys.argv[2]))
    else:
        main()
