"""Contrast transfer against the truth: error of every view's defocus beside its Fisher bound, jointly and alone; time.

Two kinds of series of 41 views. `scatterers` are random points in a slab under white noise (tests/tilts/ctf_scene.py),
whose least possible error is known; `microscope` are stacks of `lamella simulate`, whose structure is that of molecules
and whose camera has its own transfer, so that only the errors count there. `large` and `flat` are for time and memory,
`hands` for the hand and the honesty of standard errors over twenty series with weak rings.
Each run is a process of its own with two threads; imports and compilation are left out of the time.

The least work of a series: a transform of each image and one back of its reduced form (to a Nyquist frequency of 4 Å),
and one of 1024 Å squared for every third of that length in each direction: nine times the reduced image's area.

LAMELLA_BENCH_CTF=scatterers4,flat   chooses cases
LAMELLA_BENCH_FOLDER=…   keeps the series there
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine_name, peak_mib
from lamella.records import ArrayImages, Defocus, TiltSeries

Array = NDArray[np.float64]

TILTS = tuple(float(tilt) for tilt in np.arange(-60, 61, 3))
SCATTERERS: Mapping[str, dict[str, Any]] = {
    "scatterers4": {"size": 1024, "pixel": 4.0, "strength": 0.17, "defocus": 32000.0, "slice_ang": 160.0, "seed": 51},
    "scatterers4b": {"size": 1024, "pixel": 4.0, "strength": 0.17, "defocus": 21000.0, "slice_ang": 160.0, "seed": 52,
                     "hand": 1},
    "scatterers2": {"size": 1536, "pixel": 2.0, "strength": 0.26, "b_factor": 150.0, "defocus": 30000.0, "seed": 53},
}  # fmt: skip
MICROSCOPE: Mapping[str, dict[str, Any]] = {
    "ideal4": {"size": 1024, "pixel_size": 4.0, "defocus": 32000.0, "detector": "ideal", "seed": 61},
    "ideal2": {"size": 1536, "pixel_size": 2.0, "defocus": 30000.0, "detector": "ideal", "seed": 62},
    "k3_4": {"size": 1024, "pixel_size": 4.0, "defocus": 25000.0, "seed": 63, "hand": 1},
    "k3_2": {"size": 1536, "pixel_size": 2.0, "defocus": 35000.0, "seed": 64},
}
TIMED = ("flat", "large")
HANDS: Mapping[str, dict[str, Any]] = {
    f"h{seed}": {
        "size": 512, "pixel_size": 4.0, "thickness": 1600.0, "particles": 60, "vesicles": 1, "seed": seed,
        "defocus": 20000 + seed * 7919 % 30000, "hand": -1 if seed % 2 else 1,
    }
    for seed in range(101, 121)
}  # fmt: skip


def main() -> None:
    """Print the table."""
    wanted = os.environ.get("LAMELLA_BENCH_CTF", "")
    cases = wanted.split(",") if wanted else [*SCATTERERS, *MICROSCOPE, *TIMED, "hands"]
    print(machine_name())
    columns = ("bound Å", "joint Å", "worst", "mean", "error", "within", "alone Å", "worst", "astig Å", "hand", "slope")
    print(f"{'case':13}" + "".join(f"{column:>9}" for column in columns) + f"{'s':>8}{'CPU s':>8}{'MiB':>7}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.environ.get("LAMELLA_BENCH_FOLDER", scratch))
        folder.mkdir(parents=True, exist_ok=True)
        for case in cases:
            if case == "hands":
                for one in HANDS:
                    _make(folder / one, one)
                _hands(folder)
                continue
            # in a process of its own: a child's peak memory begins with that of its parent
            made = [sys.executable, "-m", "benchmarks.bench_ctf", "_make", str(folder / case), case]
            subprocess.run(made, check=True)
            environment = {**os.environ, "LAMELLA_THREADS": "2"}
            command = [sys.executable, "-m", "benchmarks.bench_ctf", "_case", str(folder / case), case]
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            print(result.stdout.strip() or f"{case}: {result.stderr.strip().splitlines()[-1]}", flush=True)


def _hands(folder: Path) -> None:
    """Hand, errors and their honesty over many small series with weak rings, of both hands."""
    from lamella.tilts import CtfSettings, estimate_ctf

    right, confidence, joint, alone, error = 0, [], [], [], []
    for case in HANDS:
        true, images, _ = _load(folder / case, case)
        series = estimate_ctf(true.with_changes(defocus=None, hand=-1), images, CtfSettings()).series
        assert series.defocus is not None
        assert true.defocus is not None
        right += series.hand == true.hand
        confidence.append(series.quality["CtfHandConfidence"])
        off = series.defocus.mean_ang - true.defocus.mean_ang
        off_alone = series.scores["CtfAloneDefocusAngst"] - true.defocus.mean_ang
        error += off.tolist()
        joint += (np.abs(off) < series.scores["CtfDefocusErrorAngst"]).tolist()
        alone += (np.abs(off_alone) < series.scores["CtfAloneErrorAngst"]).tolist()
    print(
        f"hands: {right} of {len(HANDS)} right, lowest confidence {min(confidence):.3f}; of {len(error)} views "
        f"{np.mean(joint):.2f} lie within one joint standard error, {np.mean(alone):.2f} within one of their own; "
        f"median error {np.median(np.abs(error)):.0f} Å, mean {np.mean(error):.0f} Å"
    )


def _make(folder: Path, case: str) -> None:
    if folder.exists():
        return
    if case in MICROSCOPE or case in HANDS:
        chosen = MICROSCOPE.get(case) or HANDS[case]
        values = {"frames": 0, "truth_binning": 0.0, "thickness": 1650.0, **chosen}
        command = [sys.executable, "-m", "lamella", "simulate", str(folder), "--preset", "quick"]
        command += ["--seed", str(values.pop("seed"))]
        for name, value in values.items():
            command += ["--set", f"{name}={value}"]
        subprocess.run(command, check=True, capture_output=True)
        return
    from tests.tilts.ctf_scene import make

    _, images = make(_scene(case))
    folder.mkdir()
    np.save(folder / "images.npy", np.stack([images.view(view) for view in range(len(images))]))


def _scene(case: str) -> Any:
    from tests.tilts.ctf_scene import Scene

    if case == "flat":
        return Scene(size=1024, strength=0.17, seed=54)
    if case == "large":  # one view of it, repeated (its noise too, so only time and memory count)
        return Scene(size=4096, pixel=1.0, strength=0.1, b_factor=60.0, seed=55)
    return Scene(tilts=TILTS, thickness=1650.0, **SCATTERERS[case])


def _load(folder: Path, case: str) -> tuple[TiltSeries, Any, Array | None]:
    """True record, images, and bounds where they are known."""
    if case in MICROSCOPE or case in HANDS:
        from lamella.formats.images import open_images
        from lamella.formats.relion import read_tilt_series

        true = read_tilt_series(folder / "truth" / "tilt_series.star", folder)[0]
        assert true.images is not None
        return true, open_images(true.images, folder), None
    from tests.tilts.ctf_scene import fisher_bound_ang, truth

    scene = _scene(case)
    if case == "large":
        return _repeated(truth(scene), len(TILTS)), _Saved(folder / "images.npy", len(TILTS)), None
    return truth(scene), _Saved(folder / "images.npy"), fisher_bound_ang(scene, 0.97 / (2 * scene.pixel))


class _Saved:
    """Images of a file, read one by one; its only one as often as is asked for."""

    def __init__(self, path: Path, count: int = 0) -> None:
        self.path = path
        there, height, width = np.load(path, mmap_mode="r").shape
        self.shape = (count or there, height, width)

    def __len__(self) -> int:
        return self.shape[0]

    def view(self, index: int) -> NDArray[np.float32]:
        stack = np.load(self.path, mmap_mode="r")
        return np.array(stack[index % len(stack)])


def _repeated(true: TiltSeries, count: int) -> TiltSeries:
    chosen = true.select(np.zeros(count, np.int64))
    assert chosen.geometry is not None
    tilted = chosen.geometry.with_terms(y_tilt_deg=np.array(TILTS) / 30)
    return chosen.with_changes(geometry=tilted, nominal_tilt_deg=np.array(TILTS) / 30)


def _case(folder: Path, case: str) -> None:
    from lamella import runtime

    runtime.prepare(torch=True)
    from lamella.tilts import CtfSettings, estimate_ctf

    true, images, bound = _load(folder, case)
    blank = ArrayImages(
        np.random.default_rng(1).normal(size=(1, *true.image_shape_px)).astype(np.float32)[:, :512, :512]
    )
    small = true.select([0]).with_changes(image_shape_px=(512, 512), defocus=None)
    estimate_ctf(small, blank, CtfSettings())  # compiles what can be compiled beforehand
    before, cpu, begun = peak_mib(), time.process_time(), time.perf_counter()
    raw = true.with_changes(defocus=None, hand=-1)
    found = estimate_ctf(raw, images, CtfSettings())
    seconds, cpu_seconds, memory = time.perf_counter() - begun, time.process_time() - cpu, peak_mib()
    series = found.series
    if series.defocus is None or true.defocus is None:
        print(f"{case:13} {found.passed_on}")
        return
    error = np.abs(series.defocus.mean_ang - true.defocus.mean_ang)
    mean = float(np.mean(series.defocus.mean_ang - true.defocus.mean_ang))
    alone = np.abs(series.scores["CtfAloneDefocusAngst"] - true.defocus.mean_ang)
    stated = series.scores["CtfDefocusErrorAngst"]
    astigmatism = np.hypot(*(_vector(series.defocus) - _vector(true.defocus)).T)
    hand = f"{series.hand:+d} {'right' if series.hand == true.hand else 'WRONG'}"
    numbers = [
        "-" if bound is None else f"{np.median(bound):.0f}", f"{np.median(error):.0f}", f"{error.max():.0f}",
        f"{mean:.0f}", f"{np.median(stated):.0f}", f"{np.mean(error < stated):.2f}", f"{np.median(alone):.0f}",
        f"{alone.max():.0f}", f"{np.median(astigmatism):.0f}", hand,
        f"{series.quality.get('CtfDepthSlope', np.nan):.2f}",
    ]  # fmt: skip
    print(f"{case:13}" + "".join(f"{number:>9}" for number in numbers), end="")
    print(f"{seconds:8.1f}{cpu_seconds:8.1f}{memory:7.0f}")
    print(json.dumps({"confidence": series.quality.get("CtfHandConfidence"), "before_mib": before}), file=sys.stderr)


def _vector(defocus: Defocus) -> Array:
    twice = np.deg2rad(2 * defocus.angle_deg)
    half = (defocus.u_ang - defocus.v_ang) / 2
    return np.stack([half * np.cos(twice), half * np.sin(twice)], axis=1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["_case"]:
        _case(Path(sys.argv[2]), sys.argv[3])
    elif sys.argv[1:2] == ["_make"]:
        _make(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
