"""The held-out-view score: how it ranks wrong geometries, what it says of failed ones, and its time.

Ten simulated series (512², five presets, two seeds each), scored as `align` scores them. For each, twelve geometries
that are wrong by 0.2 to 3 px in twelve ways, the sizes dealt out at random: Spearman's correlation of score and true
error. For the first seed also ladders, one way of being wrong in four sizes. LAMELLA_BENCH_FOLDER keeps the simulated
stacks, which take longest; LAMELLA_BENCH_SCORE names the series to take, as in ``quick:101,beads:7``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.machine import machine_name
from lamella import runtime
from lamella.geometry import TiltGeometry
from lamella.geometry.field import ImageField

if TYPE_CHECKING:
    from torch import Tensor

    from lamella.tilts.score import Score
    from lamella.tilts.working import WorkingImages

Array = NDArray[np.float64]
PRESETS, SEEDS = ("quick", "cellular", "beads", "lamella", "purified"), (101, 102)
SIZE_PX = 512
THICKNESS_ANG = 2400.0  # what `align` passes where nobody states a thickness
SMALLEST_PX, LARGEST_PX = 0.2, 3.0
LADDERS = ("random shifts", "smooth shifts", "axis", "tilt scale", "tilt wanders")
RUNGS_PX = (0.3, 0.7, 1.5, 3.0)
Ways = dict[str, Callable[[float], TiltGeometry]]


@dataclass(frozen=True, eq=False)
class Series:
    """One simulated series, ready to be scored."""

    images: WorkingImages
    mask: Tensor | None
    truth: TiltGeometry
    points_ang: Array
    pixel_ang: float
    thickness_ang: float

    def error_px(self, geometry: TiltGeometry) -> float:
        """Rms error of projected specimen points."""
        from lamella.tilts.compare import geometry_error

        return geometry_error(geometry, self.truth, self.points_ang).rms_ang / self.pixel_ang

    def score(self, geometry: TiltGeometry, thickness_ang: float = THICKNESS_ANG) -> Score:
        """As `align` scores it."""
        from lamella.tilts.score import held_out_score

        return held_out_score(self.images, geometry, thickness_ang, "film", self.mask)


def main() -> None:
    """Print the tables."""
    runtime.prepare(torch=True)
    print(machine_name())
    named = os.environ.get("LAMELLA_BENCH_SCORE", "")
    wanted = [(p, int(s)) for p, s in (one.split(":") for one in named.split(",") if one)]
    wanted = wanted or [(preset, seed) for seed in SEEDS for preset in PRESETS]
    laddered = dict(reversed(wanted))
    ranks: list[float] = []
    pooled: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.environ.get("LAMELLA_BENCH_FOLDER", scratch))
        folder.mkdir(parents=True, exist_ok=True)
        for preset, seed in wanted:
            _one_series(preset, seed, folder, laddered[preset] == seed, ranks, pooled)
    print(f"Spearman over twelve ways: mean {np.mean(ranks):.3f}, lowest {min(ranks):.3f}")
    for way in dict.fromkeys(p[0] for p in pooled):
        losses = sorted((error, loss) for name, error, loss in pooled if name == way)
        print(f"{way:18}" + " ".join(f"{error:.2f} px {100 * loss:3.0f} %;" for error, loss in losses))


def _one_series(
    preset: str, seed: int, folder: Path, laddered: bool, ranks: list[float], pooled: list[tuple[str, float, float]]
) -> None:
    start = time.perf_counter()
    series = _series(preset, seed, folder)
    print(f"{preset} {seed}: simulated in {time.perf_counter() - start:.0f} s", flush=True)
    start = time.perf_counter()
    best = series.score(series.truth)
    seconds = time.perf_counter() - start
    print(f"  the truth: {_told(best)}; {seconds:.1f} s", flush=True)
    rng = np.random.default_rng(seed)
    for name, wrong in _failures(series.truth, rng, series.pixel_ang).items():
        print(f"  {name}: {_told(series.score(wrong))}", flush=True)
    ways = _ways(series.truth, rng, series.pixel_ang)
    sizes = rng.permutation(np.exp(np.linspace(np.log(SMALLEST_PX), np.log(LARGEST_PX), len(ways))))
    errors, values, others = [], [], []
    for (name, way), wanted in zip(ways.items(), sizes, strict=True):
        geometry = _of_size(way, wanted, series)
        if geometry is None:
            continue
        errors.append(series.error_px(geometry))
        values.append(series.score(geometry).value)
        if laddered:
            others.append(series.score(geometry, series.thickness_ang).value)
        pooled.append((name, errors[-1], 1 - values[-1] / best.value))
        print(f"  {name}: {errors[-1]:.2f} px, {values[-1]:.3f}", flush=True)
    ranks.append(_rank(errors, values))
    print(f"  Spearman {ranks[-1]:.3f}", flush=True)
    if laddered:
        print(f"  with the true thickness {_rank(errors, others):.3f}; between both {-_rank(others, values):.3f}")
        for name in LADDERS:
            rungs = [_of_size(ways[name], wanted, series) for wanted in RUNGS_PX]
            climbed = [best.value, *(series.score(rung).value for rung in rungs if rung is not None)]
            right = np.mean([lower > higher for lower, higher in combinations(climbed, 2)])
            told = " ".join(f"{value:.3f}" for value in climbed)
            print(f"  ladder of {name}: {100 * right:.0f} % of pairs in order; {told}", flush=True)


def _rank(errors: list[float], values: list[float]) -> float:
    return -float(spearmanr(errors, values)[0])


def _told(score: Score) -> str:
    from lamella.tilts.score import verdict

    parts = f"reprojected {score.reprojected:.3f}, near {score.near:.2f}, far {score.far:.2f}"
    return f"{verdict(score)[0]}, {score.value:.3f} ({parts}, distant {score.distant:.2f})"


def _series(preset: str, seed: int, folder: Path) -> Series:
    from lamella.features.masks import specimen_masks
    from lamella.records import ArrayImages
    from lamella.simulate import build_specimen, expose, preset_settings, record_series
    from lamella.tilts.working import prepare

    settings = preset_settings(preset, size=SIZE_PX, frames=0, seed=seed)
    record = record_series(settings, 0)
    truth = record.geometry
    assert truth is not None
    kept = folder / f"score_{preset}_{seed}_{SIZE_PX}.npy"
    if not kept.exists():
        specimen = build_specimen(settings, 0)
        stack = np.stack([expose(specimen, record, settings, view) for view in range(len(truth))])
        part = kept.with_suffix(".part.npy")
        np.save(part, stack.astype(np.float32))
        part.replace(kept)
    images = prepare(ArrayImages(np.load(kept)), settings.pixel_size, SIZE_PX)
    mask = specimen_masks(images.stack, pixel_ang=max(images.pixel_ang))
    half = np.array([SIZE_PX, SIZE_PX, settings.thickness / settings.pixel_size]) * settings.pixel_size / 2
    points = np.random.default_rng(seed).uniform(-0.9, 0.9, (60, 3)) * half
    whole = float(mask.min()) == 1.0
    return Series(images, None if whole else mask, truth, points, settings.pixel_size, settings.thickness)


def _failures(truth: TiltGeometry, rng: np.random.Generator, pixel: float) -> dict[str, TiltGeometry]:
    """Shifts lost, the axis across, angles in another order."""
    n = len(truth)
    x, y = rng.normal(scale=20 * pixel, size=(2, n))
    return {
        "shifts wrong by 20 px": truth.with_terms(x_shift_ang=truth.x_shift_ang + x, y_shift_ang=truth.y_shift_ang + y),
        "axis across": truth.with_terms(z_rot_deg=truth.z_rot_deg + 90),
        "angles shuffled": truth.with_terms(y_tilt_deg=truth.y_tilt_deg[rng.permutation(n)]),
    }


def _ways(truth: TiltGeometry, rng: np.random.Generator, pixel: float) -> Ways:
    """Twelve ways of being wrong, each by a size."""
    n = len(truth)
    order = np.argsort(np.argsort(truth.y_tilt_deg))
    course = np.linspace(-1, 1, n)[order]
    a, b, c, d = rng.normal(size=(4, n))
    bent = [np.polynomial.legendre.legval(course, [0, 0, *rng.normal(size=4)]) for _ in range(4)]

    def moved(x: Array, y: Array, of: TiltGeometry = truth) -> TiltGeometry:
        return of.with_terms(x_shift_ang=of.x_shift_ang + pixel * x, y_shift_ang=of.y_shift_ang + pixel * y)

    def mixed(s: float) -> TiltGeometry:
        turned = truth.with_terms(z_rot_deg=truth.z_rot_deg + 0.15 * s, y_tilt_deg=truth.y_tilt_deg + 0.1 * s * c)
        return moved(s * (a + bent[0]) / 2, s * (b + bent[1]) / 2, turned)

    return {
        "random shifts": lambda s: moved(s * a, s * b),
        "random shifts 2": lambda s: moved(s * c, s * d),
        "smooth shifts": lambda s: moved(s * bent[0], s * bent[1]),
        "smooth shifts 2": lambda s: moved(s * bent[2], s * bent[3]),
        "axis": lambda s: truth.with_terms(z_rot_deg=truth.z_rot_deg + 0.3 * s),
        "axis wanders": lambda s: truth.with_terms(z_rot_deg=truth.z_rot_deg + 0.2 * s * a),
        "tilt scale": lambda s: truth.with_terms(y_tilt_deg=truth.y_tilt_deg * (1 + 0.02 * s)),
        "tilt wanders": lambda s: truth.with_terms(y_tilt_deg=truth.y_tilt_deg + 0.3 * s * b),
        "magnification": lambda s: truth.with_terms(magnification=truth.magnification * (1 + 0.003 * s * c)),
        "field": partial(_field_changed, truth),
        "mixture": mixed,
        "both shifts": lambda s: moved(s * (a + bent[2]), s * (b + bent[3])),
    }


def _of_size(way: Callable[[float], TiltGeometry], wanted_px: float, series: Series) -> TiltGeometry | None:
    """That way of being wrong by about so many px; None where the series cannot be wrong in it."""
    size = wanted_px
    for _ in range(4):
        size = min(size * wanted_px / max(series.error_px(way(size)), 1e-6), 50.0)
    return way(size) if series.error_px(way(size)) > 0.5 * SMALLEST_PX else None


def _field_changed(truth: TiltGeometry, size: float) -> TiltGeometry:
    if truth.field is None:
        return truth
    return truth.with_terms(field=ImageField(truth.field.nodes_ang * (1 - size), truth.field.half_width_ang))


if __name__ == "__main__":
    main()
