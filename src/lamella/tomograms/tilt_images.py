"""Tilt images made ready to be read at any place: checked, levelled, extended, filtered, brought onto a finer grid."""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.kernels.sampling import ImageGrid, ViewFilter, sample_image
from lamella.progress import Progress
from lamella.records import ImageSource, TiltSeries
from lamella.runtime import free_memory_bytes, threads
from lamella.tomograms.corrected_views import ViewCorrection
from lamella.tomograms.gold_paint import PaintedImages
from lamella.tomograms.memory import MemoryBudget
from lamella.tomograms.scratch import array_in_file, let_go

__all__ = [
    "StoredViews",
    "background",
    "check_images",
    "extend",
    "mean_level",
    "one_thread_each",
    "pages",
    "store_views",
]

Image = NDArray[np.float32]
Level = Callable[[Image], float]

_SAMPLED_ROWS = 256  # that are transformed at a time
_SAMPLE = 1 << 16  # pixels from which an image's level is taken
_SHARE_OF_DEVICE = 0.3  # of a device's free memory, above which views are kept outside it


class StoredViews:
    """Filtered views on their finer grid, `(n, h, w)` float32; in a temporary file where the budget is too small.

    Parameters
    ----------
    count, grid
        number of views, and their grid.
    device
        on which they are made and read.
    budget
        of the computer's own memory; by default what is free.
    """

    def __init__(self, count: int, grid: ImageGrid, device: str = "cpu", budget: MemoryBudget | None = None) -> None:
        self.device = torch.device(device)
        self.in_file: NDArray[np.float32] | None = None
        shape = (count, *grid.stored)
        self.size_bytes = 4 * int(np.prod(shape, dtype=np.int64))
        if device != "cpu" and self.size_bytes < _SHARE_OF_DEVICE * free_memory_bytes(device):
            self.tensor: torch.Tensor = torch.empty(shape, device=self.device)
            return
        if (budget or MemoryBudget.of("auto")).keeps(self.size_bytes):
            self.tensor = pages(self.size_bytes // 4).reshape(shape)
        else:
            self.in_file = array_in_file(shape, np.float32)
            self.tensor = torch.from_numpy(self.in_file)

    @property
    def held_bytes(self) -> int:
        """What they take of the computer's memory."""
        return 0 if self.in_file is not None or self.tensor.device.type != "cpu" else self.size_bytes

    def let_go(self) -> None:
        """Keep nothing in memory of what lies in a file, until it is read again."""
        if self.in_file is not None:
            let_go(self.in_file)

    def fill(self, indices: Sequence[int], make: Callable[[list[torch.Tensor]], None]) -> None:
        """Let `make` write some views, on the device."""
        places = [self.tensor[index] for index in indices]
        if self.tensor.device == self.device:
            make(places)
            return
        made = [torch.empty_like(place, device=self.device) for place in places]
        make(made)
        for place, image in zip(places, made, strict=True):
            place.copy_(image)

    def on_device(self, index: int) -> torch.Tensor:
        """One view as a tensor on the device."""
        return self.tensor[index].to(self.device)


def pages(count: int) -> torch.Tensor:
    """A buffer of float32 in pages of its own, which go back to the system when it is dropped.

    Big buffers that live long would tear holes into a heap that keeps what is freed.
    """
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return torch.from_numpy(np.frombuffer(mmap.mmap(-1, max(4 * count, 1), **private), np.float32, count))


def check_images(series: TiltSeries, images: ImageSource) -> None:
    """Raise `ImageError` where images and record do not fit together."""
    if tuple(images.shape) != (len(series), *series.image_shape_px):
        raise ImageError(
            f"{series.name}: images of shape {tuple(images.shape)} for {len(series)} views of {series.image_shape_px}",
            mend="give the images that the record names",
        )


def mean_level(image: Image) -> float:
    """Mean of an image without its outliers: of pixels within five robust standard deviations of the median."""
    some = _some_pixels(image)
    middle = float(np.median(some))
    spread = 1.4826 * float(np.median(np.abs(some - middle)))
    near = some[np.abs(some - middle) <= 5 * spread] if spread > 0 else some
    return float(near.mean())


def background(imaging: str) -> Level:
    """Level of an image where there is no specimen: its hundredth of least mass."""
    percent = 1.0 if imaging == "dark" else 99.0
    return lambda image: float(np.percentile(_some_pixels(image), percent))


def _some_pixels(image: Image) -> Image:
    flat = image.reshape(-1)
    step = max(1, flat.size // _SAMPLE) | 1  # odd, so that it does not keep to one column
    return flat[::step]


def extend(image: Image, level: float, grid: ImageGrid) -> Image:
    """The image minus its level, in the grid's order of axes, its edges mirrored outwards and faded to 0."""
    out = np.zeros(grid.padded, np.float32)
    (a, b), (height, width) = grid.start, grid.image_shape
    inner = out[a : a + height, b : b + width]
    np.subtract(image.T if grid.swapped else image, np.float32(level), out=inner)
    for axis in (1, 0):
        whole = out if axis == 0 else out.T  # mirror along the first axis of a view
        start, size = grid.start[axis], grid.image_shape[axis]
        for reach, edge, direction in ((start, start, -1), (whole.shape[0] - start - size, start + size - 1, 1)):
            count = min(reach, size)
            fade = (0.5 + 0.5 * np.cos(np.pi * (np.arange(count) + 1) / (count + 1))).astype(np.float32)
            for i in range(count):
                np.multiply(whole[edge - direction * i], fade[i], out=whole[edge + direction * (i + 1)])
    return out


@contextmanager
def one_thread_each(workers: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of workers that use one thread each: faster on whole images than one worker with several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers or threads()) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


def store_views(
    series: TiltSeries,
    images: ImageSource,
    views: NDArray[np.int64],
    grid: ImageGrid,
    filters: Callable[[int], ViewFilter],
    level: Level,
    *,
    correction: ViewCorrection | None = None,
    device: str,
    progress: Progress,
    budget: MemoryBudget | None = None,
) -> StoredViews:
    """Read some views and keep them filtered on the finer grid.

    Parameters
    ----------
    views
        which of the series' views, in the order in which they are kept.
    filters
        gives the filter of a view.
    level
        gives what is subtracted from an image.
    correction
        of the contrast transfer; each of its layers has images of its own: all views for the first layer, then all for
        the second, and so on.
    budget
        for the views and for the work on them; by default what is free.

    Raises
    ------
    SettingsError
        if the budget does not hold the work on one view.
    ImageError
        if a view holds NaN or infinity.
    """
    layers = 1 if correction is None else len(correction.correction.layers)
    painted = images if isinstance(images, PaintedImages) else None
    source = images if painted is None else painted.source
    budget = budget or MemoryBudget.of("auto")
    kept = StoredViews(layers * len(views), grid, device, budget)
    workers = 1
    if kept.device.type == "cpu":
        left = budget.less(kept.held_bytes)
        each = max(_bytes_per_view(grid, layers, correction), 0 if painted is None else painted.bytes_per_view)
        workers = left.side_by_side(each, threads(), "filtering a view")
    lock, done = Lock(), 0

    def one(place: int) -> None:
        nonlocal done
        view = int(views[place])
        with lock:  # a file is read by one thread at a time
            image = source.view(view)
        if painted is not None:
            image = painted.painted(view, image)
        _check_finite(series, view, image)
        padded = torch.from_numpy(extend(image, level(image), grid))
        del image
        kept.fill(range(place, layers * len(views), len(views)), partial(make, view, padded))
        with lock:
            done += 1
            kept.let_go()
            progress(done / len(views), "filtering views")

    def make(view: int, padded: torch.Tensor, outs: list[torch.Tensor]) -> None:
        padded = padded.to(kept.device)
        if correction is None:
            sample_image(padded, grid, filters(view), out=outs[0])
        else:
            correction.sample(view, padded, filters(view), outs)

    if kept.device.type == "cpu":
        with one_thread_each(workers) as pool:
            list(pool.map(one, range(len(views))))
    else:
        for place in range(len(views)):
            one(place)
    _give_back_memory()
    return kept


def _check_finite(series: TiltSeries, view: int, image: NDArray[np.float32]) -> None:
    flat = image.reshape(-1)
    if not np.isfinite(np.dot(flat, flat)) and not np.isfinite(image).all():
        name = series.place[view] if series.place is not None else view + 1
        raise ImageError(f"{series.name}: view {name} holds NaN or infinity", mend="exclude the view or mend the image")


def _bytes_per_view(grid: ImageGrid, layers: int, correction: ViewCorrection | None) -> int:
    """Most that the work on one view holds, beside what is stored: image, its transform, and the finer one."""
    columns, padded = grid.band[1] + 1, 4 * math.prod(grid.padded)
    image = 4 * math.prod(grid.image_shape) + padded
    transforming = padded + 2 * 8 * grid.padded[0] * columns + 8 * grid.padded[0] * (grid.padded[1] // 2 + 1)
    fine = 8 * grid.fine[0] * columns
    sampling = fine + 8 * grid.stored[0] * columns + 4 * _SAMPLED_ROWS * grid.fine[1]
    if correction is not None:  # the phases, their change, and a level's samples
        sampling += 2 * fine + 4 * math.prod(grid.stored) * (1 + layers)
    return max(image, transforming + fine, sampling)


def _give_back_memory() -> None:
    """Return what the transforms used to the system; glibc, set to keep freed memory, would hold it to the end."""
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
