"""Beads followed through drawn series, against truth."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lamella.errors import GeometryError, ImageError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages
from lamella.tilts.compare import geometry_error
from lamella.tilts.fiducials import BeadTracks, follow_beads

sys.path.insert(0, str(Path(__file__).parent))
from bead_series import BeadSeries, bead_series, centre_errors_px, disturbed

SMALL = {"size": 256, "views": 21, "beads": 8, "half_thickness_ang": 400.0}


def false_tracks(found: BeadTracks, series: BeadSeries) -> int:
    errors, _ = centre_errors_px(found.tracks.observations_ang, series)
    return int((np.nanmedian(np.linalg.norm(errors, axis=-1), axis=0) > 2).sum())


def check_exact(found: BeadTracks, series: BeadSeries, slack: float = 1.4) -> None:
    """Each track is one bead of its own, as exact as Fisher's bound lets it be."""
    errors, which = centre_errors_px(found.tracks.observations_ang, series)
    assert len(set(which.tolist())) == len(which)
    ratio = errors / (found.bound_ang / series.pixel_ang)[..., None]
    assert np.sqrt(np.nanmean(ratio**2)) < slack
    assert np.abs(np.nanmean(errors, axis=(0, 1))).max() < 0.05


@pytest.fixture(scope="module")
def plain() -> tuple[BeadSeries, BeadTracks]:
    series = bead_series(**SMALL)
    return series, follow_beads(series.images, series.pixel_ang, disturbed(series))


def test_all_beads_to_fishers_bound(plain: tuple[BeadSeries, BeadTracks]) -> None:
    series, found = plain
    assert found.tracks.count == 8
    assert found.diameter_ang == pytest.approx(100.0, rel=0.08)
    check_exact(found, series)
    assert found.quality["AlignBeads"] == 8
    assert found.quality["AlignBeadGaps"] < 0.15


def test_the_geometry_is_solved_as_well(plain: tuple[BeadSeries, BeadTracks]) -> None:
    series, found = plain
    error = geometry_error(found.geometry, series.geometry, series.points_ang)
    assert error.rms_ang / series.pixel_ang < 0.2


def test_weights_are_relative_inverse_variances(plain: tuple[BeadSeries, BeadTracks]) -> None:
    _, found = plain
    seen = found.tracks.seen
    assert found.tracks.weights[seen].mean() == pytest.approx(1.0)
    product = found.tracks.weights[seen] * found.bound_ang[seen] ** 2
    assert np.ptp(product) < 1e-6 * product.mean()
    # a steep view is thicker: fewer electrons, worse centres
    assert np.nanmean(found.bound_ang[[0, 20]]) > 1.05 * np.nanmean(found.bound_ang[8:13])


def test_a_bad_start_does_no_harm() -> None:
    series = bead_series(**SMALL | {"beads": 14})
    found = follow_beads(series.images, series.pixel_ang, disturbed(series, 12.0, 2.0), diameter_ang=100.0)
    assert found.tracks.count >= 13
    check_exact(found, series)


def test_three_beads_are_enough() -> None:
    series = bead_series(**SMALL | {"beads": 3})
    found = follow_beads(series.images, series.pixel_ang, disturbed(series), diameter_ang=100.0)
    assert found.tracks.count == 3
    check_exact(found, series, 1.6)


def test_missing_views_and_views_in_any_order() -> None:
    series = bead_series(**SMALL)
    keep = np.array([20, 0, 3, 9, 10, 2, 15, 7, 6, 17, 18, 12, 5, 13])
    fewer = BeadSeries(
        ArrayImages(series.images.array[keep]), series.geometry.select(keep), series.points_ang, series.pixel_ang
    )
    found = follow_beads(fewer.images, 8.0, disturbed(series).select(keep), diameter_ang=100.0)
    assert found.tracks.count == 8
    check_exact(found, fewer)


def test_beads_on_carbon_count_and_its_edge_does_not() -> None:
    series = bead_series(**SMALL | {"carbon": True, "beads": 10})
    found = follow_beads(series.images, series.pixel_ang, disturbed(series), diameter_ang=100.0)
    assert found.tracks.count >= 9
    assert false_tracks(found, series) == 0


def test_centres_by_edges(plain: tuple[BeadSeries, BeadTracks]) -> None:
    """As many beads, and hardly less exact than by their whole profile."""
    series, by_profile = plain
    found = follow_beads(series.images, series.pixel_ang, disturbed(series), centred_by="edges")
    assert found.tracks.count == by_profile.tracks.count
    check_exact(found, series, slack=2.2)
    assert not np.array_equal(found.tracks.observations_ang, by_profile.tracks.observations_ang, equal_nan=True)
    error = geometry_error(found.geometry, series.geometry, series.points_ang)
    assert error.rms_ang / series.pixel_ang < 0.25


def test_crystals_of_ice_are_no_beads() -> None:
    series = bead_series(decoys=8)
    found = follow_beads(series.images, series.pixel_ang, disturbed(series), diameter_ang=100.0)
    assert found.tracks.count >= 11
    assert false_tracks(found, series) == 0


def test_a_view_that_shows_nothing_is_left_out() -> None:
    series = bead_series(**SMALL)
    stack = series.images.array.copy()
    stack[4] = np.random.default_rng(3).poisson(60, stack[4].shape)
    found = follow_beads(ArrayImages(stack), 8.0, disturbed(series), diameter_ang=100.0)
    assert found.tracks.seen[4].sum() <= 2
    assert found.tracks.count == 8


def test_dark_field() -> None:
    series = bead_series(**SMALL | {"dark_field": True})
    found = follow_beads(series.images, series.pixel_ang, disturbed(series), imaging="dark")
    assert found.tracks.count == 8
    assert false_tracks(found, series) == 0


def test_beads_below_four_pixels_are_refused() -> None:
    series = bead_series(**SMALL)
    with pytest.raises(ImageError, match="px across"):
        follow_beads(series.images, series.pixel_ang, series.geometry, diameter_ang=25.0)


def test_no_beads_is_said() -> None:
    series = bead_series(**SMALL | {"points_ang": np.zeros((0, 3))})
    with pytest.raises(GeometryError, match="bead"):
        follow_beads(series.images, series.pixel_ang, series.geometry)


def test_crystals_of_ice_alone_are_said_to_be_no_beads() -> None:
    series = bead_series(decoys=10, points_ang=np.zeros((0, 3)))
    with pytest.raises(GeometryError, match="bead"):
        follow_beads(series.images, series.pixel_ang, disturbed(series))


def test_a_needle_without_beads_is_refused(shared_data: Path) -> None:
    # a real dark-field series of a layered needle: its edges are sharp and alike in all views, yet no beads
    raw = np.fromfile(shared_data / "haadf" / "HAADF.mrc", dtype="<i2")[-77 * 256 * 256 :]
    stack = raw.reshape(77, 256, 256).astype(np.float32) + 32768
    tilt = np.loadtxt(shared_data / "haadf" / "HAADF.rawtlt")
    with pytest.raises(GeometryError, match="bead"):
        follow_beads(ArrayImages(stack[::3]), 33.6, TiltGeometry.from_angles(tilt[::3], -87.2), imaging="dark")


def test_beads_on_one_line_are_said() -> None:
    line = np.stack([np.linspace(-800, 800, 7), np.linspace(-300, 300, 7), np.zeros(7)], axis=-1)
    series = bead_series(**SMALL | {"points_ang": line})
    with pytest.raises(GeometryError, match="one line"):
        follow_beads(series.images, series.pixel_ang, disturbed(series), diameter_ang=100.0)


def test_numbers_of_views_must_agree() -> None:
    images = ArrayImages(np.ones((4, 32, 32), np.float32))
    with pytest.raises(GeometryError, match="4 images"):
        follow_beads(images, 8.0, TiltGeometry.from_angles([0.0, 1.0, 2.0]))
    with pytest.raises(GeometryError, match="three views"):
        follow_beads(ArrayImages(images.array[:2]), 8.0, TiltGeometry.from_angles([0.0, 1.0]))
