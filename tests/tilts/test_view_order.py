from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages
from lamella.tilts.view_order import check_order
from lamella.tilts.working import WorkingImages, prepare

Simulate = Callable[..., Any]


@pytest.fixture(scope="module")
def series(simulate: Simulate) -> tuple[WorkingImages, np.ndarray]:
    simulated = simulate(size=128, views=25, shift_px=8, noise=1.0, particles=300, thickness_px=40)
    return prepare(ArrayImages(simulated.images), 10.0, 128), simulated.series.nominal_tilt_deg


def test_the_right_order_is_believed(series: tuple[WorkingImages, np.ndarray]) -> None:
    images, tilt = series
    for sign in (1, -1):  # a mirrored specimen shows the same pictures
        checked = check_order(images, TiltGeometry.from_angles(sign * tilt))
        assert checked.agreeing > 0.9
        assert checked.note is None


def test_another_order_is_told(series: tuple[WorkingImages, np.ndarray], rng: np.random.Generator) -> None:
    images, tilt = series
    by_time = tilt[np.argsort(np.abs(tilt), kind="stable")]
    for wrong in (by_time, rng.permutation(tilt)):
        checked = check_order(images, TiltGeometry.from_angles(wrong))
        assert checked.agreeing < 0.85
        assert checked.note is not None
        assert "another order" in checked.note


def test_an_order_that_is_broken_once_is_told(series: tuple[WorkingImages, np.ndarray]) -> None:
    """Angles that begin at another view, or run backwards on one side: nearly all neighbours are still right."""
    images, tilt = series
    for wrong, views in ((np.roll(tilt, 5), "1 and 25|25 and 1"), (np.r_[tilt[:12][::-1], tilt[12:]], "1 and 13")):
        checked = check_order(images, TiltGeometry.from_angles(wrong))
        assert checked.agreeing > 0.85
        assert len(checked.broken) == 1
        assert checked.note is not None
        assert re.search(f"views ({views}) are neighbours", checked.note)


def test_views_of_nothing_are_like_no_other(series: tuple[WorkingImages, np.ndarray], rng: np.random.Generator) -> None:
    images, tilt = series
    stack = images.stack.clone()
    stack[:12] = torch.from_numpy(rng.normal(size=stack[:12].shape)).float()
    checked = check_order(replace(images, stack=stack), TiltGeometry.from_angles(tilt))
    np.testing.assert_array_equal(checked.unlike, np.arange(12))
    assert checked.note is None


def test_pictures_of_nothing_say_nothing(rng: np.random.Generator) -> None:
    images = prepare(ArrayImages(rng.normal(size=(15, 96, 96)).astype(np.float32)), 10.0, 96)
    assert check_order(images, TiltGeometry.from_angles(np.linspace(-40, 40, 15))).note is None
