"""Each scripted fault, at the call where it shall happen and at no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lamella.acquire.microscope.port import Landmarks, Purpose
from lamella.acquire.microscope.simulated import SimulatedCrash, SimulatedMicroscope, score_session
from lamella.acquire.microscope.simulated.score import Spread
from lamella.acquire.world import load_world
from lamella.errors import LamellaError, LimitError, MicroscopeError, PassingFault

RECORD = Purpose(kind="record", target=0, tilt=0)


def _microscope(*script: dict[str, object], world: str = "rigid") -> SimulatedMicroscope:
    return SimulatedMicroscope(load_world(world, {"faults.script": list(script)}), 1, targets=9)


def test_a_dark_image_says_so_and_costs_no_dose() -> None:
    microscope = _microscope({"kind": "dark-image", "target": 0, "times": 1})
    other = microscope.expose("record", Purpose(kind="record", target=1, tilt=0))
    dark = microscope.expose("record", RECORD)
    again = microscope.expose("record", RECORD)
    assert dark.mean_counts < 0.05 * other.mean_counts == pytest.approx(0.05 * again.mean_counts)
    assert dark.dose == 0
    assert len(microscope.truth.views) == 2


def test_a_stage_that_times_out_stays_where_it_was() -> None:
    microscope = _microscope({"kind": "stage-timeout", "tilt": 0, "times": 2})
    for _ in range(2):
        with pytest.raises(PassingFault, match="did not reach"):
            microscope.tilt(3.0)
    assert microscope.status().tilt_deg == 0
    assert microscope.time_s > 40
    microscope.tilt(3.0)
    assert microscope.status().tilt_deg == 3.0


def test_a_smaller_limit_of_the_image_shift_for_a_time() -> None:
    microscope = _microscope({"kind": "shift-limit", "after": 10.0, "lasts": 100.0, "value": 5.0})
    microscope.shift_image(6.0, 0.0)
    microscope.wait(20.0)
    microscope.shift_image(4.0, 0.0)
    with pytest.raises(LimitError, match="beyond"):
        microscope.shift_image(6.0, 0.0)
    microscope.wait(100.0)
    microscope.shift_image(6.0, 0.0)


def test_a_locked_file_has_cost_its_dose() -> None:
    microscope = _microscope({"kind": "file-lock", "purpose": "record"})
    with pytest.raises(PassingFault, match="locked"):
        microscope.expose("record", RECORD)
    assert microscope.truth.dose.own[0] == pytest.approx(3.0, rel=0.01)
    assert not microscope.truth.views
    microscope.expose("record", RECORD)
    assert microscope.truth.dose.own[0] == pytest.approx(6.0, rel=0.01)


def test_a_refill_is_waited_for_and_disturbs_the_stage() -> None:
    microscope = _microscope({"kind": "refill", "after": 5.0, "lasts": 60.0})
    assert microscope.ready()
    microscope.wait(6.0)
    assert not microscope.ready()
    with pytest.raises(PassingFault, match="nitrogen"):
        microscope.expose("record", RECORD)
    microscope.wait(61.0)
    assert microscope.ready()
    microscope.expose("record", RECORD)


def test_a_lost_connection_fails_every_call_while_it_lasts() -> None:
    microscope = _microscope({"kind": "lost-connection", "call": 2, "lasts": 30.0})
    microscope.status()
    for ask in (microscope.status, microscope.ready, lambda: microscope.tilt(3.0)):
        with pytest.raises(PassingFault, match="connection"):
            ask()
        if microscope.time_s > 30.0:
            break
    microscope.wait(30.0)
    assert microscope.status().tilt_deg == 0


def test_a_wrong_peak_displaces_all_by_a_step_of_the_lattice() -> None:
    right, wrong = (
        _microscope(*script).expose("record", RECORD) for script in ((), ({"kind": "wrong-peak", "target": 0},))
    )
    assert isinstance(right.content, Landmarks)
    assert isinstance(wrong.content, Landmarks)
    off = wrong.content.places_um - right.content.places_um
    np.testing.assert_allclose(np.hypot(*off.T), 2.5)
    np.testing.assert_allclose(off, off[:1].repeat(len(off), axis=0))


def test_nonsense_of_three_kinds() -> None:
    microscope = _microscope(
        {"kind": "nonsense", "answer": "status"},
        {"kind": "nonsense", "answer": "shape", "target": 0},
        {"kind": "nonsense", "answer": "counts", "target": 0},
    )
    assert np.isnan(microscope.status().tilt_deg)
    assert microscope.status().tilt_deg == 0
    shape = microscope.expose("record", RECORD)
    assert isinstance(shape.content, Landmarks)
    assert shape.content.places_um.shape[1] == 3
    assert np.isnan(microscope.expose("record", RECORD).mean_counts)
    assert microscope.expose("record", RECORD).mean_counts > 0


def test_a_crash_is_no_error_of_lamellas_and_changes_nothing() -> None:
    microscope, whole = _microscope({"kind": "crash", "call": 3}, world="bisect"), _microscope(world="bisect")
    for one in (microscope, whole):
        one.tilt(3.0)
        one.shift_image(1.0, 0.0)
    with pytest.raises(SimulatedCrash) as crash:
        microscope.expose("record", RECORD)
    assert not isinstance(crash.value, LamellaError)
    pictures = [one.expose("record", RECORD) for one in (microscope, whole)]
    np.testing.assert_array_equal(*(picture.content.places_um for picture in pictures))


def test_faults_come_as_often_as_their_probability_says() -> None:
    microscope = _microscope({"kind": "dark-image", "probability": 0.1, "times": 1000})
    dark = [microscope.expose("record", RECORD).dose == 0 for _ in range(2000)]
    assert np.mean(dark) == pytest.approx(0.1, abs=0.025)


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda m: m.tilt(80.0), LimitError),
        (lambda m: m.tilt(float("nan")), MicroscopeError),
        (lambda m: m.shift_image(12.0, 12.0), LimitError),
        (lambda m: m.focus(-100.0), LimitError),
        (lambda m: m.move_stage(0.0, 0.0, 5000.0), LimitError),
        (lambda m: m.tilt_beam(500.0, 0.0), LimitError),
        (lambda m: m.wait(-1.0), MicroscopeError),
        (lambda m: m.expose("portrait", RECORD), MicroscopeError),
        (lambda m: m.expose("record", RECORD, exposure_s=0.0), MicroscopeError),
    ],
)
def test_what_no_microscope_can_do_is_refused(ask: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(_microscope())


def test_no_peak_of_a_reference_is_wrong() -> None:
    microscope = _microscope({"kind": "wrong-peak"})
    reference = Purpose(kind="reference", target=0, tilt=-1)
    first = microscope.expose("track", reference).content
    again = microscope.expose("track", Purpose(kind="track", target=0, tilt=0)).content
    assert isinstance(first, Landmarks)
    assert isinstance(again, Landmarks)
    np.testing.assert_allclose(np.hypot(*(again.places_um - first.places_um).T), 2.5)


def test_numbers_that_are_none_are_null_in_json() -> None:
    score = score_session(_microscope(), tilts=1, defocus_um=3.0)
    wild = replace(score, targeting_um=Spread(median=np.inf, iqr=np.nan), tracking_nm=np.nan)
    assert wild.as_dict()["targeting_um"] == {"median": None, "iqr": None}
    assert wild.as_dict()["tracking_nm"] is None
