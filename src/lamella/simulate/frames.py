"""Write movies and gain references as a camera's computer leaves them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from lamella.formats.atomic import atomic_path, output_errors
from lamella.formats.eer_write import write_eer
from lamella.formats.mrc import write_mrc
from lamella.formats.mrc_writer import MrcWriter
from lamella.formats.tiff_movie import write_movie_tiff
from lamella.records import TiltSeries
from lamella.simulate.detector import Sensor, camera_of, exposure_seconds
from lamella.simulate.settings import SimulateSettings

__all__ = ["Extremes", "eer_fraction", "frame_names", "gain_name", "write_gain", "write_movie"]

Image = NDArray[np.float32]

SUFFIXES = {"tiff": ".tif", "mrc": ".mrc", "eer": ".eer"}
_QUARTERS = 4
_EIGHT_BITS = 60.0  # most electrons per pixel and frame that are written as 8-bit counts


@dataclass(frozen=True)
class Extremes:
    """Least, largest and mean count of a whole view."""

    low: float
    high: float
    mean: float


def frame_names(series: TiltSeries, settings: SimulateSettings) -> tuple[str, ...]:
    """Name of each view's frame file, in the order of the record."""
    assert series.place is not None
    suffix = SUFFIXES[settings.frame_format]
    names = []
    for place, tilt in zip(series.place, series.nominal_tilt_deg, strict=True):
        if settings.mdoc == "tomo5":
            kind = "_EER.eer" if settings.frame_format == "eer" else f"_fractions{suffix}"
            names.append(f"{series.name}_{place:03d}_{tilt:.2f}_20240301_090000{kind}")
        else:
            number = place if settings.mdoc == "pacetomo" else place - 1
            names.append(f"{series.name}_{number:03d}_{round(tilt, 1) + 0.0:.1f}{suffix}")  # + 0.0: no -0.0
    return tuple(names)


def gain_name(settings: SimulateSettings) -> str | None:
    """Name of the gain reference, or None where there is none."""
    if not (settings.movies and settings.gain) or settings.detector == "ideal":
        return None
    return "gain.gain" if settings.frame_format == "eer" else "gain.mrc"


def write_gain(path: Path, sensor: Sensor, settings: SimulateSettings) -> None:
    """Write the reference that frames are multiplied by, rows as the frames' rows stand in their array.

    ``.gain`` is Falcon's TIFF, whose rows stand as those of the EER file; a K3's is an MRC file.
    """
    if path.suffix == ".gain":
        with atomic_path(path) as temporary, output_errors(path, every=True):
            tifffile.imwrite(temporary, sensor.gain, photometric="minisblack", metadata=None, software="lamella")
        return
    write_mrc(path, sensor.gain[None], settings.pixel_size)


def eer_fraction(settings: SimulateSettings) -> int:
    """Raw frames of an EER file in each of the simulation's frames."""
    seconds = exposure_seconds(settings.dose, settings) / max(1, settings.frames)
    return max(1, round(seconds * camera_of(settings).frame_rate))


def write_movie(path: Path, frames: Iterator[Image], settings: SimulateSettings, key: list[int]) -> Extremes:
    """Write the frames of one view, whole or not at all; `key` is the seed of what the format itself draws."""
    if settings.frame_format == "eer":
        return _write_eer(path, frames, settings, key)
    if settings.frame_format == "mrc":
        return _write_mrc(path, frames, settings)
    return _write_tiff(path, frames, settings)


def _summary(sums: list[tuple[float, float, float]]) -> Extremes:
    low, high, mean = (np.array([entry[place] for entry in sums]) for place in range(3))
    return Extremes(float(low.sum()), float(high.max() + low[1:].sum()), float(mean.sum()))


def _numbers(frame: Image) -> tuple[float, float, float]:
    return float(frame.min()), float(frame.max()), float(frame.mean(dtype=np.float64))


def _write_tiff(path: Path, frames: Iterator[Image], settings: SimulateSettings) -> Extremes:
    """LZW, unsigned whole numbers that saturate, row 0 at the top."""
    bright = settings.dose * settings.pixel_size**2 / settings.frames > _EIGHT_BITS
    kind, most = ("uint16", 65535) if bright else ("uint8", 255)
    numbers = []

    def stored() -> Iterator[NDArray[Any]]:
        for frame in frames:
            numbers.append(_numbers(frame))
            yield np.minimum(frame, most).astype(kind)

    shape = (settings.frames, *settings.image_shape_px)
    write_movie_tiff(path, stored(), shape, settings.pixel_size, dtype=kind)
    return _summary(numbers)


def _write_mrc(path: Path, frames: Iterator[Image], settings: SimulateSettings) -> Extremes:
    numbers = []
    height, width = settings.image_shape_px
    kind = "int16" if settings.noise else "float32"
    with MrcWriter(path, (settings.frames, height, width), settings.pixel_size, kind, stack=True) as writer:
        take = writer.image_sink()
        for place, frame in enumerate(frames):
            numbers.append(_numbers(frame))
            take(place, np.minimum(frame, 32767) if settings.noise else frame)
    return _summary(numbers)


def _write_eer(path: Path, frames: Iterator[Image], settings: SimulateSettings, key: list[int]) -> Extremes:
    """Every electron in a raw frame and a quarter of its pixel that are drawn at random."""
    numbers: list[tuple[float, float, float]] = []
    many = eer_fraction(settings)
    rng = np.random.default_rng([*key, 9])
    width = settings.image_shape_px[1]

    def raw_frames() -> Iterator[NDArray[np.int64]]:
        for frame in frames:
            numbers.append(_numbers(frame))
            counts = frame.astype(np.int64).reshape(-1)
            pixels = np.repeat(np.arange(counts.size), counts)
            y, x = np.divmod(pixels, width)
            part = rng.integers(_QUARTERS**2, size=len(pixels))
            events = (y * _QUARTERS + part // _QUARTERS) * (width * _QUARTERS) + x * _QUARTERS + part % _QUARTERS
            when = rng.integers(many, size=len(pixels))
            order = np.argsort(when, kind="stable")
            edges = np.searchsorted(when[order], np.arange(1, many))
            yield from np.split(events[order], edges)

    write_eer(
        path,
        raw_frames(),
        settings.image_shape_px,
        pixel_size_ang=settings.pixel_size,
        exposure_s=exposure_seconds(settings.dose, settings),
        gain=gain_name(settings),
    )
    return _summary(numbers)
