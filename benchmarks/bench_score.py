"""The held-out-view score: how it ranks wrong geometries, what it says of failed ones, and its time.

Ten simulated series (512², five presets, two seeds each); for each, twelve geometries that are wrong by 0.2 to 3 px in
twelve ways, the magnitudes dealt out at random. Spearman's correlation of score and true error, series by series, and
the loss of score beside the error for each way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.machine import machine_name
from lamella import runtime
from lamella.geometry import TiltGeometry
from lamella.geometry.field import ImageField

Array = NDArray[np.float64]
PRESETS = ("quick", "cellular", "beads", "lamella", "purified")
SMALLEST_PX, LARGEST_PX = 0.2, 3.0


def main() -> None:
    """Print two tables."""
    runtime.prepare(torch=True)
    from lamella.records import ArrayImages
    from lamella.simulate import build_specimen, expose, preset_settings, record_series
    from lamella.tilts.score import held_out_score, verdict
    from lamella.tilts.working import prepare

    print(machine_name())
    print(
        f"{'series':14} {'seconds':>7} {'true':>6} {'random 20 px':>13} {'axis 90°':>9} {'shuffled':>9} {'Spearman':>9}"
    )
    ranks, pooled = [], []
    for preset in PRESETS:
        for seed in (101, 102):
            settings = preset_settings(preset, size=512, frames=0, seed=seed)
            specimen, record = build_specimen(settings, 0), record_series(settings, 0)
            truth = record.geometry
            assert truth is not None
            stack = np.stack([expose(specimen, record, settings, view) for view in range(len(truth))])
            images = prepare(ArrayImages(stack), settings.pixel_size, 512)
            rng = np.random.default_rng(seed)
            half = np.array([512, 512, settings.thickness / settings.pixel_size]) * settings.pixel_size / 2
            points = rng.uniform(-0.9, 0.9, (60, 3)) * half

            error = partial(_error_px, true=truth, points=points, pixel=settings.pixel_size)

            start = time.perf_counter()
            best = held_out_score(images, truth, settings.thickness)
            seconds = time.perf_counter() - start
            told = [
                verdict(held_out_score(images, wrong, settings.thickness))[0]
                for wrong in _failures(truth, rng, settings.pixel_size)
            ]
            tried = _perturbed(truth, error, rng, settings.pixel_size)
            values = [held_out_score(images, geometry, settings.thickness).value for _, geometry in tried]
            errors = [error(geometry) for _, geometry in tried]
            ranks.append(-spearmanr(errors, values)[0])
            pooled += [(way, e, 1 - v / best.value) for (way, _), e, v in zip(tried, errors, values, strict=True)]
            print(
                f"{preset + ' ' + str(seed):14} {seconds:7.2f} {verdict(best)[0]:>6} {told[0]:>13} {told[1]:>9} "
                f"{told[2]:>9} {ranks[-1]:9.2f}",
                flush=True,
            )
    print(f"Spearman, mean {np.mean(ranks):.3f}, lowest {min(ranks):.3f}")
    print(
        f"of all pooled, error in px beside lost score {spearmanr(*zip(*[p[1:] for p in pooled], strict=True))[0]:.3f}"
    )
    for way in dict.fromkeys(p[0] for p in pooled):
        losses = sorted((e, loss) for name, e, loss in pooled if name == way)
        print(f"{way:18}" + " ".join(f"{e:.2f} px {100 * loss:3.0f} %;" for e, loss in losses))


def _error_px(geometry: TiltGeometry, true: TiltGeometry, points: Array, pixel: float) -> float:
    from lamella.tilts.compare import geometry_error

    return geometry_error(geometry, true, points).rms_ang / pixel


def _failures(truth: TiltGeometry, rng: np.random.Generator, pixel: float) -> list[TiltGeometry]:
    """Shifts lost, the axis across, angles in another order."""
    n = len(truth)
    x, y = rng.normal(scale=20 * pixel, size=(2, n))
    return [
        truth.with_terms(x_shift_ang=truth.x_shift_ang + x, y_shift_ang=truth.y_shift_ang + y),
        truth.with_terms(z_rot_deg=truth.z_rot_deg + 90),
        truth.with_terms(y_tilt_deg=truth.y_tilt_deg[rng.permutation(n)]),
    ]


def _perturbed(
    truth: TiltGeometry, error: Callable[[TiltGeometry], float], rng: np.random.Generator, pixel: float
) -> list[tuple[str, TiltGeometry]]:
    """Twelve geometries, each wrong in its way."""
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

    ways: dict[str, Callable[[float], TiltGeometry]] = {
        "random shifts": lambda s: moved(s * a, s * b),
        "random shifts 2": lambda s: moved(s * c, s * d),
        "smooth shifts": lambda s: moved(s * bent[0], s * bent[1]),
        "smooth shifts 2": lambda s: moved(s * bent[2], s * bent[3]),
        "axis": lambda s: truth.with_terms(z_rot_deg=truth.z_rot_deg + 0.3 * s),
        "axis wanders": lambda s: truth.with_terms(z_rot_deg=truth.z_rot_deg + 0.2 * s * a),
        "tilt scale": lambda s: truth.with_terms(y_tilt_deg=truth.y_tilt_deg * (1 + 0.02 * s)),
        "tilt wanders": lambda s: truth.with_terms(y_tilt_deg=truth.y_tilt_deg + 0.3 * s * b),
        "magnification": lambda s: truth.with_terms(magnification=truth.magnification * (1 + 0.003 * s * c)),
        "field": lambda s: truth.with_terms(field=_weakened(truth, s)),
        "mixture": mixed,
        "both shifts": lambda s: moved(s * (a + bent[2]), s * (b + bent[3])),
    }
    out = []
    sizes = rng.permutation(np.exp(np.linspace(np.log(SMALLEST_PX), np.log(LARGEST_PX), len(ways))))
    for (name, way), wanted in zip(ways.items(), sizes, strict=True):
        size = wanted
        for _ in range(4):
            size = min(size * wanted / max(error(way(size)), 1e-6), 50.0)
        if error(way(size)) > 0.5 * SMALLEST_PX:
            out.append((name, way(size)))
    return out


def _weakened(truth: TiltGeometry, size: float) -> ImageField | None:
    if truth.field is None:
        return None
    return ImageField(truth.field.nodes_ang * (1 - size), truth.field.half_width_ang)


if __name__ == "__main__":
    main()
