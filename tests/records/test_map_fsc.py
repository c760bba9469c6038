"""The resolution that a correlation of half maps states."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.records.map_fsc import MapFsc

FREQUENCY = np.arange(50) / 400.0


def test_a_dip_is_stepped_over_and_both_crossings_are_known() -> None:
    curve = np.where(np.arange(50) < 30, 0.9, 0.0)
    curve[20:22] = 0.0
    fsc = MapFsc(frequency_per_ang=FREQUENCY, correlation=curve, terms=1000.0 * np.ones(50))
    part = (0.9 - 0.143) / 0.9
    assert fsc.resolution_ang() == pytest.approx(400 / (29 + part))
    assert fsc.first_crossing_ang() == pytest.approx(400 / (19 + part))
    curve[30:] = 0.5
    rising = MapFsc(frequency_per_ang=FREQUENCY, correlation=curve)
    assert rising.resolution_ang() is None
    assert rising.first_crossing_ang() == pytest.approx(400 / (19 + part))


def test_a_dip_counts_by_its_error() -> None:
    """The same recovery is nothing where few numbers stand behind each shell."""
    curve = np.where(np.arange(50) < 20, 0.9, 0.0)
    curve[21] = 0.4
    sure, unsure = (
        MapFsc(frequency_per_ang=FREQUENCY, correlation=curve, terms=np.full(50, terms)) for terms in (1000.0, 20.0)
    )
    assert sure.resolution_ang() < 400 / 21
    assert unsure.resolution_ang() == unsure.first_crossing_ang() > 400 / 20


def test_half_maps_and_truth_agree() -> None:
    """C = √(2 F / (1 + F)) at 0.5 is F at 0.143, dips and all."""
    shells = np.arange(50)
    halves = np.exp(-shells / 12) * (0.2 + 0.8 * np.sin(shells**2 / 90) ** 2)
    truth = np.sqrt(2 * halves / (1 + halves))
    ours = MapFsc(frequency_per_ang=FREQUENCY, correlation=halves)
    theirs = MapFsc.with_truth(FREQUENCY, truth)
    assert theirs.resolution_ang(1 / 7) == pytest.approx(ours.resolution_ang(1 / 7))
