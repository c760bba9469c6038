"""Targets, their patterns, their table, and the plane that they lie in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.acquire import GridPlane, Target, fit_plane, grid_targets, read_targets, write_targets
from lamella.acquire.targets import places_of, with_heights, with_shots
from lamella.errors import FormatError, InputError


@pytest.mark.parametrize(("pattern", "neighbours"), [("square", 4), ("hexagonal", 6)])
def test_a_pattern_has_its_spacing_and_neighbours(pattern: str, neighbours: int) -> None:
    places = places_of(grid_targets(19, 2.5, pattern=pattern, angle_deg=17))[:, :2]
    away = np.hypot(*np.moveaxis(places[:, None] - places[None], -1, 0))
    assert away[away > 0].min() == pytest.approx(2.5)
    assert (np.abs(away[0] - 2.5) < 1e-9).sum() == neighbours
    turned = places[np.argmin(np.abs(np.rad2deg(np.arctan2(places[:, 1], places[:, 0])) - 17))]
    assert np.rad2deg(np.arctan2(turned[1], turned[0])) == pytest.approx(17)


def test_shots_lie_on_a_ring_about_their_hole() -> None:
    shots = with_shots([Target(name="H1", x_um=1, y_um=2)], 3, 0.5)
    places = places_of(shots)[:, :2]
    np.testing.assert_allclose(np.hypot(*(places - (1, 2)).T), 0.5)
    np.testing.assert_allclose(places.mean(axis=0), (1, 2))
    assert [one.shot for one in shots] == [0, 1, 2]
    assert {one.group for one in shots} == {"H1"}


@given(st.floats(-30, 30), st.floats(-180, 180), st.floats(-5, 5))
def test_a_plane_is_found_from_its_heights(pre_tilt: float, rotation: float, height: float) -> None:
    plane = GridPlane.of_angles(pre_tilt, rotation, height)
    places = np.random.default_rng(1).uniform(-8, 8, (7, 2))
    heights = plane.heights(places)
    found = fit_plane(places, np.append(heights[:-1], np.nan))
    np.testing.assert_allclose(found.heights(places), heights, atol=1e-9)
    assert found.pre_tilt_deg == pytest.approx(abs(pre_tilt), abs=1e-6)


def test_one_wrong_height_hardly_tilts_the_plane() -> None:
    places = np.random.default_rng(2).uniform(-8, 8, (12, 2))
    heights = GridPlane.of_angles(8, 30).heights(places)
    heights[3] += 50
    assert fit_plane(places, heights, tolerance_um=0.3).pre_tilt_deg == pytest.approx(8, abs=1.5)


def test_a_table_of_targets_reads_back(tmp_path: Path) -> None:
    targets = (Target(name="a-1", x_um=1.25, y_um=-3, z_um=0.5, group="g"), Target(name="b", x_um=0.1, y_um=0.2))
    write_targets(tmp_path / "t.csv", targets)
    assert read_targets(tmp_path / "t.csv") == targets
    assert with_heights(targets, GridPlane(height_um=2))[1].z_um == 2


@pytest.mark.parametrize(
    "text", ["name,x_um\na,1\n", "name,x_um,y_um\n", "name,x_um,y_um\na,1,x\n", "name,x_um,y_um\na,1,2\na,3,4\n"]
)
def test_tables_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(FormatError):
        read_targets(tmp_path / "t.csv")


def test_targets_that_are_none() -> None:
    with pytest.raises(InputError):
        Target(name="a/b", x_um=0, y_um=0)
    with pytest.raises(InputError):
        Target(name="a", x_um=float("nan"), y_um=0)
