"""Networks beside classical filters: likeness to the truth on a tomogram that no network was trained on.

Three simulated series (preset ``quick``, movies of four frames) are summed, reconstructed with their true geometry,
whole and in halves of even and odd frames; networks are trained on the first, the others judge. "Free" is the
correlation with what the same microscope without noise would have given, reconstructed alike: what a method that takes
away noise and nothing else should give. "Truth" is that with the specimen itself, of whose missing wedge and dimmed
frequencies no filter knows. Both are of the middle of the box, FSC with the truth of the same with soft edges, averaged
over bands. Classical filters stand at their best setting of those listed, by "free", which only the truth can tell;
networks at theirs as given.

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

SEEDS = {"film1": 75, "film2": 76, "film3": 77}  # trained on; judged by
VOXEL_ANG, THICKNESS_ANG = 16.0, 2000.0
_QUIET = ("frames=0", "noise=False")
BANDS_ANG = ((400.0, 150.0), (150.0, 90.0), (90.0, 60.0), (60.0, 45.0), (45.0, 35.0))
CLASSICAL: dict[str, list[dict[str, object]]] = {
    "gaussian": [{"width": width} for width in (1.0, 1.5, 2.0, 2.5, 3.0)],
    "median": [{"size": size} for size in (3, 5)],
    "bilateral": [{"spatial": s, "value_range": 6.0} for s in (1.2, 2.0, 2.5)],
    "nad": [{"mode": mode, "iterations": n} for mode in ("eed", "hybrid") for n in (20, 40, 80)],
    "nlm": [{"strength": strength} for strength in (0.7, 1.0, 1.5)],
    "tv": [{"strength": strength} for strength in (0.7, 1.0, 1.5, 2.5)],
}


def simulated(root: Path, name: str, seed: int, *words: str) -> Path:
    """A project with tilt images, simulated where it is not there yet."""
    tool, project = Path(sys.executable).with_name("lamella"), root / f"project_{name}"
    if not (project / "motion" / "tilt_series.star").exists():
        if not (root / name / "truth" / "tilt_series.star").exists():
            choices = [part for word in ("particles=60", *words) for part in ("--set", word)]
            _do(tool, "simulate", root / name, "--preset", "quick", "--seed", seed, *choices)
        raw = root / name / "raw"
        gain = ["--gain", raw / "gain.mrc"] if (raw / "gain.mrc").exists() else []
        frames = [] if (raw / "TS_01.mrc").exists() else ["--frames", raw]
        _do(tool, "new", project, "--mdoc", raw / "*.mdoc", *frames, *gain)
        _do(tool, "run", project, "--to", "motion")
    return project


def _do(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


def tomograms_of(root: Path, name: str, *, free: bool = False) -> dict[str, Volume]:
    """Whole, even and odd tomogram, by the true geometry, and with `free` the whole of images without noise."""
    parts = {"whole": "images", "even": "even_images", "odd": "odd_images"}
    made = _tomograms(root, name, SEEDS[name], parts, "frames=4")
    if free:
        made["free"] = _tomograms(root, f"{name}_free", SEEDS[name], {"whole": "images"}, *_QUIET)["whole"]
    return made


def _tomograms(root: Path, name: str, seed: int, parts: dict[str, str], *words: str) -> dict[str, Volume]:
    paths = {part: root / f"{name}_{part}.mrc" for part in parts}
    if not all(path.exists() for path in paths.values()):
        project = simulated(root, name, seed, *words)
        (truth,) = read_tilt_series(root / name / "truth" / "tilt_series.star", root / name)
        (sums,) = read_tilt_series(project / "motion" / "tilt_series.star", project)
        truth, sums = truth.sorted_by_tilt(), sums.sorted_by_tilt()
        series = sums.with_changes(geometry=truth.geometry, defocus=truth.defocus, hand=truth.hand)
        settings = ReconstructSettings(pixel_size=VOXEL_ANG, thickness=THICKNESS_ANG)
        tomogram = plan_tomogram(series, settings)
        for part, field in parts.items():
            images = getattr(series, field)
            volume = np.zeros(tomogram_shape(tomogram), np.float32)
            reconstruct(series, open_images(images, project), tomogram, settings, ArrayVolume(volume))
            write_mrc(paths[part], volume, VOXEL_ANG)
    return {part: read_mrc(path)[0] for part, path in paths.items()}


def middle(volume: Volume) -> Volume:
    """The middle of a volume, where the specimen is and every view reaches; centres agree."""
    return volume[
        tuple(slice(n // 2 - half, n // 2 + half) for n, half in zip(volume.shape, (40, 110, 110), strict=True))
    ]


def likeness(volume: Volume, other: Volume) -> float:
    """Correlation coefficient."""
    return float(np.corrcoef(middle(volume).ravel(), middle(other).ravel())[0, 1])


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


def row(name: str, volume: Volume, free: Volume, truth: Volume, note: str = "") -> float:
    """One line of the table; returns the correlation with the tomogram without noise."""
    cc = likeness(volume, free)
    print(
        f"{name:<26}{cc:>7.3f}{likeness(volume, -truth):>7.3f}  "
        + "".join(f"{value:>9.3f}" for value in bands(volume, truth))
        + f"  {note}",
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
    free = volumes["free"]
    row("without noise", free, free, truth)
    best = row("as it is", volumes["whole"], free, truth)
    for method, choices in CLASSICAL.items():
        start, found = time.perf_counter(), []
        for choice in choices:
            out = filtered(volumes["whole"], DenoiseSettings.model_validate({"method": method, **choice}))
            found.append((likeness(out, free), str(choice), out))
        _cc, words, out = max(found, key=lambda entry: entry[0])
        seconds = (time.perf_counter() - start) / len(choices)
        best = max(best, row(f"{method}, best of {len(choices)}", out, free, truth, f"{words}, {seconds:.1f} s"))
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
        trained = tomograms_of(root, "film1")
        heads = "".join(f"{f'{low:g}-{high:g}':>9}" for low, high in BANDS_ANG)
        for name in ("film2", "film3"):
            seen = tomograms_of(root, name, free=True)
            truth = open_mrc(next((root / name / "truth").glob("*.mrc"))).read()
            print(f"\n{name}: {seen['whole'].shape} voxels of {VOXEL_ANG:g} Å; FSC with truth, bands in Å")
            print(f"{'':<26}{'free':>7}{'truth':>7}  {heads}")
            best = classical(seen, truth)
            for method in methods or ("n2n", "n2v", "wedge"):
                out = network(root, method, float(minutes), trained, seen)
                cc = row(f"{method}, trained on film1", out, seen["free"], truth)
                print(f"  {method}: {cc - best:+.3f} against the best classical filter at its best setting")


if __name__ == "__main__":
    main(*sys.argv[1:])
