"""Alignment: error against the truth, time and memory, on a simulated series with CTF, dose and damage.

The series is the preset ``quick`` of `lamella simulate`: 41 views of 512², axis 1.7° off the nominal one and varying,
shifts of 40 Å rms, 8 Å pixels. The error is of projected specimen points after the best rigid motion.
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks.machine import best_of, machine_name, peak_mib
from lamella import runtime


def main() -> None:
    """Print one table."""
    runtime.prepare(torch=True)
    from lamella.geometry import TiltGeometry
    from lamella.records import ArrayImages
    from lamella.records.tracks import Tracks
    from lamella.simulate import SimulateSettings, build_specimen, expose, record_series
    from lamella.tilts import AlignSettings, align, solve
    from lamella.tilts.coarse import PairCorrelator
    from lamella.tilts.compare import geometry_error
    from lamella.tilts.patches import PatchPlan, follow_patches, patch_grid, patch_spectrum
    from lamella.tilts.working import prepare

    print(machine_name())
    print(f"{'what':58} {'seconds':>8} {'error':>9}")
    settings = SimulateSettings()
    specimen, true = build_specimen(settings, 0), record_series(settings, 0)
    assert true.geometry is not None
    stack = np.stack([expose(specimen, true, settings, view) for view in range(len(true))])
    rng = np.random.default_rng(0)
    height, width = settings.image_shape_px
    half = np.array([width, height, settings.thickness / settings.pixel_size]) * settings.pixel_size / 2
    points = rng.uniform(-0.9, 0.9, (500, 3)) * half
    raw = true.with_changes(geometry=None)
    before = peak_mib()
    for method in ("none", "coarse", "auto"):
        start = time.perf_counter()
        result = align(raw, ArrayImages(stack), AlignSettings(method=method))
        seconds = time.perf_counter() - start
        assert result.series.geometry is not None
        error = geometry_error(result.series.geometry, true.geometry, points).rms_ang / settings.pixel_size
        print(f"{f'align 41 x 512², method {method}':58} {seconds:8.2f} {error:6.3f} px")
    print(f"{'memory above what was held, over the stack':58} {(peak_mib() - before) * 2**20 / stack.nbytes:8.2f}")

    pair_images = prepare(ArrayImages(stack[19:22]), settings.pixel_size, 512)
    nominal = TiltGeometry.from_angles(raw.nominal_tilt_deg[19:22], raw.nominal_axis_deg[19:22])
    correlator = PairCorrelator(pair_images)
    seconds = best_of(lambda: correlator.pair(nominal, 1, 2, None), 10)
    print(f"{'one pair of whole views, 512² unbinned':58} {seconds:8.4f}")

    fine = np.repeat(np.repeat(stack, 2, axis=1), 2, axis=2)
    images = prepare(ArrayImages(fine), settings.pixel_size / 2, 1024)
    grid = patch_grid(true.geometry, images.field_ang, 1000.0, 550.0)
    plan = PatchPlan(points_ang=grid, size_px=308, reach_px=8)
    start = time.perf_counter()
    follow_patches(images, true.geometry, plan, patch_spectrum(images, true.geometry, plan))
    print(f"{f'{len(grid)} patches through 41 x 1024²':58} {time.perf_counter() - start:8.2f}")

    seen = true.geometry.project(points) + rng.normal(scale=4.0, size=(len(true), len(points), 2))
    tracks, guess = Tracks.observed(seen), TiltGeometry.from_angles(raw.nominal_tilt_deg, raw.nominal_axis_deg)
    seconds = best_of(lambda: solve(tracks, guess), 3)
    print(f"{'solve 41 views, 500 points':58} {seconds:8.2f}")


if __name__ == "__main__":
    main()
