"""What becomes known late: an axis's offset, and places of views that were recorded some tilts ago."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.predictor.bisect import BisectPredictor
from lamella.acquire.predictor.flat import FlatPredictor
from lamella.acquire.predictor.incremental import IncrementalPredictor
from lamella.acquire.predictor.interface import Observation, TargetPlace, View
from lamella.acquire.predictor.shared import SharedPredictor
from lamella.acquire.predictor.turning import turned

AXIS_UM = 0.8
PLACES = {0: (0.0, 0.5, 0.1), 1: (4.0, -2.0, -0.2), 2: (-3.0, 1.0, 0.4), -1: (0.0, 5.0, 0.0), -2: (0.0, -5.0, 0.0)}
ANGLES = [0.0, 3.0, -3.0, -6.0, 6.0, 9.0, -9.0, -12.0, 12.0]
PREDICTORS = [FlatPredictor, BisectPredictor, IncrementalPredictor]


def places() -> dict[int, TargetPlace]:
    return {target: TargetPlace(place_um=place) for target, place in PLACES.items()}


def view(target: int, tilt: int, late_s: float = 10.0) -> View:
    angle = ANGLES[tilt]
    return View(
        target=target,
        tilt=tilt,
        tilt_deg=angle,
        time_s=100.0 * tilt + late_s,
        since_tilt_s=late_s,
        branch=int(np.sign(angle)),
    )


def seen(where: View, rng: np.random.Generator) -> Observation:
    """A place with a random error, about the true axis."""
    place = turned(np.array(PLACES[where.target]), where.tilt_deg, AXIS_UM)[:2] + rng.normal(0, 0.02, 2)
    return Observation(view=where, kind="place", value_um=place, sd_um=0.02)


def height(where: View) -> Observation:
    value = turned(np.array(PLACES[where.target]), where.tilt_deg, AXIS_UM)[2:]
    return Observation(view=where, kind="height", value_um=value, sd_um=0.05)


def axis(sd_um: float = 0.02) -> Observation:
    return Observation(view=view(-1, 4), kind="axis", value_um=np.array([AXIS_UM]), sd_um=sd_um)


def told(predictor, first: int, last: int) -> None:
    rng = np.random.default_rng(first)
    for tilt in range(first, last):
        order = [0, 1, 2] if predictor.tracks_on == "first" else [-1, 0, 1, 2]
        for target in order:
            predictor.predict(view(target, tilt))
            predictor.observe(seen(view(target, tilt), rng))
        if tilt % 2 == 0:
            predictor.observe(height(view(-2, tilt)))


@pytest.mark.parametrize("kind", PREDICTORS)
def test_an_axis_that_is_told_late_counts_as_one_that_was_known(kind) -> None:
    knew, late = kind(places(), axis_um=AXIS_UM), kind(places())
    for predictor in (knew, late):
        told(predictor, 0, 5)
    late.observe(axis())
    for tilt in (5, 6):
        one, other = (predictor.predict(view(2, tilt)) for predictor in (knew, late))
        assert other.height_um == pytest.approx(one.height_um, abs=0.01)
        if kind is not IncrementalPredictor:  # its heights were fitted to increments that the axis made too
            np.testing.assert_allclose(other.shift_um, one.shift_um, atol=1e-9)


def test_the_shared_model_takes_an_axis_for_a_measurement() -> None:
    predictor = SharedPredictor(places())
    far = view(0, 8)
    before = predictor.predict(far).covariance_um2[2, 2]
    predictor.observe(axis())
    after = predictor.predict(far)
    assert after.covariance_um2[2, 2] < before
    # A place on the axis itself would not rise: the axis beside it makes it rise by a · sin θ.
    flat = FlatPredictor(places(), axis_um=AXIS_UM).predict(far)
    assert after.height_um == pytest.approx(flat.height_um, abs=0.01)


def test_a_place_that_is_found_late_tells_a_targets_height() -> None:
    rng = np.random.default_rng(5)
    unseen, late = SharedPredictor(places()), SharedPredictor(places())
    truth = dict(PLACES)
    truth[2] = (-3.0, 1.0, 1.0)  # 0.6 µm higher than it is given
    for predictor in (unseen, late):
        for tilt in range(7):
            for target in (-1, 0, 1, 2):
                predictor.predict(view(target, tilt))
                # Of target 2 no view was believed but the first.
                if target != 2 or tilt == 0:
                    place = turned(np.array(truth[target]), ANGLES[tilt])[:2] + rng.normal(0, 0.005, 2)
                    predictor.observe(Observation(view=view(target, tilt), kind="place", value_um=place, sd_um=0.005))
    for tilt in range(1, 6):
        place = turned(np.array(truth[2]), ANGLES[tilt])[:2]
        late.observe(Observation(view=view(2, tilt), kind="place", value_um=place, sd_um=0.01))
    far = view(2, 8)
    should = turned(np.array(truth[2]), ANGLES[8])
    off = [abs(predictor.predict(far).shift_um[0] - should[0]) for predictor in (unseen, late)]
    assert off[1] < 0.4 * off[0]
    assert late.predict(far).covariance_um2[0, 0] < unseen.predict(far).covariance_um2[0, 0]
    # One that cannot be true is not believed, and one of a view that was never predicted is not known.
    before = late.predict(far).shift_um
    for tilt, away in ((6, 5.0), (3, 4.0)):
        wrong = turned(np.array(truth[2]), ANGLES[tilt])[:2] + away
        late.observe(Observation(view=view(2, tilt), kind="place", value_um=wrong, sd_um=0.01))
    np.testing.assert_allclose(late.predict(far).shift_um, before, atol=1e-6)
