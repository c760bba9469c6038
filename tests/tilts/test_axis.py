from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages
from lamella.tilts.axis import _believed, search_axis
from lamella.tilts.coarse import coarse_shifts
from lamella.tilts.common_line import search_common_line
from lamella.tilts.working import prepare

Simulate = Callable[..., Any]


@pytest.mark.parametrize(("axis", "off"), [(85.0, 3.0), (-92.0, -8.0), (12.0, 25.0)])
def test_the_axis_of_a_film(simulate: Simulate, axis: float, off: float) -> None:
    simulated = simulate(size=128, views=31, axis=axis, axis_error=off, noise=1.0, particles=500)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    start = TiltGeometry.from_angles(simulated.series.nominal_tilt_deg, axis + off)
    found = search_axis(images, coarse_shifts(images, start).geometry, 90.0)
    assert found.change_deg == pytest.approx(-off, abs=1.0)
    assert found.refused_deg is None
    assert (np.diff(found.tried_deg) > 0).all()


def test_the_search_keeps_to_its_range(simulate: Simulate) -> None:
    simulated = simulate(size=128, views=21, axis_error=12.0, noise=1.0)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    start = TiltGeometry.from_angles(simulated.series.nominal_tilt_deg, 97.0)
    found = search_axis(images, start, 4.0)
    assert np.abs(found.tried_deg).max() <= 4.0
    assert abs(found.change_deg) <= 4.0


def test_an_axis_far_off_must_be_clearly_better(rng: np.random.Generator) -> None:
    flat = rng.normal(0.5, 0.05, size=24)
    doubtful = {0.0: flat, 45.0: flat + rng.normal(0.005, 0.05, size=24)}
    doubtful[45.0] += max(0.0, 0.001 - float((doubtful[45.0] - flat).mean()))  # higher, by chance
    assert _believed(doubtful) == (0.0, 45.0)
    assert _believed({0.0: flat, 45.0: flat + 0.1 + rng.normal(0, 0.01, size=24)}) == (45.0, None)


def test_the_axis_of_a_compact_object(simulate: Simulate) -> None:
    simulated = simulate(size=128, views=41, max_tilt=70, axis=92.8, axis_error=-2.8, noise=0.2, compact=True)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    start = TiltGeometry.from_angles(simulated.series.nominal_tilt_deg, 90.0)
    shifts = coarse_shifts(images, start, shape="compact").geometry
    found = search_common_line(images, shifts, 90.0)
    assert found.change_deg == pytest.approx(2.8, abs=0.5)
    # along the axis the object does not move: the shifts there are the true ones up to a constant
    along = np.array([-np.sin(np.deg2rad(92.8)), np.cos(np.deg2rad(92.8))])
    off = (found.geometry.shifts_ang() - simulated.truth.shifts_ang()) @ along
    assert off.std() < 2.0
