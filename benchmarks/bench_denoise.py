"""Denoising and cleaning: likeness to the truth, time and memory; the diffusion step beside plain torch.

    python -m benchmarks.bench_denoise [--full [EDGE]]

``--full``: one diffusion step of EDGE³ voxels (512), alone, its rate and the bytes per voxel that it must move at
least: the volume is read once and written once, 8 bytes. `copy` is the rate at which this machine copies
such a volume, which moves the same bytes and computes nothing.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter

from benchmarks.machine import best_of, machine_name, peak_mib
from lamella.kernels import diffuse, diffuse_reference, neighbourhood
from lamella.kernels.diffuse_model import DiffusionModel
from lamella.records import ArrayVolume
from lamella.runtime import prepare, threads
from lamella.tilts.clean_settings import CleanSettings
from lamella.tilts.outliers import erase_outliers, find_outliers
from lamella.tomograms.denoise import denoise
from lamella.tomograms.denoise_settings import DenoiseSettings

Volume = NDArray[np.float32]


def specimen(n: int, seed: int = 1) -> Volume:
    """Two vesicles, four filaments, 25 particles; dark."""
    random = np.random.default_rng(seed)
    places = np.stack(np.mgrid[:n, :n, :n], axis=-1).astype(np.float32)
    volume = np.zeros((n, n, n), np.float32)
    for centre, radius in (((0.35, 0.4, 0.4), 0.22), ((0.7, 0.68, 0.66), 0.18)):
        distance = np.linalg.norm(places - np.multiply(centre, n).astype(np.float32), axis=-1)
        volume -= np.exp(-0.5 * ((distance - radius * n) / 1.3) ** 2)
    for _ in range(4):
        start, direction = random.uniform(0.1 * n, 0.9 * n, 3), random.normal(size=3)
        offset = places - start.astype(np.float32)
        along = offset @ (direction / np.linalg.norm(direction)).astype(np.float32)
        square = np.maximum((offset**2).sum(-1) - along**2, 0)
        volume -= 1.2 * np.exp(-0.5 * square / 1.8**2)
    for _ in range(25):
        distance = np.linalg.norm(places - random.uniform(6, n - 6, 3).astype(np.float32), axis=-1)
        volume -= 0.5 - 0.5 * np.tanh((distance - random.uniform(3, 5)) / 1.2)
    return volume


def imaged(volume: Volume, snr: float, colour_px: float) -> tuple[Volume, Volume]:
    """The volume and the volume with noise, both without a wedge of ±30 degrees; the noise is smoothed a little."""
    n = len(volume)
    kz, kx = np.fft.fftfreq(n)[:, None, None], np.fft.rfftfreq(n)[None, None]
    seen = np.abs(kz) <= np.tan(np.deg2rad(60)) * np.abs(kx) + 1e-9
    noise = np.random.default_rng(2).normal(size=volume.shape)
    noise = gaussian_filter(noise, colour_px) if colour_px else noise
    truth, noise = (np.fft.irfftn(np.fft.rfftn(part) * seen, s=part.shape, axes=(0, 1, 2)) for part in (volume, noise))
    noise *= truth.std() / np.sqrt(snr) / noise.std()
    return truth.astype(np.float32), (truth + noise).astype(np.float32)


def likeness(a: Volume, b: Volume) -> float:
    """Correlation coefficient."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def compare_methods(n: int) -> None:
    """Correlation with the truth for every method and several noises."""
    volume = specimen(n)
    cases = [imaged(volume, snr, colour) for snr, colour in ((0.1, 0.0), (0.1, 0.7), (0.5, 0.7), (2.0, 0.7))]
    print(f"\ncorrelation with the true {n}³ volume (missing wedge)")
    print(f"{'method':<26}{'SNR 0.1 white':>15}{'SNR 0.1':>10}{'SNR 0.5':>10}{'SNR 2':>10}{'s':>8}")

    def row(name: str, work: list[float], seconds: float) -> None:
        print(f"{name:<26}{work[0]:>15.3f}" + "".join(f"{value:>10.3f}" for value in work[1:]) + f"{seconds:>8.1f}")

    row("as it is", [likeness(noisy, truth) for truth, noisy in cases], 0)
    widths = (0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 1.8, 2.2)
    best = [max(likeness(gaussian_filter(noisy, width), truth) for width in widths) for truth, noisy in cases]
    row("Gaussian, best width", best, 0)
    for name, settings in (
        ("nad hybrid", DenoiseSettings()),
        ("nad eed", DenoiseSettings(mode="eed")),
        ("nad ced", DenoiseSettings(mode="ced")),
        ("bilateral", DenoiseSettings(method="bilateral")),
        ("median 3", DenoiseSettings(method="median")),
        ("median 5", DenoiseSettings(method="median", size=5)),
        ("gaussian, auto", DenoiseSettings(method="gaussian")),
        ("tv", DenoiseSettings(method="tv")),
        ("nlm", DenoiseSettings(method="nlm")),
    ):
        values, start = [], time.perf_counter()
        for truth, noisy in cases:
            out = ArrayVolume(np.empty_like(noisy))
            denoise(ArrayVolume(noisy), settings, out)
            values.append(likeness(out.array, truth))
        row(name, values, (time.perf_counter() - start) / len(cases))


def time_steps(n: int) -> None:
    """One diffusion step and the filters, beside plain torch and SciPy."""
    volume = np.random.default_rng(0).normal(size=(n, n, n)).astype(np.float32)
    spare = np.empty_like(volume)
    state = torch.from_numpy(volume)
    print(f"\none pass over {n}³, {threads()} threads")
    print(f"{'work':<44}{'s':>9}{'Mvoxel/s':>10}")

    def row(name: str, seconds: float) -> None:
        print(f"{name:<44}{seconds:>9.3f}{n**3 / seconds / 1e6:>10.1f}", flush=True)

    for rho in (1.0, 2.0):
        model = DiffusionModel(mode="hybrid", contrast=0.5, coherence=0.1, sigma_px=1.0, rho_px=rho)
        diffuse.diffuse_step(volume[:16, :16, :16].copy(), model)
        row(f"nad step, rho {rho:g}: numba", best_of(lambda m=model: diffuse.diffuse_step(volume, m, spare)))
        row(f"nad step, rho {rho:g}: plain torch", best_of(lambda m=model: diffuse_reference.diffuse_step(state, m), 2))
    part = state[:32]  # an eigen-decomposition by LAPACK is too slow for the whole
    tensor = diffuse_reference.structure_tensor(part, 1.0, 1.0)
    matrices = tensor[[0, 1, 2, 1, 3, 4, 2, 4, 5]].permute(1, 2, 3, 0).reshape(-1, 3, 3)
    row("  of it, eigenvectors by torch.linalg.eigh", best_of(lambda: torch.linalg.eigh(matrices), 1) * n / 32)
    row("median 3: numba", best_of(lambda: neighbourhood.median(volume, 3), 2))
    row("median 3: scipy", best_of(lambda: median_filter(volume[: n // 8], size=3), 1) * 8)
    row("bilateral 1.2: numba", best_of(lambda: neighbourhood.bilateral(volume, 1.2, 3.0), 2))
    row(
        "bilateral 1.2: plain torch",
        best_of(lambda: neighbourhood.bilateral_reference(state[: n // 8], 1.2, 3.0), 1) * 8,
    )


def time_full_step(n: int) -> None:
    """One diffusion step of a large volume beside a copy of it: seconds, and the traffic that both need at least."""
    volume = np.random.default_rng(0).standard_normal((n, n, n), dtype=np.float32)
    spare = np.empty_like(volume)
    least = 2 * volume.itemsize  # bytes per voxel: read once, written once
    print(f"\none step over {n}³, {threads()} threads; at least {least} bytes per voxel moved")
    print(f"{'work':<24}{'s':>9}{'ns/voxel':>10}{'GB/s':>8}")

    def row(name: str, seconds: float) -> None:
        print(f"{name:<24}{seconds:>9.3f}{1e9 * seconds / n**3:>10.2f}{least * n**3 / seconds / 1e9:>8.2f}", flush=True)

    target, source = torch.from_numpy(spare), torch.from_numpy(volume)
    row("copy", best_of(lambda: target.copy_(source)))
    for mode in ("hybrid", "eed", "ced"):
        model = DiffusionModel(mode=mode, contrast=0.5, coherence=0.1, sigma_px=1.0, rho_px=1.0)
        diffuse.diffuse_step(volume[:16, :16, :16].copy(), model)
        row(f"nad {mode}, rho 1", best_of(lambda m=model: diffuse.diffuse_step(volume, m, spare)))


def memory_in_tiles(n: int) -> None:
    """Peak memory of a whole volume and of tiles."""
    volume = np.random.default_rng(0).normal(size=(n, n, n)).astype(np.float32)
    out = ArrayVolume(np.empty_like(volume))
    print(f"\nnad of {n}³ ({volume.nbytes / 2**20:.0f} MiB and as much for the result), 5 steps")
    print(f"{'memory allowed':<20}{'tiles':>6}{'s':>8}{'peak MiB':>10}")
    for memory in (0.1, 0.3, "auto"):
        settings = DenoiseSettings(memory=memory, iterations=5)
        base, start = peak_mib(), time.perf_counter()
        result = denoise(ArrayVolume(volume), settings, out)
        label = memory if memory == "auto" else f"{memory} GiB"
        print(
            f"{label:<20}{result.tiles:>6}{time.perf_counter() - start:>8.1f}{'+':>3}{peak_mib() - base:>7.0f}",
            flush=True,
        )


def time_cleaning(n: int) -> None:
    """X-rays on counted images."""
    random = np.random.default_rng(0)
    image = random.poisson(20 * (1 + gaussian_filter(random.normal(size=(n, n)), 20)).clip(0.1)).astype(np.float32)
    y, x = random.integers(9, n - 9, size=(2, 200))
    image[y, x] += 200
    found = find_outliers(image, CleanSettings()).mask
    seconds = best_of(lambda: erase_outliers(image, CleanSettings()))
    print(f"\nX-rays in {n}²: {seconds:.3f} s, {found[y, x].sum()} of {len(y)} found, {found.sum()} pixels replaced")


def main(arguments: list[str]) -> int:
    """Print the tables."""
    prepare(torch=True)
    print(machine_name())
    if arguments[:1] == ["--full"]:
        time_full_step(int((*arguments, "512")[1]))
        return 0
    memory_in_tiles(256)
    compare_methods(96)
    time_steps(256)
    time_cleaning(1024)
    time_cleaning(4096)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
