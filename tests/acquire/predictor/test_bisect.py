"""BISECT's rule against the published equations, worked with numpy's own least squares."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.predictor import BisectPredictor, Observation, TargetPlace, View

ANGLES = [0.0, 3.0, -3.0, -6.0, 6.0, 9.0, -9.0, -12.0, 12.0]
X, Y, TRUE_Z, GIVEN_Z = 4.0, -2.0, 0.55, 0.30
NOISE = np.random.default_rng(5).normal(0.0, 0.04, len(ANGLES))
TRACKED = np.random.default_rng(6).normal(0.0, 0.2, (len(ANGLES), 2))


def view(target: int, tilt: int) -> View:
    angle = ANGLES[tilt]
    return View(
        target=target, tilt=tilt, tilt_deg=angle, time_s=60.0 * tilt, since_tilt_s=10.0, branch=int(np.sign(angle))
    )


def recorded(images: int) -> BisectPredictor:
    """A session's first images: the area is tracked at each tilt, then the target is measured."""
    places = {-1: TargetPlace(place_um=(0.0, 0.0, 0.0)), 0: TargetPlace(place_um=(X, Y, GIVEN_Z))}
    predictor = BisectPredictor(places)
    for tilt in range(images):
        predictor.observe(Observation(view=view(-1, tilt), kind="place", value_um=TRACKED[tilt], sd_um=0.005))
        if tilt > 0:
            angle = np.deg2rad(ANGLES[tilt])
            x = X * np.cos(angle) + TRUE_Z * np.sin(angle) + NOISE[tilt]
            value = np.array([x, Y]) + TRACKED[tilt]
            predictor.observe(Observation(view=view(0, tilt), kind="place", value_um=value, sd_um=0.005))
    return predictor


def fitted(images: int) -> tuple[float, float]:
    """z and its standard error from all displacements so far, by numpy's least squares."""
    angles = np.deg2rad(ANGLES[1:images])
    measured = TRUE_Z * np.sin(angles) + NOISE[1:images]
    z, rest, _, _ = np.linalg.lstsq(np.sin(angles)[:, None], measured, rcond=None)
    return float(z[0]), float(np.sqrt(rest[0] / (images - 2) / np.sum(np.sin(angles) ** 2)))


@pytest.mark.parametrize("images", [1, 2, 3, 4])
def test_before_five_images_the_given_height_holds(images: int) -> None:
    assert recorded(images).height_um(0) == GIVEN_Z


@pytest.mark.parametrize("images", [5, 6, 7, 8])
def test_from_five_images_on_z_is_the_least_squares_of_all_displacements(images: int) -> None:
    z, sd = fitted(images)
    predictor = recorded(images)
    assert predictor.height_um(0) == pytest.approx(z, abs=1e-12)
    angle = np.deg2rad(ANGLES[images])
    prediction = predictor.predict(view(0, images))
    expected = [X * np.cos(angle) + z * np.sin(angle), Y] + TRACKED[images - 1]
    assert np.allclose(prediction.shift_um, expected, atol=1e-12)
    assert prediction.height_um == pytest.approx(-X * np.sin(angle) + z * np.cos(angle), abs=1e-12)
    assert np.sqrt(prediction.covariance_um2[2, 2]) == pytest.approx(
        np.hypot(np.cos(angle) * sd, np.sin(angle) * 0.05), rel=1e-6
    )


def test_a_re_exposed_tracking_area_takes_the_earlier_ones_place() -> None:
    predictor = recorded(5)
    for x in (0.4, 0.31):
        predictor.observe(Observation(view=view(-1, 5), kind="place", value_um=np.array([x, 0.0]), sd_um=0.005))
    z, _ = fitted(5)
    angle = np.deg2rad(ANGLES[5])
    assert predictor.predict(view(0, 5)).shift_um[0] == pytest.approx(X * np.cos(angle) + z * np.sin(angle) + 0.31)
