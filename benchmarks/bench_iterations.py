"""SIRT, ordered subsets and SART: accuracy against the truth, the held-out stop, speed, memory, and other programs.

    python -m benchmarks.bench_iterations [accuracy|speed|peers] [FOLDER]

``accuracy``: simulated views with true geometry; correlation (CC) and mean FSC with the simulator's own volume after
every round, over three blocks of rows; the best round, and the one that held-out views choose. White noise of so many
standard deviations of a view is added. FOLDER keeps the simulated series for another run.

``speed``: processor time of one round on 41 views of 512², in the same process as one projection and one
back-projection of the whole volume by the same kernels; one thread.

``peers``: one slice of a phantom of blobs, 41 views over ±60°: seconds per round and correlation with the phantom of
astra's SIRT (on a CPU) and scikit-image's SART, where they can be imported.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import best_of, machine_name, peak_mib
from lamella.runtime import prepare

Volume = NDArray[np.float32]

SETS: dict[str, dict[str, Any]] = {
    "800 Å": {"thickness": 800.0, "particles": 60},
    "2000 Å": {"thickness": 2000.0, "particles": 150},
}
COMMON: dict[str, Any] = {
    "frames": 0, "truth_binning": 2.0, "size": 512, "pixel_size": 10.0, "defocus": 35000.0, "beads": 0, "vesicles": 2,
    "seed": 81,
}  # fmt: skip
NOISE = (0.0, 1.0, 3.0)
METHODS: dict[str, tuple[dict[str, Any], int]] = {
    "sirt": ({"method": "sirt"}, 40),
    "os-sart 10": ({"method": "sart", "subsets": 10}, 16),
    "sart": ({"method": "sart"}, 10),
}
VOXEL_ANG, BLOCKS, BLOCK_ROWS = 20.0, 3, 24


def main(what: str = "all", folder: str = "") -> None:
    """Print the tables that are asked for."""
    prepare(torch=True)
    print(machine_name(), flush=True)
    if what in ("all", "speed"):
        speed()
    if what in ("all", "peers"):
        peers()
    if what in ("all", "accuracy"):
        with tempfile.TemporaryDirectory() as temporary:
            accuracy(Path(folder or temporary))


def accuracy(root: Path) -> None:
    """The held-out stop beside the best round, for some thicknesses and noise levels."""
    from lamella.simulate import preset_settings, simulate

    print(
        f"\n{'ice, noise':14s} {'method':12s} {'best CC':>8s} {'at':>4s} {'stop':>5s} {'CC':>7s} {'of best':>8s} "
        f"{'error/best':>11s} {'FSC':>6s} {'of best':>8s}"
    )
    for label, changes in SETS.items():
        place = root / label.split()[0]
        if not (place / "truth" / "tilt_series.star").exists():
            simulate(place, preset_settings("quick", **COMMON | changes))
        for noise in NOISE:
            problem = _Problem(place, changes["thickness"] + 600, noise)
            for name, (how, most) in METHODS.items():
                _accuracy_row(f"{label}, {noise:g}", name, problem, how, most)


def _accuracy_row(label: str, name: str, problem: _Problem, how: dict[str, Any], most: int) -> None:
    stop = problem.held_out_rounds(how)
    cc, fsc = problem.curves(how, max(most, stop))
    best, ours = float(cc.max()), float(cc[stop - 1])
    error = float(np.sqrt(1 - ours**2) / np.sqrt(1 - best**2))
    print(
        f"{label:14s} {name:12s} {best:8.4f} {int(cc.argmax()) + 1:4d} {stop:5d} {ours:7.4f} {ours / best:8.3f} "
        f"{error:11.3f} {fsc[stop - 1]:6.3f} {fsc[stop - 1] / fsc.max():8.3f}",
        flush=True,
    )


class _Problem:
    """Views ready to be iterated on, and the truth in the same box."""

    def __init__(self, root: Path, thickness_ang: float, noise: float) -> None:
        from lamella.formats.images import open_images
        from lamella.formats.mrc import open_mrc
        from lamella.formats.relion import read_tilt_series
        from lamella.kernels.rows import Box
        from lamella.kernels.sampling import ImageGrid
        from lamella.tomograms import ReconstructSettings, plan_tomogram
        from lamella.tomograms.box import tomogram_shape

        (series,) = read_tilt_series(root / "truth" / "tilt_series.star", root)
        assert series.geometry is not None
        assert series.images is not None
        self.settings = ReconstructSettings(pixel_size=VOXEL_ANG, thickness=thickness_ang, method="sirt")
        tomogram = plan_tomogram(series, self.settings)
        self.box = Box(shape=tomogram_shape(tomogram), voxel_size_ang=tomogram.voxel_size_ang)
        self.geometry = series.geometry
        self.grid = ImageGrid.of(self.geometry, series.image_shape_px, series.pixel_size_ang, VOXEL_ANG)
        self.stored = self._store(series, _Noisy(open_images(series.images, root), noise))
        truth = open_mrc(next((root / "truth").glob("*.mrc"))).read()
        self.truth = _in_box(-(truth - np.median(truth)), self.box.shape)  # mass is dark
        nz, ny, _nx = self.box.shape
        self.planes = slice((nz - min(truth.shape[0], nz)) // 2, (nz + min(truth.shape[0], nz)) // 2)
        self.places = [round((i + 0.5) / BLOCKS * 0.75 * ny + ny / 8 - BLOCK_ROWS / 2) for i in range(BLOCKS)]

    def _store(self, series: Any, images: _Noisy) -> Any:
        from lamella.kernels.rows import RowPlan
        from lamella.kernels.sampling import frequencies, view_filter
        from lamella.progress import no_progress
        from lamella.tomograms.corrected_views import ViewCorrection
        from lamella.tomograms.correction import plan_correction
        from lamella.tomograms.tilt_images import mean_level, store_views
        from lamella.tomograms.weights import dose_weights

        correction = plan_correction(series, self.box, self.settings)
        corrected = ViewCorrection(series, self.geometry, correction, self.grid, self.box, self.settings)
        dose = dose_weights(series, frequencies(), VOXEL_ANG)
        plan = RowPlan.rays(self.geometry)
        return store_views(
            series, images, np.arange(len(series)), self.grid,
            lambda view: view_filter(self.grid, self.geometry, plan, view, radial=dose[view] if dose else None),
            mean_level, correction=corrected if correction.method != "none" else None, device="cpu",
            progress=no_progress,
        )  # fmt: skip

    def slabs(self, how: dict[str, Any], without: Any = ()) -> Any:
        """What starts slabs by some method."""
        from lamella.tomograms.iterations import Slabs
        from lamella.tomograms.scheme import plan_scheme

        scheme = plan_scheme(self.geometry.y_tilt_deg, self.settings.model_copy(update=how), without=without)
        return Slabs(self.stored, self.geometry, self.grid, self.box, scheme)

    def held_out_rounds(self, how: dict[str, Any]) -> int:
        """Rounds that held-out views choose."""
        from lamella.progress import no_progress
        from lamella.tomograms.held_out import choose_rounds, held_out_views
        from lamella.tomograms.memory import MemoryBudget

        views = held_out_views(self.geometry.y_tilt_deg)
        budget = MemoryBudget.of("auto")
        return choose_rounds(self.slabs(how, views), views, most=100, budget=budget, progress=no_progress).rounds

    def curves(self, how: dict[str, Any], rounds: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """CC and mean FSC with the truth after every round."""
        slabs = self.slabs(how)
        works = [slabs.start(y, BLOCK_ROWS) for y in self.places]
        inner = slice(self.box.shape[2] // 8, -(self.box.shape[2] // 8))
        true = [self.truth[self.planes, y : y + BLOCK_ROWS, inner] for y in self.places]
        cc, fsc = [], []
        for _ in range(rounds):
            for work in works:
                work.round()
            ours = [
                slabs.own(work, y, BLOCK_ROWS).numpy()[self.planes, :, inner]
                for work, y in zip(works, self.places, strict=True)
            ]
            cc.append(float(np.corrcoef(np.ravel(ours), np.ravel(true))[0, 1]))
            fsc.append(float(np.mean([_mean_fsc(a, b) for a, b in zip(ours, true, strict=True)])))
        return np.array(cc), np.array(fsc)


class _Noisy:
    """Images with white noise added, the same at every reading."""

    def __init__(self, images: Any, noise: float) -> None:
        self.images, self.noise, self.shape = images, noise, images.shape

    def __len__(self) -> int:
        return len(self.images)

    def view(self, index: int) -> Volume:
        """One image."""
        image = self.images.view(index)
        rng = np.random.default_rng(index)
        added = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(self.noise * image.std())
        return np.asarray(image + added, np.float32)


def _in_box(volume: Volume, shape: tuple[int, int, int]) -> Volume:
    """A volume of the same voxels in a box with the same centre voxel."""
    out = np.zeros(shape, np.float32)
    target, source = [], []
    for size, ours in zip(volume.shape, shape, strict=True):
        start = ours // 2 - size // 2
        first, last = max(start, 0), min(start + size, ours)
        target.append(slice(first, last))
        source.append(slice(first - start, last - start))
    out[tuple(target)] = volume[tuple(source)]
    return out


def _mean_fsc(a: Volume, b: Volume, shells: int = 16) -> float:
    axes = np.meshgrid(*(np.fft.fftfreq(n) for n in a.shape[:2]), np.fft.rfftfreq(a.shape[2]), indexing="ij")
    shell = np.minimum((np.sqrt(sum(k**2 for k in axes)) * 2 * shells).astype(int), shells).ravel()
    one, two = (np.fft.rfftn(part - part.mean()) for part in (a, b))
    cross, power, other = (
        np.bincount(shell, part.ravel(), shells + 1)[:shells]
        for part in ((one * two.conj()).real, np.abs(one) ** 2, np.abs(two) ** 2)
    )
    return float(np.mean(cross / np.sqrt(np.maximum(power * other, 1e-30))))


def speed(size: int = 512, planes: int = 128, views: int = 41) -> None:
    """Seconds of a round, beside a projection and a back-projection of the whole volume."""
    import torch

    from lamella.geometry import TiltGeometry
    from lamella.kernels.rows import Box
    from lamella.kernels.sampling import ImageGrid
    from lamella.tomograms.iterations import Slabs
    from lamella.tomograms.reconstruct_settings import ReconstructSettings
    from lamella.tomograms.scheme import plan_scheme
    from lamella.tomograms.tilt_images import StoredViews

    torch.set_num_threads(1)
    print(f"\n{views} views of {size}² to {size} × {size} × {planes} voxels, one thread")
    print(f"{'':10s} {'project':>9s} {'back':>8s} {'method':>12s} {'round':>9s} {'of their sum':>13s} {'peak':>9s}")
    for x_tilt in (0.0, 1.0):
        geometry = TiltGeometry.from_angles(np.linspace(-60, 60, views), 85.0, x_tilt_deg=x_tilt)
        box = Box(shape=(planes, size, size), voxel_size_ang=10.0)
        grid = ImageGrid.of(geometry, (size, size), 10.0, 10.0)
        stored = StoredViews(views, grid)
        stored.tensor[:] = torch.from_numpy(np.random.default_rng(1).standard_normal(grid.stored, np.float32))
        project, back = _whole_seconds(geometry, box)
        for name, (how, _most) in METHODS.items():
            scheme = plan_scheme(geometry.y_tilt_deg, ReconstructSettings(**how))
            slabs = Slabs(stored, geometry, grid, box, scheme)
            seconds = _round_seconds(slabs)
            print(
                f"x-tilt {x_tilt:g}° {project:7.3f} s {back:6.3f} s {name:>12s} {seconds:7.3f} s "
                f"{seconds / (project + back):12.2f} {peak_mib():6.0f} MiB",
                flush=True,
            )


def _whole_seconds(geometry: Any, box: Any) -> tuple[float, float]:
    """Seconds of one projection and one back-projection of a whole volume."""
    import torch

    from lamella.kernels.loops import Loops
    from lamella.kernels.rows import RowPlan

    plan, loops, first = RowPlan.rays(geometry), Loops.on("cpu"), box.first()
    window = plan.window(first, box.shape)
    volume, rows = torch.rand(box.shape), torch.zeros(window.size)
    project = _least_cpu(lambda: loops.project(volume, plan, window, first, rows))
    return project, _least_cpu(lambda: loops.back_project(rows, plan, window, first, volume))


def _least_cpu(work: Callable[[], object], runs: int = 3) -> float:
    """Least processor time of some runs, seconds: others may use the machine meanwhile."""
    times = []
    for _ in range(runs):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


def _round_seconds(slabs: Any) -> float:
    """Processor time of one round over all slabs of a tomogram, once they have begun."""
    from lamella.tomograms.memory import MemoryBudget
    from lamella.tomograms.slabs import cut_slabs

    rows, _workers = slabs.rows_within(MemoryBudget.of("auto"))
    spent = 0.0
    for y, count in cut_slabs(rows, slabs.box.shape[1], 1):
        work = slabs.start(y, count)
        work.round()
        spent += _least_cpu(work.round, 2)
    return spent


def peers(size: int = 256, rounds: int = 10) -> None:
    """One slice by other programs."""
    tilts = np.linspace(-60, 60, 41)
    phantom, views = _phantom(size, tilts)
    print(f"\none slice of {size}², {len(tilts)} views, {rounds} rounds")
    for name, work in _slice_programs(views, tilts, size, rounds).items():
        try:
            found = work()
        except ImportError as error:
            print(f"{name:24s} skipped: {error}")
            continue
        seconds = best_of(work) / rounds
        likeness = np.corrcoef(found.ravel(), phantom.ravel())[0, 1]
        print(f"{name:24s} {1e3 * seconds:8.1f} ms per round, CC with the phantom {likeness:.3f}", flush=True)


def _phantom(size: int, tilts: NDArray[np.float64]) -> tuple[Volume, Volume]:
    """Blobs within a circle, ``(z, x)``, and their projections ``(views, x)``, both exact."""
    rng = np.random.default_rng(5)
    z, x = np.mgrid[:size, :size] - size // 2
    phantom, views = np.zeros((size, size)), np.zeros((len(tilts), size))
    cos, sin = np.cos(np.deg2rad(tilts)), np.sin(np.deg2rad(tilts))
    for _ in range(40):
        radius, turn, sigma = rng.uniform(0, 0.4 * size), rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 6)
        pz, px = radius * np.sin(turn), radius * np.cos(turn)
        phantom += np.exp(-((z - pz) ** 2 + (x - px) ** 2) / (2 * sigma**2))
        place = (np.arange(size) - size // 2)[None] - (cos * px + sin * pz)[:, None]
        views += np.sqrt(2 * np.pi) * sigma * np.exp(-(place**2) / (2 * sigma**2))
    return phantom.astype(np.float32), views.astype(np.float32)


def _slice_programs(
    views: Volume, tilts: NDArray[np.float64], size: int, rounds: int
) -> dict[str, Callable[[], Volume]]:
    def ours(method: str) -> Volume:
        import torch

        from lamella.geometry import TiltGeometry
        from lamella.kernels.loops import Loops
        from lamella.kernels.rows import RowPlan
        from lamella.tomograms.algebraic import Iteration
        from lamella.tomograms.reconstruct_settings import ReconstructSettings
        from lamella.tomograms.scheme import plan_scheme

        plan = RowPlan.rays(TiltGeometry.from_angles(tilts, 0.0))
        first, shape = (-(size // 2), 0, -(size // 2)), (size, 1, size)
        window = plan.window(first, shape)
        rays = np.zeros(window.size, np.float32)
        for view, (offset, _p, samples, _r, _row, sample) in enumerate(window.layout.tolist()):
            place = (sample + np.arange(samples)) * plan.spacing_u[view]
            rays[offset : offset + samples] = np.interp(
                place, np.arange(size) - size // 2, views[view], left=0, right=0
            )
        scheme = plan_scheme(tilts, ReconstructSettings(method=method))
        work = Iteration(plan, window, first, shape, torch.from_numpy(rays), Loops.on("cpu"), scheme)
        for _ in range(rounds):
            work.round()
        return work.volume[:, 0].numpy()

    def astra_sirt() -> Volume:
        import astra

        space = astra.create_vol_geom(size, size)
        lines = astra.create_proj_geom("parallel", 1.0, size, -np.deg2rad(tilts))
        projector = astra.create_projector("linear", lines, space)
        data = astra.data2d.create("-sino", lines, views)
        out = astra.data2d.create("-vol", space)
        config = astra.astra_dict("SIRT") | {
            "ProjectorId": projector, "ProjectionDataId": data, "ReconstructionDataId": out
        }  # fmt: skip
        algorithm = astra.algorithm.create(config)
        astra.algorithm.run(algorithm, rounds)
        return np.asarray(astra.data2d.get(out))

    def skimage_sart() -> Volume:
        from skimage.transform import iradon_sart

        image = None
        for _ in range(rounds):
            image = iradon_sart(views.T.astype(np.float64), theta=tilts, image=image)
        return np.asarray(image, np.float32)[::-1]

    return {
        "lamella sirt": lambda: ours("sirt"),
        "lamella sart": lambda: ours("sart"),
        "astra SIRT": astra_sirt,
        "scikit-image iradon_sart": skimage_sart,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
