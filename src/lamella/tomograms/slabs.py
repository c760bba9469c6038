"""A tomogram made slab by slab: what the slabs are, who works on them, and what they add up to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from lamella.kernels.moments import moments
from lamella.progress import Progress
from lamella.records import VolumeSink
from lamella.runtime import threads

__all__ = ["Output", "cut_slabs", "each_slab"]


@dataclass(frozen=True, eq=False)
class Output:
    """Passes finished blocks on to the sink and keeps their sums."""

    sink: VolumeSink
    shape: tuple[int, int, int]
    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    lock: Lock = field(default_factory=Lock)

    def __call__(self, z: int, y: int, x: int, block: NDArray[np.float32]) -> None:
        """Take a finished block; several threads may do so at a time."""
        total, squares = moments(block)
        self.sink(z, y, x, block)
        with self.lock:
            self.sums[:] += (block.size, total, squares)

    @property
    def complete(self) -> bool:
        """Whether as many voxels have come as the volume has."""
        return int(self.sums[0]) == math.prod(self.shape)

    @property
    def mean(self) -> float:
        """Mean of the blocks that have come."""
        return float(self.sums[1] / self.sums[0])

    @property
    def deviation(self) -> float:
        """Standard deviation of the blocks that have come."""
        return float(np.sqrt(max(self.sums[2] / self.sums[0] - self.mean**2, 0.0)))


def cut_slabs(rows: int, height: int, workers: int, step: int = 1) -> list[tuple[int, int]]:
    """Slabs (first row, number of rows) of at most `rows` rows, alike in size, as many as keep all workers busy.

    Edges are multiples of `step`, which divides `height`; a slab has at least `step` rows.
    """
    count = math.ceil(height / rows)
    if count > 1 or height >= 8 * workers:
        count = workers * math.ceil(count / workers)
    count = min(count, height // step)
    edges = step * np.linspace(0, height // step, count + 1).round().astype(int)
    return [(int(a), int(b - a)) for a, b in itertools.pairwise(edges)]


def each_slab(
    work: Callable[[int, int, int], None],
    slabs: list[tuple[int, int]],
    progress: Progress,
    text: str,
    workers: int | None = None,
) -> None:
    """Call ``work(number, first row, rows)`` for every slab, several at a time; the first error ends it all."""
    lock, done, failed = Lock(), 0, False

    def one(number: int) -> None:
        nonlocal done, failed
        if failed:
            return
        try:
            work(number, *slabs[number])
        except BaseException:
            failed = True
            raise
        with lock:
            done += 1
            progress(done / len(slabs), text)

    with ThreadPoolExecutor(workers or threads()) as pool:
        for result in [pool.submit(one, number) for number in range(len(slabs))]:
            result.result()
