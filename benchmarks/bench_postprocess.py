"""Postprocessing against a known map: resolution and B-factor beside the truth and RELION's program; time of each part.

A ribosome from atoms is damped by a known B-factor, and given white noise of its own in each half. Truth is the
correlation of the mean with the damped map at 0.5 under the same mask, by the same rule, and Guinier's line of that map
without noise.

    python -m benchmarks.bench_postprocess [BOX] [VOXEL_ANG] [B_ANG2] [NOISE ...]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import machine_name, peak_mib

Volume = NDArray[np.float32]
COPIES, TOMOGRAM, TOMOGRAM_VOXEL_ANG = 100, (128, 256, 256), 10.0


def main(box: str = "160", voxel: str = "2.5", b_factor: str = "100", *noises: str) -> None:
    """Print one block per noise level."""
    from lamella.runtime import prepare

    prepare(torch=True)
    print(machine_name())
    signal = _signal(int(box), float(voxel), float(b_factor))
    for noise in noises or ("1", "2", "4"):
        _judge(signal, float(voxel), float(b_factor), float(noise))
    print(f"peak {peak_mib():.0f} MiB")


def _signal(size: int, voxel: float, b_factor: float) -> Volume:
    """The ribosome in its box, standard deviation 1 before it is damped."""
    from lamella.fourier import apply_filter, frequency_grid
    from lamella.simulate.library import named_template

    body = np.asarray(named_template("ribosome", voxel_size_ang=voxel).volume, np.float32)
    if body.shape[0] > size:
        raise SystemExit(f"the ribosome wants a box of {body.shape[0]} voxels of {voxel:g} Å")
    before = size // 2 - body.shape[0] // 2
    full = torch.from_numpy(np.pad(body, (before, size - body.shape[0] - before)))
    k = frequency_grid(full.shape) / voxel
    damped: Volume = apply_filter(full / full.std(), torch.exp(-b_factor * k**2 / 4)).numpy()
    return damped


def _judge(signal: Volume, voxel: float, b_factor: float, noise: float) -> None:
    from lamella.fourier import shell_correlation
    from lamella.particles.guinier import fit_guinier
    from lamella.particles.postprocess import postprocess
    from lamella.particles.postprocess_settings import PostprocessSettings
    from lamella.records.map_fsc import MapFsc

    rng = np.random.default_rng(1)
    half1, half2 = ((signal + noise * rng.normal(size=signal.shape)).astype(np.float32) for _ in range(2))
    marks: list[tuple[str, float]] = []

    def tell(share: float, text: str = "") -> None:
        if not marks or marks[-1][0] != text:
            marks.append((text, time.perf_counter()))

    made = postprocess(half1, half2, voxel, PostprocessSettings(), progress=tell)
    mask = torch.from_numpy(made.mask)
    frequency, truth, _ = shell_correlation(
        torch.from_numpy((half1 + half2) / 2) * mask, torch.from_numpy(signal) * mask
    )
    with_truth = MapFsc.with_truth(frequency.numpy() / voxel, truth.numpy(), made.fsc.terms)
    clean = fit_guinier(signal * made.mask, voxel, np.ones(len(frequency)), to_ang=made.resolution_ang)
    print(f"\nnoise {noise:g}, {signal.shape[0]} voxels of {voxel:g} Å, damped by {b_factor:g} Å²")
    print(f"resolution {made.resolution_ang:.3f} Å, truth {with_truth.resolution_ang() or 2 * voxel:.3f} Å")
    print(
        f"B-factor {made.b_factor_ang2:.1f} ± {made.guinier.b_factor_error_ang2 or 0:.0f} Å² from "
        f"{made.guinier.from_ang:g} Å on, of the map without noise {clean.b_factor_ang2 or 0:.1f} Å²"
    )
    if made.local is not None and made.directional is not None:
        low, high = made.local.percentiles_ang
        local = f"local {low:.2f} … {made.local.median_ang:.2f} … {high:.2f} Å"
        print(f"{local}, sphericity {made.directional.sphericity:.3f}")
    parts = [f"{text} {after - before:.2f} s" for (text, before), (_, after) in pairwise(marks)]
    print(", ".join(parts))
    _relion(half1, half2, made.mask, voxel)
    _place(made.masked, voxel)


def _relion(half1: Volume, half2: Volume, mask: Volume, voxel: float) -> None:
    """The same halves and mask in RELION's program, where it is installed."""
    from lamella.formats.mrc import write_mrc
    from lamella.formats.star import read_star

    if shutil.which("relion_postprocess") is None:
        return
    with TemporaryDirectory() as folder:
        for name, volume in (("half1", half1), ("half2", half2), ("mask", mask)):
            write_mrc(Path(folder) / f"{name}.mrc", volume, voxel)
        names = ["--i", "half1.mrc", "--i2", "half2.mrc", "--mask", "mask.mrc", "--o", "out"]
        start = time.perf_counter()
        subprocess.run(["relion_postprocess", *names, "--auto_bfac"], cwd=folder, capture_output=True, check=False)
        took = time.perf_counter() - start
        table = read_star(Path(folder) / "out.star")["general"]
    resolution, b_factor = (
        float(table.text(f"rln{name}")[0]) for name in ("FinalResolution", "BfactorUsedForSharpening")
    )
    print(f"RELION: {resolution:.3f} Å, B-factor {b_factor:.1f} Å², {took:.2f} s without local resolution")


def _place(reference: Volume, voxel: float) -> None:
    """Time of copies in a tomogram."""
    from lamella.geometry import euler_matrix
    from lamella.particles.placed_copies import place_copies

    rng = np.random.default_rng(2)
    angles = rng.uniform(0, 180, (3, COPIES))
    half = np.array(TOMOGRAM[::-1]) * TOMOGRAM_VOXEL_ANG / 2
    places = rng.uniform(-half, half, (COPIES, 3))
    start = time.perf_counter()
    place_copies(
        reference, voxel, euler_matrix(*angles), places, TOMOGRAM, TOMOGRAM_VOXEL_ANG, lambda z, y, x, block: None
    )
    print(f"{COPIES} copies in {TOMOGRAM}: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
