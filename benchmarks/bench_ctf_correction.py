"""Tomograms corrected for contrast transfer in several ways, beside the truth: 41 simulated views, 2000 Å of ice.

Truth is the simulator's own volume, geometry and defoci. FSC is taken of whitened volumes in boxes of 320 Å with soft
edges, centred on the ribosomes, all boxes together: of bodies near the mid-plane (|z| < 300 Å) and of those that lie
deeper (|z| > 600 Å). A thick specimen as a whole has gaps between its views in Fourier space that such boxes have not.

    python -m benchmarks.bench_ctf_correction [FOLDER] [FIGURE.png]

FOLDER keeps the simulated series for another run. ``work`` is reading to finished voxels, ``CPU`` the processors' time
for it; ``peak`` what the process held at most, the volume included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BOX_ANG, NEAR_ANG, DEEP_ANG = 320.0, 300.0, 600.0
COMMON: dict[str, Any] = {
    "frames": 0, "truth_binning": 1.0, "size": 512, "thickness": 2000.0, "defocus": 35000.0, "particles": 300,
    "beads": 0, "vesicles": 0, "seed": 61,
}  # fmt: skip
SETS: dict[str, dict[str, Any]] = {
    "5 Å per pixel, 3 e/Å² per view": {"pixel_size": 5.0},
    "3 Å per pixel, no noise": {"pixel_size": 3.0, "particles": 140, "noise": False, "damage": False},
}
CASES: dict[str, dict[str, Any]] = {
    "none": {"ctf": "none"},
    "phase-flip, strips": {"ctf": "phase-flip", "ctf_depth": "strips"},
    "multiply, strips": {"ctf": "multiply", "ctf_depth": "strips"},
    "wiener, strips": {"ctf": "wiener", "ctf_depth": "strips"},
    "phase-flip, slabs": {"ctf": "phase-flip"},
    "multiply, slabs": {"ctf": "multiply"},
    "wiener, slabs": {"ctf": "wiener"},
    "phase-flip, slabs, 100 Å": {"ctf": "phase-flip", "ctf_tolerance": 100.0},
}
BANDS_ANG = ((100.0, 40.0), (40.0, 28.0), (25.0, 19.0), (18.0, 15.0), (14.0, 10.5), (10.0, 8.0), (8.0, 6.5))


def main(folder: str = "", figure: str = "") -> None:
    """Print a table of each set of images, and draw the curves if a file is named."""
    from benchmarks.machine import machine_name

    print(machine_name())
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(folder or temporary)
        curves = {}
        for number, (label, changes) in enumerate(SETS.items()):
            place = root / f"set{number}"
            if not (place / "truth" / "tilt_series.star").exists():
                _run("_simulate", str(place), json.dumps(COMMON | changes))
            bands = [band for band in BANDS_ANG if band[1] >= 2 * changes["pixel_size"]]
            print(f"\n{label}\n{'':26s} {'work':>7s} {'CPU':>7s} {'peak':>9s}  FSC, near | deep, bands in Å")
            print(f"{'':53s}" + " ".join(f"{f'{a:g}-{b:g}':>13s}" for a, b in bands))
            for case, how in CASES.items():
                found = json.loads(_run("_case", str(place), json.dumps(how)))
                curves[label, case] = found
                print(
                    f"{case:26s} {found['work']:5.1f} s {found['cpu']:5.1f} s {found['peak']:5.0f} MiB  "
                    + _bands(found, bands),
                    flush=True,
                )
        if figure:
            _draw(curves, Path(figure))


def _bands(found: dict[str, Any], bands: list[tuple[float, float]]) -> str:
    import numpy as np

    k = np.array(found["frequency"])
    parts = []
    for a, b in bands:
        inside = (k >= 1 / a) & (k <= 1 / b)
        near, deep = (float(np.mean(np.array(found[part])[inside])) for part in ("near", "deep"))
        parts.append(f"{near:6.3f}|{deep:6.3f}")
    return " ".join(parts)


def _run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_ctf_correction", name, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _simulate(folder: str, settings: str) -> None:
    from lamella.simulate import preset_settings, simulate

    simulate(Path(folder), preset_settings("quick", **json.loads(settings)))


def _case(folder: str, how: str) -> None:
    """Reconstruct once in this process and print time, memory and curves as JSON."""
    from lamella.runtime import prepare

    prepare(torch=True)
    import numpy as np

    from benchmarks.machine import peak_mib
    from lamella.formats.images import open_images
    from lamella.formats.relion import read_tilt_series
    from lamella.records import ArrayVolume
    from lamella.tomograms import ReconstructSettings, plan_tomogram, reconstruct
    from lamella.tomograms.box import tomogram_shape

    root = Path(folder)
    (series,) = read_tilt_series(root / "truth" / "tilt_series.star", root)
    pixel = series.pixel_size_ang
    settings = ReconstructSettings(
        pixel_size=pixel, thickness=2400.0, halves="off", cutoff=0.5, falloff=0.0, **json.loads(how)
    )
    tomogram = plan_tomogram(series, settings)
    small = plan_tomogram(series, settings.model_copy(update={"size_x": 64.0, "size_y": 64.0, "thickness": 64.0}))
    images = open_images(series.images, root)
    reconstruct(series.select([0, 20, 40]), _Few(images), small, settings, lambda *_: None)  # loads compiled kernels
    volume = np.zeros(tomogram_shape(tomogram), np.float32)
    begun, cpu = time.perf_counter(), time.process_time()
    result = reconstruct(series, images, tomogram, settings, ArrayVolume(volume))
    found: dict[str, Any] = {"work": time.perf_counter() - begun, "peak": peak_mib()}
    found["cpu"] = time.process_time() - cpu
    found["how"] = result.correction.in_words()
    print(json.dumps(found | _curves(root, volume, pixel)))


class _Few:
    """Three views of a series."""

    def __init__(self, images: Any) -> None:
        self.images, self.shape = images, (3, *images.shape[1:])

    def __len__(self) -> int:
        return 3

    def view(self, index: int) -> Any:
        """One image."""
        return self.images.view(20 * index)


def _curves(root: Path, volume: Any, pixel: float) -> dict[str, Any]:
    """FSC with the truth, mass dark, in boxes on the bodies near the mid-plane and on the deeper ones."""
    import numpy as np

    from lamella.formats.mrc import open_mrc
    from lamella.formats.star import read_star

    truth = _white(open_mrc(next((root / "truth").glob("*.mrc"))).read())
    volume = _white(volume)
    table = next(iter(read_star(root / "truth" / "particles.star").values()))
    places = np.array([[float(v) for v in table.columns[f"rlnCenteredCoordinate{a}Angst"]] for a in "ZYX"]).T
    edge = 2 * round(BOX_ANG / pixel / 2)
    window = np.hanning(edge + 2)[1:-1]
    soft = window[:, None, None] * window[None, :, None] * window[None, None]
    axes = np.meshgrid(np.fft.fftfreq(edge), np.fft.fftfreq(edge), np.fft.rfftfreq(edge), indexing="ij")
    shell = np.rint(np.sqrt(sum(k**2 for k in axes)) * edge).astype(int)
    sums = {"near": np.zeros((3, shell.max() + 1)), "deep": np.zeros((3, shell.max() + 1))}
    for place in places:
        which = "near" if abs(place[0]) < NEAR_ANG else "deep" if abs(place[0]) > DEEP_ANG else ""
        first = [np.rint(place / pixel).astype(int) + np.array(v.shape) // 2 - edge // 2 for v in (volume, truth)]
        ends = [(f >= 0).all() and (f + edge <= v.shape).all() for f, v in zip(first, (volume, truth), strict=True)]
        if not which or not all(ends):
            continue
        parts = [[slice(int(f), int(f) + edge) for f in starts] for starts in first]
        ours, true = volume[tuple(parts[0])], -truth[tuple(parts[1])]
        a, b = (np.fft.rfftn((part - part.mean()) * soft) for part in (ours, true))
        for row, values in enumerate(((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)):
            sums[which][row] += np.bincount(shell.ravel(), values.ravel(), minlength=sums[which].shape[1])
    count = edge // 2 + 1
    out: dict[str, Any] = {"frequency": (np.arange(count) / edge / pixel).tolist()}
    for which, (cross, one, two) in sums.items():
        out[which] = (cross / np.sqrt(np.maximum(one * two, 1e-30)))[:count].tolist()
    return out


def _white(volume: Any) -> Any:
    """The volume with alike amplitudes at all frequencies: strong low ones would leak into a box's high ones."""
    import torch

    from lamella.fourier import shell_index
    from lamella.fourier.shells import shell_count, shell_sums

    terms = torch.fft.rfftn(torch.from_numpy(volume))
    power = shell_sums(terms.real**2 + terms.imag**2, volume.shape) / shell_count(volume.shape)
    scale = power.clamp(min=float(power[1:].min()) + 1e-30).rsqrt().float()
    terms *= scale[shell_index(volume.shape).clamp_(max=len(scale) - 1)]
    return torch.fft.irfftn(terms, s=volume.shape).numpy()


def _draw(curves: dict[tuple[str, str], dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = ("none", "phase-flip, strips", "multiply, strips", "wiener, strips", "phase-flip, slabs")
    labels = list(SETS)
    figure, grid = plt.subplots(len(labels), 2, figsize=(11, 4 * len(labels)), squeeze=False, sharey=True)
    for row, label in enumerate(labels):
        for column, which in enumerate(("near", "deep")):
            axis = grid[row][column]
            for case in shown:
                found = curves[label, case]
                axis.plot(found["frequency"], found[which], label=case, lw=1.3)
            axis.axhline(0, color="grey", lw=0.6)
            axis.set(title=f"{label}: {which}", xlabel="spatial frequency / Å⁻¹", ylabel="FSC with the truth")
    grid[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("_simulate", "_case"):
        {"_simulate": _simulate, "_case": _case}[sys.argv[1]](*sys.argv[2:])
    else:
        main(*sys.argv[1:])
