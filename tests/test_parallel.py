"""Work side by side."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from lamella.parallel import each, one_thread_per_operation, part_of


def test_results_come_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMELLA_THREADS", "4")

    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item < 2 else 0.0)
        return item * item

    assert each(slow_at_first, range(20)) == [item * item for item in range(20)]
    assert each(slow_at_first, []) == []


def test_as_many_threads_as_allowed_with_one_of_torch_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMELLA_THREADS", "3")
    together = threading.Barrier(3, timeout=20)

    def work(_: int) -> tuple[int, int]:
        together.wait()  # passed only where three work at once
        return threading.get_ident(), torch.get_num_threads()

    results = each(work, range(6))
    assert len({ident for ident, _ in results}) == 3
    assert {count for _, count in results} == {1}


def test_progress_is_told_in_the_callers_thread() -> None:
    told: list[tuple[float, str, int]] = []

    def progress(fraction: float, text: str = "") -> None:
        told.append((fraction, text, threading.get_ident()))

    each(lambda item: item, range(4), part_of(progress, 0.5, 0.7), "working")
    assert [fraction for fraction, _, _ in told] == pytest.approx([0.55, 0.6, 0.65, 0.7])
    assert {(text, ident) for _, text, ident in told} == {("working", threading.get_ident())}


def test_an_error_reaches_the_caller_and_the_rest_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMELLA_THREADS", "1")
    done = []

    def work(item: int) -> None:
        done.append(item)
        if item == 2:
            raise ValueError("no such movie")
        time.sleep(0.01)

    with pytest.raises(ValueError, match="no such movie"):
        each(work, range(200))
    assert len(done) < 100


def test_torch_gets_its_threads_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread_per_operation():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_large_items_share_threads_and_memory_bounds_their_number(monkeypatch):
    import lamella.parallel as parallel

    monkeypatch.setattr(parallel, "threads", lambda: 8)
    monkeypatch.setattr(parallel, "free_memory_bytes", lambda: 10 * 2**30)
    assert parallel.side_by_side(20) == (8, 1)
    assert parallel.side_by_side(3) == (3, 1)
    assert parallel.side_by_side(20, 2**20) == (8, 1)
    assert parallel.side_by_side(20, 2**29) == (4, 2)
    assert parallel.side_by_side(20, 2 * 2**30) == (3, 2)
    assert parallel.side_by_side(20, 100 * 2**30) == (1, 2)
