"""Networks beside classical filters: likeness to the truth on a tomogram that no network was trained on.

Three simulated series (preset ``quick``, movies of four frames) are summed, reconstructed with their true geometry,
whole and in halves of even and odd frames; networks are trained on the first, the others judge. "Free" is the
correlation with what the same microscope without noise would have given, reconstructed alike: what a method that takes
away noise and nothing else should give. "Truth" is that with the specimen itself, of whose missing wedge and dimmed
frequencies no filter knows. Both are of the middle of the box, FSC with the truth of the same with soft edges, averaged
over bands. Classical filters stand at their best setting of those listed, by "free", which only the truth can tell;
networks at theirs as given.

    python -m benchmarks.bench_networks [FOLDER] [MINUTES] [ROW …]

FOLDER keeps series, tomograms, networks and finished rows for another run, which goes on where one was stopped; MINUTES
is each network's training time (CPU, the threads that LAMELLA_THREADS states). ROW chooses among the methods and the
series that judge (film2, film3). Rows are kept apart by the time of training; whoever changes a method deletes
FOLDER/rows.json. A network's margin is over the best of the classical rows that stand there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
JUDGES = ["film2", "film3"]
NETWORKS = ("n2n", "n2v", "wedge")
VOXEL_ANG, THICKNESS_ANG = 16.0, 2000.0
_QUIET = ("frames=0", "noise=False")
BANDS_ANG = ((400.0, 150.0), (150.0, 90.0), (90.0, 60.0), (60.0, 45.0), (45.0, 35.0))
CLASSICAL: dict[str, list[dict[str, object]]] = {
    "gaussian": [{"width": width} for width in (1.0, 1.5, 2.0, 2.5, 3.0)],
    "median": [{"size": size} for size in (3, 5)],
    "bilateral": [{"spatial": s, "value_range": 6.0} for s in (1.2, 2.0, 2.5)],
    "nad": [{"mode": mode, "iterations": n} for mode in ("eed", "hybrid") for n in (20, 40, 80)],
    "nlm": [{"strength": strength} for strength in (0.7, 1.0, 1.5, 2.5)],
    "tv": [{"strength": strength} for strength in (0.35, 0.5, 0.7, 1.0, 1.5, 2.5)],
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


class Rows:
    """The table, of which every finished row is kept in a file."""

    def __init__(self, path: Path, series: str, free: Volume, truth: Volume) -> None:
        self.path, self.series, self.free, self.truth = path, series, free, truth

    def show(self, name: str, make: Callable[[], tuple[Volume, str]]) -> float:
        """Print a row, made where it is not kept yet; returns the correlation with the tomogram without noise."""
        key, kept = f"{self.series} {name}", self._kept()
        if key not in kept:
            volume, note = make()
            numbers = [likeness(volume, self.free), likeness(volume, -self.truth), *bands(volume, self.truth)]
            kept = {**self._kept(), key: {"numbers": numbers, "note": note}}  # another run may have added its own
            self.path.write_text(json.dumps(kept, indent=1))
        free, truth, *curve = kept[key]["numbers"]
        words = "".join(f"{value:>9.3f}" for value in curve)
        print(f"{name:<26}{free:>7.3f}{truth:>7.3f}  {words}  {kept[key]['note']}", flush=True)
        return float(free)

    def _kept(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return found


def filtered(volume: Volume, settings: DenoiseSettings, model: Model | None = None) -> Volume:
    """A volume, denoised."""
    out = ArrayVolume(np.empty_like(volume))
    denoise(ArrayVolume(volume), settings, out, model=model)
    return out.array


def best_setting(method: str, volume: Volume, free: Volume) -> tuple[Volume, str]:
    """What a classical filter makes of a volume at its best setting, and that setting."""
    start, found = time.perf_counter(), []
    choices = CLASSICAL[method]
    for choice in choices:
        out = filtered(volume, DenoiseSettings.model_validate({"method": method, **choice}))
        found.append((likeness(out, free), str(choice), out))
    _cc, words, out = max(found, key=lambda entry: entry[0])
    return out, f"{words}, best of {len(choices)}, {(time.perf_counter() - start) / len(choices):.1f} s each"


def network(root: Path, method: str, minutes: float, seen: dict[str, Volume]) -> tuple[Volume, str]:
    """Train on the first tomogram unless that was done, and apply to another; tells time and memory."""
    path = root / f"model_{method}_{minutes:g}.pt"
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
        trained = tomograms_of(root, "film1")
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
    return out, f"{len(model.curve)} epochs in {curve.seconds:.0f} s"


def main(folder: str = "", minutes: str = "8", *chosen: str) -> None:
    """Print the table."""
    prepare(torch=True)
    print(f"{machine_name()}; {threads()} threads")
    methods = [name for name in (*CLASSICAL, *NETWORKS) if name in chosen] or [*CLASSICAL, *NETWORKS]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(folder or temporary)
        for name in [name for name in JUDGES if name in chosen] or JUDGES:
            seen = tomograms_of(root, name, free=True)
            truth = open_mrc(next((root / name / "truth").glob("*.mrc"))).read()
            _table(root, name, methods, float(minutes), seen, truth)


def _table(root: Path, name: str, methods: list[str], minutes: float, seen: dict[str, Volume], truth: Volume) -> None:
    """The rows of one series."""
    rows = Rows(root / "rows.json", name, seen["free"], truth)
    print(f"\n{name}: {seen['whole'].shape} voxels of {VOXEL_ANG:g} Å; FSC with truth, bands in Å")
    heads = "".join(f"{f'{low:g}-{high:g}':>9}" for low, high in BANDS_ANG)
    print(f"{'':<26}{'free':>7}{'truth':>7}  {heads}")
    rows.show("without noise", lambda: (seen["free"], ""))
    best = {"as it is": rows.show("as it is", lambda: (seen["whole"], ""))}
    for method in methods:
        if method in CLASSICAL:
            best[method] = rows.show(method, lambda method=method: best_setting(method, seen["whole"], seen["free"]))
    for method in methods:
        if method in NETWORKS:
            trained = f"{method}, {minutes:g} min"
            cc = rows.show(trained, lambda method=method: network(root, method, minutes, seen))
            over = max(best, key=lambda each: best[each])
            print(f"  {method}: {cc - best[over]:+.3f} against the best classical row, {over}")


if __name__ == "__main__":
    main(*sys.argv[1:])
