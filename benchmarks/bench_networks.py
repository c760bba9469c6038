"""Networks beside classical filters: likeness to the truth on a tomogram that no network was trained on.

Two simulated series (preset ``quick``, movies of four frames) are summed, reconstructed with their true geometry, whole
and in halves of even and odd frames, and the networks are trained on the first. Truth is the simulator's own volume of
the second. CC is of the middle of the box, FSC of the same with soft edges, averaged over bands; the missing wedge is
part of the truth, so that only a network that fills it could reach 1. Classical filters stand at their best setting of
those listed, which only the truth can tell; networks at theirs as given.

    python -m benchmarks.bench_networks [FOLDER] [MINUTES] [METHOD …]

FOLDER keeps series, tomograms and networks for another run; MINUTES is each network's training time (CPU, the threads
that LAMELLA_THREADS states).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine_name, peak_mib
from lamella.formats.images import open_images
from lamella.formats.mrc import open_mrc, read_mrc, write_mrc
from lamella.formats.relion import read_tilt_series
from lamella.records import ArrayVolume
from lamella.runtime import prepare, threads
from lamella.tomograms import DenoiseSettings, ReconstructSettings, denoise, plan_tomogram, reconstruct, train
from lamella.tomograms.box import tomogram_shape
from lamella.tomograms.halves import merge_halves
from lamella.tomograms.networks.checkpoint import Model, read_model, write_model
from lamella.tomograms.networks.patches import TrainingSet
from lamella.tomograms.networks.wedge import Wedge

Volume = NDArray[np.float32]

SEEDS = {"film1": 75, "film2": 76}  # trained on, judged by
VOXEL_ANG, THICKNESS_ANG = 16.0, 2000.0
BANDS_ANG = ((400.0, 150.0), (150.0, 90.0), (90.0, 60.0), (60.0, 45.0), (45.0, 35.0))
CLASSICAL: dict[str, list[dict[str, object]]] = {
    "gaussian": [{"width": width} for width in (1.0, 1.5, 2.0, 2.5, 3.0)],
    "median": [{"size": size} for size in (3, 5)],
    "bilateral": [{"spatial": s, "value_range": 6.0} for s in (1.2, 2.0, 2.5)],
    "nad": [{"mode": mode, "iterations": n} for mode in ("eed", "hybrid") for n in (20, 40, 80)],
    "nlm": [{"strength": strength} for strength in (0.7, 1.0, 1.5)],
    "tv": [{"strength": strength} for strength in (0.7, 1.0, 1.5, 2.5)],
}


def simulated(root: Path, name: str) -> Path:
    """A project with summed movies, simulated where it is not there yet."""
    tool, project = Path(sys.executable).with_name("lamella"), root / f"project_{name}"
    if not (project / "motion" / "tilt_series.star").exists():
        if not (root / name / "truth" / "tilt_series.star").exists():
            words = ["frames=4", "particles=60"]
            choices = [part for word in words for part in ("--set", word)]
            _do(tool, "simulate", root / name, "--preset", "quick", "--seed", SEEDS[name], *choices)
        raw = root / name / "raw"
        gain = ["--gain", raw / "gain.mrc"] if (raw / "gain.mrc").exists() else []
        _do(tool, "new", project, "--mdoc", raw / "*.mdoc", "--frames", raw, *gain)
        _do(tool, "run", project, "--to", "motion")
    return project


def _do(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


def tomograms_of(root: Path, name: str) -> dict[str, Volume]:
    """Whole, even and odd tomogram, by the true geometry."""
    paths = {part: root / f"{name}_{part}.mrc" for part in ("whole", "even", "odd")}
    if not all(path.exists() for path in paths.values()):
        project = simulated(root, name)
        (truth,) = read_tilt_series(root / name / "truth" / "tilt_series.star", root / name)
        (sums,) = read_tilt_series(project / "motion" / "tilt_series.star", project)
        truth, sums = truth.sorted_by_tilt(), sums.sorted_by_tilt()
        series = sums.with_changes(geometry=truth.geometry, defocus=truth.defocus, hand=truth.hand)
        settings = ReconstructSettings(pixel_size=VOXEL_ANG, thickness=THICKNESS_ANG)
        tomogram = plan_tomogram(series, settings)
        for part, images in (("whole", series.images), ("even", series.even_images), ("odd", series.odd_images)):
            assert images is not None
            volume = np.zeros(tomogram_shape(tomogram), np.float32)
            reconstruct(series, open_images(images, project), tomogram, settings, ArrayVolume(volume))
            write_mrc(paths[part], volume, VOXEL_ANG)
    return {part: read_mrc(path)[0] for part, path in paths.items()}


def middle(volume: Volume) -> Volume:
    """The middle of a volume, where the specimen is and every view reaches; centres agree."""
    return volume[
        tuple(slice(n // 2 - half, n // 2 + half) for n, half in zip(volume.shape, (40, 110, 110), strict=True))
    ]


def likeness(volume: Volume, truth: Volume) -> float:
    """Correlation coefficient; mass is dark in the tomogram and bright in the truth."""
    return float(np.corrcoef(middle(volume).ravel(), -middle(truth).ravel())[0, 1])


def bands(volume: Volume, truth: Volume) -> list[float]:
    """FSC with the truth, averaged over bands."""
    windows = [np.hanning(n + 2)[1:-1] ** 0.5 for n in middle(volume).shape]
    soft = windows[0][:, None, None] * windows[1][:, None] * windows[2]
    a, b = (np.fft.rfftn((part - part.mean()) * soft) for part in (middle(volume), -middle(truth)))
    axes = np.meshgrid(
        *(np.fft.fftfreq(n, VOXEL_ANG) for n in soft.shape[:2]),
        np.fft.rfftfreq(soft.shape[2], VOXEL_ANG),
        indexing="ij",
    )
    k = np.sqrt(sum(axis**2 for axis in axes))
    out = []
    for low, high in BANDS_ANG:
        inside = (k > 1 / low) & (k <= 1 / high)
        cross, one, two = (float(v[inside].sum()) for v in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2))
        out.append(cross / np.sqrt(one * two))
    return out


def row(name: str, volume: Volume, truth: Volume, note: str = "") -> float:
    """One line of the table."""
    cc = likeness(volume, truth)
    print(
        f"{name:<34}{cc:>7.3f}  " + "".join(f"{value:>9.3f}" for value in bands(volume, truth)) + f"  {note}",
        flush=True,
    )
    return cc


def filtered(volume: Volume, settings: DenoiseSettings, model: Model | None = None) -> Volume:
    """A volume, denoised."""
    out = ArrayVolume(np.empty_like(volume))
    denoise(ArrayVolume(volume), settings, out, model=model)
    return out.array


def classical(volumes: dict[str, Volume], truth: Volume) -> float:
    """The best setting of every classical filter; returns the best of all."""
    best = row("as it is", volumes["whole"], truth)
    for method, choices in CLASSICAL.items():
        start, found = time.perf_counter(), []
        for choice in choices:
            out = filtered(volumes["whole"], DenoiseSettings.model_validate({"method": method, **choice}))
            found.append((likeness(out, truth), str(choice), out))
        _cc, words, out = max(found, key=lambda entry: entry[0])
        seconds = (time.perf_counter() - start) / len(choices)
        best = max(best, row(f"{method}, best of {len(choices)}", out, truth, f"{words}, {seconds:.1f} s"))
    return best


def network(root: Path, method: str, minutes: float, trained: dict[str, Volume], seen: dict[str, Volume]) -> Volume:
    """Train on one tomogram unless that was done, and apply to another; tells time and memory."""
    path = root / f"model_{method}.pt"
    settings = DenoiseSettings.model_validate(
        {
            "method": method,
            "minutes": minutes,
            "epochs": 1000,
            "batch": 2,
            "patch": 48,
            "channels": 8,
            "learning_rate": 1.5e-3,
        }
    )
    if not path.exists():
        first, second = (
            ArrayVolume(trained[part]) for part in (("whole",) * 2 if method == "n2v" else ("even", "odd"))
        )
        second = first if method == "n2v" else second
        source = TrainingSet(
            name="film1", voxel_size_ang=VOXEL_ANG, first=first, second=second, wedge=Wedge(-61.5, 61.5)
        )
        write_model(path, train([source], settings))
    model = read_model(path)
    curve = model.curve[-1]
    print(
        f"  {method}: {len(model.curve)} epochs in {curve.seconds:.0f} s, held out {model.best.held_out:.4f}; "
        f"{model.architecture.flops / 1e3:.1f} kFLOP per voxel, halo {max(model.architecture.halo)}; "
        f"peak {peak_mib():.0f} MiB"
    )
    start, cpu = time.perf_counter(), time.process_time()
    if method == "n2v":
        out, count = filtered(seen["whole"], settings, model), 1
    else:
        halves = [filtered(seen[part], settings, model) for part in ("even", "odd")]
        merged = ArrayVolume(np.empty_like(seen["whole"]))
        raw = (ArrayVolume(seen["even"]), ArrayVolume(seen["odd"]))
        merge_halves(ArrayVolume(seen["whole"]), raw, (ArrayVolume(halves[0]), ArrayVolume(halves[1])), merged)
        out, count = merged.array, 2
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    rate = count * out.size / 1e6
    print(f"  applied: {rate / wall:.2f} Mvoxel/s, {rate / cpu:.2f} per second of processor; peak {peak_mib():.0f} MiB")
    return out


def main(folder: str = "", minutes: str = "8", *methods: str) -> None:
    """Print the table."""
    prepare(torch=True)
    print(f"{machine_name()}; {threads()} threads")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(folder or temporary)
        trained, seen = (tomograms_of(root, name) for name in SEEDS)
        truth = open_mrc(next((root / "film2" / "truth").glob("*.mrc"))).read()
        heads = "".join(f"{f'{low:g}-{high:g}':>9}" for low, high in BANDS_ANG)
        print(f"{seen['whole'].shape} voxels of {VOXEL_ANG:g} Å\n{'':<34}{'CC':>7}  {heads}  FSC, bands in Å")
        best = classical(seen, truth)
        for method in methods or ("n2n", "n2v", "wedge"):
            out = network(root, method, float(minutes), trained, seen)
            cc = row(f"{method}, trained on the other", out, truth)
            print(f"  {method}: {cc - best:+.3f} against the best classical filter at its best setting")


if __name__ == "__main__":
    main(*sys.argv[1:])
