"""Classical filters against the truth at every strength, and what a step of anisotropic diffusion moves.

    python -m benchmarks.bench_classical [EDGE] [STEP_EDGE]

EDGE is that of the volume that is filtered, STEP_EDGE that of the volume on which one step is timed (512).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_bilateral, denoise_nl_means, denoise_tv_chambolle

from benchmarks.bench_denoise import imaged, likeness, specimen
from benchmarks.machine import best_of, machine_name
from lamella.fourier import shell_correlation
from lamella.kernels import diffuse
from lamella.kernels.diffuse_model import DiffusionModel
from lamella.records import ArrayVolume
from lamella.runtime import prepare, threads
from lamella.tomograms.classical import Recipe
from lamella.tomograms.denoise import denoise
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.survey import Samples, noise_sd

Volume = NDArray[np.float32]
FACTORS = (0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0, 2.8)
BANDS_PX = ((40.0, 12.0), (12.0, 7.0), (7.0, 4.5))


def main(edge: int = 96, step_edge: int = 512) -> None:
    """Print the tables."""
    prepare(torch=True)
    print(machine_name())
    for snr, colour in ((0.1, 0.0), (0.1, 0.7), (0.5, 0.7)):
        truth, noisy = imaged(specimen(edge), snr, colour)
        print(
            f"\n{edge}³ with a missing wedge, SNR {snr:g}, noise smoothed over {colour:g} px: CC with truth by strength"
        )
        print(f"{'':<12}{'auto':>7}" + "".join(f"{f'x {factor:g}':>8}" for factor in FACTORS) + f"{'best at':>10}")
        _by_strength(truth, noisy)
        _at_default(truth, noisy)
    _peers(imaged(specimen(edge), 0.1, 0.7))
    _step(step_edge)


def _by_strength(truth: Volume, noisy: Volume) -> None:
    noise = noise_sd(Samples.of(ArrayVolume(noisy)).blocks)
    unit = ((noisy - noisy.mean()) / noise).astype(np.float32)
    for method in ("gaussian", "tv", "nlm"):
        out = ArrayVolume(np.empty_like(noisy))
        found = denoise(ArrayVolume(noisy), DenoiseSettings(method=method), out).strength
        assert found is not None
        curve = [likeness(Recipe(method, found * factor)(unit), truth) for factor in FACTORS]
        _print_curve(method, f"{found:.2f}", curve)
    for mode in ("eed", "hybrid"):
        steps = [max(1, round(20 * factor)) for factor in FACTORS]
        curve = [likeness(_run(noisy, DenoiseSettings(mode=mode, iterations=count)), truth) for count in steps]
        _print_curve(f"nad {mode}", "20", curve)
    widths = [3.0 * factor for factor in FACTORS]
    curve = [likeness(_run(noisy, DenoiseSettings(method="bilateral", value_range=w)), truth) for w in widths]
    _print_curve("bilateral", "3", curve)


def _print_curve(name: str, strength: str, curve: list[float]) -> None:
    values = "".join(f"{value:>8.3f}" for value in curve)
    print(f"{name:<12}{strength:>7}{values}{f'x {FACTORS[int(np.argmax(curve))]:g}':>10}", flush=True)


def _run(noisy: Volume, settings: DenoiseSettings) -> Volume:
    out = ArrayVolume(np.empty_like(noisy))
    denoise(ArrayVolume(noisy), settings, out)
    return out.array


def _at_default(truth: Volume, noisy: Volume) -> None:
    """Shell correlation with the truth at default strength, in three bands."""
    bands = "".join(f"{f'{a:g}-{b:g} px':>12}" for a, b in BANDS_PX)
    print(f"{'FSC':<12}{bands}")
    for name, volume in (("as it is", noisy), *_defaults(noisy)):
        k, curve, _count = (part.numpy() for part in shell_correlation(*map(torch.from_numpy, (volume, truth))))
        values = "".join(f"{curve[(k >= 1 / a) & (k < 1 / b)].mean():>12.3f}" for a, b in BANDS_PX)
        print(f"{name:<12}{values}", flush=True)


def _defaults(noisy: Volume) -> Iterator[tuple[str, Volume]]:
    for method in ("nad", "bilateral", "median", "gaussian", "tv", "nlm"):
        yield method, _run(noisy, DenoiseSettings(method=method))


def _peers(pair: tuple[Volume, Volume]) -> None:
    """The whole step beside the bare functions of scikit-image and SciPy, with as much noise."""
    truth, noisy = pair
    unit = ((noisy - noisy.mean()) / noise_sd(Samples.of(ArrayVolume(noisy)).blocks)).astype(np.float32)
    quarter = unit[: len(unit) // 4, :48, :48]
    scale = unit.size / quarter.size
    print(f"\n{'beside peers':<44}{'s':>8}{'CC':>8}")
    peers: dict[str, tuple[Callable[[Volume], Volume], Volume]] = {
        "skimage denoise_tv_chambolle, weight 1": (lambda v: denoise_tv_chambolle(v, weight=1.0), unit),
        "skimage denoise_nl_means, h 1, fast": (
            lambda v: denoise_nl_means(v, patch_size=3, patch_distance=3, h=1.0, sigma=1.0, fast_mode=True), unit
        ),
        "scipy gaussian_filter, 1.5": (lambda v: gaussian_filter(v, 1.5), unit),
        "skimage denoise_bilateral, slice by slice": (
            lambda v: np.stack([denoise_bilateral(s - s.min(), sigma_color=3.0, sigma_spatial=1.2) for s in v]),
            quarter,
        ),
    }  # fmt: skip
    for name, (work, given) in peers.items():
        begun = time.perf_counter()
        result = work(given)
        seconds = (time.perf_counter() - begun) * (scale if given is quarter else 1)
        match = truth[: len(unit) // 4, :48, :48] if given is quarter else truth
        print(f"{name:<44}{seconds:>8.2f}{likeness(result, match):>8.3f}", flush=True)
    for method in ("tv", "nlm", "gaussian", "bilateral", "nad"):
        begun = time.perf_counter()
        result = _run(noisy, DenoiseSettings(method=method))
        print(f"{f'lamella {method}, strength found, whole step':<44}{time.perf_counter() - begun:>8.2f}"
              f"{likeness(result, truth):>8.3f}", flush=True)  # fmt: skip


def _step(edge: int) -> None:
    """One step of diffusion over edge³: seconds, and the bytes that must move and those of plain arrays."""
    volume = np.random.default_rng(0).normal(size=(edge, edge, edge)).astype(np.float32)
    spare = np.empty_like(volume)
    copy = best_of(lambda: np.copyto(spare, volume), 3)
    print(
        f"\none step of nad over {edge}³, {threads()} threads; a copy of the volume (8 bytes per voxel): {copy:.3f} s"
    )
    for mode in ("eed", "ced", "hybrid"):
        model = DiffusionModel(mode=mode, contrast=0.5, coherence=0.1, sigma_px=1.0, rho_px=1.0)  # type: ignore[arg-type]
        diffuse.diffuse_step(volume[:16, :16, :16].copy(), model)
        seconds = best_of(lambda m=model: diffuse.diffuse_step(volume, m, spare), 2)
        scratch = diffuse.scratch_bytes(volume.shape, model) / volume.size
        print(
            f"{mode:<8}{seconds:>8.3f} s {seconds / edge**3 * 1e9:>6.1f} ns per voxel; 8 bytes per voxel pass memory "
            f"(one read, one write: {8 * edge**3 / seconds / 2**30:.2f} GiB/s, {seconds / copy:.0f} copies); what lies "
            f"between stays in rings of {scratch:.2f} bytes per voxel",
            flush=True,
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
