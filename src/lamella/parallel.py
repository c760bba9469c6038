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

__all__ = ["each", "one_thread_per_operation", "part_of"]

_SHARE_OF_FREE = 0.6

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    progress: Progress = no_progress,
    text: str = "",
    threads_of_one: int = 1,
    bytes_of_one: float = 0.0,
) -> list[Result]:
    """Results of `work` for every item, in their order; `progress` is called in the caller's thread.

    With more than one thread for each item fewer are worked on at once, and in less memory; where it is said how much
    one takes, no more than fit into most of the free memory.
    """
    out = []
    at_once, each_has = -(-threads() // threads_of_one), min(threads_of_one, threads())
    if bytes_of_one:
        at_once = max(1, min(at_once, int(_SHARE_OF_FREE * free_memory_bytes() // bytes_of_one)))
    pool = ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(each_has,))
    with one_thread_per_operation(), pool:
        for number, result in enumerate(pool.map(work, items)):
            out.append(result)
            progress((number + 1) / len(items), text)
    return out


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
