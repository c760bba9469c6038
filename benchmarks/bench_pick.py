"""Template matching: time per orientation beside plain ways of doing it, and recall on simulated series with truth.

    python -m benchmarks.bench_pick                      time per orientation, 64³ template in 256 × 256 × 128
    python -m benchmarks.bench_pick FOLDER [NAME ...]    and recall, precision and errors on a simulated data set

FOLDER is what `lamella simulate` made; its series are reconstructed with their true geometry and defoci. NAMEs are
complexes (``ribosome``, ``groel``); where their symmetry is not C1 write ``groel:D7``. Plain ways: the template turned
by `scipy.ndimage.affine_transform` or torch's `grid_sample` and put into the tomogram's size, one transform and one
inverse transform with scipy's or torch's real FFT, and the maximum of all orientations.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHAPE, EDGE, VOXEL_ANG = (128, 256, 256), 64, 10.0
LARGE = (250, 464, 480)
MATCH_ANG = 60.0
ROUNDS = 6


def main(folder: str = "", *names: str) -> None:
    """Print the tables."""
    from lamella.runtime import prepare

    prepare(torch=True)
    from benchmarks.machine import machine_name

    print(machine_name())
    _speed()
    if folder:
        _recall(Path(folder), names or ("ribosome",))


def _speed() -> None:
    import numpy as np
    import torch

    from lamella.fourier import fast_size
    from lamella.geometry import TiltGeometry
    from lamella.particles.matching import BlockSearch
    from lamella.particles.search_grid import search_grid
    from lamella.particles.template_cube import TemplateCube
    from lamella.particles.template_weights import SearchWeights
    from lamella.records import TiltSeries

    rng = np.random.default_rng(1)
    volume = torch.from_numpy(rng.normal(size=SHAPE).astype(np.float32))
    spectrum, best = torch.fft.rfftn(volume), torch.full(SHAPE, -torch.inf)
    template = rng.normal(size=(EDGE,) * 3).astype(np.float32)
    tilts = np.arange(-60, 61, 3.0)
    series = TiltSeries(
        name="speed", pixel_size_ang=VOXEL_ANG, image_shape_px=(256, 256), nominal_tilt_deg=tilts,
        nominal_axis_deg=np.zeros(len(tilts)), geometry=TiltGeometry.from_angles(tilts),
    )  # fmt: skip
    grid = search_grid(7.0)
    print(f"64³ template in 256 × 256 × 128, rotation included; 7°: {len(grid)} orientations")
    print(
        f"scipy  {_best(lambda k: _scipy(spectrum.numpy(), template, grid[k], best.numpy())):6.1f} ms per orientation"
    )
    print(f"torch  {_best(lambda k: _torch(spectrum, template, grid[k], best)):6.1f} ms per orientation")
    for label, highest, ratio in (
        ("all frequencies", 0.49, 1.0),
        ("three voxels' detail, coarser by 5/4", 1 / 3, 1.25),
    ):
        shape = tuple(fast_size(math.ceil(n / ratio)) for n in SHAPE)
        weights = SearchWeights.of(series, VOXEL_ANG, EDGE * VOXEL_ANG / 2, None, highest_px=highest)
        block = torch.from_numpy(rng.normal(size=shape).astype(np.float32))
        search = BlockSearch(block, torch.ones(shape), ratio, EDGE / 4, weights, highest * ratio)
        cube = TemplateCube.of(template, highest)
        took = _best(lambda k, s=search, c=cube: s.search(c, grid[2 * k : 2 * k + 2])) / 2
        large = np.prod(LARGE) / np.prod(SHAPE) * took * len(grid) / 3.6e6
        print(f"here   {took:6.1f} ms per orientation, {label}; 480 × 464 × 250 at 7°: {large:.1f} h by voxels")


def _best(work: Callable[[int], Any]) -> float:
    """Least time of some rounds, ms."""
    work(0)
    times = []
    for k in range(1, ROUNDS):
        begun = time.perf_counter()
        work(k)
        times.append(time.perf_counter() - begun)
    return 1e3 * min(times)


def _scipy(spectrum: Any, template: Any, matrix: Any, best: Any) -> None:
    import numpy as np
    import scipy.fft
    from scipy.ndimage import affine_transform

    from lamella.runtime import threads

    back = matrix.T[::-1, ::-1]
    middle = np.full(3, EDGE // 2)
    turned = affine_transform(template, back, offset=middle - back @ middle, order=1)
    padded = np.zeros(SHAPE, np.float32)
    padded[:EDGE, :EDGE, :EDGE] = turned
    terms = spectrum * scipy.fft.rfftn(padded, workers=threads()).conj()
    np.maximum(best, scipy.fft.irfftn(terms, s=SHAPE, workers=threads()), out=best)


def _torch(spectrum: Any, template: Any, matrix: Any, best: Any) -> None:
    import torch
    import torch.nn.functional as F

    turn = torch.from_numpy(matrix.T.copy()).float()
    places = F.affine_grid(torch.cat([turn, torch.zeros(3, 1)], 1)[None], [1, 1, EDGE, EDGE, EDGE], align_corners=True)
    turned = F.grid_sample(torch.from_numpy(template)[None, None], places, align_corners=True)[0, 0]
    padded = torch.zeros(SHAPE)
    padded[:EDGE, :EDGE, :EDGE] = turned
    torch.maximum(best, torch.fft.irfftn(spectrum * torch.fft.rfftn(padded).conj(), s=SHAPE), out=best)


def _recall(root: Path, names: tuple[str, ...]) -> None:
    import numpy as np

    from lamella.formats.images import open_images
    from lamella.formats.relion import read_tilt_series
    from lamella.records import ArrayVolume
    from lamella.tomograms import ReconstructSettings, plan_tomogram, reconstruct, tomogram_shape

    for series in read_tilt_series(root / "truth" / "tilt_series.star", root):
        settings = ReconstructSettings(halves="off")
        tomogram = plan_tomogram(series, settings)
        volume = np.zeros(tomogram_shape(tomogram), np.float32)
        reconstruct(series, open_images(series.images, root), tomogram, settings, ArrayVolume(volume))
        for name in names:
            _picked(root, tomogram, volume, *name.partition(":")[::2])


def _picked(root: Path, tomogram: Any, volume: Any, name: str, symmetry: str) -> None:
    import numpy as np
    from scipy.spatial import cKDTree

    from lamella.geometry import rotation_angle_deg
    from lamella.particles import PickSettings, pick, prepare_template
    from lamella.records import ArrayVolume
    from lamella.simulate.library import named_template

    true = named_template(name, 4.0)
    template = prepare_template(true.volume, 4.0, tomogram.voxel_size_ang, resolution_ang=30.0)
    settings = PickSettings(symmetry=symmetry or "C1")
    begun = time.perf_counter()
    result = pick(tomogram, ArrayVolume(volume), template, settings)
    took = time.perf_counter() - begun
    centres, matrices = _truth(root, tomogram.name, name)
    found = result.particles
    far, which = cKDTree(centres).query(found.positions_ang())
    order = np.argsort(far, kind="stable")
    _all, first = np.unique(which[order], return_index=True)
    own = np.zeros(len(found), dtype=bool)
    own[order[first]] = True
    own &= far < MATCH_ANG
    hits, rank = np.cumsum(own), np.arange(1, len(found) + 1)
    at = np.flatnonzero(hits / rank >= 0.9)
    angles = rotation_angle_deg(found.matrices()[own], matrices[which[own]], settings.symmetry)
    print(
        f"{tomogram.name} {name}: {took:.0f} s, {result.orientations} orientations of {result.plan.step_deg:.1f}°, "
        f"{len(found)} picked above {result.threshold:.2f}: recall {own.sum() / len(centres):.3f}, precision "
        f"{own.mean():.3f}; recall at precision 0.9 {hits[at[-1]] / len(centres) if len(at) else 0:.3f}; median errors "
        f"{np.median(far[own]):.2f} Å, {np.median(angles):.2f}°",
        flush=True,
    )


def _truth(root: Path, tomogram: str, name: str) -> tuple[Any, Any]:
    import numpy as np

    from lamella.formats.star import read_star
    from lamella.geometry import euler_matrix

    columns = next(iter(read_star(root / "truth" / "particles.star").values())).columns
    here = (np.array(columns["rlnTomoName"]) == tomogram) & (np.array(columns["lamellaTemplate"]) == name)
    places, angles = (
        np.stack([np.array(columns[f"rln{part}"]).astype(float) for part in parts], -1)[here]
        for parts in (
            [f"CenteredCoordinate{axis}Angst" for axis in "XYZ"],
            ["AngleRot", "AngleTilt", "AnglePsi"],
        )
    )
    return places, euler_matrix(*angles.T)


if __name__ == "__main__":
    main(*sys.argv[1:])
