"""Beads of two tomograms matched by nothing but their places."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.two_axes import motion_of

from lamella.tomograms.combine_beads import match_beads
from lamella.tomograms.combine_rigid import fit_rigid


def beads(motion, count=20, lost=4, strange=5, error=(3.0, 3.0, 8.0), seed=0):
    """Places in both tomograms: some of each missing in the other; and which is which."""
    rng = np.random.default_rng(seed)
    second = rng.uniform(-1, 1, (count, 3)) * [2400, 2400, 0]
    second[:, 2] = np.where(rng.random(count) < 0.5, -700, 700)
    first = motion.to_first(second) + rng.normal(size=(count, 3)) * error
    order = rng.permutation(count)
    extra = rng.uniform(-1, 1, (strange, 3)) * [2400, 2400, 700]
    return np.concatenate([first[lost:], extra]), second[order], order


@pytest.mark.parametrize("turn", [90.0, -88.7, 180.0, 3.0])
def test_beads_are_paired_for_any_turn(turn):
    motion = motion_of(turn, (1.5, -2.0), (150.0, -90.0, 30.0))
    first, second, order = beads(motion)
    match = match_beads(first, second, 60.0)
    assert match is not None
    assert not match.mirrored
    assert len(match) >= 15
    assert (order[match.second] - 4 == match.first).mean() > 0.9
    fit = fit_rigid(second[match.second], first[match.first])
    assert np.linalg.norm(fit.motion.shift_ang - motion.shift_ang) < 6
    assert fit.motion.turn_deg == pytest.approx(motion.turn_deg, abs=0.2)


def test_a_mirrored_tomogram_is_told():
    first, second, _order = beads(motion_of(90.0))
    match = match_beads(first, second * [1, 1, -1], 60.0)
    assert match is not None
    assert match.mirrored


def test_strange_beads_do_not_match():
    rng = np.random.default_rng(5)
    first, second = (rng.uniform(-1, 1, (20, 3)) * [2400, 2400, 700] for _ in range(2))
    assert match_beads(first, second, 60.0) is None


def test_a_stated_turn_narrows_the_search():
    first, second, _order = beads(motion_of(90.0))
    assert match_beads(first, second, 60.0, turn_deg=92.0) is not None
    assert match_beads(first, second, 60.0, turn_deg=40.0) is None
