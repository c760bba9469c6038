"""Two tilt axes of one simulated specimen combined, beside the truth: preset `dual`, 41 views of 1.5 e/Å² per axis.

Each axis is reconstructed with its true geometry. The second is laid onto the first by the true beads, their places
with errors of 3 Å in the plane and 8 Å across it, or by the volumes, and both are combined; beside them stands one
reconstruction from the views of both (`joint`). FSC with the truth is taken by regions of Fourier space: where both
series measure, where only one does, and in the pyramid that both miss; of the whole volumes, and of boxes of 320 Å
with soft edges on the particles, all together. A further line says what is to be expected of the whole volumes where
both measure: twice the signal over noise that the first axis has there alone.

    python -m benchmarks.bench_combine [FOLDER] [FIGURE.png] [--quick]

FOLDER keeps the simulated series and the tomograms for another run. ``--quick``: 512² pixels of 10 Å instead of 1024²
of 5 Å. Each case runs in a process of its own; ``peak`` is what it held at most.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

VOXEL, THICKNESS, BOX, MARGIN_DEG = 10.0, 2000.0, 16, 3.0
BEAD_ERROR_ANG = (3.0, 3.0, 8.0)
BANDS_ANG = ((400, 200), (200, 120), (120, 80), (80, 60), (60, 48), (48, 40))
SMALL = {"size": 512, "pixel_size": 10.0, "particles": 120}


def main(*arguments: str) -> None:
    """Print the tables, and draw the slices if a file is named."""
    from benchmarks.machine import machine_name

    quick = "--quick" in arguments
    places = [entry for entry in arguments if entry != "--quick"]
    print(machine_name())
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(places[0] if places else temporary)
        if not (root / "truth" / "mounting.star").exists():
            _run("_simulate", str(root), json.dumps(SMALL if quick else {}))
        for axis in "ab":
            print(f"reconstruct TS_01{axis}: " + _told(_run("_reconstruct", str(root), axis)), flush=True)
        for how in ("beads", "volume"):
            found = _run("_combine", str(root), how)
            print(f"combine by {how}: {found['words']}")
            print(f"    {_told(found)}; error {found['angle']:.4f}°, {found['centre']:.2f} Å at the centre, "
                  f"{found['rms']:.2f} Å rms over the volume", flush=True)  # fmt: skip
        print("joint: " + _told(_run("_joint", str(root))), flush=True)
        print(f"\nFSC with the truth, bands in Å{'':30s}" + " ".join(f"{f'{a}-{b}':>8s}" for a, b in BANDS_ANG))
        names = {"TS_01a": "first axis", "beads": "combined (beads)", "volume": "combined (volume)", "joint": "joint"}
        for name, label in names.items():
            curves = _curves(root, name)
            if name == "TS_01a":
                curves["whole", "both measure, views doubled"] = _doubled(curves["whole", "both measure"])
            for (part, region), values in curves.items():
                print(f"{label:20s} {part:7s} {region:28s}" + " ".join(f"{value:8.3f}" for value in values))
        if len(places) > 1:
            _draw(root, Path(places[1]))


def _told(found: dict[str, Any]) -> str:
    return f"{found['wall']:.1f} s, CPU {found['cpu']:.1f} s, peak {found['peak']:.0f} MiB"


def _run(name: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_combine", name, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _simulate(folder: str, settings: str) -> dict[str, Any]:
    from lamella.simulate import preset_settings, simulate

    simulate(Path(folder), preset_settings("dual", seed=71, **json.loads(settings)))
    return {}


def _reconstruct(folder: str, axis: str) -> dict[str, Any]:
    root = Path(folder)
    series = _series(root)["ab".index(axis)]
    return _reconstructed(root, series, f"TS_01{axis}", None)


def _reconstructed(root: Path, series: Any, name: str, like: Any) -> dict[str, Any]:
    import numpy as np

    from lamella.formats.images import open_images
    from lamella.formats.mrc import write_mrc
    from lamella.records import ArrayVolume
    from lamella.tomograms import ReconstructSettings, plan_tomogram, reconstruct
    from lamella.tomograms.box import tomogram_shape

    settings = ReconstructSettings(pixel_size=VOXEL, thickness=THICKNESS, halves="off")
    tomogram = like or plan_tomogram(series, settings)
    volume = np.zeros(tomogram_shape(tomogram), np.float32)
    clock = _Clock()
    reconstruct(series, open_images(series.images, root), tomogram, settings, ArrayVolume(volume))
    found = clock.told()
    write_mrc(root / f"{name}.mrc", volume, VOXEL)
    return found


def _combined(root: Path, how: str, sink: Any) -> Any:
    from lamella.formats.mrc import open_mrc
    from lamella.tomograms import CombineSettings, Volumes, combine

    first, second = (open_mrc(root / f"TS_01{axis}.mrc") for axis in "ab")
    return combine(
        *_tomograms(root),
        {"whole": Volumes(first=first, second=second, sink=sink)},
        CombineSettings(register_by=how),  # type: ignore[arg-type]
        "TS_01",
        beads=_beads(root) if how == "beads" else None,
    )


def _combine(folder: str, how: str) -> dict[str, Any]:
    import numpy as np

    from lamella.formats.mrc import open_mrc, write_mrc
    from lamella.records import ArrayVolume

    root = Path(folder)
    out = ArrayVolume(np.zeros(open_mrc(root / "TS_01a.mrc").shape, np.float32))
    clock = _Clock()
    result = _combined(root, how, out)
    found = clock.told()
    write_mrc(root / f"{how}.mrc", out.array, VOXEL)
    true, motion = _motion(root), result.registration.motion
    turn = motion.rotation @ true.rotation.T
    half = np.array(out.array.shape[::-1]) * VOXEL / 2 * [1, 1, 0.75]
    grid = np.stack(np.meshgrid(*(np.linspace(-h, h, 5) for h in half)), -1).reshape(-1, 3)
    off = motion.to_first(true.to_second(grid)) - grid
    return found | {
        "words": result.registration.in_words(),
        "angle": float(np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))),
        "centre": float(np.linalg.norm(motion.to_first(true.to_second(np.zeros(3))))),
        "rms": float(np.sqrt((off**2).sum(axis=1).mean())),
    }


def _joint(folder: str) -> dict[str, Any]:
    from lamella.tomograms.combine_record import second_in_first

    root = Path(folder)
    first, second = _series(root)
    both = first.joined(second_in_first(second, _motion(root), None), "TS_01")
    return _reconstructed(root, both, "joint", _tomograms(root)[0])


def _series(root: Path) -> Any:
    from lamella.formats.relion import read_tilt_series

    return read_tilt_series(root / "truth" / "tilt_series.star", root)


def _tomograms(root: Path) -> Any:
    from lamella.tomograms import ReconstructSettings, plan_tomogram

    settings = ReconstructSettings(pixel_size=VOXEL, thickness=THICKNESS)
    return [plan_tomogram(one, settings) for one in _series(root)]


def _places(root: Path, table: str, name: str) -> Any:
    import numpy as np

    from lamella.formats.star import read_star

    rows = next(iter(read_star(root / "truth" / table).values()))
    places = np.stack([rows.numbers(f"rlnCenteredCoordinate{axis}Angst") for axis in "XYZ"], axis=-1)
    return places[np.array(rows.text("rlnTomoName")) == name]


def _beads(root: Path) -> Any:
    import numpy as np

    rng = np.random.default_rng(1)
    both = (_places(root, "beads.star", name) for name in ("TS_01a", "TS_01b"))
    seen = (places[(np.abs(places[:, :2]) < 2500).all(axis=1)] for places in both)
    return tuple(places + rng.normal(size=places.shape) * BEAD_ERROR_ANG for places in seen)


def _motion(root: Path) -> Any:
    import numpy as np

    from lamella.formats.star import read_star
    from lamella.geometry import rotation_z
    from lamella.tomograms.combine_rigid import RigidMotion

    rows = next(iter(read_star(root / "truth" / "mounting.star").values()))
    back = rotation_z(-rows.numbers("lamellaTurnZ")[1])
    shift = np.array([rows.numbers(f"lamellaShift{axis}Angst")[1] for axis in "XYZ"])
    return RigidMotion(rotation=back, shift_ang=-back @ shift)


def _curves(root: Path, name: str) -> dict[tuple[str, str], list[float]]:
    """FSC with the truth by part of the volume and region of Fourier space."""
    import numpy as np

    truth, volume = _alike(root, name)
    fade = [np.clip(np.minimum(np.arange(n), n - 1 - np.arange(n)) / edge, 0, 1)
            for n, edge in zip(truth.shape, (8, 24, 24), strict=True)]  # fmt: skip
    window = fade[0][:, None, None] * fade[1][:, None] * fade[2]
    parts = {
        "whole": [np.fft.rfftn(part * window)[None] for part in (truth, volume)],
        "boxes": [np.fft.rfftn(_boxes(part, _places(root, "particles.star", "TS_01a")), axes=(1, 2, 3))
                  for part in (truth, volume)],
    }  # fmt: skip
    out = {}
    for part, (one, other) in parts.items():
        shape = truth.shape if part == "whole" else (BOX,) * 3
        frequency, regions = _regions(root, shape)
        for region, mask in regions.items():
            values = []
            for low, high in BANDS_ANG:
                inside = mask & (frequency >= 1 / low) & (frequency < 1 / high)
                a, b = one[:, inside], other[:, inside]
                power = np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum())
                values.append(float((a * b.conj()).real.sum() / power))
            out[part, region] = values
    return out


def _doubled(curve: list[float]) -> list[float]:
    """The FSC with the truth of twice as many views: √(S / (S + 1)) with S, signal over noise, doubled."""
    ratios = [2 * value**2 / (1 - value**2) for value in curve]
    return [(ratio / (ratio + 1)) ** 0.5 for ratio in ratios]


def _alike(root: Path, name: str) -> Any:
    """The truth, mass dark, and a tomogram, both of 20 Å voxels and one size."""
    import numpy as np

    from lamella.formats.mrc import read_mrc

    truth, pixel = read_mrc(root / "truth" / "TS_01a.mrc")
    volume, _ = read_mrc(root / f"{name}.mrc")
    truth, volume = (_coarser(part, round(2 * VOXEL / size)) for part, size in ((truth, pixel), (volume, VOXEL)))
    size = [min(a, b) // 2 * 2 for a, b in zip(truth.shape, volume.shape, strict=True)]
    cut = []
    for part in (-truth, volume):
        first = [n // 2 - s // 2 for n, s in zip(part.shape, size, strict=True)]
        cut.append(np.ascontiguousarray(part[tuple(slice(a, a + s) for a, s in zip(first, size, strict=True))]))
    return cut


def _coarser(volume: Any, step: int) -> Any:
    """Every `step`-th voxel, the centre one among them, after the frequencies beyond were taken out."""
    import numpy as np

    if step == 1:
        return volume
    terms = np.fft.rfftn(volume)
    for axis, n in enumerate(volume.shape):
        k = np.abs(np.fft.rfftfreq(n) if axis == 2 else np.fft.fftfreq(n))
        terms *= (k < 0.5 / step).reshape([-1 if a == axis else 1 for a in range(3)])
    smooth = np.fft.irfftn(terms, s=volume.shape, axes=(0, 1, 2)).astype(np.float32)
    return smooth[tuple(slice(n // 2 % step, None, step) for n in volume.shape)]


def _boxes(volume: Any, places: Any) -> Any:
    import numpy as np

    line = np.sqrt(np.hanning(BOX + 2)[1:-1])
    window = line[:, None, None] * line[:, None] * line
    out = []
    for place in places[(np.abs(places[:, :2]) < 2100).all(axis=1)]:
        corner = np.round(place[::-1] / (2 * VOXEL)).astype(int) + np.array(volume.shape) // 2 - BOX // 2
        if (corner >= 0).all() and (corner + BOX <= volume.shape).all():
            box = volume[tuple(slice(c, c + BOX) for c in corner)]
            out.append((box - box.mean()) * window)
    return np.stack(out)


def _regions(root: Path, shape: tuple[int, ...]) -> Any:
    """Length of each frequency, 1/Å, and the regions, `MARGIN_DEG` away from the borders between them."""
    import numpy as np

    from lamella.geometry import rotation_x

    kz, ky, kx = np.meshgrid(*map(np.fft.fftfreq, shape[:2]), np.fft.rfftfreq(shape[2]), indexing="ij")
    inside, outside = [], []
    for series, turn in zip(_series(root), (np.eye(3), _motion(root).rotation.T), strict=True):
        r = rotation_x(series.geometry.x_tilt_deg.mean()) @ turn
        x, z = (r[row, 0] * kx + r[row, 1] * ky + r[row, 2] * kz for row in (0, 2))
        tilt = np.rad2deg(np.arctan(z / np.where(np.abs(x) < 1e-9, 1e-9, x)))
        low, high = series.geometry.y_tilt_deg.min(), series.geometry.y_tilt_deg.max()
        inside.append((tilt > low + MARGIN_DEG) & (tilt < high - MARGIN_DEG))
        outside.append((tilt < low - MARGIN_DEG) | (tilt > high + MARGIN_DEG))
    return np.sqrt(kx**2 + ky**2 + kz**2) / (2 * VOXEL), {
        "both measure": inside[0] & inside[1],
        "the first alone measures": inside[0] & outside[1],
        "the second alone measures": outside[0] & inside[1],
        "neither measures": outside[0] & outside[1],
    }


def _draw(root: Path, figure: Path) -> None:
    """Slices across both axes of the first tomogram, the combined one and the truth."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [("first axis", _alike(root, "TS_01a")[1]), ("combined", _alike(root, "beads")[1]),
            ("joint", _alike(root, "joint")[1]), ("truth", _alike(root, "beads")[0])]  # fmt: skip
    canvas, axes = plt.subplots(len(rows), 2, figsize=(11, 1.4 * len(rows) + 1), constrained_layout=True)
    for line, (label, volume) in zip(axes, rows, strict=True):
        middle = [n // 2 for n in volume.shape]
        for place, (sheet, name) in enumerate(
            (
                (volume[:, middle[1] - 1 : middle[1] + 2].mean(1), "xz"),
                (volume[:, :, middle[2] - 1 : middle[2] + 2].mean(2), "yz"),
            )
        ):
            spread = sheet.std()
            line[place].imshow(sheet, cmap="gray", origin="lower", vmin=-3 * spread, vmax=3 * spread)
            line[place].set(title=f"{label}, {name}", xticks=[], yticks=[])
    canvas.savefig(figure, dpi=130)


class _Clock:
    """Time and memory of a piece of work; compiled kernels are loaded before."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def told(self) -> dict[str, float]:
        from benchmarks.machine import peak_mib

        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {"wall": wall, "cpu": cpu, "peak": peak_mib()}


if __name__ == "__main__":
    parts = {"_simulate": _simulate, "_reconstruct": _reconstruct, "_combine": _combine, "_joint": _joint}
    if sys.argv[1:2] and sys.argv[1] in parts:
        from lamella.runtime import prepare

        prepare(torch=True)
        print(json.dumps(parts[sys.argv[1]](*sys.argv[2:])))  # type: ignore[operator]
    else:
        main(*sys.argv[1:])
