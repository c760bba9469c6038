"""Sum every movie of a series, several at a time within the memory that is free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import torch

from lamella.movies.detector import Detector
from lamella.movies.sum_grid import plan_grid
from lamella.movies.sums import Sums, sum_movie
from lamella.parallel import side_by_side
from lamella.progress import Progress, no_progress
from lamella.records import FrameSource, ImageSink, MovieMotion
from lamella.runtime import give_memory_back, threads

__all__ = ["memory_of_one", "resolution_of_halves", "sum_series"]


def memory_of_one(shape_px: tuple[int, int], *, local: bool = True, weighted: bool = False) -> float:
    """Bytes that one movie's sums take at once: frames being read and corrected, transforms, sums."""
    height, width = plan_grid(shape_px, 1.0, (64.0, 64.0)).padded
    return 4.0 * height * width * (9 + 4 * local + 3 * weighted)


def sum_series(
    movies: Sequence[FrameSource],
    detector: Detector,
    motions: Sequence[MovieMotion],
    take: Callable[[int, Sums], None],
    *,
    halves: bool = True,
    voltage_kv: float | None = None,
    aligned: Callable[[int], ImageSink] | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> None:
    """Sum movies along their motions.

    Parameters
    ----------
    movies, motions
        one motion for each movie.
    take
        called with a movie's place and its sums, from one thread at a time, in no fixed order.
    halves, voltage_kv
        as in `sum_movie`.
    aligned
        makes the sink of a movie's aligned frames, where they are wanted.
    progress
        told after every movie.
    """
    one = memory_of_one(motions[0].shape_px, weighted=voltage_kv is not None)
    at_once, of_one = side_by_side(len(movies), one) if device == "cpu" else (1, threads())

    def work(place: int) -> tuple[int, Sums]:
        sums = sum_movie(
            movies[place],
            detector,
            motions[place],
            halves=halves,
            voltage_kv=voltage_kv,
            aligned=None if aligned is None else aligned(place),
            threads=of_one,
            device=device,
        )
        return place, sums

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(of_one,))
    try:
        waiting = list(range(len(movies)))[::-1]
        running = {pool.submit(work, waiting.pop()) for _ in range(min(at_once, len(waiting)))}
        done = 0
        while running:
            future = next(as_completed(running))
            running.discard(future)
            place, sums = future.result()
            if waiting:
                running.add(pool.submit(work, waiting.pop()))
            take(place, sums)
            del sums, future
            give_memory_back()
            done += 1
            progress(done / len(movies), f"sum movie {done} of {len(movies)}")
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def resolution_of_halves(sums: Sums, threshold: float = 0.143) -> float:
    """Resolution in Å to which even and odd sums agree: where their smoothed correlation falls below the threshold.

    Rings before the first that reaches the threshold do not count: a view near focus has next to no signal there. NaN
    where there are no halves, or they agree nowhere.
    """
    curve = sums.half_correlation
    if curve is None:
        return float("nan")
    width = max(3, len(curve) // 40)
    smooth = np.convolve(np.pad(curve[1:], width // 2, mode="edge"), np.ones(width) / width, mode="valid")
    agreeing = np.flatnonzero(smooth >= threshold)
    if len(agreeing) == 0:
        return float("nan")
    below = np.flatnonzero(smooth[agreeing[0] :] < threshold)
    last = agreeing[0] + below[0] if len(below) else len(curve) - 1
    return sums.pixel_size_ang * 2 * (len(curve) - 1) / float(last + 0.5)
