"""Frames read before they are asked for, and small movies decoded once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.records import FrameSource

__all__ = ["kept_in_memory", "read_ahead"]

KEPT_BYTES = 160 * 2**20
"""Movies that take no more than this together, decoded, stay in memory."""


def read_ahead(source: FrameSource, places: Sequence[int], ahead: int = 1) -> Iterator[NDArray[Any]]:
    """Frames of a movie in the order given, the next ones being decoded meanwhile, each by a thread of its own.

    Parameters
    ----------
    source
        the movie.
    places
        which frames, from 0.
    ahead
        how many frames are decoded or wait while one is worked on.
    """
    with ThreadPoolExecutor(ahead) as pool:
        coming: deque[Future[NDArray[Any]]] = deque(pool.submit(source.frame, place) for place in places[:ahead])
        for place in places[ahead:]:
            frame = coming.popleft().result()
            coming.append(pool.submit(source.frame, place))
            yield frame
            del frame
        while coming:
            yield coming.popleft().result()


def kept_in_memory(movies: Sequence[FrameSource], most_bytes: int = KEPT_BYTES) -> list[FrameSource]:
    """The same movies, whose frames are decoded once and stay, where all together take little memory.

    A movie is looked at three times: for the camera, for its motion, and to be summed. Of large series each look
    decodes the frames anew, so that memory does not grow with their number.
    """
    if not movies:
        return []
    per_pixel = movies[0].frame(0).dtype.itemsize
    total = sum(per_pixel * int(np.prod(movie.shape, dtype=np.int64)) for movie in movies)
    return list(movies) if total > most_bytes else [_Kept(movie) for movie in movies]


@dataclass(frozen=True, eq=False)
class _Kept:
    """A movie whose frames are decoded once."""

    source: FrameSource
    _frames: dict[int, NDArray[Any]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, height, width)."""
        return self.source.shape

    def __len__(self) -> int:
        return len(self.source)

    def frame(self, index: int) -> NDArray[Any]:
        """One frame; others get the same array, so it must not be written to."""
        with self._lock:
            known = self._frames.get(index)
        if known is not None:
            return known
        frame = self.source.frame(index)
        with self._lock:
            return self._frames.setdefault(index, frame)
