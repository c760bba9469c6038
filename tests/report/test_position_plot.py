"""The picture of where a specimen lies: lines at the heights that the numbers say."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.records import ArrayVolume
from lamella.report.plots import plot_position

NUMBERS = {
    "PositionXTiltDeg": 3.0,
    "PositionYTiltDeg": -2.0,
    "PositionOffsetAngst": 50.0,
    "PositionThicknessAngst": 400.0,
}


def lines(figure) -> list[tuple[np.ndarray, np.ndarray]]:
    return [[np.asarray(line.get_data()) for line in axes.lines] for axes in figure.axes]


def test_mid_plane_and_faces_are_drawn_in_both_slices(rng: np.random.Generator) -> None:
    volume = ArrayVolume(rng.normal(size=(40, 60, 80)).astype(np.float32))
    across, along = lines(plot_position(volume, 20.0, NUMBERS))
    assert len(across) == len(along) == 3
    for drawn, slope, half_field in ((across, np.tan(np.deg2rad(2.0)), 800.0), (along, np.tan(np.deg2rad(3.0)), 600.0)):
        middle, lower, upper = drawn
        assert middle[0][1] == pytest.approx(half_field)
        assert np.ptp(middle[1]) / np.ptp(middle[0]) == pytest.approx(slope, rel=0.01)
        assert middle[1].mean() == pytest.approx(50)
        assert (upper[1] - lower[1]).mean() == pytest.approx(400, rel=0.01)


def test_what_is_unknown_is_not_drawn(rng: np.random.Generator) -> None:
    volume = ArrayVolume(rng.normal(size=(40, 60, 80)).astype(np.float32))
    assert lines(plot_position(volume, 20.0, {})) == [[], []]
    tilt_alone = {name: NUMBERS[name] for name in ("PositionXTiltDeg", "PositionYTiltDeg")}
    assert lines(plot_position(volume, 20.0, tilt_alone)) == [[], []]
