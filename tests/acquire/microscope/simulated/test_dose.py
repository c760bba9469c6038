"""Dose of targets: from their own beams, and from their neighbours' by the overlap of circles."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.microscope.port import Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope
from lamella.acquire.microscope.simulated.dose import disc_points
from lamella.acquire.world import load_world


def _overlap(radius: float, beam: float, distance: float) -> float:
    """Area that two circles share, as a share of the first's."""
    if distance >= radius + beam:
        return 0.0
    if distance <= abs(beam - radius):
        return min(1.0, (beam / radius) ** 2)
    a, b = (
        2 * np.arccos((distance**2 + one**2 - two**2) / (2 * distance * one))
        for one, two in ((radius, beam), (beam, radius))
    )
    lens = 0.5 * radius**2 * (a - np.sin(a)) + 0.5 * beam**2 * (b - np.sin(b))
    return float(lens / (np.pi * radius**2))


@pytest.mark.parametrize("distance", [0.0, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_a_neighbours_beam_adds_its_overlap(distance: float) -> None:
    microscope = SimulatedMicroscope(load_world("rigid"), 0, targets=[[0.0, 0.0], [distance, 0.0]])
    microscope.shift_image(distance, 0.0)
    microscope.expose("record", Purpose(kind="record", target=1, tilt=0))
    dose = microscope.truth.dose
    assert dose.own[1] == pytest.approx(3.0, rel=0.005)
    assert dose.others[0] == pytest.approx(3.0 * _overlap(dose.radius_um, 0.6, distance), abs=0.04)
    assert dose.others[1] == dose.own[0] == 0


def test_tilting_brings_neighbours_nearer_to_the_beam() -> None:
    doses = []
    for angle in (0.0, 60.0):
        microscope = SimulatedMicroscope(load_world("rigid"), 0, targets=[[0.0, 0.0], [1.2, 0.0]])
        microscope.tilt(angle)
        microscope.shift_image(1.2 * np.cos(np.deg2rad(angle)), 0.0)
        microscope.expose("record", Purpose(kind="record", target=1, tilt=0))
        doses.append(microscope.truth.dose.others[0])
    assert doses[0] == 0
    assert doses[1] > 0.5


def test_a_longer_exposure_has_more_dose() -> None:
    microscope = SimulatedMicroscope(load_world("rigid"), 0, targets=1)
    microscope.expose("record", Purpose(kind="record", target=0, tilt=0), exposure_s=1.4)
    assert microscope.truth.dose.own[0] == pytest.approx(6.0)


def test_points_fill_a_disc_evenly() -> None:
    radii = np.hypot(*disc_points(2.0, 1000).T)
    np.testing.assert_allclose(
        [np.mean(radii < r) for r in (0.5, 1.0, 1.5)], np.array([0.5, 1.0, 1.5]) ** 2 / 4, atol=2e-3
    )
