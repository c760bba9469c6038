"""Alignment begins where the session that recorded a series had its views, unless the views say otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.records import SESSION_SHIFT_ERROR, SESSION_SHIFTS, ArrayImages, TiltSeries
from lamella.tilts import coarse
from lamella.tilts.align import AlignResult, align
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.compare import geometry_error
from lamella.tilts.session_start import SessionStart, judge_session, pair_reach_ang, session_start

Simulate = Callable[..., Any]
FIELD = 4000.0


def with_session(series: TiltSeries, shifts: np.ndarray, error: Any = 20.0) -> TiltSeries:
    """The series with what a session left."""
    scores = dict(zip(SESSION_SHIFTS, np.asarray(shifts, float).T, strict=True))
    scores[SESSION_SHIFT_ERROR] = np.broadcast_to(np.asarray(error, float), len(series)).copy()
    return series.with_changes(scores=scores)


@pytest.fixture(scope="module")
def inclined(simulate: Simulate) -> Any:
    """A film that lies inclined by 14° in all, as on a grid that is not level; views far off each other."""
    return simulate(
        size=128, views=21, shift_px=20, noise=1.0, particles=300, thickness_px=20, tilt_offset=10.0, x_tilt=-9.0,
        axis_error=0.0,
    )  # fmt: skip


def aligned(one: Any, series: TiltSeries, **settings: Any) -> AlignResult:
    return align(series, ArrayImages(one.images), AlignSettings(method="coarse", **settings))


def error_px(one: Any, result: AlignResult) -> float:
    geometry = result.series.geometry
    assert geometry is not None
    return geometry_error(geometry, one.truth, one.points).rms_ang / one.series.pixel_size_ang


def told(result: AlignResult) -> str:
    return " ".join(note for note in result.notes if "session" in note)


def test_what_holds_is_begun_with_and_the_short_way_is_taken(
    inclined: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer pairs are correlated, the order of the views is not checked again, and the result is no worse."""
    shifts = inclined.truth.shifts_ang() + 15 * rng.normal(size=(21, 2))
    given = with_session(inclined.series, shifts, 20.0)
    counted = [0]
    plain = coarse.PairCorrelator.pair

    def pair(self: Any, *rest: Any) -> Any:
        counted[0] += 1
        return plain(self, *rest)

    monkeypatch.setattr(coarse.PairCorrelator, "pair", pair)
    with_start = aligned(inclined, given)
    short, counted[0] = counted[0], 0
    without = aligned(inclined, given, session_start=False)
    assert "every view lies where" in told(with_start)
    assert not told(without)
    assert short < 0.5 * counted[0]
    assert error_px(inclined, with_start) < min(1.2, 1.05 * error_px(inclined, without))


def test_shifts_of_another_series_are_told_and_not_used(inclined: Any, rng: np.random.Generator) -> None:
    wrong = 300 * rng.normal(size=(21, 2))
    result = aligned(inclined, with_session(inclined.series, wrong, 5.0))
    assert "do not hold" in told(result)
    plain = aligned(inclined, inclined.series)
    assert result.series.geometry is not None
    assert plain.series.geometry is not None
    np.testing.assert_allclose(result.series.geometry.shifts_ang(), plain.series.geometry.shifts_ang(), atol=1e-6)


def test_single_views_elsewhere_are_named_and_sought_anew(inclined: Any) -> None:
    shifts = inclined.truth.shifts_ang().copy()
    shifts[4] += (250.0, -120.0)
    result = aligned(inclined, with_session(inclined.series, shifts, 10.0))
    assert "view 5 lies elsewhere" in told(result)
    assert error_px(inclined, result) < 1.2


def test_views_that_were_not_measured_are_sought_far_and_the_others_near(inclined: Any) -> None:
    shifts = inclined.truth.shifts_ang().copy()
    shifts[[3, 10]] = np.nan
    series = with_session(inclined.series, shifts, 10.0)
    result = aligned(inclined, series)
    assert "every view lies where" in told(result)
    assert error_px(inclined, result) < 1.2
    start = session_start(series, TiltGeometry.from_angles(series.nominal_tilt_deg, 85.0))
    assert start is not None
    assert np.isfinite(start.geometry.shifts_ang()).all()
    np.testing.assert_array_equal(np.flatnonzero(np.isinf(start.error_ang)), [3, 10])
    near, far = pair_reach_ang(start, np.array([[0, 1], [3, 4]]), FIELD)
    assert near == pytest.approx(4 * np.sqrt(2 * 10**2 + 40**2))
    assert far == pytest.approx(0.3 * FIELD)


@pytest.mark.parametrize("moved", [np.zeros(3), np.array([30.0, -500.0, 900.0])])
def test_a_rigid_motion_of_the_specimen_is_no_disagreement(moved: np.ndarray, rng: np.random.Generator) -> None:
    """Another point of the specimen in the middle changes every view's shift, and no picture."""
    tilt = np.linspace(-60, 60, 41)
    truth = TiltGeometry.from_angles(tilt, 85.0, x_tilt_deg=3.0, x_shift_ang=80 * rng.normal(size=41))
    error = np.full(41, 30.0)
    shifts = truth.shifts_ang() + truth.matrices() @ moved + error[:, None] * rng.normal(size=(41, 2))
    start = SessionStart(geometry=truth.with_terms(x_shift_ang=shifts[:, 0], y_shift_ang=shifts[:, 1]), error_ang=error)
    verdict = judge_session(start, truth, FIELD)
    assert verdict.whole
    assert np.sqrt((verdict.off_ang**2).mean()) == pytest.approx(30 * np.sqrt(2), rel=0.2)
    far = start.geometry.x_shift_ang + np.where(np.arange(41) == 7, 600.0, 0.0)
    verdict = judge_session(
        SessionStart(geometry=start.geometry.with_terms(x_shift_ang=far), error_ang=error), truth, FIELD
    )
    assert verdict.holds
    assert verdict.elsewhere.tolist() == [7]
    assert verdict.off_ang[7] == pytest.approx(600, abs=120)


def test_what_tells_nothing_is_no_start(inclined: Any) -> None:
    nominal = TiltGeometry.from_angles(inclined.series.nominal_tilt_deg, 85.0)
    assert session_start(inclined.series, nominal) is None
    shifts = np.full((21, 2), np.nan)
    assert session_start(with_session(inclined.series, shifts), nominal) is None
    plain = session_start(with_session(inclined.series, np.zeros((21, 2))), nominal)
    assert plain is not None
    np.testing.assert_array_equal(plain.geometry.y_tilt_deg, nominal.y_tilt_deg)
