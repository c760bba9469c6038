"""Crop, pad, filter, bin and rescale a stack or a volume: what `lamella convert` does.

Stacks go image by image. Volumes go section by section too, unless they are filtered or binned, which wants the whole
volume in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError, InputError, SettingsError
from lamella.formats.denoised import DENOISED, is_denoised
from lamella.formats.images import StackFile, holds_volume, open_stack
from lamella.formats.sections import write_sections
from lamella.progress import Progress, no_progress
from lamella.records import Note
from lamella.runtime import free_memory_bytes
from lamella.workflow.convert_settings import ConvertSettings, sizes

if TYPE_CHECKING:
    import torch

__all__ = ["ConvertResult", "convert_volume"]

Array = NDArray[np.float32]
Shape = tuple[int, int, int]

_LARGEST_DENOMINATOR = 64
_EDGE = 0.1  # falloff of the low-pass filter, of its frequency
_PERCENT = (0.1, 99.9)
_SAMPLED = 1 << 16  # grey values per section that percentiles are taken from
_COPIES = 4  # of a volume that filtering and binning hold at once, complex transform included


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """What was written.

    Attributes
    ----------
    shape
        (z, y, x), or (images, height, width).
    pixel_size_ang
        of the output; None where neither the input nor the settings state one.
    clipped
        grey values that did not fit the type and were set to its lowest or highest.
    notes
        what was assumed on the way.
    """

    shape: Shape
    pixel_size_ang: float | None
    clipped: int
    notes: tuple[Note, ...]


def convert_volume(
    source: Path | str, target: Path | str, settings: ConvertSettings, progress: Progress = no_progress
) -> ConvertResult:
    """Read a stack or volume (MRC, TIFF, OME-Zarr), change it, and write it; the target's suffix names its format.

    A volume that was denoised says so in its copy, too.

    Parameters
    ----------
    source, target
        the files; they differ.
    settings
        what to do.
    progress
        told how far it is.

    Raises
    ------
    SettingsError
        if a size, a binning or a filter does not fit the input.
    ImageError
        if the input holds NaN, or is too large a volume for the memory.
    OutputError
        if the target cannot be written.

    Notes
    -----
    Cropping and padding keep the centre pixel (n // 2); binning keeps pixel 0, so that binned pixel i is pixel b·i of
    the input, and drops the last pixels of a side that is no multiple of b.
    """
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target} is the input itself", mend="name another file")
    file = open_stack(source)
    is_volume = holds_volume(file) if settings.kind == "auto" else settings.kind == "volume"
    notes = list(getattr(file, "notes", ()))
    if settings.kind == "auto":
        what = "one volume" if is_volume else "a stack of images"
        notes.append(Note(kind="assumed", where=str(source), text=f"taken for {what} (--kind says otherwise)"))
    pixel = settings.pixel_size or file.pixel_size_ang
    plan = _Plan.of(file, is_volume, settings, pixel, notes)
    grey = _Grey.of(settings, plan, lambda share: progress(share / 2, "measuring grey values"))
    started = 0.5 if grey.measured else 0.0

    def finished() -> Iterator[Array]:
        for index, section in enumerate(plan.sections()):
            yield grey(section)
            progress(started + (1 - started) * (index + 1) / plan.shape[0], "writing")

    written = None if pixel is None else pixel * float(plan.binning)
    if written is None:
        text = "no pixel size is known: 1 Å is written (state it with --pixel-size)"
        notes.append(Note(kind="assumed", where=str(target), text=text))
    write_sections(
        target,
        plan.shape,
        finished(),
        written or 1.0,
        settings.dtype,
        stack=not is_volume,
        zarr_version=settings.ome_zarr,
        label=DENOISED if is_denoised(file) else "",
    )
    if grey.clipped:
        text = f"{grey.clipped} grey values did not fit {settings.dtype} and were clipped"
        notes.append(Note(kind="warning", where=str(target), text=text))
    return ConvertResult(shape=plan.shape, pixel_size_ang=written, clipped=grey.clipped, notes=tuple(notes))


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """How the output comes from the file: cropped and padded to `cropped`, cut to `trimmed`, filtered, then binned."""

    file: StackFile
    is_volume: bool
    cropped: Shape
    trimmed: Shape
    shape: Shape
    binning: Fraction
    low_pass_px: float | None  # wavelength in pixels of the input

    @classmethod
    def of(
        cls, file: StackFile, is_volume: bool, settings: ConvertSettings, pixel: float | None, notes: list[Note]
    ) -> _Plan:
        cropped = _boxed(file, is_volume, settings)
        binning = _fraction(settings.bin)
        first = 0 if is_volume else 1  # images of a stack stay as many as they are
        trimmed, shape = list(cropped), list(cropped)
        for axis in range(first, 3):
            shape[axis] = int(cropped[axis] // binning.numerator) * binning.denominator
            trimmed[axis] = shape[axis] * binning.numerator // binning.denominator
        if min(shape) < 1:
            raise SettingsError(f"bin {settings.bin:g} leaves no pixel of {cropped} (z, y, x)", mend="bin less")
        if trimmed != list(cropped):
            text = f"the last pixels of {cropped} (z, y, x) are dropped to {tuple(trimmed)}, multiples of the binning"
            notes.append(Note(kind="dropped", where=str(file.path), text=text))
        low_pass_px = None
        if settings.low_pass is not None:
            if pixel is None:
                raise SettingsError("low_pass in Å, but no pixel size is known", mend="state it with --pixel-size")
            if settings.low_pass <= 2 * pixel:
                text = f"low_pass at {settings.low_pass:g} Å, which pixels of {pixel:g} Å do not reach"
                raise SettingsError(text, mend=f"give more than {2 * pixel:g} Å")
            low_pass_px = settings.low_pass / pixel
        return cls(
            file=file,
            is_volume=is_volume,
            cropped=cropped,
            trimmed=(trimmed[0], trimmed[1], trimmed[2]),
            shape=(shape[0], shape[1], shape[2]),
            binning=binning,
            low_pass_px=low_pass_px,
        )

    def sections(self) -> Iterator[Array]:
        """The sections of the output, from first to last."""
        if self.binning == 1 and self.low_pass_px is None:
            yield from self._boxed_sections()
        elif self.is_volume:
            yield from self._filtered_volume()
        else:
            for section in self._boxed_sections():
                yield self._filtered(section[: self.trimmed[1], : self.trimmed[2]], self.shape[1:])

    def _boxed_sections(self) -> Iterator[Array]:
        """Sections cropped and padded about the centre pixel; padding takes the section's mean."""
        nz, ny, nx = self.file.shape
        depth, height, width = self.cropped
        z0, y0, x0 = (n // 2 - m // 2 for n, m in zip((nz, ny, nx), self.cropped, strict=True))
        inside = (slice(max(y0, 0), min(y0 + height, ny)), slice(max(x0, 0), min(x0 + width, nx)))
        place = tuple(slice(part.start - at, part.stop - at) for part, at in zip(inside, (y0, x0), strict=True))
        outside_value = self._first_mean() if z0 < 0 else 0.0
        for z in range(z0, z0 + depth):
            if not 0 <= z < nz:
                yield np.full((height, width), outside_value, np.float32)
                continue
            part = self.file.block(slice(z, z + 1), *inside)[0]
            if not np.isfinite(part).all():
                raise ImageError(
                    f"{self.file.path}: section {z + 1} holds NaN or infinity", mend="write it again without them"
                )
            if part.shape == (height, width):
                yield part
                continue
            section = np.full((height, width), part.mean(dtype=np.float64), np.float32)
            section[place] = part
            yield section

    def _first_mean(self) -> float:
        """Mean of the whole file, for sections that lie outside it."""
        return float(np.mean([self.file.view(z).mean(dtype=np.float64) for z in range(self.file.shape[0])]))

    def _filtered_volume(self) -> Iterator[Array]:
        needed = int(np.prod(self.cropped, dtype=np.int64)) * 4 * _COPIES
        if needed > free_memory_bytes("cpu"):
            raise ImageError(
                f"filtering or binning {self.cropped} (z, y, x) voxels wants {needed / 2**30:.1f} GiB of memory, "
                f"{free_memory_bytes('cpu') / 2**30:.1f} GiB are free",
                mend="crop it first, or use a machine with more memory",
            )
        volume = np.empty(self.trimmed, np.float32)
        for z, section in zip(range(self.trimmed[0]), self._boxed_sections(), strict=False):
            volume[z] = section[: self.trimmed[1], : self.trimmed[2]]
        yield from self._filtered(volume, self.shape)

    def _filtered(self, array: Array, shape: tuple[int, ...]) -> Array:
        """Low-pass and bin an image or a volume."""
        import torch

        from lamella.fourier import apply_filter, band_pass, crop_image, crop_volume

        values: torch.Tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.low_pass_px is not None:
            cutoff = 1 / self.low_pass_px
            values = apply_filter(values, band_pass(array.shape, None, cutoff, _EDGE * cutoff))
        if array.shape != shape:
            values = (crop_image if len(shape) == 2 else crop_volume)(values, shape)
        out: Array = values.numpy()
        return out


class _Grey:
    """The change of grey values: one linear function, then the type's limits."""

    def __init__(self, factor: float, offset: float, dtype: str, *, measured: bool) -> None:
        self.factor, self.offset, self.measured = factor, offset, measured
        self.limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
        self.clipped = 0

    @classmethod
    def of(cls, settings: ConvertSettings, plan: _Plan, progress: Callable[[float], None]) -> _Grey:
        """Measure what the settings need, in a pass over the output before it is written."""
        if not settings.invert and settings.grey in ("",):
            return cls(1.0, 0.0, settings.dtype, measured=False)
        measured = settings.invert or settings.grey in ("auto", "normalise")
        mean, deviation, percentiles = _measure(plan, progress) if measured else (0.0, 1.0, _PERCENT)
        factor, offset = (-1.0, 2 * mean) if settings.invert else (1.0, 0.0)
        if settings.grey == "normalise":
            if deviation == 0:
                raise ImageError(f"{plan.file.path} is constant", mend="there is nothing to normalise")
            return cls(factor / deviation, (offset - mean) / deviation, settings.dtype, measured=True)
        if settings.grey:
            low, high = percentiles if settings.grey == "auto" else map(float, settings.grey.split(","))
            if settings.grey == "auto" and settings.invert:
                low, high = offset - high, offset - low
            if low >= high:
                raise ImageError(f"{plan.file.path} is constant", mend="there is no range of grey values to stretch")
            whole = np.dtype(settings.dtype).kind in "iu"
            darkest, brightest = (_limits(settings.dtype)) if whole else (0.0, 1.0)
            stretch = (brightest - darkest) / (high - low)
            factor, offset = factor * stretch, (offset - low) * stretch + darkest
        return cls(factor, offset, settings.dtype, measured=measured)

    def __call__(self, section: Array) -> Array:
        if (self.factor, self.offset) != (1.0, 0.0):
            section = (section * np.float64(self.factor) + self.offset).astype(np.float32)
        if self.limits is None:
            return section
        rounded = np.rint(section)
        self.clipped += int(((rounded < self.limits.min) | (rounded > self.limits.max)).sum())
        return np.clip(rounded, self.limits.min, self.limits.max)


def _limits(dtype: str) -> tuple[float, float]:
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _measure(plan: _Plan, progress: Callable[[float], None]) -> tuple[float, float, tuple[float, float]]:
    """Mean, standard deviation and the percentiles of the output before its grey values are changed."""
    total = squares = 0.0
    count = 0
    samples = []
    for index, section in enumerate(plan.sections()):
        values = section.astype(np.float64).reshape(-1)
        total, squares, count = total + values.sum(), squares + (values**2).sum(), count + values.size
        samples.append(section.reshape(-1)[:: max(section.size // _SAMPLED, 1)])
        progress((index + 1) / plan.shape[0])
    mean = total / count
    low, high = np.percentile(np.concatenate(samples), _PERCENT)
    return mean, float(np.sqrt(max(squares / count - mean**2, 0.0))), (float(low), float(high))


def _boxed(file: StackFile, is_volume: bool, settings: ConvertSettings) -> Shape:
    """(z, y, x) after cropping and padding."""
    shape = list(file.shape)
    for what, text in (("crop", settings.crop), ("pad", settings.pad), ("box", settings.box)):
        if not text:
            continue
        wanted = sizes(text)
        axes = 3 if is_volume else 2
        if len(wanted) not in (1, axes):
            kind = "a volume: give x,y,z" if is_volume else "a stack: give x,y"
            raise SettingsError(f"{what} {text} has {len(wanted)} sizes for {kind}", mend="or one size for all sides")
        full = wanted * axes if len(wanted) == 1 else wanted
        for axis, size in zip((2, 1, 0), full, strict=False):
            if (what == "crop" and size > shape[axis]) or (what == "pad" and size < shape[axis]):
                side = "xyz"[2 - axis]
                text = f"{what} to {size} pixels along {side}, where the input has {shape[axis]}"
                raise SettingsError(text, mend="use box, which does either")
            shape[axis] = size
    return shape[0], shape[1], shape[2]


def _fraction(binning: float) -> Fraction:
    fraction = Fraction(binning).limit_denominator(_LARGEST_DENOMINATOR)
    if abs(float(fraction) - binning) > 1e-6:
        raise SettingsError(
            f"bin {binning:g} is no simple fraction, so no whole number of pixels fits the image",
            mend=f"use a factor such as {round(binning * 2) / 2:g}",
        )
    return fraction
