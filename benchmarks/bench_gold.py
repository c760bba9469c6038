"""Gold beads erased from simulated series: which are found, what is left of them in the tomogram, time and memory.

Truth is the simulator's. A bead counts as there where ten views at least show its centre, and as found within half its
width in three dimensions. In the tomogram (voxels of 10.8 Å, no correction of the contrast transfer), spheres of 160 Å
at the beads' true places are compared with such spheres at random places of the same heights: variance about their own
mean, mean, and mean square 250 Å away along the rays of the views at 0°, ±30° and ±60°, where streaks would be. Halves
are drawn from the counts of each pixel, so their noise is independent.

    python -m benchmarks.bench_gold [FOLDER] [FIGURE.png]

FOLDER keeps the simulated series for another run. ``find`` is all that is done before images are painted; ``paint`` the
time for one view; ``peak`` what the process held at most.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "beads, 10.8 Å, 512²": ("beads", {"size": 512, "pixel_size": 10.8, "seed": 72}),
    "ribosomes and 8 beads, 8 Å, 512²": ("quick", {"seed": 75, "particles": 60}),
    "beads, 5.4 Å, 1024²": ("beads", {"size": 1024, "pixel_size": 5.4, "seed": 77, "beads": 20}),
    "ribosomes alone, 8 Å, 512²": ("quick", {"seed": 78, "beads": 0}),
    "cell beside a gold film, 10 Å, 512²": ("cellular", {"size": 512, "pixel_size": 10.0, "seed": 73}),
}
FEW_VIEWS, SPHERE_ANG, STREAK_ANG = 10, 80.0, 250.0
VOXEL_ANG, THICKNESS_ANG = 10.8, 2600.0
LARGE = {"size": 4096, "pixel_ang": 1.35, "beads": 40}


def main(folder: str = "", figure: str = "") -> None:
    """Print one table of beads found, and one of what erasing leaves in the first set's tomogram."""
    from benchmarks.machine import machine_name

    print(machine_name())
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(folder or temporary)
        heads = ("there", "found", "recall", "false", "diameter", "find", "painted", "paint", "peak")
        print(f"{'':36s}" + "".join(f"{head:>10s}" for head in heads))
        for number, (label, (preset, changes)) in enumerate(SETS.items()):
            place = root / f"set{number}"
            if not (place / "truth" / "tilt_series.star").exists():
                _run("_simulate", str(place), preset, json.dumps({"frames": 0, "truth_binning": 4.0} | changes))
            found = json.loads(_run("_find", str(place)))
            print(f"{label:36s}" + _row(found), flush=True)
        large = json.loads(_run("_large"))
        print(f"one view of 4096², 1.35 Å, 40 beads: {large['paint']:.2f} s, {large['peak']:.0f} MiB")
        erased = json.loads(_run("_erase", str(root / "set0"), figure))
        print(f"\n{erased['beads']} beads inside the first set's tomogram; background = 1")
        print(f"{'':14s}{'variance':>10s}{'mean / its error':>18s}  mean square along rays at 0, ±30, ±60°   time")
        for case in ("kept", "erased", "even", "odd"):
            one = erased[case]
            rays = " ".join(f"{value:5.2f}" for value in one["streaks"])
            print(f"{case:14s}{one['variance']:10.3f}{one['mean']:18.2f}  {rays}   {one['seconds']:22.1f} s")
        print(f"correlation of even and odd in spheres {erased['halves']:.3f}, elsewhere {erased['random']:.3f}")
        print(f"peak {erased['peak']:.0f} MiB")


def _row(found: dict[str, Any]) -> str:
    recall = f"{found['recall']:.3f}" if found["there"] else "-"
    return (
        f"{found['there']:10d}{found['found']:10d}{recall:>10s}{found['false']:10d}{found['diameter']:8.1f} Å"
        f"{found['seconds']:8.2f} s{100 * found['painted']:8.2f} %{1000 * found['paint']:7.0f} ms"
        f"{found['peak']:6.0f} MiB"
    )


def _run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_gold", name, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _simulate(folder: str, preset: str, settings: str) -> None:
    from lamella.simulate import preset_settings, simulate

    simulate(Path(folder), preset_settings(preset, **json.loads(settings)))


def _loaded(folder: str) -> tuple[Any, Any, Any]:
    """The series in its true geometry, its images, and the beads' places ``(k, 3)``."""
    import numpy as np

    from lamella.formats.images import open_images
    from lamella.formats.relion import read_tilt_series
    from lamella.formats.star import read_star
    from lamella.runtime import prepare

    prepare(torch=True)
    root = Path(folder)
    (series,) = read_tilt_series(root / "truth" / "tilt_series.star", root)
    table = read_star(root / "truth" / "beads.star")["beads"]
    places = [table.numbers(f"rlnCenteredCoordinate{a}Angst") for a in "XYZ"] if len(table) else np.empty((3, 0))
    return series, open_images(series.images, root), np.stack(places, axis=-1)


def _find(folder: str) -> None:
    """Find the beads of one set; numbers as JSON."""
    import numpy as np

    from benchmarks.machine import peak_mib
    from lamella.tomograms import ReconstructSettings, plan_gold

    series, images, places = _loaded(folder)
    begun = time.perf_counter()
    plan = plan_gold(series, images, ReconstructSettings())
    seconds = time.perf_counter() - begun
    half = (np.array(series.image_shape_px[::-1]) / 2 - 1) * series.pixel_size_ang
    shown = (np.abs(series.geometry.project(places)) < half).all(axis=-1).sum(axis=0)
    apart = np.linalg.norm(places[:, None] - plan.beads.points_ang[None], axis=-1)
    reach = (plan.beads.diameter_ang or 100.0) / 2
    there = shown >= FEW_VIEWS
    begun = time.perf_counter()
    views = range(0, len(series), 8)
    for view in views:
        plan.images(images).view(view)
    numbers = {
        "there": int(there.sum()),
        "found": len(plan.beads),
        "recall": float((apart[there].min(axis=1, initial=np.inf) < reach).mean()) if there.any() else 1.0,
        "false": int((apart.min(axis=0, initial=np.inf) >= reach).sum()),
        "diameter": plan.beads.diameter_ang,
        "seconds": seconds,
        "painted": plan.painted_fraction,
        "paint": (time.perf_counter() - begun) / len(views),
        "peak": peak_mib(),
    }
    print(json.dumps(numbers))


def _large() -> None:
    """Paint one large view of noise; time and memory as JSON."""
    import numpy as np

    from benchmarks.machine import peak_mib
    from lamella.records import ArrayImages
    from lamella.runtime import prepare
    from lamella.tomograms.gold_paint import GoldPaint

    prepare(torch=True)
    rng = np.random.default_rng(1)
    image = rng.standard_normal((1, LARGE["size"], LARGE["size"]), dtype=np.float32)
    radius = 1.6 * 50.0 / LARGE["pixel_ang"]
    places = rng.uniform(0, LARGE["size"], (LARGE["beads"], 2))
    paint = GoldPaint(ArrayImages(image), (places,), radius, np.array([1]))
    begun = time.perf_counter()
    paint.paint(0, image[0])
    print(json.dumps({"paint": time.perf_counter() - begun, "peak": peak_mib()}))


def _erase(folder: str, figure: str) -> None:
    """Reconstruct the set with its gold and without; what is left at the beads as JSON."""
    import numpy as np

    from benchmarks.machine import peak_mib
    from lamella.records import ArrayImages, ArrayVolume
    from lamella.tomograms import ReconstructSettings, plan_gold, plan_tomogram, reconstruct
    from lamella.tomograms.box import tomogram_shape

    series, images, places = _loaded(folder)
    settings = ReconstructSettings(pixel_size=VOXEL_ANG, thickness=THICKNESS_ANG, ctf="none")
    tomogram = plan_tomogram(series, settings)
    rng = np.random.default_rng(5)
    whole = np.stack([images.view(view) for view in range(len(images))])
    even = rng.binomial(np.maximum(np.rint(whole), 0).astype(np.int64), 0.5).astype(np.float32)
    out: dict[str, Any] = {}
    volumes = {}
    for case, source, kind in (
        ("kept", images, None), ("erased", images, "full"), ("even", ArrayImages(even), "even"),
        ("odd", ArrayImages(whole - even), "odd"),
    ):  # fmt: skip
        begun = time.perf_counter()
        if kind == "full":
            plan = plan_gold(series, images, settings)
        volume = np.zeros(tomogram_shape(tomogram), np.float32)
        painted = source if kind is None else plan.images(source, kind=kind)
        reconstruct(series, painted, tomogram, settings, ArrayVolume(volume))
        out[case] = {"seconds": time.perf_counter() - begun}
        volumes[case] = volume
    beads, random = _places(places / VOXEL_ANG, volumes["kept"].shape, rng)
    for case, volume in volumes.items():
        out[case] |= _left(volume, beads, random)
    out |= {
        "beads": len(beads),
        "halves": _correlation(volumes["even"], volumes["odd"], beads),
        "random": _correlation(volumes["even"], volumes["odd"], random),
        "peak": peak_mib(),
    }
    if figure:
        _draw(volumes["kept"], volumes["erased"], beads, Path(figure))
    print(json.dumps(out))


def _places(points: Any, shape: tuple[int, int, int], rng: Any) -> tuple[Any, Any]:
    """Voxels (z, y, x) of the beads well inside the tomogram, and ten times as many random ones away from any."""
    import numpy as np

    size, border = np.array(shape), round(700 / VOXEL_ANG)
    all_beads = np.rint(points[:, ::-1] + size // 2).astype(int)
    inside = ((all_beads[:, 1:] > border) & (all_beads[:, 1:] < size[1:] - border)).all(axis=1)
    beads = all_beads[inside & (np.abs(all_beads[:, 0] - size[0] // 2) < size[0] // 2 - 20)]
    random: list[Any] = []
    while len(random) < 10 * len(beads):
        place = np.array([rng.choice(beads[:, 0]), *(rng.integers(border, n - border) for n in size[1:])])
        if np.abs(all_beads - place)[:, 1:].max(axis=1).min() > 3 * SPHERE_ANG / VOXEL_ANG:
            random.append(place)
    return beads, np.array(random)


def _spheres(volume: Any, centres: Any) -> Any:
    """``(k, n)`` voxels of spheres."""
    import numpy as np

    reach = round(SPHERE_ANG / VOXEL_ANG)
    grid = np.mgrid[-reach : reach + 1, -reach : reach + 1, -reach : reach + 1].reshape(3, -1).T
    grid = grid[(grid**2).sum(axis=1) <= reach**2]
    at = centres[:, None] + grid[None]
    at = at[((at >= 0) & (at < volume.shape)).all(axis=(1, 2))]
    return volume[tuple(np.moveaxis(at, -1, 0))]


def _left(volume: Any, beads: Any, random: Any) -> dict[str, Any]:
    """Variance and mean at the beads, and mean square where streaks would be, over those at random places."""
    import numpy as np

    here, ground = _spheres(volume, beads), _spheres(volume, random)
    level = float(ground.mean())
    square = float(((ground - level) ** 2).mean())
    streaks = []
    for tilt in (0, 30, 60):
        ends = []
        for sign in (-1, 1):
            for side in (-1, 1):
                angle = np.deg2rad(tilt * side)
                # the axis of these series lies nearly along the image's x, so rays tilt in y
                step = sign * STREAK_ANG / VOXEL_ANG * np.array([np.cos(angle), np.sin(angle), 0.0])
                ends.append(_spheres(volume, np.rint(beads + step).astype(int)))
        streaks.append(float(((np.concatenate(ends) - level) ** 2).mean() / square))
    error = float(ground.mean(axis=1).std()) / np.sqrt(len(here))
    return {
        "variance": float(here.var(axis=1).mean() / ground.var(axis=1).mean()),
        "mean": float((here.mean() - level) / error),
        "streaks": streaks,
    }


def _correlation(even: Any, odd: Any, centres: Any) -> float:
    import numpy as np

    a, b = (_spheres(volume, centres) for volume in (even, odd))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def _draw(kept: Any, erased: Any, beads: Any, path: Path) -> None:
    """Slices through most beads, across and along the beam."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    z, x = (int(np.bincount(beads[:, axis]).argmax()) for axis in (0, 2))
    low, high = np.percentile(erased[z], [0.5, 99.5])
    figure, grid = plt.subplots(
        2, 2, figsize=(11, 8), gridspec_kw={"height_ratios": [kept.shape[1], kept.shape[0]]}, constrained_layout=True
    )
    for column, (name, volume) in enumerate((("with gold", kept), ("erased", erased))):
        for row, part in enumerate((volume[z], volume[:, :, x])):
            axis = grid[row][column]
            axis.imshow(part, cmap="gray", vmin=low, vmax=high, origin="lower")
            axis.set(title=f"{name}: {('across', 'along')[row]} the beam", xticks=[], yticks=[])
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("_"):
        {"_simulate": _simulate, "_find": _find, "_large": _large, "_erase": _erase}[sys.argv[1]](*sys.argv[2:])
    else:
        main(*sys.argv[1:])
