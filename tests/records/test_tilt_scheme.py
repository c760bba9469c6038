"""In which order tilts are recorded, and with what dose."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import SettingsError
from lamella.records import TiltScheme, doses_of_tilts, recording_order


@pytest.mark.parametrize("scheme", ["dose-symmetric", "bidirectional", "unidirectional"])
@pytest.mark.parametrize("group", [1, 2, 3, 7])
def test_every_tilt_comes_once(scheme: str, group: int) -> None:
    for steps in (0, 1, 5, 20):
        found = recording_order(scheme, steps, group)
        np.testing.assert_array_equal(np.sort(found), np.arange(-steps, steps + 1))


def test_a_lamella_is_recorded_about_its_pretilt() -> None:
    scheme = TiltScheme.of_range(
        "dose-symmetric", tilt_range=60, tilt_step=3, start_tilt=-10, dose=2.0, dose_by_tilt="cosine"
    )
    assert len(scheme) == 41
    np.testing.assert_allclose(scheme.tilt_deg[:5], [-10, -7, -13, -16, -4])
    np.testing.assert_array_equal(scheme.branch[:5], [0, 1, -1, -1, 1])
    assert scheme.dose[0] == 2.0
    np.testing.assert_allclose(scheme.dose[scheme.tilt_deg == 50], 4.0)  # 60 degrees from the film
    np.testing.assert_allclose(scheme.dose_before, np.cumsum(scheme.dose) - scheme.dose)


def test_doses() -> None:
    np.testing.assert_allclose(doses_of_tilts([0, 60], 3.0, "uniform"), [3, 3])
    np.testing.assert_allclose(doses_of_tilts([0, 60], 3.0, "cosine"), [3, 6])


@pytest.mark.parametrize("angles", [[], [0, 3, 0.001], [0, float("nan")], [0, 95]])
def test_angles_that_are_no_scheme(angles: list[float]) -> None:
    with pytest.raises(SettingsError):
        TiltScheme.of_list(angles)
