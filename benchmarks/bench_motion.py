"""Motion beside RELION's own implementation and torch-motion-correction: error, time and memory on known movies.

Every program runs in a process of its own with the same number of threads, one after the other.
``LAMELLA_BENCH_MOTION`` chooses cases by name (``small,large,series``), ``LAMELLA_BENCH_VIEWS`` the views of a series.

Columns: rms error of the motion of the whole field (mean over the views, px; the bound is that of frames taken as
independent), of motion over the field, what the sums' halves agree to against sums along the true motion (ratio of
resolutions, 1: as good), seconds by the clock and of the processors, and the process's greatest memory. ``start-up`` is
importing alone, which is in our figures and is the same for a movie and for a hundred series.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.machine import machine_name
from benchmarks.moving_movies import PIXEL_ANG, VOLTAGE_KV, Movie, least_error, make_series
from lamella.formats.movies import open_movie
from lamella.formats.mrc import open_mrc
from lamella.formats.relion_motion import read_movie_motion
from lamella.movies.detector import Detector
from lamella.movies.sum_series import resolution_of_halves
from lamella.movies.sums import sum_movie
from lamella.records import LocalMotion, MovieMotion

THREADS = 2
# name: views, frames, size, e/px and frame
CASES = {
    "small": (1, 10, 1024, 1.0),
    "large": (1, 8, 4096, 1.0),
    "series": (int(os.environ.get("LAMELLA_BENCH_VIEWS", "21")), 8, 2048, 0.7),
    "series 0.5 e/px": (7, 8, 2048, 0.5),
    "series 3 e/px": (7, 8, 2048, 3.0),
}
RELION = "relion_run_motioncorr"
SUMMED_VIEWS = 3  # of a series, whose sums' resolution is compared
THEIR_MOST_PX = 20e6  # torch-motion-correction takes about a minute for 10 million pixels
_LOOK_S = 0.02
PLACES = 9  # each way, at which motion over the field is compared


@dataclass(frozen=True)
class Run:
    """What a process took."""

    wall_s: float
    busy_s: float
    peak_mib: float


def main() -> None:
    """Print the table."""
    print(machine_name())
    wanted = os.environ.get("LAMELLA_BENCH_MOTION", "")
    names = [name for name in CASES if not wanted or name.split()[0] in wanted.split(",")]
    start = _run([sys.executable, "-c", "import lamella.movies.estimate, lamella.movies.sum_series"])
    print(f"start-up of lamella: {start.wall_s:.1f} s, {start.peak_mib:.0f} MiB")
    columns = ("global", "bound", "field", "res.", "wall s", "CPU s", "MiB")
    print(f"{'case':34} {'program':24} " + " ".join(f"{column:>7}" for column in columns))
    for name in names:
        views, frames, size, dose = CASES[name]
        with tempfile.TemporaryDirectory(dir=os.environ.get("LAMELLA_BENCH_FOLDER")) as folder:
            raw = Path(folder) / "raw"
            movies = make_series(raw, views, frames, size, dose)
            bound = float(np.mean([least_error(movie) for movie in movies]))
            title = f"{name}: {views} x {frames} x {size}², {dose:g} e/px"
            for program, work in PROGRAMS.items():
                load = os.getloadavg()[0]
                try:
                    run, found = work(movies, raw, Path(folder) / program.split()[0])
                except (OSError, subprocess.CalledProcessError) as problem:
                    print(f"{title:34} {program:24} {problem}", flush=True)
                    continue
                row = _errors(movies, found), bound, _field(movies, found), _resolution(movies, found, raw)
                print(
                    f"{title:34} {program:24} {row[0]:7.3f} {row[1]:7.3f} {row[2]:7.3f} {row[3]:7.2f} "
                    f"{run.wall_s:7.1f} {run.busy_s:7.1f} {run.peak_mib:7.0f}   (load before {load:.1f})",
                    flush=True,
                )


def _run(command: Sequence[str], **more: str) -> Run:
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS), "LAMELLA_THREADS": str(THREADS)} | more
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        peak = 0.0
        while (done := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, _peak_mib(process.pid))
            time.sleep(_LOOK_S)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(done[1])
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            raise OSError(f"failed: {lines[-1] if lines else process.returncode}")
    return Run(wall, done[2].ru_utime + done[2].ru_stime, peak)


def _peak_mib(process: int) -> float:
    """Greatest memory of a running process so far; what `wait4` tells counts the memory of its parent before."""
    try:
        words = Path(f"/proc/{process}/status").read_text("ascii").split()
        return int(words[words.index("VmHWM:") + 1]) / 1024
    except (OSError, ValueError):
        return 0.0


def _lamella(movies: Sequence[Movie], raw: Path, out: Path) -> tuple[Run, list[MovieMotion]]:
    if len(movies) == 1:
        out.mkdir()
        run = _run([sys.executable, "-c", _ONE_MOVIE, str(movies[0].path), str(raw / "gain.mrc"), str(out)])
        return run, [read_movie_motion(out / "motion.star")]
    lamella = [sys.executable, "-m", "lamella"]
    _run(
        [
            *lamella,
            "new",
            str(out),
            "--mdoc",
            str(raw / "*.mdoc"),
            "--gain",
            str(raw / "gain.mrc"),
            "--frames",
            str(raw),
        ]
    )
    run = _run([*lamella, "motion", str(out)])
    tables = {path.stem: path for path in (out / "motion").glob("*/*.star") if path.parent.name != "tilt_series"}
    return run, [read_movie_motion(tables[movie.path.stem]) for movie in movies]


def _relion(movies: Sequence[Movie], raw: Path, out: Path) -> tuple[Run, list[MovieMotion]]:
    if shutil.which(RELION) is None:
        raise OSError("is not installed")
    out.mkdir()
    optics = (
        "OpticsGroupName",
        "OpticsGroup",
        "MicrographOriginalPixelSize",
        "Voltage",
        "SphericalAberration",
        "AmplitudeContrast",
    )
    table = [
        "data_optics",
        "",
        "loop_",
        *(f"_rln{label}" for label in optics),
        f"optics1 1 {PIXEL_ANG} {VOLTAGE_KV:g} 2.7 0.1",
        "",
        "data_movies",
        "",
        "loop_",
        "_rlnMicrographMovieName",
        "_rlnOpticsGroup",
        *(f"{movie.path} 1" for movie in movies),
        "",
    ]
    (out / "movies.star").write_text("\n".join(table), "utf-8")
    files = ["--i", str(out / "movies.star"), "--o", f"{out}/", "--gainref", str(raw / "gain.mrc")]
    how = ["--use_own", "--j", str(THREADS), "--patch_x", "4", "--patch_y", "4", "--bfactor", "150"]
    run = _run([RELION, *files, *how])
    tables = {path.stem: path for path in out.rglob("TS_*.star")}
    return run, [read_movie_motion(tables[movie.path.stem.replace(".", "_")]) for movie in movies]


def _torch_motion(movies: Sequence[Movie], raw: Path, out: Path) -> tuple[Run, list[MovieMotion]]:
    if find_spec("torch_motion_correction") is None:
        raise OSError("is not installed")
    if sum(len(movie.truth) * math.prod(movie.truth.shape_px) for movie in movies) > THEIR_MOST_PX:
        raise OSError("is not run: it would take many minutes")
    out.mkdir()
    run = _run(
        [sys.executable, "-c", _THEIR_WAY, str(raw / "gain.mrc"), str(out), *(str(movie.path) for movie in movies)]
    )
    found = []
    for movie in movies:
        moved = np.load(out / f"{movie.path.stem}.npy") / PIXEL_ANG  # (frames, yx, h, w), ours or minus ours
        whole = moved.mean(axis=(2, 3))[:, ::-1]
        sign = 1 if _rms(whole - movie.truth.global_px) < _rms(-whole - movie.truth.global_px) else -1
        motion = replace(movie.truth, global_px=sign * (whole - whole[0]), local=None)
        rest = sign * (moved - moved.mean(axis=(2, 3), keepdims=True))[:, ::-1]
        found.append(replace(motion, local=_spline(rest, movie.truth.shape_px)))
    return run, found


_THEIR_WAY = f"""
import sys, numpy as np, torch, tifffile
import torch_motion_correction as tmc
from lamella.formats.mrc import open_mrc
torch.set_num_threads({THREADS})
gain = open_mrc(sys.argv[1]).view(0)
for name in sys.argv[3:]:
    frames = torch.from_numpy(tifffile.imread(name)[:, ::-1] * gain)
    size = frames.shape[-1] // 4
    start = tmc.estimate_global_motion(frames, {PIXEL_ANG})
    patches, nodes = tmc.PatchSamplingConfig((size, size)), (min(len(frames), 4), 4, 4)
    field, _ = tmc.estimate_local_motion(frames, {PIXEL_ANG}, nodes, patches, initial_deformation_field=start)
    with torch.no_grad():
        tmc.correct_motion(frames, field, {PIXEL_ANG}).sum(dim=0)
        moved = [field.evaluate_at_t(t, ({PLACES}, {PLACES})).numpy() for t in np.linspace(0, 1, len(frames))]
    np.save(sys.argv[2] + '/' + name.rsplit('/', 1)[1].removesuffix('.tif') + '.npy', np.stack(moved))
"""

_ONE_MOVIE = f"""
import sys
from lamella import runtime
runtime.prepare()
from lamella.formats.movies import open_movie
from lamella.formats.mrc import open_mrc, write_mrc
from lamella.formats.relion_motion import write_movie_motion
from lamella.movies.estimate import estimate_motion
from lamella.movies.find_detector import References, find_detector
from lamella.movies.motion_settings import MotionSettings
from lamella.movies.reading import kept_in_memory
from lamella.movies.sum_series import sum_series
from lamella.records import Optics
path, gain, out = sys.argv[1:]
movies, settings = kept_in_memory([open_movie(path)]), MotionSettings()
detector = find_detector(movies, References(factor=open_mrc(gain).view(0)), settings).detector
optics = Optics(voltage_kv={VOLTAGE_KV})
motions = estimate_motion(movies, detector, settings, pixel_size_ang={PIXEL_ANG}, optics=optics)
def take(view, sums):
    for name in ('full', 'even', 'odd'):
        write_mrc(out + '/' + name + '.mrc', getattr(sums, name), {PIXEL_ANG})
sum_series(movies, detector, motions, take)
write_movie_motion(out + '/motion.star', motions[0], movie_name=path, frames=len(movies[0]))
"""

PROGRAMS = {"lamella": _lamella, "RELION 3.1 own": _relion, "torch-motion-correction": _torch_motion}


def _spline(moved: np.ndarray, shape_px: tuple[int, int]) -> LocalMotion:
    """The spline of 4 × 4 coefficients nearest to motion ``(frames, 2, PLACES, PLACES)``."""
    y_px, x_px = (np.linspace(0, size - 1, PLACES) for size in shape_px)
    unit = LocalMotion(np.eye(16).reshape(-1, 1, 4, 4).repeat(2, axis=1), shape_px).on_grid(y_px, x_px)[:, 0]
    solved = np.linalg.lstsq(unit.reshape(16, -1).T, moved.reshape(len(moved) * 2, -1).T, rcond=None)[0]
    return LocalMotion(solved.T.reshape(len(moved), 2, 4, 4), shape_px)


def _rms(difference: np.ndarray) -> float:
    """Rms length of vectors ``(frames, ..., 2)`` about their mean over the frames."""
    return float(np.sqrt(((difference - difference.mean(axis=0)) ** 2).sum(axis=-1).mean()))


def _everywhere(motion: MovieMotion) -> np.ndarray:
    height, width = motion.shape_px
    return motion.displacement(
        np.stack(np.meshgrid(np.linspace(0, width - 1, PLACES), np.linspace(0, height - 1, PLACES)), axis=-1)
    )


def _errors(movies: Sequence[Movie], found: Sequence[MovieMotion]) -> float:
    """Of the field's mean motion, mean over the views."""
    return float(
        np.mean(
            [
                _rms((_everywhere(motion) - _everywhere(movie.truth)).mean(axis=(1, 2)))
                for movie, motion in zip(movies, found, strict=True)
            ]
        )
    )


def _field(movies: Sequence[Movie], found: Sequence[MovieMotion]) -> float:
    """Of the motion at places over the field, mean over the views."""
    return float(
        np.mean(
            [_rms(_everywhere(motion) - _everywhere(movie.truth)) for movie, motion in zip(movies, found, strict=True)]
        )
    )


def _resolution(movies: Sequence[Movie], found: Sequence[MovieMotion], raw: Path) -> float:
    """Resolution of sums along the motion found, over that along the true one; mean over some views."""
    gain = open_mrc(raw / "gain.mrc").view(0)
    detector = Detector(shape_px=gain.shape, gain=gain)
    ratios = []
    for place in np.unique(np.linspace(0, len(movies) - 1, SUMMED_VIEWS).round().astype(int)):
        source = open_movie(movies[place].path)
        both = [
            resolution_of_halves(sum_movie(source, detector, replace(motion, binning=1.0), threads=THREADS))
            for motion in (found[place], movies[place].truth)
        ]
        ratios.append(both[0] / both[1])
    return float(np.nanmean(ratios))


if __name__ == "__main__":
    main()
