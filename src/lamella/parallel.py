"""Many small pieces of work side by side: one thread each, instead of all threads on each.

Correlating patches is thousands of operations too small to be shared out: on a busy machine OpenMP's threads wait for
each other at every one of them, which was seen to take ten times as long. Whole pieces on threads of their own do not
wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from lamella.progress import Progress, no_progress
from lamella.runtime import free_memory_bytes, threads

__all__ = ["each", "one_thread_per_operation", "part_of", "side_by_side"]

_SHARE_OF_FREE = 0.6
_SMALL = 160 * 2**20
"""Bytes up to which an item is small."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    progress: Progress = no_progress,
    text: str = "",
    bytes_of_one: float = 0.0,
) -> list[Result]:
    """Results of `work` for every item, in their order; `progress` is called in the caller's thread.

    Where it is said how many bytes one item takes, `side_by_side` says how many are worked on at once.
    """
    out = []
    at_once, threads_of_one = side_by_side(len(items), bytes_of_one)
    pool = ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(threads_of_one,))
    with one_thread_per_operation(), pool:
        for number, result in enumerate(pool.map(work, items)):
            out.append(result)
            progress((number + 1) / len(items), text)
    return out


def side_by_side(count: int, bytes_of_one: float = 0.0) -> tuple[int, int]:
    """How many of `count` items to work on at once, and with how many threads each.

    Small items get a thread each. Two threads share a large one: nearly as fast, in half the memory. No more are begun
    than fit into most of the free memory.
    """
    threads_of_one = 1 if bytes_of_one <= _SMALL else min(2, threads())
    at_once = min(count, -(-threads() // threads_of_one))
    if bytes_of_one:
        at_once = min(at_once, int(_SHARE_OF_FREE * free_memory_bytes() // bytes_of_one))
    return max(1, at_once), threads_of_one


@contextmanager
def one_thread_per_operation() -> Iterator[None]:
    """Let torch use one thread for each operation, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def part_of(progress: Progress, start: float, end: float) -> Progress:
    """Progress of a part of the work, told as part of the whole."""

    def tell(fraction: float, text: str = "") -> None:
        progress(start + (end - start) * fraction, text)

    return tell
