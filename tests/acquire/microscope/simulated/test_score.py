"""The score of a session: medians and ranges of true errors, by hand for a session of a few views."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lamella.acquire.microscope.port import Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope, score_session
from lamella.acquire.microscope.simulated.score import Spread
from lamella.acquire.simulated_session import simulate_session
from lamella.acquire.world import load_world


def _session(wrong: tuple[float, ...]) -> SimulatedMicroscope:
    microscope = SimulatedMicroscope(load_world("rigid"), 0, targets=len(wrong))
    microscope.expose("track", Purpose(kind="reference", tilt=-1))
    for tilt in range(3):
        microscope.shift_image(0.0, 0.003)
        microscope.expose("track", Purpose(kind="track", tilt=tilt, attempt=0))
        microscope.shift_image(0.0, 0.0 if tilt else 0.006)
        microscope.expose("track", Purpose(kind="track", tilt=tilt, attempt=1))
        microscope.focus(3.5)
        for target, error in enumerate(wrong):
            x, y = microscope.targets_um[target]
            for attempt, off in enumerate((1.0, error)):  # the last one counts
                microscope.shift_image(x + off, y)
                microscope.expose("record", Purpose(kind="record", target=target, tilt=tilt, attempt=attempt))
    return microscope


def test_errors_are_those_of_the_last_exposures() -> None:
    wrong = (0.1, 0.2, 0.4, 0.0, 0.3)
    score = score_session(_session(wrong), tilts=3, defocus_um=3.0)
    assert score.targeting_um.median == pytest.approx(0.2)
    assert score.targeting_um.iqr == pytest.approx(0.2)
    assert score.defocus_um.median == pytest.approx(0.5)
    assert score.defocus_um.iqr == pytest.approx(0.0, abs=1e-12)
    assert score.tracking_nm == pytest.approx(6 / np.sqrt(3))
    assert (score.targets_finished, score.targets_lost) == (5, 0)
    assert len(score.targeting) == 15


def test_the_dict_has_the_names_of_the_command_line_and_is_json() -> None:
    microscope = _session((0.1, 0.2))
    told = json.loads(json.dumps(score_session(microscope, tilts=4, defocus_um=3.0).as_dict()))
    assert list(told) == [
        "targeting_um",
        "defocus_um",
        "tracking_nm",
        "targets_finished",
        "targets_lost",
        "minutes_per_series",
    ]
    assert (told["targets_finished"], told["targets_lost"]) == (0, 2)
    finished = score_session(microscope, tilts=3, defocus_um=3.0)
    assert finished.minutes_per_series == pytest.approx(microscope.time_s / 120)


def test_a_session_without_views() -> None:
    microscope = SimulatedMicroscope(load_world("rigid"), 0, targets=2)
    score = score_session(microscope, tilts=3, defocus_um=3.0)
    assert score.tracking_nm is None
    assert score.targeting_um == Spread(median=None, iqr=None)
    assert score.targets_lost == 2


@pytest.mark.parametrize("predictor", ["incremental", "bisect", "flat", "shared"])
@pytest.mark.parametrize("tracking", ["auto", "none"])
def test_a_flat_grid_on_an_ideal_stage_is_hit_whichever_tilt_comes_first(predictor: str, tracking: str) -> None:
    settings = {"scheme": "unidirectional", "tilt_step": 15.0, "predictor": predictor, "tracking": tracking}
    score = simulate_session(load_world("rigid"), 5, targets=3, overrides=settings).score
    assert score.targets_finished == 3
    assert score.targeting.max() < 1e-6
    assert np.abs(score.defocus).max() < 1e-6
