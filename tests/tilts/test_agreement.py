from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lamella.records import ArrayImages
from lamella.tilts.agreement import Agreement, agreement
from lamella.tilts.working import prepare

Simulate = Callable[..., Any]


@pytest.mark.parametrize("compact", [False, True])
def test_the_truth_scores_best(simulate: Simulate, compact: bool) -> None:
    simulated = simulate(size=128, views=31, shift_px=6, noise=1.0, compact=compact, particles=300)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    shape = "compact" if compact else "film"
    true = agreement(images, simulated.truth, 600.0, shape)
    unshifted = agreement(images, simulated.truth.with_terms(x_shift_ang=0, y_shift_ang=0), 600.0, shape)
    assert true.neighbours > unshifted.neighbours + 0.02
    assert true.reprojection > unshifted.reprojection + 0.02
    turned = agreement(images, simulated.truth.with_terms(z_rot_deg=95.0), 600.0, shape)
    assert true.reprojection > turned.reprojection


def test_one_shifted_view_scores_low(simulate: Simulate) -> None:
    simulated = simulate(size=128, views=31, shift_px=0, noise=0.5, particles=300)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    wrong = simulated.truth.with_terms(x_shift_ang=simulated.truth.x_shift_ang + 60 * (np.arange(31) == 12))
    per_view = agreement(images, wrong, 600.0).per_view
    assert np.argmin(per_view) == 12
    assert per_view[12] < np.median(per_view) - 0.3


def test_noise_agrees_with_nothing(rng: np.random.Generator, simulate: Simulate) -> None:
    simulated = simulate(size=128, views=31)
    noise = prepare(ArrayImages(rng.normal(size=(31, 128, 128)).astype(np.float32)), 10.0, 128)
    score = agreement(noise, simulated.truth, 600.0)
    assert abs(score.neighbours) < 0.03
    assert abs(score.reprojection) < 0.05


def test_contrast_and_brightness_do_not_matter(simulate: Simulate, rng: np.random.Generator) -> None:
    simulated = simulate(size=128, views=21, shift_px=2, noise=0.5)
    changed = simulated.images * rng.uniform(0.5, 3, (21, 1, 1)) + rng.uniform(-50, 50, (21, 1, 1))
    first, second = (
        agreement(prepare(ArrayImages(stack.astype(np.float32)), 10.0, 128), simulated.truth, 600.0)
        for stack in (simulated.images, changed)
    )
    assert first.neighbours == pytest.approx(second.neighbours, abs=1e-3)
    assert first.reprojection == pytest.approx(second.reprojection, abs=0.01)


def test_comparison_asks_for_both() -> None:
    low, high = Agreement(0.5, 0.5, np.zeros(1)), Agreement(0.6, 0.4, np.zeros(1))
    assert not high.at_least(low)
    assert not low.at_least(high)
    assert high.at_least(low, slack=0.1)
