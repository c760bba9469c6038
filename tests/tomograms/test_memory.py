"""What a budget of memory is shared out to, and what is said where it is too small."""

from __future__ import annotations

import re

import pytest

from lamella.errors import SettingsError
from lamella.tomograms import memory
from lamella.tomograms.memory import MemoryBudget

GIB = 2**30


def test_a_stated_budget_is_taken_as_it_is():
    budget = MemoryBudget.of(2.5)
    assert (budget.bytes, budget.stated) == (int(2.5 * GIB), True)


def test_auto_takes_a_part_of_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 8 * GIB)
    budget = MemoryBudget.of("auto")
    assert 0 < budget.bytes < 8 * GIB
    assert not budget.stated


def test_a_device_sets_a_limit_of_its_own(monkeypatch):
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: GIB)
    assert MemoryBudget.of(4.0, "cuda").bytes < GIB


def test_what_is_held_is_not_shared_out_again():
    budget = MemoryBudget(bytes=GIB, stated=True)
    assert budget.less(GIB / 4).bytes == 3 * GIB // 4
    assert budget.less(2 * GIB).bytes == 0
    assert budget.less(GIB / 4).for_slabs < budget.for_slabs < GIB


def test_views_beyond_their_share_go_to_a_file():
    budget = MemoryBudget(bytes=GIB)
    assert budget.keeps(GIB / 2)
    assert not budget.keeps(0.9 * GIB)


def test_pieces_side_by_side():
    budget = MemoryBudget(bytes=GIB)
    assert budget.side_by_side(GIB / 4, 8, "a slab") == 3
    assert budget.side_by_side(1, 8, "a slab") == 8
    assert budget.side_by_side(budget.for_slabs, 8, "a slab") == 1


def test_too_little_says_how_much_is_wanted():
    budget = MemoryBudget.of(0.5)
    with pytest.raises(SettingsError, match="one slab by sirt takes 2 GiB") as caught:
        budget.require(2 * GIB, "one slab by sirt")
    more = float(re.search(r"([\d.]+) GiB more", caught.value.mend).group(1))
    MemoryBudget.of(0.5 + 1.01 * more).require(2 * GIB, "one slab by sirt")
