"""Cleaning: X-rays of the simulator found and missed, false ones, faulty views told, time and memory."""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from benchmarks.machine import best_of, machine_name, peak_mib
from lamella.records import ArrayImages, TiltSeries
from lamella.runtime import prepare, threads
from lamella.simulate import SimulateSettings, build_specimen, mean_counts, preset_settings, record_series
from lamella.simulate.detector import camera_of, count
from lamella.tilts import clean
from lamella.tilts.clean_settings import CleanSettings
from lamella.tilts.outliers import erase_outliers, find_outliers

Image = NDArray[np.float32]

FAULTY = (3, 8, 13, 18)


def hits(preset: str, size: int, settings: CleanSettings) -> None:
    """Hits of the simulated camera by their height, and pixels called outliers where there was no hit."""
    told = preset_settings(preset, frames=0, size=size, seed=31)
    series, body = record_series(told), build_specimen(told)
    for view in (0, len(series) // 2, len(series) - 1):
        expected = mean_counts(body, series, told, view)
        # one seed: the same electrons with and without hits
        without, hit = (
            count(expected, None, camera_of(told), told.model_copy(update={"xrays": n}), np.random.default_rng(view))
            for n in (0.0, 200.0)
        )
        start = time.perf_counter()
        mask = find_outliers(hit, settings).mask
        seconds = time.perf_counter() - start
        spots, number = label(hit != without, np.ones((3, 3)))
        spread = (hit - without) / np.sqrt(np.maximum(expected, 1))
        heights = np.array([spread[spots == k].max() for k in range(1, number + 1)])
        found = np.array([mask[spots == k].any() for k in range(1, number + 1)])
        shares = [
            f"{found[chosen].mean():.2f} of {chosen.sum()}" if chosen.any() else "-"
            for chosen in ((heights < 10), (heights >= 10) & (heights < 15), heights >= 15)
        ]
        false = int((mask & ~binary_dilation(hit != without, iterations=3)).sum())
        alone = int(find_outliers(without, settings).mask.sum())
        print(
            f"{preset:<10}{size:>6}{series.tilt_deg[view]:>7.0f}{expected.mean():>8.1f}"
            + "".join(f"{share:>14}" for share in shares)
            + f"{false:>8}{alone:>8}{seconds:>8.2f}"
        )


def faulty(told: SimulateSettings) -> tuple[TiltSeries, list[Image]]:
    """A counted series with views that are dark, blank, blocked and of another field, in the order of tilt."""
    series, body = record_series(told), build_specimen(told)
    other = build_specimen(told.model_copy(update={"seed": told.seed + 1}))
    views = []
    for view in range(len(series)):
        shown = mean_counts(other if view == FAULTY[3] else body, series, told, view)
        rng = np.random.default_rng(view)
        if view in FAULTY[:2]:
            shown = shown * (0.1 if view == FAULTY[0] else 0.0)
        if view == FAULTY[2]:
            shown[:, : int(0.8 * shown.shape[1])] *= 0.02
        views.append(count(shown, None, camera_of(told), told, rng))
    return series, views


def judge(preset: str) -> None:
    """Which views are left out of a series with four faulty ones."""
    series, views = faulty(preset_settings(preset, frames=0, size=512, tilt_step=5.0, seed=33))
    result = clean(series, ArrayImages(np.stack(views)), CleanSettings(), None)
    places = [] if result.excluded is None else [int(place) for place in result.excluded.place]
    faults = [int(np.asarray(series.place)[view]) for view in FAULTY]
    print(f"{preset}: left out {places}; faulty are {faults}")
    for place, reason in zip(places, result.reasons, strict=True):
        print(f"    {place}: {reason}")


def speed(n: int, height: int) -> None:
    """Time of a whole series, and the memory above what the images take."""
    rng = np.random.default_rng(5)
    tilt = np.linspace(-60, 60, n)
    images = rng.poisson(30, size=(n, height, height)).astype(np.float32)
    series = TiltSeries(
        name="ts",
        pixel_size_ang=2.0,
        image_shape_px=(height, height),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(n, 85.0),
    )
    before = peak_mib()
    seconds = best_of(lambda: clean(series, ArrayImages(images), CleanSettings(), lambda index, image: None), 1)
    print(f"{n} × {height}²: {seconds:.1f} s, {peak_mib() - before:.0f} MiB above the images")


def main() -> None:
    """Print the tables."""
    prepare(torch=True)
    print(machine_name() if len(sys.argv) < 2 else "", f"threads {threads()}")
    settings = CleanSettings()
    speed(41, 1024)
    image = np.random.default_rng(6).poisson(30, size=(4096, 4096)).astype(np.float32)
    print(f"one 4096² image, pixels alone: {best_of(lambda: erase_outliers(image, settings), 2):.2f} s")
    speed(3, 4096)
    print("\nX-rays found, by height over the counts' own deviation; pixels called outliers without a hit")
    print("preset      px   tilt   counts         < 10 SD      10-15 SD       > 15 SD  beside   alone       s")
    for preset, size in (("cellular", 1024), ("beads", 1024), ("quick", 512)):
        hits(preset, size, settings)
    print()
    for preset in ("cellular", "quick"):
        judge(preset)


if __name__ == "__main__":
    main()
