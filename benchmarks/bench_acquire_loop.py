"""The full loop: a simulated session with movies, then tomograms of it unaided, and alignment against the truth.

The session records targets that are whole specimens; `lamella new` and `lamella run --to reconstruct` make tomograms of
what it left. Then the series are aligned by whole views alone and in full, with the session's own model as the start
and without: rms distance, over the specimen and all views, between where the found and the true geometry project it
(after the best rigid motion), and seconds.

    python -m benchmarks.bench_acquire_loop                       9 targets, ±60° by 3°
    python -m benchmarks.bench_acquire_loop --targets 2 --range 36 --step 6 --folder DIR
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import machine_name
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.microscope.simulated.full_settings import FullSettings, full_settings
from lamella.acquire.session.files import SessionFiles
from lamella.acquire.session.run import run_session
from lamella.acquire.simulated_session import session_settings, simulated_targets
from lamella.acquire.world import load_world
from lamella.formats.images import open_images
from lamella.formats.relion_tilt_series import read_tilt_series, write_tilt_series
from lamella.records import TiltSeries
from lamella.tilts import align
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.compare import geometry_error

FRAMES = 4


def record(folder: Path, arguments: argparse.Namespace) -> list[TiltSeries]:
    """Record the session; the true series by rising tilt."""
    began = time.perf_counter()
    world = load_world(arguments.world)
    simulation = full_settings(arguments.seed, world.optics.tilt_axis, frames=FRAMES, beads=arguments.beads)
    microscope = SimulatedMicroscope(
        world,
        arguments.seed,
        targets=arguments.targets,
        pictures="full",
        full=FullSettings(simulation=simulation, folder=folder),
    )
    targets = simulated_targets(microscope)
    session = {"tilt_range": arguments.range, "tilt_step": arguments.step, "predictor": arguments.predictor}
    settings = session_settings(world, session)
    files = SessionFiles(folder, targets, settings, microscope.calibrations)
    result = run_session(microscope, targets, settings, folder, pictures=files.picture, watch=files.watch)
    files.finish()
    assert microscope.full is not None
    true = [microscope.full.true_series(number) for number in range(len(targets))]
    spent = time.perf_counter() - began
    print(
        f"session: {result.counts}, {len(result.views)} views in {spent:.0f} s, {spent / len(result.views):.2f} each",
        flush=True,
    )
    true = [one.sorted_by_tilt() for one in true]
    write_tilt_series(folder / "true" / "tilt_series.star", true, folder)
    return true


def process(session: Path, project: Path) -> None:
    """What a user would do."""
    began = time.perf_counter()
    lamella = str(Path(sys.executable).with_name("lamella"))
    for command in (["new", str(project), "--mdoc", f"{session}/*.mdoc"], ["run", str(project), "--to", "reconstruct"]):
        subprocess.run([lamella, *command], check=True, stdout=subprocess.DEVNULL)
    made = len(list((project / "reconstruct").glob("T[0-9][0-9].mrc")))
    print(f"tomograms: {made} in {time.perf_counter() - began:.0f} s", flush=True)


def specimen_points(series: TiltSeries) -> np.ndarray:
    """``(p, 3)`` places all over the specimen that the least tilted view sees."""
    height, width = (0.35 * side * series.pixel_size_ang for side in series.image_shape_px)
    steps = np.linspace(-1, 1, 5)
    grid = np.stack(np.meshgrid(steps * width, steps * height, steps[::2] * 600.0), axis=-1)
    return np.asarray(grid.reshape(-1, 3))


def compare(project: Path, true: list[TiltSeries]) -> None:
    """Align each series four times."""
    found = read_tilt_series(project / "clean" / "tilt_series.star", project)
    print(f"{'':24}{'median Å':>10}{'worst Å':>10}{'s':>8}")
    for method in ("coarse", "auto"):
        for start in (True, False):
            errors, seconds = [], []
            for record_of, truth in zip(found, true, strict=True):
                assert record_of.images is not None
                images = open_images(record_of.images, project)
                began = time.perf_counter()
                settings = AlignSettings(method=method, session_start=start)  # type: ignore[arg-type]
                aligned = align(record_of, images, settings).series
                seconds.append(time.perf_counter() - began)
                rows = [int(np.abs(truth.nominal_tilt_deg - tilt).argmin()) for tilt in aligned.nominal_tilt_deg]
                same = truth.select(rows)
                assert aligned.geometry is not None
                assert same.geometry is not None
                errors.append(geometry_error(aligned.geometry, same.geometry, specimen_points(truth)).rms_ang)
            label = f"{method}, {'session' if start else 'nominal'} start"
            print(f"{label:24}{np.median(errors):10.1f}{max(errors):10.1f}{np.mean(seconds):8.1f}", flush=True)


def main() -> None:
    """Run the loop."""
    parser = argparse.ArgumentParser(description="record, process and judge")
    parser.add_argument("--targets", type=int, default=9)
    parser.add_argument("--range", type=float, default=60.0)
    parser.add_argument("--step", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--world", default="bisect")
    parser.add_argument("--predictor", default="shared")
    parser.add_argument("--beads", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="keep the session and the project here")
    arguments = parser.parse_args()
    print(machine_name(), flush=True)
    with tempfile.TemporaryDirectory(prefix="lamella-loop-") as temporary:
        folder = arguments.folder or Path(temporary)
        session, project = folder / "session", folder / "project"
        true = record(session, arguments)
        process(session, project)
        compare(project, true)


if __name__ == "__main__":
    main()
