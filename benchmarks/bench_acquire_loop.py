"""The full loop: a simulated session with movies, then tomograms of it unaided, and alignment against the truth.

The session records targets that are whole specimens; `lamella new` and `lamella run --to reconstruct` make tomograms of
what it left. Then the session's own model is held against the truth, and the series are aligned by whole views alone
and in full, with that model as the start and without: rms distance, over the specimen and all views, between where the
found and the true geometry project it (after the best rigid motion), and seconds.

    python -m benchmarks.bench_acquire_loop                       9 targets, ±60° by 3°
    python -m benchmarks.bench_acquire_loop --targets 2 --range 36 --step 6 --folder DIR
    python -m benchmarks.bench_acquire_loop --folder DIR --methods coarse patches --starts session nominal wrong
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
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
from lamella.records import SESSION_SHIFT_ERROR, SESSION_SHIFTS, TiltSeries
from lamella.tilts import align
from lamella.tilts.align_record import METHOD
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.compare import geometry_error
from lamella.tilts.session_start import SessionStart, judge_session

FRAMES = 4
TRUE = "true/tilt_series.star"


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
    write_tilt_series(folder / TRUE, true, folder)
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


@dataclass(frozen=True)
class Aligned:
    """One alignment: what of the session it began with, its error over the specimen, and what it took."""

    series: str
    method: str
    start: str
    error_ang: float
    seconds: float
    cpu_s: float
    taken: str
    told: str


def wrong(series: TiltSeries) -> TiltSeries:
    """The series with a session's shifts that belong to another one's views: in the order of tilt turned round."""
    scores = {name: np.asarray(series.scores[name])[::-1] + 400.0 for name in SESSION_SHIFTS}
    return series.with_changes(scores=scores)


def compare(project: Path, true: list[TiltSeries], arguments: argparse.Namespace) -> None:
    """Align each series by each method, from the session's model, from the nominal geometry, and from a wrong model."""
    by_name = {one.name: one for one in true}
    rows: list[Aligned] = []
    for series in read_tilt_series(project / "clean" / "tilt_series.star", project):
        if arguments.only and series.name not in arguments.only:
            continue
        for method in arguments.methods:
            for start in arguments.starts:
                row = aligned(series, by_name[series.name], project, method, start)
                rows.append(row)
                print(
                    f"{row.series} {row.method:9}{row.start:9}{row.error_ang:8.1f} Å{row.cpu_s:7.1f} s of a core"
                    f"{row.seconds:7.1f} s  {row.taken:9}{row.told}",
                    flush=True,
                )
    print(f"\n{'':24}{'median Å':>10}{'worst Å':>10}{'s of a core':>13}{'s':>8}")
    for method in arguments.methods:
        for start in arguments.starts:
            those = [row for row in rows if (row.method, row.start) == (method, start)]
            errors = [row.error_ang for row in those]
            cpu, wall = (float(np.mean(values)) for values in ([r.cpu_s for r in those], [r.seconds for r in those]))
            label = f"{method}, {start} start"
            print(f"{label:24}{np.median(errors):10.1f}{max(errors):10.1f}{cpu:13.1f}{wall:8.1f}", flush=True)


def aligned(series: TiltSeries, truth: TiltSeries, project: Path, method: str, start: str) -> Aligned:
    """Align one series once and hold it against the truth."""
    assert series.images is not None
    images = open_images(series.images, project)
    given = wrong(series) if start == "wrong" else series
    settings = AlignSettings.model_validate({"method": method, "session_start": start != "nominal"})
    began, cpu = time.perf_counter(), time.process_time()
    result = align(given, images, settings)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    rows = [int(np.abs(truth.nominal_tilt_deg - tilt).argmin()) for tilt in series.nominal_tilt_deg]
    found, same = result.series.geometry, truth.select(rows).geometry
    assert found is not None
    assert same is not None
    error = geometry_error(found, same, specimen_points(truth)).rms_ang
    told = next((note for note in result.notes if "the session" in note), "")
    return Aligned(series.name, method, start, error, seconds, cpu, result.series.other[METHOD], told)


def hold_against_truth(session: Path, true: list[TiltSeries]) -> None:
    """How the session says its targets lie, and how far its shifts are from the true ones, up to a rigid motion."""
    by_name = {one.name: one for one in true}
    print(f"{'':6}{'lies (true)':>16}{'(session)':>18}{'shifts Å':>10}{'expected':>10}{'nominal':>10}  elsewhere")
    for known in read_tilt_series(session / "geometry" / "tilt_series.star", session):
        truth = by_name[known.name]
        truth = truth.select([int(np.abs(truth.nominal_tilt_deg - tilt).argmin()) for tilt in known.nominal_tilt_deg])
        geometry, right = known.geometry, truth.geometry
        assert geometry is not None
        assert right is not None
        field = max(known.image_shape_px) * known.pixel_size_ang
        stated = np.asarray(known.scores[SESSION_SHIFT_ERROR])
        start = SessionStart(geometry=geometry, error_ang=stated)
        verdict = judge_session(start, right, field)
        none = replace(start, geometry=geometry.with_terms(x_shift_ang=0.0, y_shift_ang=0.0))
        lies = (float((right.y_tilt_deg - truth.nominal_tilt_deg).mean()), float(right.x_tilt_deg.mean()))
        told = (float((geometry.y_tilt_deg - known.nominal_tilt_deg).mean()), float(geometry.x_tilt_deg.mean()))
        print(
            f"{known.name:6}{lies[0]:8.1f}{lies[1]:7.1f}°{told[0]:10.1f}{told[1]:7.1f}°"
            f"{np.median(verdict.off_ang):9.1f}{np.sqrt(2) * np.median(stated):10.1f}"
            f"{np.median(judge_session(none, right, field).off_ang):10.1f}  "
            + ", ".join(f"{known.nominal_tilt_deg[at]:.0f}° {verdict.off_ang[at]:.0f} Å" for at in verdict.elsewhere),
            flush=True,
        )


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
    parser.add_argument(
        "--folder", type=Path, help="keep the session and the project here; what is there is not redone"
    )
    parser.add_argument("--methods", nargs="+", default=["coarse", "auto"])
    parser.add_argument("--starts", nargs="+", default=["session", "nominal"], help="session, nominal, wrong")
    parser.add_argument("--only", nargs="+", help="align these series alone")
    arguments = parser.parse_args()
    print(machine_name(), flush=True)
    with tempfile.TemporaryDirectory(prefix="lamella-loop-") as temporary:
        folder = arguments.folder or Path(temporary)
        session, project = folder / "session", folder / "project"
        kept = session / TRUE
        true = read_tilt_series(kept, session) if kept.is_file() else record(session, arguments)
        hold_against_truth(session, true)
        if not (project / "clean" / "tilt_series.star").is_file():
            process(session, project)
        compare(project, true, arguments)


if __name__ == "__main__":
    main()
