"""What every microscope must do, whichever stands behind the port: the adapters' tests take these in."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.microscope.port import FOCUS, RECORD, TRACK, TRACK_LOW, Landmarks, Microscope, Purpose
from lamella.errors import LimitError, MicroscopeError


class MicroscopeContract:
    """Tests that take a fixture `scope`."""

    def test_it_states_what_a_session_needs(self, scope: Microscope) -> None:
        presets = scope.calibrations.presets
        for name in (RECORD, TRACK, TRACK_LOW, FOCUS):
            assert presets[name].name == name
            assert presets[name].pixel_size_ang > 0
        assert presets[TRACK_LOW].pixel_size_ang > presets[TRACK].pixel_size_ang
        assert scope.calibrations.hand in (-1, 1)
        assert scope.limits.tilt_deg[0] < 0 < scope.limits.tilt_deg[1]
        assert isinstance(scope.repeatable, bool)
        assert isinstance(scope.ready(), bool)

    def test_it_states_what_was_set(self, scope: Microscope) -> None:
        scope.shift_image(1.5, -2.0)
        scope.focus(2.5)
        scope.tilt_beam(0.0, 4.0)
        scope.tilt(3.0)
        status = scope.status()
        assert status.image_shift_um == pytest.approx((1.5, -2.0), abs=1e-3)
        assert status.defocus_um == pytest.approx(2.5, abs=1e-3)
        assert status.beam_tilt_mrad == pytest.approx((0.0, 4.0), abs=1e-3)
        assert status.tilt_deg == pytest.approx(3.0, abs=0.2)

    def test_time_goes_on(self, scope: Microscope) -> None:
        before = scope.status().time_s
        scope.wait(2.0)
        assert scope.status().time_s >= before + 2.0

    def test_a_picture_says_how_it_was_taken(self, scope: Microscope) -> None:
        scope.shift_image(0.0, 0.0)
        scope.tilt_beam(0.0, 0.0)
        picture = scope.expose(TRACK, Purpose(kind="track", target=-1, tilt=0))
        assert picture.preset.name == TRACK
        assert np.isfinite([picture.mean_counts, picture.dose, *picture.status.stage_um]).all()
        assert picture.dose > 0
        content = picture.content
        assert np.isfinite(content.places_um if isinstance(content, Landmarks) else content.image).all()

    def test_beyond_its_limits_it_refuses(self, scope: Microscope) -> None:
        with pytest.raises((LimitError, MicroscopeError)):
            scope.expose("no such preset", Purpose(kind="track"))
