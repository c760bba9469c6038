"""The slab's measure against the truth: normal, height and thickness, each beside the error that was stated of it.

Simulated stacks with their true geometry, moved into a frame in which the specimen is inclined by up to 10° about the
tilt axis and 3° across it and up to 300 Å high, and with shifts wrong by 0.3 px: what an alignment leaves to be
levelled. With beads, their true places are given with an error of 8 Å; without, the density is all there is.

LAMELLA_BENCH_LEVEL=cellular,lamella   chooses cases
LAMELLA_BENCH_FOLDER=…   keeps the simulated stacks there
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine_name
from lamella import runtime
from lamella.features.masks import specimen_masks
from lamella.formats.images import open_images
from lamella.formats.relion import read_tilt_series
from lamella.formats.star import read_star
from lamella.geometry import TiltGeometry, rotation_x, rotation_y
from lamella.geometry.regauge import regauge
from lamella.simulate.presets import preset_settings
from lamella.tilts.slab_measure import measure_slab
from lamella.tilts.working import WorkingImages, prepare

COMMON = {"frames": 0, "truth_binning": 0.0, "mdoc": "serialem"}
CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "beads": ("beads", {"seed": 31}),
    "few beads": ("beads", {"seed": 32, "beads": 5}),
    "one face": ("beads", {"seed": 33, "beads": 12, "bead_surfaces": "top", "particles": 200}),
    "cellular": ("cellular", {"seed": 34}),
    "lamella": ("lamella", {"seed": 35}),
    "purified": ("purified", {"seed": 36}),
    "quick": ("quick", {"seed": 37}),
    "virions": ("virions", {"seed": 38}),
}
FRAMES = 3  # in which each case is measured
SHIFT_ERROR_PX = 0.3
PLACE_ERROR_ANG = 8.0


def main() -> None:
    """Print the table."""
    runtime.prepare(torch=True)
    names = os.environ.get("LAMELLA_BENCH_LEVEL", "")
    print(machine_name())
    print(f"{'case':10} {'points':7} {'normal °':>14} {'height Å':>14} {'thickness %':>14} {'by':8} {'s':>5}")
    with tempfile.TemporaryDirectory() as scratch:
        for case in names.split(",") if names else list(CASES):
            folder = Path(os.environ.get("LAMELLA_BENCH_FOLDER", scratch)) / case.replace(" ", "_")
            _simulate(folder, case)
            _measure(folder, case)


def _simulate(folder: Path, case: str) -> None:
    if (folder / "truth" / "tilt_series.star").exists():
        return
    preset, changes = CASES[case]
    told = [f"--set={name}={value}" for name, value in ({**COMMON, **changes}).items() if name != "seed"]
    command = [sys.executable, "-m", "lamella", "simulate", str(folder), "--preset", preset, *told]
    subprocess.run([*command, "--seed", str(changes["seed"])], check=True, stdout=subprocess.DEVNULL)


def _measure(folder: Path, case: str) -> None:
    """Lines of one case: each kind of points in some frames."""
    series = read_tilt_series(folder / "truth" / "tilt_series.star", folder)[0]
    assert series.geometry is not None
    assert series.images is not None
    preset, changes = CASES[case]
    thickness = preset_settings(preset, **COMMON, **changes).thickness
    images = prepare(open_images(series.images, folder), series.pixel_size_ang, 1024)
    images = images.masked(specimen_masks(images.stack, pixel_ang=max(images.pixel_ang)))
    half = series.pixel_size_ang * np.array(series.image_shape_px[::-1]) / 2
    beads = _beads(folder)
    beads = beads[(np.abs(beads[:, :2]) < half).all(axis=1)]
    for points in (beads, None) if len(beads) else (None,):
        rng = np.random.default_rng(1)
        for _ in range(FRAMES):
            _line(case, images, series.geometry, points, thickness, SHIFT_ERROR_PX * series.pixel_size_ang, rng)


def _line(
    case: str,
    images: WorkingImages,
    truth: TiltGeometry,
    beads: np.ndarray | None,
    thickness: float,
    shift_error: float,
    rng: np.random.Generator,
) -> None:
    turn = rotation_y(rng.uniform(-10, 10)) @ rotation_x(rng.uniform(-3, 3))
    shift = np.array([0.0, 0.0, rng.uniform(-300, 300)])
    wrong = rng.normal(scale=shift_error, size=(2, len(truth)))
    geometry = regauge(truth, turn, shift).geometry
    geometry = geometry.with_terms(
        x_shift_ang=geometry.x_shift_ang + wrong[0], y_shift_ang=geometry.y_shift_ang + wrong[1]
    )
    normal = turn @ [0.0, 0.0, 1.0]
    points = None
    if beads is not None:
        points = beads @ turn.T + shift + rng.normal(scale=PLACE_ERROR_ANG, size=beads.shape)
    began = time.perf_counter()
    found = measure_slab(images, geometry, points, "beads" if points is not None else None)
    took = time.perf_counter() - began
    off = np.rad2deg(np.arccos(min(1.0, float(found.normal @ normal))))
    high = found.height_ang - shift @ normal / normal[2]
    columns = (
        f"{off:6.2f} ± {found.error_deg:5.2f}",
        f"{high:6.0f} ± {found.height_error_ang:5.0f}",
        f"{100 * (found.thickness_ang / thickness - 1):6.1f} ± {100 * found.thickness_error_ang / thickness:5.1f}",
    )
    kind = "none" if points is None else f"{len(points)}"
    print(
        f"{case:10} {kind:7} {columns[0]:>14} {columns[1]:>14} {columns[2]:>14} {found.source:8} {took:5.1f}",
        flush=True,
    )


def _beads(folder: Path) -> np.ndarray:
    """``(p, 3)`` true places of the beads, Å."""
    path = folder / "truth" / "beads.star"
    tables = read_star(path).values() if path.exists() else ()
    for table in tables:
        if "rlnCenteredCoordinateXAngst" in table.columns and len(table):
            return np.stack([table.numbers(f"rlnCenteredCoordinate{axis}Angst") for axis in "XYZ"], axis=-1)
    return np.zeros((0, 3))


if __name__ == "__main__":
    main()
