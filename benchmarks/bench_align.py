"""Alignment against the truth: every method and its peers on simulated series; error, score, time, memory in one table.

Cases are stacks of 41 views as the simulator's microscope leaves them, with nothing but the nominal grid of tilt angles
and the nominal axis stated. The error is of the projected specimen points in the field after the best rigid motion.
Each run is a process of its own with two threads; the memory is what it held at most above what its imports hold, over
the size of the stack as float32. The peer, torch-tiltxcorr, is asked where it is installed; it is given the true axis.

LAMELLA_BENCH_ALIGN=beads20,cellular   chooses cases;  LAMELLA_BENCH_METHODS=auto,coarse   chooses methods
LAMELLA_BENCH_FOLDER=…   keeps the simulated stacks there
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine_name, peak_mib

STAGE = {"tilt_noise": 0.05, "axis_variation": 0.03, "deformation": 0.0}
COMMON = {"frames": 0, "truth_binning": 0.0}
CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "beads20": ("beads", {"pixel_size": 4.0, "beads": 20, "seed": 21, **STAGE}),
    "beads5": ("beads", {"pixel_size": 4.0, "beads": 5, "seed": 22, **STAGE}),
    "beads60": ("beads", {"seed": 23, "tilt_offset": 6.0, "x_tilt": -2.5}),
    "cellular": ("cellular", {"seed": 24}),
    "blank": ("cellular", {"seed": 25, "blank_views": 1}),
    "lamella": ("lamella", {"seed": 26, "mdoc": "serialem"}),
    "quick": ("quick", {"seed": 27}),
}
METHODS = ("none", "coarse", "beads", "patches", "matching", "auto", "torch-tiltxcorr")


def main() -> None:
    """Print the table."""
    cases = (
        os.environ.get("LAMELLA_BENCH_ALIGN", "").split(",") if os.environ.get("LAMELLA_BENCH_ALIGN") else list(CASES)
    )
    chosen = os.environ.get("LAMELLA_BENCH_METHODS", "")
    methods = chosen.split(",") if chosen else METHODS
    print(machine_name())
    columns = ("error px", "worst", "axis °", "level °", "thick", "score", "s", "x stack")
    print(f"{'case':10} {'method':16} " + " ".join(f"{column:>8}" for column in columns))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.environ.get("LAMELLA_BENCH_FOLDER", scratch))
        for case in cases:
            _simulate(folder / case, case)
            for method in methods:
                if method == "torch-tiltxcorr" and find_spec("torch_tiltxcorr") is None:
                    continue
                print(_row(folder / case, case, method), flush=True)


def _simulate(folder: Path, case: str) -> None:
    if (folder / "truth").is_dir():
        return
    preset, changes = CASES[case]
    values = [f"{name}={value}" for name, value in {**COMMON, **changes}.items() if name != "seed"]
    command = [
        sys.executable,
        "-m",
        "lamella",
        "simulate",
        str(folder),
        "--preset",
        preset,
        "--seed",
        str(changes["seed"]),
    ]
    for value in values:
        command += ["--set", value]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _row(folder: Path, case: str, method: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_align", str(folder), method],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "2", "LAMELLA_THREADS": "2"},
        check=False,
    )
    title = f"{case:10} {method:16}"
    if done.returncode:
        return f"{title} {(done.stderr.strip().splitlines() or ['failed'])[-1]}"
    one = json.loads(done.stdout.strip().splitlines()[-1])
    shown = " ".join(
        f"{one[name]:{width}}" if one[name] is not None else " " * int(width.split(".")[0])
        for name, width in (
            ("error", "8.3f"),
            ("worst", "8.2f"),
            ("axis", "8.3f"),
            ("level", "8.2f"),
            ("thickness", "8.2f"),
            ("score", "8.4f"),
            ("seconds", "8.1f"),
            ("memory", "8.2f"),
        )
    )
    return f"{title} {shown}  {one['chosen']}"


def run_one(folder: Path, method: str) -> dict[str, Any]:
    """Align one simulated series by one method; figures by name."""
    from lamella import runtime

    runtime.prepare(torch=True)
    from lamella.formats.images import open_images
    from lamella.formats.relion import read_tilt_series
    from lamella.records import ArrayImages
    from lamella.tilts import AlignSettings, CleanSettings, align, clean
    from lamella.tilts.compare import geometry_error

    true = read_tilt_series(folder / "truth" / "tilt_series.star", folder)[0]
    told = json.loads((folder / "truth" / "settings.json").read_text())
    source = open_images(true.images, folder)
    stack = np.stack([np.asarray(source.view(view), np.float32) for view in range(len(true))])
    grid = (
        told["start_tilt"]
        + np.round((true.nominal_tilt_deg - told["start_tilt"]) / told["tilt_step"]) * told["tilt_step"]
    )
    raw = true.with_changes(geometry=None, defocus=None, nominal_tilt_deg=grid, thickness_ang=None)
    kept = clean(raw, ArrayImages(stack), CleanSettings(outliers=False), None).kept
    true, raw, stack = true.select(kept), raw.select(kept), stack[kept]
    points = _points(folder, raw)
    held, start = peak_mib(), time.perf_counter()
    figures: dict[str, Any] = {"axis": None, "level": None, "thickness": None, "score": None, "chosen": ""}
    if method == "torch-tiltxcorr":
        geometry = _peer(raw, stack, float(true.geometry.z_rot_deg.mean()))
    else:
        result = align(raw, ArrayImages(stack), AlignSettings(method=method))
        geometry, record = result.series.geometry, result.series
        figures["score"] = record.quality.get("AlignScore")
        figures["chosen"] = record.other.get("lamellaAlignMethod", "")
        if record.thickness_ang:
            figures["thickness"] = record.thickness_ang / told["thickness"]
    figures["seconds"] = time.perf_counter() - start
    figures["memory"] = (peak_mib() - held) * 2**20 / stack.nbytes
    difference = geometry_error(geometry, true.geometry, points)
    figures["axis"] = float(geometry.z_rot_deg.mean() - true.geometry.z_rot_deg.mean())
    if method not in ("none", "torch-tiltxcorr"):
        figures["level"] = float(np.rad2deg(np.arccos(np.clip(difference.rotation[2, 2], -1, 1))))
    figures["error"] = difference.rms_ang / raw.pixel_size_ang
    figures["worst"] = float(difference.per_view_ang.max()) / raw.pixel_size_ang
    return figures


def _points(folder: Path, raw: Any) -> np.ndarray:
    """Particles and beads in the untilted field of view, Å."""
    from lamella.formats.star import read_star

    half = raw.pixel_size_ang * np.array(raw.image_shape_px[::-1]) / 2
    found = []
    for name in ("particles.star", "beads.star"):
        path = folder / "truth" / name
        tables = read_star(path).values() if path.exists() else []
        for table in tables:
            if len(table) and "rlnCenteredCoordinateXAngst" in table.columns:
                found.append(np.stack([table.numbers(f"rlnCenteredCoordinate{axis}Angst") for axis in "XYZ"], axis=-1))
    points = np.concatenate(found)
    return np.asarray(points[(np.abs(points[:, :2]) < half).all(axis=1)])


def _peer(raw: Any, stack: np.ndarray, axis_deg: float) -> Any:
    """Shifts of torch-tiltxcorr, which come as (y, x) px that align each image: minus where the centre appears."""
    import torch
    from torch_tiltxcorr import tiltxcorr

    from lamella.geometry import TiltGeometry

    moved = tiltxcorr(
        torch.from_numpy(stack),
        torch.as_tensor(raw.nominal_tilt_deg),
        axis_deg,
        pixel_spacing_angstroms=raw.pixel_size_ang,
        lowpass_angstroms=50.0,
    ).numpy()
    shift = -moved[:, ::-1] * raw.pixel_size_ang
    return TiltGeometry.from_angles(raw.nominal_tilt_deg, axis_deg, x_shift_ang=shift[:, 0], y_shift_ang=shift[:, 1])


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(run_one(Path(sys.argv[1]), sys.argv[2])))
    else:
        main()
