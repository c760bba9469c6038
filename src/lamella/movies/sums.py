"""Sums of a movie's frames along its motion: full, even and odd, binned, and on request dose-weighted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import ImageError, PostconditionError
from lamella.fourier import frequency_axes
from lamella.kernels.frames import add_shifted, fill_around, in_bands, ring_sums
from lamella.movies.detector import Detector, frame_seed
from lamella.movies.local_warp import sharpening, warp_frame
from lamella.movies.reading import read_ahead
from lamella.movies.sum_grid import SumGrid, plan_grid
from lamella.optics.dose import dose_filter
from lamella.records import FrameSource, ImageSink, MovieMotion

__all__ = ["Sums", "sum_movie", "sum_pixel_size"]

Image = NDArray[np.float32]
Array = NDArray[np.float64]

_GRID = 9  # places each way at which the farthest motion is looked for


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Images of one movie, in the camera's counts per movie pixel.

    Attributes
    ----------
    full
        ``(h, w)`` sum of all frames.
    even, odd
        sums of the frames of even and of odd number, counted from 1 in the file; None where they were not wanted, or
        there is only one frame.
    weighted
        the dose-weighted sum, or None.
    pixel_size_ang
        of these images.
    half_correlation
        ``(s,)`` Fourier ring correlation of even and odd at s − 1 equal steps from 0 to the Nyquist frequency, or None.
    """

    full: Image
    even: Image | None
    odd: Image | None
    weighted: Image | None
    pixel_size_ang: float
    half_correlation: Array | None


def sum_pixel_size(motion: MovieMotion) -> float:
    """Pixel size in Å of a movie's sums."""
    return motion.pixel_size_ang * float(plan_grid(motion.shape_px, motion.binning, (0.0, 0.0)).binning)


def sum_movie(
    frames: FrameSource,
    detector: Detector,
    motion: MovieMotion,
    *,
    halves: bool = True,
    voltage_kv: float | None = None,
    aligned: ImageSink | None = None,
    threads: int = 1,
    device: str = "cpu",
) -> Sums:
    """Sum the frames of one movie along its motion.

    Parameters
    ----------
    frames
        as they are stored; those from `motion.first_frame` on are read, each once, the next while one is worked on.
    detector
        corrects them.
    motion
        what the sum shows at a pixel p, frame f shows at p + displacement(f, p); its binning is that of the sums, made
        exact by `exact_binning`.
    halves
        whether to sum even and odd frames by themselves too.
    voltage_kv
        given, a dose-weighted sum is made, from the motion's `pre_exposure` and `dose_per_frame`.
    aligned
        takes each frame as it enters the sum, numbered from 0.
    threads
        to work with.
    device
        ``cpu`` or a torch device, for the transforms.

    Raises
    ------
    ImageError
        if frames, detector and motion differ in size or number, a frame holds NaN, or the doses are unknown though a
        weighted sum is wanted.
    PostconditionError
        if a sum is not finite.

    Notes
    -----
    Each frame lies in a larger array, whose margin goes on with the mean and the noise of the frame's nearest edge
    (`fill_around`): what a moved frame cannot show is filled with that, and nothing wraps from one edge to the other.
    What of the motion differs from place to place is resampled first (`warp_frame`); then the transform is moved by the
    motion of the whole field, exactly, cropped to the binned size and added. One transform per frame, one back per
    output. Values stay per movie pixel when binned: the mean is that of the frames.

    The weighted sum is Σ q_f F_f / √(Σ q_f² / n) with the dose's filters q_f (Grant & Grigorieff 2015, equation 9), so
    that white noise stays white and as strong as in the full sum.

    Memory: about nine times one frame as float32, thirteen with a local model.
    """
    _check(frames, detector, motion, voltage_kv)
    work = _Work(detector, motion, voltage_kv, threads, device)
    first = motion.first_frame
    split = halves and len(motion) > 1
    sums = [work.empty() for _ in range(1 + split)]
    weighted = work.empty() if voltage_kv is not None else None
    places = range(motion.first_frame - 1, motion.first_frame - 1 + len(motion))
    for index, frame in enumerate(read_ahead(frames, places)):
        terms = work.transform(frame, index)
        phases = work.phases(index)
        work.add(terms, phases, sums[(first + index) % 2 if split else 0])
        if weighted is not None:
            work.add_weighted(terms, phases, index, weighted)
        if aligned is not None:
            one = work.empty()
            work.add(terms, phases, one)
            aligned(index, work.image(one))
    del frame, terms
    work.release()
    images = []
    while sums:
        images.append(work.image(sums.pop(0)))
    return Sums(
        full=images[0] + images[1] if split else images[0],
        even=images[0] if split else None,
        odd=images[1] if split else None,
        weighted=None if weighted is None else work.image(work.whitened(weighted)),
        pixel_size_ang=motion.pixel_size_ang * float(work.grid.binning),
        half_correlation=_ring_correlation(images[0], images[1], threads) if split else None,
    )


def _check(frames: FrameSource, detector: Detector, motion: MovieMotion, voltage_kv: float | None) -> None:
    last = motion.first_frame - 1 + len(motion)
    if motion.first_frame < 1 or last > len(frames):
        raise ImageError(
            f"motion of frames {motion.first_frame} to {last} for a movie of {len(frames)}", mend="estimate it again"
        )
    if motion.shape_px != detector.image_shape_px:
        raise ImageError(
            f"motion for frames of {motion.shape_px[::-1]} pixels, and frames of {detector.image_shape_px[::-1]}",
            mend="estimate it again",
        )
    if voltage_kv is not None and (motion.pre_exposure is None or motion.dose_per_frame is None):
        raise ImageError("a dose-weighted sum without doses", mend="state them with --dose-per-tilt")


class _Work:
    """Arrays and phases of one movie's sums."""

    def __init__(
        self, detector: Detector, motion: MovieMotion, voltage_kv: float | None, threads: int, device: str
    ) -> None:
        self.detector, self.motion, self.threads, self.device = detector, motion, threads, device
        self.grid: SumGrid = plan_grid(motion.shape_px, motion.binning, _farthest(motion))
        self._buffer = np.empty(self.grid.padded, np.float32)
        self._scratch = None if motion.local is None else np.empty(self.grid.padded, np.float32)
        y, x = frequency_axes(self.grid.padded)
        self._axes = (
            _kept(y.numpy().ravel(), self.grid.cropped[0]),
            x.numpy().ravel()[: self.grid.cropped[1] // 2 + 1],
        )
        self._sharpening = [np.ones(len(axis)) if motion.local is None else sharpening(axis) for axis in self._axes]
        self._filters = None if voltage_kv is None else self._dose_filters(voltage_kv)
        self._power: Tensor | None = None

    def empty(self) -> Tensor:
        """A sum of nothing."""
        height, width = self.grid.cropped
        return torch.zeros((height, width // 2 + 1), dtype=torch.complex64, device=self.device)

    def transform(self, frame: NDArray[np.generic], index: int) -> Tensor:
        """A frame's transform, corrected, its local motion undone."""
        (top, left), (height, width) = self.grid.place, self.grid.frame
        buffer = self._buffer
        buffer[top : top + height, left : left + width] = self.detector.correct(frame, threads=self.threads)
        seed = frame_seed(frame)
        in_bands(lambda a, b: fill_around(buffer, top, left, height, width, seed, a, b), buffer.shape[0], self.threads)
        if self.motion.local is not None:
            assert self._scratch is not None
            shift = self.motion.global_px[index]
            warp_frame(buffer, self._scratch, self.motion.local, index, self.grid.place, shift, self.threads)
        terms: Tensor = torch.fft.rfft2(torch.from_numpy(buffer).to(self.device))
        return terms

    def release(self) -> None:
        """Give the frame's arrays back: no frame comes any more."""
        self._buffer = np.empty((0, 0), np.float32)
        self._scratch = None

    def phases(self, index: int) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """What brings frame `index` to the sum, along y and along x; what the warp blurred is restored here."""
        moved = self.motion.global_px[index][::-1] + np.array(self.grid.place)
        lines = []
        for axis, by, sharper, size, padded in zip(
            self._axes, moved, self._sharpening, self.grid.cropped, self.grid.padded, strict=True
        ):
            line = np.exp(2j * np.pi * axis * by) * sharper
            # the highest frequency stands for both signs, and gets their mean; binned, where two meet, it is left out
            line[size // 2] = math.cos(math.pi * by) * sharper[size // 2] if size == padded else 0.0
            lines.append(line.astype(np.complex64))
        return lines[0], lines[1]

    def add(self, terms: Tensor, phases: tuple[NDArray[np.complex64], NDArray[np.complex64]], total: Tensor) -> None:
        """Add a frame's transform to a sum."""
        along_y, along_x = phases
        if self.device == "cpu":
            source, target = terms.numpy(), total.numpy()
            in_bands(lambda a, b: add_shifted(source, along_y, along_x, target, a, b), total.shape[0], self.threads)
        else:
            total += (
                self._cropped(terms)
                * torch.from_numpy(along_y)[:, None].to(self.device)
                * torch.from_numpy(along_x).to(self.device)
            )

    def add_weighted(
        self,
        terms: Tensor,
        phases: tuple[NDArray[np.complex64], NDArray[np.complex64]],
        index: int,
        total: Tensor,
    ) -> None:
        """Add a frame's transform to the dose-weighted sum."""
        assert self._filters is not None
        kept = self._filters(index)
        self._power = kept**2 if self._power is None else self._power.add_(kept**2)
        moved = self.empty()
        self.add(terms, phases, moved)
        total += moved.mul_(kept)

    def whitened(self, weighted: Tensor) -> Tensor:
        """The weighted sum, its noise as in the full one."""
        assert self._power is not None
        return weighted / (self._power / len(self.motion)).sqrt()

    def image(self, total: Tensor) -> Image:
        """The image of a sum."""
        height, width = self.grid.image
        scale = math.prod(self.grid.cropped) / math.prod(self.grid.padded)
        whole = torch.fft.irfft2(total, s=self.grid.cropped)
        image = np.ascontiguousarray(whole[:height, :width].mul_(scale).cpu().numpy())
        if not math.isfinite(float(image.sum(dtype=np.float64))):
            raise PostconditionError("a sum of frames holds NaN", mend="look at the gain reference and the frames")
        return image

    def _cropped(self, terms: Tensor) -> Tensor:
        height, width = self.grid.cropped
        low = terms[: (height + 1) // 2, : width // 2 + 1]
        return torch.cat([low, terms[terms.shape[0] - height // 2 :, : width // 2 + 1]])

    def _dose_filters(self, voltage_kv: float) -> Callable[[int], Tensor]:
        before, dose = self.motion.pre_exposure, self.motion.dose_per_frame
        assert before is not None
        assert dose is not None
        pixel = self.motion.pixel_size_ang * float(self.grid.binning)
        start = before + (self.motion.first_frame - 1) * dose

        def kept(index: int) -> Tensor:
            return dose_filter(self.grid.cropped, pixel, start + index * dose, dose, voltage_kv, self.device)

        return kept


def _ring_correlation(even: Image, odd: Image, threads: int) -> Array:
    """Correlation of two images on rings from 0 to the Nyquist frequency."""
    rings = min(even.shape) // 2
    a, b = (torch.fft.rfft2(torch.from_numpy(image)).numpy() for image in (even, odd))
    y, x = (axis.numpy().ravel().astype(np.float32) for axis in frequency_axes(even.shape))
    parts: list[Array] = []

    def some_rows(first: int, last: int) -> None:
        sums = np.zeros((rings + 1, 3))
        ring_sums(a, b, y, x, 2.0 * rings, sums, first, last)
        parts.append(sums)

    in_bands(some_rows, len(a), threads)
    cross, power_a, power_b = np.sum(parts, axis=0).T
    both = np.sqrt(power_a * power_b)
    curve: Array = np.where(both > 0, cross / np.where(both > 0, both, 1), 0.0)
    return curve


def _farthest(motion: MovieMotion) -> tuple[float, float]:
    """Farthest motion along y and x, px."""
    height, width = motion.shape_px
    if motion.local is None:
        farthest = np.abs(motion.global_px).max(axis=0)
    else:
        local = motion.local.on_grid(np.linspace(0, height - 1, _GRID), np.linspace(0, width - 1, _GRID))
        farthest = np.abs(motion.global_px[:, :, None, None] + local).max(axis=(0, 2, 3))
    return float(farthest[1]), float(farthest[0])


def _kept(frequency: Array, size: int) -> Array:
    """Frequencies of an axis that was cropped to `size`: non-negative ones, then negative ones."""
    half = (size + 1) // 2
    return np.concatenate([frequency[:half], frequency[len(frequency) - (size - half) :]])
