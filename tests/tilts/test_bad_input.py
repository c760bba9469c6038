"""What is wrong with a series is said in words, or the result is right: never a confident wrong answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lamella.errors import PostconditionError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages, TiltSeries
from lamella.tilts.align import AlignResult, align
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.compare import geometry_error

sys.path.insert(0, str(Path(__file__).parent))
from bead_series import bead_series

Simulate = Callable[..., Any]


@pytest.fixture(scope="module")
def film(simulate: Simulate) -> Any:
    return simulate(size=160, views=31, shift_px=8, noise=1.0, particles=400, axis_error=0.5)


@pytest.fixture(scope="module")
def needle(simulate: Simulate) -> Any:
    return simulate(size=96, views=25, max_tilt=66, shift_px=4, noise=0.3, particles=80, compact=True, axis_error=1.0)


def of_beads(**options: Any) -> Any:
    """A film on which nothing is to be seen but beads."""
    drawn = bead_series(**options)
    series = TiltSeries(
        name="beads",
        pixel_size_ang=drawn.pixel_ang,
        image_shape_px=drawn.images.shape[1:],
        nominal_tilt_deg=np.linspace(-60, 60, 21),
        nominal_axis_deg=np.full(21, 84.5),
    )
    images = np.stack([drawn.images.view(view) for view in range(21)])
    return SimpleNamespace(series=series, images=images, truth=drawn.geometry, points=drawn.points_ang)


@pytest.fixture(scope="module")
def beads() -> Any:
    return of_beads(beads=12)


def aligned(simulated: Any, method: str = "coarse", *, images: Any = None, changes: Any = None, **settings: Any) -> Any:
    """Align a series of which something was changed."""
    series = simulated.series.with_changes(**(changes or {}))
    images = simulated.images if images is None else images
    return align(series, ArrayImages(images), AlignSettings(method=method, **settings))


def error_px(simulated: Any, geometry: TiltGeometry, truth: TiltGeometry | None = None) -> float:
    error = geometry_error(geometry, truth or simulated.truth, simulated.points)
    return float(error.rms_ang) / simulated.series.pixel_size_ang


def confident(result: AlignResult) -> bool:
    return result.series.other["lamellaAlignVerdict"] == "good"


def told(result: AlignResult, *words: str) -> bool:
    return any(all(word in note for word in words) for note in result.notes)


@pytest.mark.slow
def test_the_series_themselves_are_good(film: Any, beads: Any, needle: Any) -> None:
    for simulated, method in ((film, "coarse"), (beads, "beads"), (needle, "coarse")):
        result = aligned(simulated, method)
        assert confident(result)
        assert error_px(simulated, result.series.geometry) < 1.5


def test_no_beads(film: Any) -> None:
    with pytest.raises(PostconditionError, match="beads") as raised:
        aligned(film, "beads")
    assert "patches" in raised.value.mend


def test_beads_on_one_line() -> None:
    line = np.linspace(-900, 900, 9)
    line = of_beads(points_ang=np.stack([line, 0.3 * line, 0.1 * line], axis=-1))
    with pytest.raises(PostconditionError, match="one line"):
        aligned(line, "beads")


@pytest.mark.parametrize("views", [[9, 10, 11], [6, 10, 14]])
def test_three_views(beads: Any, views: list[int]) -> None:
    few = SimpleNamespace(series=beads.series.select(views), images=beads.images[views])
    result = aligned(few, "auto")
    assert not confident(result)
    assert told(result, "3 views are too few") or told(result, "failed")


@pytest.mark.slow
@pytest.mark.parametrize("blank", [slice(0, None, 2), slice(0, 15)])
def test_half_of_the_views_blank(film: Any, rng: np.random.Generator, blank: slice) -> None:
    images = film.images.copy()
    images[blank] = images[blank].std() * rng.normal(size=images[blank].shape)
    result = aligned(film, images=images)
    assert not confident(result)
    views = ", ".join(str(view + 1) for view in range(31)[blank])
    assert told(result, f"view {views} is like no other view") or told(result, "the alignment failed")


def test_one_blank_view_is_named(film: Any, rng: np.random.Generator) -> None:
    images = film.images.copy()
    images[7] = images[7].std() * rng.normal(size=images[7].shape)
    assert told(aligned(film, images=images), "view 8 is like no other view")


def test_an_axis_off_by_90_degrees_is_found_and_told(film: Any) -> None:
    result = aligned(film, changes={"nominal_axis_deg": film.series.nominal_axis_deg - 90})
    assert told(result, "from the stated one: check the axis")
    assert confident(result)
    assert error_px(film, result.series.geometry) < 1.5


@pytest.mark.slow
def test_an_axis_off_by_90_degrees_where_there_are_beads_alone(beads: Any) -> None:
    """Beads on an empty film are followed all the same, or what is wrong is said with the failure."""
    off = {"nominal_axis_deg": beads.series.nominal_axis_deg - 90}
    try:
        said = aligned(beads, "beads", changes=off).notes
    except PostconditionError as failure:
        said = (failure.problem,)
    assert any("check the axis" in one for one in said)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"axis": "fixed"}, {"axis_range": 10.0}])
def test_an_axis_off_by_90_degrees_that_may_not_be_turned(film: Any, settings: dict[str, Any]) -> None:
    result = aligned(film, changes={"nominal_axis_deg": film.series.nominal_axis_deg - 90}, **settings)
    assert not confident(result)
    assert told(result, "the alignment is doubtful", "check the axis") or told(result, "the alignment failed")


@pytest.mark.parametrize("off_deg", [-90.0, -40.0, 70.0])
def test_a_far_axis_of_a_compact_object(needle: Any, off_deg: float) -> None:
    result = aligned(needle, changes={"nominal_axis_deg": needle.series.nominal_axis_deg + off_deg})
    assert not confident(result)
    assert told(result, "check the axis that was given")


@pytest.mark.slow
def test_an_opposite_axis_is_the_specimen_inverted(beads: Any) -> None:
    """No picture tells an axis from its opposite; the result keeps the stated sense, and is right but for the hand."""
    result = aligned(beads, "beads", changes={"nominal_axis_deg": beads.series.nominal_axis_deg - 180})
    geometry, truth = result.series.geometry, beads.truth
    assert geometry.z_rot_deg.mean() == pytest.approx(truth.z_rot_deg.mean() - 180, abs=1)
    inverted = geometry_error(geometry, truth.with_terms(z_rot_deg=truth.z_rot_deg - 180), -beads.points)
    assert inverted.rms_ang / beads.series.pixel_size_ang < 0.3


def test_angles_of_the_wrong_sign_are_the_specimen_mirrored(beads: Any) -> None:
    """No picture tells the sign; the result is right but for the hand."""
    result = aligned(beads, "beads", changes={"nominal_tilt_deg": -beads.series.nominal_tilt_deg})
    truth = beads.truth.with_terms(y_tilt_deg=-beads.truth.y_tilt_deg)
    mirrored = geometry_error(result.series.geometry, truth, beads.points * [1, 1, -1])
    assert mirrored.rms_ang / beads.series.pixel_size_ang < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("order", ["time", "shuffled", "rolled", "one half reversed"])
def test_angles_in_another_order(film: Any, rng: np.random.Generator, order: str) -> None:
    tilt = film.series.nominal_tilt_deg
    wrong = {
        "time": tilt[np.argsort(np.abs(tilt), kind="stable")],
        "shuffled": rng.permutation(tilt),
        "rolled": np.roll(tilt, 5),
        "one half reversed": np.r_[tilt[:15][::-1], tilt[15:]],
    }[order]
    result = aligned(film, changes={"nominal_tilt_deg": wrong})
    assert not confident(result)
    assert told(result, "the alignment")


@pytest.mark.slow
def test_reversed_angles_of_one_side(beads: Any) -> None:
    """Of a series from −30° to 60° reversed angles are of the wrong sign, and off by 30°: another frame."""
    some = slice(5, None)
    part = SimpleNamespace(series=beads.series.select(range(5, 21)), images=beads.images[some], points=beads.points)
    result = aligned(part, "beads", changes={"nominal_tilt_deg": beads.series.nominal_tilt_deg[some][::-1]})
    truth = beads.truth.select(range(5, 21))
    truth = truth.with_terms(y_tilt_deg=-truth.y_tilt_deg)
    mirrored = geometry_error(result.series.geometry, truth, beads.points * [1, 1, -1])
    assert not confident(result) or mirrored.rms_ang / beads.series.pixel_size_ang < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["beads", "patches", "matching"])
def test_an_axis_off_by_five_degrees_is_no_matter(simulate: Simulate, beads: Any, method: str) -> None:
    """Each method ends where it ends from the right axis."""
    film = simulate(size=192, views=25, shift_px=8, noise=0.7, particles=500)
    simulated = beads if method == "beads" else film
    right = np.full(len(simulated.series), simulated.truth.z_rot_deg.mean())
    found = [
        aligned(simulated, method, changes={"nominal_axis_deg": right + off}).series.geometry
        for off in (0.0, 5.0, -5.0)
    ]
    assert error_px(simulated, found[0]) < 0.4
    for geometry in found[1:]:
        assert error_px(simulated, geometry, found[0]) < 0.1
