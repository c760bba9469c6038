"""In which order views are recorded, and with what dose."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.simulate import SimulateSettings, record_series
from lamella.simulate.schemes import doses_of_tilts, order_of_tilts


def order(**values) -> list[float]:
    settings = SimulateSettings.model_validate({"tilt_range": 12.0, "tilt_step": 3.0, **values})
    return order_of_tilts(settings).tolist()


def test_dose_symmetric_orders() -> None:
    assert order() == [0, 3, -3, -6, 6, 9, -9, -12, 12]
    assert order(tilt_group=2) == [0, 3, 6, -3, -6, -9, -12, 9, 12]
    assert order(tilt_group=3) == [0, 3, 6, 9, -3, -6, -9, -12, 12]
    assert order(start_tilt=10.0)[:4] == [10, 13, 7, 4]
    assert order(tilt_range=0.0) == [0]


def test_other_orders() -> None:
    assert order(scheme="bidirectional") == [0, 3, 6, 9, 12, -3, -6, -9, -12]
    assert order(scheme="unidirectional") == [-12, -9, -6, -3, 0, 3, 6, 9, 12]


def test_the_last_step_of_a_fraction_is_not_lost() -> None:
    settings = SimulateSettings(tilt_range=0.3, tilt_step=0.1)
    assert order_of_tilts(settings).max() == pytest.approx(0.3)
    assert len(order_of_tilts(SimulateSettings())) == 41


def test_dose_may_grow_with_the_tilt() -> None:
    tilts = np.array([0.0, 60.0, -60.0])
    np.testing.assert_allclose(doses_of_tilts(tilts, SimulateSettings(dose=2.0)), 2.0)
    growing = SimulateSettings(dose=2.0, dose_by_tilt="cosine", tilt_noise=0.0)
    np.testing.assert_allclose(doses_of_tilts(tilts, growing), [2.0, 4.0, 4.0])
    series = record_series(growing)
    by_time = np.argsort(series.place)
    before = np.concatenate([[0], np.cumsum(series.scores["Dose"][by_time])[:-1]])
    np.testing.assert_allclose(series.pre_exposure[by_time], before)


def test_the_record_is_the_truth_that_was_asked_for() -> None:
    settings = SimulateSettings(
        shift=60.0, drift=0.0, deformation=0.0, axis_variation=0.1, magnification_drift=0.001, astigmatism=300.0
    )
    series = record_series(settings)
    geometry = series.geometry
    assert (np.diff(series.nominal_tilt_deg) > 0).all()
    assert geometry.z_rot_deg.mean() == pytest.approx(86.7)
    assert geometry.z_rot_deg.std() == pytest.approx(0.1)
    assert np.abs(np.diff(geometry.z_rot_deg)).max() < 0.05  # a slow change
    np.testing.assert_allclose(geometry.y_tilt_deg - series.nominal_tilt_deg, settings.tilt_offset)
    assert geometry.x_shift_ang.std() == pytest.approx(60.0, rel=0.4)
    assert geometry.magnification.mean() == pytest.approx(1.0)
    assert geometry.magnification.std() == pytest.approx(0.001, rel=0.05)
    np.testing.assert_allclose(series.pre_exposure, 3.0 * (series.place - 1))
    by_time = series.nominal_tilt_deg[np.argsort(series.place)]
    np.testing.assert_allclose(by_time, order_of_tilts(settings), atol=0.1)
    mean = (series.defocus.u_ang + series.defocus.v_ang) / 2
    assert mean.std() == pytest.approx(300.0, rel=0.4)
    assert (series.defocus.u_ang >= series.defocus.v_ang).all()
    assert np.median(series.defocus.u_ang - series.defocus.v_ang) == pytest.approx(600.0, rel=0.3)


def test_deformation_grows_with_dose_and_holds_nothing_global() -> None:
    series = record_series(SimulateSettings(deformation=10.0))
    field = series.geometry.field
    size = np.sqrt((field.nodes_ang**2).mean(axis=(1, 2, 3)))
    by_time = size[np.argsort(series.place)]
    assert by_time[0] == pytest.approx(0, abs=1e-9)
    assert (np.diff(by_time) > -1e-6).all()
    assert np.abs(field.nodes_ang.mean(axis=(2, 3))).max() < 0.05
