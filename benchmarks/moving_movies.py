"""Movies of known motion for benchmarks, light enough for large frames, and how well it can be known at best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.formats.mrc import write_mrc
from lamella.formats.tiff_movie import write_movie_tiff
from lamella.fourier import frequency_axes, frequency_grid
from lamella.optics.ctf import contrast_transfer
from lamella.records import LocalMotion, MovieMotion

__all__ = ["PIXEL_ANG", "Movie", "least_error", "make_series"]

PIXEL_ANG = 1.35
VOLTAGE_KV = 300.0
CONTRAST = 0.06
"""Rms of the image beside its mean."""
B_FACTOR_ANG2 = 90.0
LOCAL_PX = 0.3
"""Rms of what differs over the field in the last frame."""


@dataclass(frozen=True, eq=False)
class Movie:
    """One movie on disk, its true motion, and the signal over noise of every coefficient ``(h, w // 2 + 1)``."""

    path: Path
    truth: MovieMotion
    ratio: torch.Tensor


def make_series(folder: Path, views: int, frames: int, size: int, dose: float, seed: int = 1) -> list[Movie]:
    """Write `views` movies (LZW TIFF), ``gain.mrc`` and ``TS.mrc.mdoc``.

    Each shows one image of CTF-filtered noise, which drifts, moves quickly in the first frames, trembles and bends,
    in Poisson noise of `dose` electrons per pixel and frame.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    gain = np.exp(rng.normal(0, 0.03, (size, size))).astype(np.float32)
    write_mrc(folder / "gain.mrc", gain, PIXEL_ANG)
    tilts = np.linspace(-60, 60, views) if views > 1 else np.zeros(1)
    movies = []
    for view, tilt in enumerate(tilts):
        contrast, power = _image(rng, size, 25000 + rng.normal(0, 300))
        truth = _motion(rng, frames, size)
        beam = dose * math.exp(-0.5 * (1 / math.cos(math.radians(tilt)) - 1))
        path = folder / f"TS_{view:03d}_{tilt:.1f}.tif"
        shown = (
            rng.poisson(beam * np.clip(1 + _moved(contrast, truth, frame), 0, None) / gain)
            .clip(0, 255)
            .astype(np.uint8)
            for frame in range(frames)
        )
        write_movie_tiff(path, shown, (frames, size, size), PIXEL_ANG)
        movies.append(Movie(path, truth, power * beam))
    (folder / "TS.mrc.mdoc").write_text(_mdoc(movies, tilts, size, frames, dose), "utf-8")
    return movies


def least_error(movie: Movie) -> float:
    """Cramér and Rao's bound of the rms error, px, of frames' motion about its mean, the frames taken as independent.

    The information on shifts along x is κ (F δ − 1), κ = Σ ρ² / (1 + F ρ) (2π k_x)² over the whole plane.
    """
    frames = len(movie.truth)
    size = movie.truth.shape_px
    _, kx = frequency_axes(size)
    weight = torch.full((size[1] // 2 + 1,), 2.0, dtype=torch.float64)
    weight[0] = weight[-1] = 1.0
    told = movie.ratio.double() ** 2 / (1 + frames * movie.ratio.double()) * (2 * math.pi * kx) ** 2
    kappa = float((told * weight).sum())
    return math.sqrt(2 * (1 - 1 / frames) / (frames * kappa))


def _image(rng: np.random.Generator, size: int, defocus_ang: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Transform of the contrast ``(h, w // 2 + 1)``, and its expected power per e/px of Poisson noise."""
    shape = (size, size)
    k = frequency_grid(shape) / PIXEL_ANG
    ctf = contrast_transfer(shape, PIXEL_ANG, defocus_u_ang=defocus_ang, voltage_kv=VOLTAGE_KV)
    root = ctf * torch.exp(-B_FACTOR_ANG2 * k**2 / 4) / torch.sqrt(1 + (60 * k) ** 2)
    root[k < 1 / 400] = 0
    terms = torch.fft.rfft2(torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))) * root
    rms = float(torch.fft.irfft2(terms, s=shape).std())
    return terms * (CONTRAST / rms), root**2 * (CONTRAST / rms) ** 2


def _motion(rng: np.random.Generator, frames: int, size: int) -> MovieMotion:
    time = np.arange(frames) / max(frames - 1, 1)
    courses = np.stack([time, -np.expm1(-time / 0.15)])
    course = courses.T @ (rng.normal(0, 1, (2, 2)) * np.array([[1.2], [1.5]]) / PIXEL_ANG)
    course += np.cumsum(rng.normal(0, 0.1, course.shape), axis=0) + rng.normal(0, 0.1, course.shape)
    field = rng.normal(0, 1, (2, 4, 4))
    local = LocalMotion(field[None] * courses[1][:, None, None, None], (size, size))
    y = x = np.linspace(0, size - 1, 9)
    moved = local.on_grid(y, x)
    moved_rms = float(np.sqrt(((moved - moved.mean(axis=(2, 3), keepdims=True))[-1] ** 2).sum(axis=0).mean()))
    coefficients = local.coefficients_px - local.coefficients_px.mean(axis=(2, 3), keepdims=True)
    return MovieMotion(
        shape_px=(size, size),
        pixel_size_ang=PIXEL_ANG,
        global_px=course - course[0],
        local=LocalMotion(coefficients * (LOCAL_PX / moved_rms), (size, size)),
    )


def _moved(terms: torch.Tensor, truth: MovieMotion, frame: int) -> NDArray[np.float32]:
    """The image in one frame: moved as a whole exactly, and then by the field's Taylor series up to second order."""
    size = truth.shape_px
    ky, kx = frequency_axes(size)
    x, y = truth.global_px[frame]
    terms = (
        terms
        * torch.polar(torch.ones_like(ky), -2 * math.pi * y * ky)
        * torch.polar(torch.ones_like(kx), -2 * math.pi * x * kx)
    )
    out = torch.fft.irfft2(terms, s=size)
    assert truth.local is not None
    if not truth.local.coefficients_px[frame].any():
        return np.asarray(out.numpy(), np.float32)
    one = LocalMotion(truth.local.coefficients_px[frame : frame + 1], size)
    dx, dy = (-torch.from_numpy(part).float() for part in one.on_grid(np.arange(size[0]), np.arange(size[1]))[0])
    by_x, by_y = 2j * math.pi * kx, 2j * math.pi * ky
    for factor, slope in (
        (dx, by_x),
        (dy, by_y),
        (dx * dx / 2, by_x**2),
        (dx * dy, by_x * by_y),
        (dy * dy / 2, by_y**2),
    ):
        out = out + factor * torch.fft.irfft2(terms * slope, s=size)
    return np.asarray(out.numpy(), np.float32)


def _mdoc(movies: list[Movie], tilts: NDArray[np.float64], size: int, frames: int, dose: float) -> str:
    per_view = dose * frames / PIXEL_ANG**2
    lines = [
        f"PixelSpacing = {PIXEL_ANG}",
        f"Voltage = {VOLTAGE_KV:g}",
        "ImageFile = TS.mrc",
        f"ImageSize = {size} {size}",
        "DataMode = 1",
        "",
        "[T = SerialEM: benchmark]",
        "",
        "[T =     Tilt axis angle = 85.0, binning = 1  spot = 8  camera = 0]",
        "",
    ]
    for view, (movie, tilt) in enumerate(zip(movies, tilts, strict=True)):
        lines += [
            f"[ZValue = {view}]",
            f"TiltAngle = {tilt:.3f}",
            f"ExposureDose = {per_view:.4f}",
            f"PriorRecordDose = {view * per_view:.4f}",
            f"PixelSpacing = {PIXEL_ANG}",
            "RotationAngle = 175",
            f"SubFramePath = X:\\frames\\{movie.path.name}",
            f"NumSubFrames = {frames}",
            f"DateTime = 01-Mar-2024  09:{view:02d}:00",
            "",
        ]
    return "\n".join(lines)
