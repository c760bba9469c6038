"""Where a correlation ends: sharp ends, dips, and noise that must not count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.fourier import equal_half_correlation, resolved_shells

GOLD = 0.143


def numbers(shells: int, share: float = 1.0) -> np.ndarray:
    return np.maximum(4 * np.pi * np.arange(shells) ** 2.0 * share, 1)


def noisy(truth: np.ndarray, terms: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A correlation as measured from that many real pairs: normal in Fisher's z."""
    spread = 1 / np.sqrt(np.maximum(terms - 3, 1))
    return np.tanh(np.arctanh(np.clip(truth, -0.99, 0.9999)) + spread * rng.normal(size=len(truth)))


def test_a_curve_that_falls_once() -> None:
    found = resolved_shells([1, 1, 0.8, 0.2, 0.1, 0, 0], GOLD)
    assert found.first == found.last == pytest.approx(3 + (0.2 - GOLD) / 0.1)
    assert found.falls
    assert not resolved_shells(np.ones(9), GOLD).falls
    assert resolved_shells(np.ones(9), GOLD).last == 8
    assert resolved_shells(np.zeros(9), GOLD).last == 1


def test_a_dip_is_stepped_over_and_a_peak_of_noise_is_not() -> None:
    curve = np.zeros(60)
    curve[:20], curve[20:22], curve[22:26] = 0.9, 0.05, 0.4
    found = resolved_shells(curve, GOLD, numbers(60, 0.1))
    assert found.first == pytest.approx(19 + (0.9 - GOLD) / 0.85)
    assert found.last == pytest.approx(25 + (0.4 - GOLD) / 0.4)
    curve[22:26], curve[50] = 0, 0.9  # one high shell far out
    assert resolved_shells(curve, GOLD, numbers(60, 0.1)).last == found.first
    curve[20:], curve[57:] = 0.05, 0.5  # a rise at the end
    assert resolved_shells(curve, GOLD, numbers(60, 0.1)).last == pytest.approx(found.first, abs=0.01)


def test_a_low_first_shell_does_not_hide_the_rest() -> None:
    curve = np.full(40, 0.9)
    curve[1], curve[30:] = 0.1, 0.0
    found = resolved_shells(curve, GOLD)
    assert found.first == 1
    assert found.last == pytest.approx(29 + (0.9 - GOLD) / 0.9)


@given(
    curve=st.lists(st.floats(-0.2, 1.0), min_size=3, max_size=40),
    threshold=st.sampled_from([0.143, 0.5]),
)
def test_what_holds_for_every_curve(curve: list[float], threshold: float) -> None:
    """The end is a fall of the measured curve, no earlier than the first, and what lies before it is worth it."""
    values = np.array(curve)
    found = resolved_shells(values, threshold)
    assert 1 <= found.first <= found.last <= len(values) - 1
    terms = 4 * np.pi * np.arange(len(values)) ** 2.0
    gain = np.cumsum(terms * (values - threshold))
    first, last = (int(np.floor(value)) for value in (found.first, found.last))
    if found.first > 1:
        assert (values[1 : first + 1] >= threshold).all()
    if last > first:
        assert gain[last] > gain[first]
    if found.falls and found.last > 1:
        assert np.interp(found.last, np.arange(len(values)), values) == pytest.approx(threshold)


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_pure_noise_is_not_resolved(share: float, rng: np.random.Generator) -> None:
    """Halves without signal: seldom more than what the first crossing says, and never far."""
    terms = numbers(65, share)
    ends = [resolved_shells(noisy(np.zeros(65), terms, rng), GOLD, terms) for _ in range(1000)]
    further = np.array([one.last - one.first for one in ends])
    assert np.mean(further > 0) < 0.03
    assert np.max([one.last for one in ends]) < 4 + 2 / share**0.5


@pytest.mark.parametrize("cut", [8, 20, 40])
def test_a_sharp_end_is_found_where_it_is(cut: int, rng: np.random.Generator) -> None:
    """A correlation of 0.6 that ends: hardly ever is it stated further than by the first crossing."""
    terms = numbers(65, 0.08)
    truth = np.where(np.arange(65) <= cut, 0.6, 0.0)
    truth[:6] = 0.9999  # few terms
    ends = [resolved_shells(noisy(truth, terms, rng), GOLD, terms) for _ in range(1000)]
    assert np.mean([one.last > one.first for one in ends]) < 0.02
    assert max(one.last for one in ends) < cut + 4
    assert np.median([one.last for one in ends]) == pytest.approx(cut + 0.76, abs=0.25)


def test_a_shallow_fall_is_stated_without_bias(rng: np.random.Generator) -> None:
    terms = numbers(65, 0.08)
    shells = np.arange(65)
    truth = np.clip(0.143 * np.exp(-(shells - 30) / 6), 0, 0.99)
    ends = np.array([resolved_shells(noisy(truth, terms, rng), GOLD, terms).last for _ in range(400)])
    assert np.mean(ends) == pytest.approx(30, abs=1.0)
    assert np.percentile(ends, 99) < 35


def test_dips_of_a_shared_zero_do_not_end_the_curve(rng: np.random.Generator) -> None:
    """A falling signal-to-noise ratio times sin² of the transfer."""
    terms = numbers(65, 0.08)
    shells = np.arange(65)
    ratio = np.exp(-((shells - 8) / 14) * 1.2) * 2 * np.sin(shells**2 / 120) ** 2
    truth = ratio / (1 + ratio)
    without_noise = resolved_shells(truth, GOLD, terms)
    ends = [resolved_shells(noisy(truth, terms, rng), GOLD, terms) for _ in range(400)]
    assert without_noise.last > without_noise.first + 5
    assert np.median([one.first for one in ends]) == pytest.approx(without_noise.first, abs=0.5)
    assert np.median([one.last for one in ends]) == pytest.approx(without_noise.last, abs=0.5)


def test_correlation_with_the_truth_at_a_half_is_that_of_halves_at_a_seventh() -> None:
    assert equal_half_correlation(0.5) == pytest.approx(1 / 7)
    halves = np.linspace(0, 0.99, 7)
    np.testing.assert_allclose(equal_half_correlation(np.sqrt(2 * halves / (1 + halves))), halves)
    assert equal_half_correlation(-0.1) < 0
