"""Tomograms by every method beside the truth: FSC, time, memory; uneven angles; contrast transfer; and other programs.

    python -m benchmarks.bench_tomograms [FOLDER] [VOXEL]

One simulated series of 41 views (512², 5 Å per pixel, 3 e/Å² each, 3.5 µm of defocus, 2000 Å of ice; dose-symmetric)
with the simulator's own geometry and defoci. FOLDER holds it, or keeps it for another run; VOXEL is the voxels' size in
Å (10). FSC is that of the whole volume with the noise-free one, mass dark, under a soft window; a thick specimen has
gaps between its views in Fourier space, which no method fills, so it stays far from 1.

``work`` is reading to finished voxels, ``held`` the most that the process held beyond what it held before, the volume
itself (written to an array here) left out. Each line is a process of its own.

The peers get rows that stand in the axis's frame already: a slice is 512 × 160 pixels from 41 rows of 512, and the time
is that per slice, ramp filter included. astra is asked for on the path only; its CPU code works on one slice at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIMULATED: dict[str, Any] = {
    "frames": 0, "truth_binning": 1.0, "size": 512, "thickness": 2000.0, "defocus": 35000.0, "particles": 300,
    "beads": 0, "vesicles": 0, "seed": 61, "pixel_size": 5.0,
}  # fmt: skip
BANDS_ANG = ((400.0, 100.0), (100.0, 60.0), (60.0, 40.0), (40.0, 28.0), (26.0, 20.0))
METHODS: dict[str, dict[str, Any]] = {
    "wbp, ramp": {"weighting": "ramp"},
    "wbp, exact": {"weighting": "exact"},
    "wbp, exact, hamming": {"weighting": "exact", "filter": "hamming"},
    "wbp, ramp, sirt-like 10": {"weighting": "ramp", "filter": "sirt-like"},
    "wbp, exact, sirt-like 10": {"weighting": "exact", "filter": "sirt-like"},
    "wbp, exact, 2 × finer, averaged": {"weighting": "exact", "supersampling": 2},
    "fourier, exact": {"method": "fourier"},
    "sirt, 15 rounds": {"method": "sirt"},
    "sirt, held-out views stop it": {"method": "sirt", "iterations": "auto"},
    "sart, 3 rounds": {"method": "sart", "iterations": 3},
    "sart, held-out views stop it": {"method": "sart", "iterations": "auto"},
}
ANGLES = (
    "every view",
    "random 40 % absent",
    "Saxton's scheme, 6° at 0°",
    "20° … 32° absent",
    "negative side 3 × finer",
)


def main(folder: str = "", voxel: str = "10") -> None:
    """Print the tables."""
    from benchmarks.machine import machine_name

    print(machine_name())
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(folder or temporary)
        if not (root / "truth" / "tilt_series.star").exists():
            _run("_simulate", str(root), json.dumps(SIMULATED))
        bands = [band for band in BANDS_ANG if band[1] >= 2 * float(voxel)]
        heading = " ".join(f"{f'{a:g}-{b:g}':>8s}" for a, b in bands)
        print(f"\nmethods, voxels of {voxel} Å\n{'':34s} {'work':>7s} {'held':>9s}  FSC, bands in Å: {heading}")
        for label, how in METHODS.items():
            _line(label, _run("_case", str(root), voxel, json.dumps(how), "every view"), bands)
        print(f"\nuneven angles, ramp and exact weights\n{'':62s} {heading}")
        for angles in ANGLES:
            for weighting in ("ramp", "exact"):
                found = _run("_case", str(root), voxel, json.dumps({"weighting": weighting}), angles)
                views = json.loads(found)["views"]
                _line(f"{angles} ({views}), {weighting}", found, bands)
        print(f"\ncontrast transfer\n{'':62s} {heading}")
        for ctf in ("none", "auto"):
            found = _run("_case", str(root), voxel, json.dumps({"weighting": "exact", "ctf": ctf}), "every view")
            _line(f"ctf {ctf}", found, bands)
    print("\none slice of 512 × 160 pixels from 41 rows, one thread")
    for line in json.loads(_run("_peers")):
        print(line)


def _line(label: str, found: str, bands: list[tuple[float, float]]) -> None:
    import numpy as np

    what = json.loads(found)
    k, fsc = np.array(what["frequency"]), np.array(what["fsc"])
    means = " ".join(f"{float(fsc[(k >= 1 / a) & (k < 1 / b)].mean()):8.3f}" for a, b in bands)
    print(f"{label:34s} {what['work']:5.1f} s {what['held']:5.0f} MiB  {'':16s} {means} {what['note']}", flush=True)


def _run(name: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.bench_tomograms", name, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _simulate(folder: str, settings: str) -> None:
    from lamella.simulate import preset_settings, simulate

    simulate(Path(folder), preset_settings("quick", **json.loads(settings)))


def chosen_views(tilt_deg: Any, angles: str) -> Any:
    """Indices of the views of one of `ANGLES`."""
    import numpy as np

    everything, order = np.arange(len(tilt_deg)), np.argsort(tilt_deg)
    if angles == ANGLES[1]:
        return np.setdiff1d(everything, np.random.default_rng(1).permutation(len(tilt_deg))[: 2 * len(tilt_deg) // 5])
    if angles == ANGLES[2]:  # steps of 6° times the cosine: Saxton, Baumeister & Hahn 1984, Ultramicroscopy 13:57
        wanted = [0.0]
        while wanted[-1] < 60:
            wanted.append(wanted[-1] + 6 * np.cos(np.deg2rad(wanted[-1])))
        both = np.concatenate([-np.array(wanted[1:]), wanted])
        return np.unique([int(np.argmin(np.abs(tilt_deg - tilt))) for tilt in both])
    if angles == ANGLES[3]:
        return np.flatnonzero((tilt_deg < 20) | (tilt_deg > 32))
    if angles == ANGLES[4]:
        return np.sort(np.concatenate([everything[tilt_deg < 0], order[tilt_deg[order] >= 0][::3]]))
    return everything


def _case(folder: str, voxel: str, how: str, angles: str) -> None:
    """Reconstruct once in this process and print time, memory and the curve as JSON."""
    from lamella.runtime import prepare

    prepare(torch=True)
    import numpy as np

    from benchmarks.machine import peak_mib
    from lamella.formats.images import open_images
    from lamella.formats.mrc import open_mrc
    from lamella.formats.relion import read_tilt_series
    from lamella.records import ArrayVolume
    from lamella.tomograms import ReconstructSettings, plan_tomogram, reconstruct
    from lamella.tomograms.box import tomogram_shape

    root = Path(folder)
    (series,) = read_tilt_series(root / "truth" / "tilt_series.star", root)
    views = chosen_views(series.tilt_deg, angles)
    thickness = 1.2 * (series.thickness_ang or 2000.0)
    settings = ReconstructSettings(
        **{"pixel_size": float(voxel), "thickness": thickness, "halves": "off", "cutoff": 0.5, "falloff": 0.0}
        | json.loads(how)
    )
    tomogram = plan_tomogram(series, settings)
    small = plan_tomogram(series, settings.model_copy(update={"size_x": 200.0, "size_y": 200.0, "thickness": 2000.0}))
    assert series.images is not None
    images = open_images(series.images, root)
    few = views[:: max(len(views) // 12, 1)]
    warm = settings.model_copy(update={"iterations": 1})
    reconstruct(series.select(few), _Some(images, few), small, warm, lambda *_: None)  # loads compiled kernels
    volume = np.zeros(tomogram_shape(tomogram), np.float32)
    volume += 0.0  # its pages are there
    before, begun = peak_mib(), time.perf_counter()
    result = reconstruct(series.select(views), _Some(images, views), tomogram, settings, ArrayVolume(volume))
    work, held = time.perf_counter() - begun, peak_mib() - before
    truth = open_mrc(next((root / "truth").glob("*.mrc"))).read()
    frequency, fsc = fsc_with(volume, truth, float(voxel), series.pixel_size_ang)
    note = "" if result.rounds is None else result.rounds.in_words()
    found = {"work": work, "held": held, "frequency": frequency, "fsc": fsc, "views": len(views), "note": note}
    print(json.dumps(found))


class _Some:
    """Some views of a series."""

    def __init__(self, images: Any, views: Any) -> None:
        self.images, self.views, self.shape = images, views, (len(views), *images.shape[1:])

    def __len__(self) -> int:
        return len(self.views)

    def view(self, index: int) -> Any:
        """One image."""
        return self.images.view(int(self.views[index]))


def fsc_with(volume: Any, truth: Any, voxel_ang: float, pixel_ang: float) -> tuple[list[float], list[float]]:
    """Frequencies in 1/Å, and FSC of a volume with the negative of a truth of finer voxels, under a soft window."""
    import numpy as np
    import torch

    from lamella.fourier.shells import shell_correlation

    terms = torch.fft.fftn(torch.from_numpy(truth.astype(np.float32)))
    sizes = [2 * round(n * pixel_ang / voxel_ang / 2) for n in truth.shape]
    for axis, (n, m) in enumerate(zip(truth.shape, sizes, strict=True)):
        kept = torch.cat([torch.arange(m // 2), torch.arange(n - m // 2, n)])
        terms = terms.index_select(axis, kept)
    coarse = torch.fft.ifftn(terms).real
    both = []
    shape = [min(n, m) // 2 * 2 for n, m in zip(volume.shape, coarse.shape, strict=True)]
    for array in (torch.from_numpy(volume), -coarse):
        part = array[tuple(slice(n // 2 - m // 2, n // 2 + m // 2) for n, m in zip(array.shape, shape, strict=True))]
        part = part - part.mean()
        for axis, n in enumerate(shape):
            window = torch.sin(torch.pi * (torch.arange(n) + 0.5) / n)
            part = part * window.reshape([n if i == axis else 1 for i in range(3)])
        both.append(part)
    frequency, correlation, _count = shell_correlation(both[0], both[1])
    return (frequency / voxel_ang).tolist(), correlation.tolist()


def _peers() -> None:
    """Time of one slice, and likeness to the sum by exact interpolation, of several programs; a list of lines."""
    from lamella.runtime import prepare

    prepare(torch=True)
    import numpy as np

    from benchmarks.machine import best_of

    rows, width, depth, slices = 41, 512, 160, 64
    tilts = np.linspace(-60, 60, rows)
    rng = np.random.default_rng(5)
    smooth = np.fft.rfftfreq(width)
    sinogram = np.fft.irfft(np.fft.rfft(rng.standard_normal((rows, width))) * np.exp(-((smooth / 0.25) ** 2)), width)
    ramp = np.fft.irfft(np.fft.rfft(sinogram) * smooth * np.exp(-((smooth / 0.25) ** 2)), width).astype(np.float32)
    exact = _by_sum(ramp, tilts, depth)
    lines = []

    def line(label: str, work: Any, count: int = 1) -> None:
        found = np.asarray(work())
        plane = found if found.ndim == 2 else found[:, found.shape[1] // 2]
        error = 1 - np.corrcoef(plane[:, 64:-64].ravel(), exact[:, 64:-64].ravel())[0, 1]
        lines.append(f"{label:52s} {1e3 * best_of(work) / count:8.1f} ms   1 − CC with the exact sum {error:.1e}")

    line("lamella wbp, whole (64 slices at once)", lambda: _ours(sinogram, tilts, depth, slices, "wbp"), slices)
    line("lamella fourier, whole (64 slices at once)", lambda: _ours(sinogram, tilts, depth, slices, "fourier"), slices)
    line("naive gather, numpy, of filtered rows", lambda: _gather(ramp, tilts, depth))
    try:
        from skimage.transform import iradon
    except ImportError:
        lines.append("scikit-image is not there")
    else:
        line(
            "scikit-image iradon, of filtered rows (512 × 512)",
            lambda: iradon(ramp.T, tilts, filter_name=None, circle=True)[::-1][255 - depth // 2 : 255 + depth // 2],
        )
    try:
        import astra
    except ImportError:
        lines.append("astra is not on the path: pip install --target FOLDER astra-toolbox, and PYTHONPATH=FOLDER")
    else:
        for kind in ("linear", "strip"):
            line(f"astra {kind} back-projection, of filtered rows", lambda k=kind: _astra(astra, ramp, tilts, depth, k))
    print(json.dumps(lines))


def _places(tilts: Any, width: int, depth: int) -> Any:
    """``(n, z, x)`` place in its row of every pixel of a slice."""
    import numpy as np

    z, x = (part.astype(np.float64) for part in np.mgrid[:depth, :width])
    angle = np.deg2rad(tilts)[:, None, None]
    return (x - width // 2) * np.cos(angle) + (z - depth // 2) * np.sin(angle) + width // 2


def _by_sum(rows: Any, tilts: Any, depth: int) -> Any:
    """Back-projection by Fourier sums of every row."""
    import numpy as np

    width = rows.shape[1]
    out = np.zeros((depth, width))
    terms = np.fft.rfft(rows, axis=1) / width
    weight = np.where(np.arange(terms.shape[1]) == 0, 1, 2)
    for row, places in zip(terms, _places(tilts, width, depth), strict=True):
        power = np.ones_like(places, np.complex128)
        step = np.exp(2j * np.pi * places / width)
        inside = (places >= 0) & (places <= width - 1)
        total = np.zeros_like(places)
        for m in range(len(row) - 1):
            total += weight[m] * (row[m] * power).real
            power *= step
        out += total * inside
    return out


def _gather(rows: Any, tilts: Any, depth: int) -> Any:
    import numpy as np

    width = rows.shape[1]
    out = np.zeros((depth, width), np.float32)
    for row, places in zip(rows, _places(tilts, width, depth), strict=True):
        out += np.interp(places, np.arange(width), row, left=0, right=0).astype(np.float32)
    return out


def _astra(astra: Any, rows: Any, tilts: Any, depth: int, kind: str) -> Any:
    import numpy as np

    width = rows.shape[1]
    volume = astra.create_vol_geom(depth, width)
    cos, sin = np.cos(np.deg2rad(tilts)), np.sin(np.deg2rad(tilts))
    beside = 0.5 * (cos + sin - 1)  # its centres lie between pixels
    vectors = np.stack([sin, -cos, beside * cos, beside * sin, cos, sin], axis=1)
    projections = astra.create_proj_geom("parallel_vec", width, vectors)
    projector = astra.create_projector(kind, projections, volume)
    number, plane = astra.create_backprojection(rows, projector)
    astra.data2d.delete(number)
    astra.projector.delete(projector)
    return plane[::-1]


def _ours(sinogram: Any, tilts: Any, depth: int, slices: int, method: str) -> Any:
    """The whole way from images to voxels, ramp and its window included."""
    import numpy as np

    from lamella.geometry import TiltGeometry
    from lamella.records import ArrayImages, ArrayVolume, TiltSeries
    from lamella.tomograms import ReconstructSettings, plan_tomogram, reconstruct
    from lamella.tomograms.box import tomogram_shape

    rows, width = sinogram.shape
    images = np.repeat(sinogram[:, None].astype(np.float32), slices, axis=1)
    series = TiltSeries(
        name="slices", pixel_size_ang=1.0, image_shape_px=(slices, width), nominal_tilt_deg=tilts,
        nominal_axis_deg=np.zeros(rows), geometry=TiltGeometry.from_angles(tilts, 0.0),
    )  # fmt: skip
    settings = ReconstructSettings(
        method=method, pixel_size=1.0, thickness=float(depth), weighting="ramp", cutoff=0.0001, falloff=0.25 / 2**0.5,
        halves="off",
    )  # fmt: skip
    tomogram = plan_tomogram(series, settings)
    volume = np.empty(tomogram_shape(tomogram), np.float32)
    reconstruct(series, ArrayImages(images), tomogram, settings, ArrayVolume(volume))
    return volume


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in ("_simulate", "_case", "_peers"):
        {"_simulate": _simulate, "_case": _case, "_peers": _peers}[sys.argv[1]](*sys.argv[2:])
    else:
        main(*sys.argv[1:])
