"""An object that ends within the field, against its own reprojections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lamella.records import ArrayImages
from lamella.tilts.compact import match_compact, score_compact
from lamella.tilts.compare import geometry_error
from lamella.tilts.working import prepare

Simulate = Callable[..., Any]


@pytest.fixture(scope="module")
def needle(simulate: Simulate) -> Any:
    return simulate(size=96, views=25, max_tilt=72, shift_px=4, noise=0.3, particles=80, compact=True)


def test_the_true_geometry_scores_highest(needle: Any, rng: np.random.Generator) -> None:
    images = prepare(ArrayImages(needle.images), 10.0, 96)
    best = score_compact(images, needle.truth)
    values = [best.value]
    for size in (5.0, 10.0, 30.0):
        off = rng.normal(scale=size, size=(25, 2))
        wrong = needle.truth.with_terms(
            x_shift_ang=needle.truth.x_shift_ang + off[:, 0], y_shift_ang=needle.truth.y_shift_ang + off[:, 1]
        )
        values.append(score_compact(images, wrong).value)
    assert values == sorted(values, reverse=True)
    assert best.value > 0.9
    assert best.per_view.shape == (25,)
    assert best.significance > 20
    turned = needle.truth.with_terms(z_rot_deg=needle.truth.z_rot_deg + 5)
    assert score_compact(images, turned).value < best.value


def test_shifts_are_found_from_some_pixels_off(needle: Any, rng: np.random.Generator) -> None:
    images = prepare(ArrayImages(needle.images), 10.0, 96)
    off = rng.normal(scale=12.0, size=(25, 2))
    start = needle.truth.with_terms(
        x_shift_ang=needle.truth.x_shift_ang + off[:, 0],
        y_shift_ang=needle.truth.y_shift_ang + off[:, 1],
        z_rot_deg=needle.truth.z_rot_deg + 0.6,
    )
    found = match_compact(images, start)
    before = geometry_error(start, needle.truth, needle.points).rms_ang
    after = geometry_error(found.geometry, needle.truth, needle.points).rms_ang
    assert after < min(4.0, before / 3)
    assert found.quality["AlignReprojectionCorrelation"] > score_compact(images, start).value


def test_noise_agrees_with_nothing(needle: Any, rng: np.random.Generator) -> None:
    images = prepare(ArrayImages(rng.normal(size=needle.images.shape).astype(np.float32)), 10.0, 96)
    assert abs(score_compact(images, needle.truth).value) < 0.1


def test_three_views_are_enough_to_be_scored(needle: Any) -> None:
    images = prepare(ArrayImages(needle.images[[10, 12, 14]]), 10.0, 96)
    assert score_compact(images, needle.truth.select([10, 12, 14])).value > 0.5
