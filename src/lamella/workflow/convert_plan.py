"""How the output of `lamella convert` comes from its input, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError, SettingsError
from lamella.formats.images import StackFile
from lamella.records import Note
from lamella.runtime import free_memory_bytes
from lamella.workflow.convert_settings import ConvertSettings, sizes

if TYPE_CHECKING:
    import torch

__all__ = ["ConvertPlan", "Shape"]

Array = NDArray[np.float32]
Shape = tuple[int, int, int]

_LARGEST_DENOMINATOR = 64
_LARGEST_RATIO = 64.0
_EDGE = 0.1  # falloff of the low-pass filter, of its frequency
_COPIES = 4  # of a volume that filtering and resampling hold at once, complex transform included


@dataclass(frozen=True, kw_only=True)
class ConvertPlan:
    """What is done to each image, or to the volume: filtered, resampled or binned, then cropped and padded.

    Attributes
    ----------
    file
        the input.
    is_volume
        whether its sections are one volume.
    trimmed
        its size without the pixels that no binned pixel takes in.
    resampled
        its size in the new pixels.
    shape
        of the output.
    ratio
        new pixel size over the old one.
    about_centre
        whether the centre pixel stays in place, else pixel 0.
    low_pass_px
        wavelength of the low-pass in pixels of the input, or None.
    """

    file: StackFile
    is_volume: bool
    trimmed: Shape
    resampled: Shape
    shape: Shape
    ratio: float
    about_centre: bool
    low_pass_px: float | None

    @classmethod
    def of(
        cls, file: StackFile, is_volume: bool, settings: ConvertSettings, pixel: float | None, notes: list[Note]
    ) -> ConvertPlan:
        """Plan what the settings ask for; `pixel` is the input's pixel size, Å; what is dropped is noted.

        Raises
        ------
        SettingsError
            if a size, a pixel size, a binning or a filter does not fit the input.
        """
        low_pass_px = _low_pass_px(settings, pixel)
        first = 0 if is_volume else 1  # images of a stack stay as many as they are
        if settings.pixel_size is None:
            trimmed, resampled = _binned(file, first, settings.bin, notes)
            ratio = settings.bin
        else:
            trimmed, ratio = file.shape, _ratio(settings.pixel_size, pixel)
            resampled = _resampled(file, first, ratio, notes)
        return cls(
            file=file,
            is_volume=is_volume,
            trimmed=trimmed,
            resampled=resampled,
            shape=_boxed(resampled, is_volume, settings),
            ratio=ratio,
            about_centre=settings.pixel_size is not None,
            low_pass_px=low_pass_px,
        )

    def sections(self) -> Iterator[Array]:
        """The sections of the output, from first to last."""
        if self.ratio == 1 and self.low_pass_px is None:
            yield from self._boxed(self._finite, self.file.shape, self._face_mean)
        elif self.is_volume:
            volume = self._changed(self._whole())
            yield from self._boxed(lambda z, y, x: volume[z, y, x], self.resampled, lambda: _face_mean(volume))
        else:
            for z in range(self.shape[0]):
                image = self._changed(self._finite(z, slice(self.trimmed[1]), slice(self.trimmed[2])))
                yield self._into_box(partial(_part, image), image.mean(dtype=np.float64))

    def _boxed(self, read: Any, shape: Shape, outside_value: Any) -> Iterator[Array]:
        """Sections that ``read(z, rows, columns)`` gives, cropped and padded about the centre pixel.

        A volume is padded with the mean over its faces, which is the density around a particle; an image with its mean.
        """
        z0 = shape[0] // 2 - self.shape[0] // 2
        grown = any(new > old for new, old in zip(self.shape, shape, strict=True))
        outside = outside_value() if grown and self.is_volume else None
        for z in range(z0, z0 + self.shape[0]):
            if not 0 <= z < shape[0]:
                yield np.full(self.shape[1:], outside, np.float32)
            else:
                yield self._into_box(partial(read, z), outside)

    def _into_box(self, read: Any, outside: float | None) -> Array:
        """The part of a section that the box takes in, as ``read(rows, columns)`` gives it, in its place."""
        inside, place = [], []
        for old, new in zip(self.resampled[1:], self.shape[1:], strict=True):
            start = old // 2 - new // 2
            part = slice(max(start, 0), min(start + new, old))
            inside.append(part)
            place.append(slice(part.start - start, part.stop - start))
        found: Array = read(*inside)
        if found.shape == self.shape[1:]:
            return found
        section = np.full(self.shape[1:], found.mean(dtype=np.float64) if outside is None else outside, np.float32)
        section[tuple(place)] = found
        return section

    def _finite(self, z: int, rows: slice, columns: slice) -> Array:
        """A part of one section of the file.

        Raises
        ------
        ImageError
            if it holds NaN or infinity.
        """
        part = self.file.block(slice(z, z + 1), rows, columns)[0]
        if not np.isfinite(part).all():
            raise ImageError(
                f"{self.file.path}: section {z + 1} holds NaN or infinity", mend="write it again without them"
            )
        whole: Array = part
        return whole

    def _face_mean(self) -> float:
        """Mean over the six faces of the file's volume, read section by section."""
        depth = self.file.shape[0]
        faces = [_edges(self.file.view(z), whole=z in (0, depth - 1)) for z in range(depth)]
        return float(np.concatenate(faces).mean(dtype=np.float64))

    def _whole(self) -> Array:
        needed = max(int(np.prod(size, dtype=np.int64)) for size in (self.trimmed, self.resampled)) * 4 * _COPIES
        if needed > free_memory_bytes("cpu"):
            raise ImageError(
                f"filtering or resampling {self.file.shape} (z, y, x) voxels wants {needed / 2**30:.1f} GiB of memory, "
                f"{free_memory_bytes('cpu') / 2**30:.1f} GiB are free",
                mend="crop it first, by a call of its own, or use a machine with more memory",
            )
        volume = np.empty(self.trimmed, np.float32)
        for z in range(self.trimmed[0]):
            volume[z] = self._finite(z, slice(self.trimmed[1]), slice(self.trimmed[2]))
        return volume

    def _changed(self, array: Array) -> Array:
        """Filter an image or a volume, and give it its new pixels."""
        import torch

        from lamella.fourier import apply_filter, band_pass, crop_image, crop_volume, rescale

        rank = array.ndim
        shape = self.resampled[3 - rank :]
        values: torch.Tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.low_pass_px is not None:
            cutoff = 1 / self.low_pass_px
            values = apply_filter(values, band_pass(array.shape, None, cutoff, _EDGE * cutoff))
        if self.about_centre:
            values = rescale(values, self.ratio, rank, shape)
        elif array.shape != shape:
            values = (crop_image if rank == 2 else crop_volume)(values, shape)
        out: Array = values.numpy()
        return out


def _low_pass_px(settings: ConvertSettings, pixel: float | None) -> float | None:
    if settings.low_pass is None:
        return None
    if pixel is None:
        raise SettingsError("low_pass in Å, but no pixel size is known", mend="state it with --input-pixel-size")
    if settings.low_pass <= 2 * pixel:
        text = f"low_pass at {settings.low_pass:g} Å, which pixels of {pixel:g} Å do not reach"
        raise SettingsError(text, mend=f"give more than {2 * pixel:g} Å")
    return settings.low_pass / pixel


def _ratio(wanted: float, pixel: float | None) -> float:
    if pixel is None:
        raise SettingsError(
            f"pixels of {wanted:g} Å are wanted, but the input's pixel size is not known",
            mend="state it with --input-pixel-size",
        )
    ratio = wanted / pixel
    if not 1 / _LARGEST_RATIO <= ratio <= _LARGEST_RATIO:
        raise SettingsError(
            f"pixel_size {wanted:g} Å is {ratio:g} times the input's {pixel:g} Å",
            mend="check both; --pixel-size is the output's, --input-pixel-size corrects the input's",
        )
    return ratio


def _resampled(file: StackFile, first: int, ratio: float, notes: list[Note]) -> Shape:
    from lamella.fourier import rescaled_size

    shape = list(file.shape)
    for axis in range(first, 3):
        shape[axis] = rescaled_size(file.shape[axis], ratio)
    if ratio != 1:
        text = f"{file.shape} (z, y, x) pixels become {tuple(shape)}, {ratio:g} times as large, about the centre pixel"
        notes.append(Note(kind="info", where=str(file.path), text=text))
    return shape[0], shape[1], shape[2]


def _binned(file: StackFile, first: int, factor: float, notes: list[Note]) -> tuple[Shape, Shape]:
    """The input's size without what binning drops, and the binned size."""
    binning = _fraction(factor)
    trimmed, shape = list(file.shape), list(file.shape)
    for axis in range(first, 3):
        shape[axis] = int(file.shape[axis] // binning.numerator) * binning.denominator
        trimmed[axis] = shape[axis] * binning.numerator // binning.denominator
    if min(shape) < 1:
        raise SettingsError(f"bin {factor:g} leaves no pixel of {file.shape} (z, y, x)", mend="bin less")
    if trimmed != list(file.shape):
        text = f"the last pixels of {file.shape} (z, y, x) are dropped to {tuple(trimmed)}, multiples of the binning"
        notes.append(Note(kind="dropped", where=str(file.path), text=text))
    return (trimmed[0], trimmed[1], trimmed[2]), (shape[0], shape[1], shape[2])


def _boxed(shape: Sequence[int], is_volume: bool, settings: ConvertSettings) -> Shape:
    """(z, y, x) after cropping and padding."""
    out = list(shape)
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
            if (what == "crop" and size > out[axis]) or (what == "pad" and size < out[axis]):
                side = "xyz"[2 - axis]
                text = f"{what} to {size} pixels along {side}, where there are {out[axis]}"
                raise SettingsError(text, mend="use box, which does either")
            out[axis] = size
    return out[0], out[1], out[2]


def _face_mean(volume: Array) -> float:
    last = len(volume) - 1
    return float(np.concatenate([_edges(section, whole=z in (0, last)) for z, section in enumerate(volume)]).mean())


def _edges(section: Array, *, whole: bool) -> NDArray[np.float64]:
    """Grey values along a section's four edges, or all of them."""
    if whole:
        return section.astype(np.float64).reshape(-1)
    parts = (section[0], section[-1], section[1:-1, 0], section[1:-1, -1])
    return np.concatenate(parts).astype(np.float64)


def _fraction(binning: float) -> Fraction:
    fraction = Fraction(binning).limit_denominator(_LARGEST_DENOMINATOR)
    if abs(float(fraction) - binning) > 1e-6:
        raise SettingsError(
            f"bin {binning:g} is no simple fraction, so no whole number of pixels fits the image",
            mend=f"use a factor such as {round(binning * 2) / 2:g}, or --pixel-size, which takes any",
        )
    return fraction


def _part(image: Array, rows: slice, columns: slice) -> Array:
    return image[rows, columns]
