from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamella.errors import GeometryError, ImageError, PostconditionError
from lamella.formats.mrc import open_mrc
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages, TiltSeries
from lamella.records.tracks import Tracks
from lamella.tilts.align import align
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.compare import geometry_error
from lamella.tilts.working import prepare

Simulate = Callable[..., Any]


def error_px(simulated: Any, geometry: TiltGeometry) -> float:
    return geometry_error(geometry, simulated.truth, simulated.points).rms_ang / simulated.series.pixel_size_ang


@pytest.fixture(scope="module")
def noisy(simulate: Simulate) -> Any:
    return simulate(size=160, views=31, shift_px=15, noise=2.0, particles=400)


@pytest.fixture(scope="module")
def tiny(simulate: Simulate) -> Any:
    return simulate(size=96, views=15, shift_px=5, noise=1.0, particles=300)


def test_finds_the_geometry_to_a_fraction_of_a_pixel(noisy: Any) -> None:
    told: list[float] = []
    result = align(
        noisy.series, ArrayImages(noisy.images), AlignSettings(), lambda fraction, text="": told.append(fraction)
    )
    geometry, quality = result.series.geometry, result.series.quality
    assert error_px(noisy, geometry) < 0.5
    assert geometry.z_rot_deg.mean() == pytest.approx(85.0, abs=0.6)
    assert quality["AlignScore"] > quality["AlignScoreNone"] + 0.1
    assert quality["AlignScore"] >= quality["AlignScoreCoarse"] - 0.01
    assert result.series.other["lamellaAlignVerdict"] == "good"
    assert result.series.other["lamellaAlignMethod"] in ("patches", "matching")
    assert {one.method for one in result.candidates} >= {"patches", "coarse", "none"}
    assert quality["AlignAxisDeg"] == pytest.approx(geometry.z_rot_deg.mean())
    assert result.series.scores["AlignResidualAngst"].shape == (31,)
    assert (result.series.scores["AlignXShiftErrorAngst"] > 0).all()
    assert result.tracks is not None
    assert result.tracks.rms_ang() == pytest.approx(quality["AlignResidualAngst"])
    # the tracks stand in the frame of the result
    shown = geometry.project(result.tracks.points_ang)
    # residuals are those of places freed of the local field, which is looked up where they were seen
    np.testing.assert_allclose(result.tracks.observations_ang - shown, result.tracks.residuals_ang, atol=0.1)
    least = int(np.argmin(np.abs(geometry.y_tilt_deg)))
    np.testing.assert_allclose(geometry.shifts_ang()[least], 0, atol=1e-6)
    assert np.all(np.diff(told) >= 0)
    assert told[-1] == 1.0


def test_known_tracks_are_solved_and_nothing_else_is_done(noisy: Any, rng: np.random.Generator) -> None:
    """An edit: the same geometry and score from fewer tracks, begun where the last solve ended."""
    images = ArrayImages(noisy.images)
    places = noisy.truth.project(noisy.points[rng.choice(len(noisy.points), 25, replace=False)])
    places = places + rng.normal(scale=0.2 * noisy.series.pixel_size_ang, size=places.shape)
    tracks = Tracks.observed(places, kind="beads")
    first = align(noisy.series, images, AlignSettings(), tracks=tracks)
    assert error_px(noisy, first.series.geometry) < 0.3
    begun = noisy.series.with_changes(
        geometry=first.series.geometry.with_terms(field=None), quality={"AlignScoreNone": 0.03125}
    )
    again = align(begun, images, AlignSettings(), tracks=tracks.select_points(tracks.labels != 7))
    assert error_px(noisy, again.series.geometry) < 0.3
    assert again.series.quality["AlignScore"] == pytest.approx(first.series.quality["AlignScore"], abs=0.02)
    assert first.series.quality["AlignScoreNone"] < 0.5 * first.series.quality["AlignScore"]
    assert again.series.quality["AlignScoreNone"] == 0.03125
    assert [one.method for one in again.candidates] == ["beads", "none"]
    assert again.tracks is not None
    assert again.tracks.count == 24


def test_contrast_of_either_sign_is_the_same(tiny: Any) -> None:
    bright = align(tiny.series, ArrayImages(-tiny.images), AlignSettings(method="coarse", axis_range=6))
    dark = align(tiny.series, ArrayImages(tiny.images), AlignSettings(method="coarse", axis_range=6))
    np.testing.assert_allclose(bright.series.geometry.shifts_ang(), dark.series.geometry.shifts_ang(), atol=0.5)


def test_whole_views_alone(noisy: Any) -> None:
    result = align(noisy.series, ArrayImages(noisy.images), AlignSettings(method="coarse"))
    assert result.tracks is None
    assert error_px(noisy, result.series.geometry) < 1.5
    assert "AlignResidualAngst" not in result.series.scores
    assert np.ptp(result.series.geometry.z_rot_deg) == 0


def test_none_is_the_nominal_geometry(tiny: Any) -> None:
    result = align(tiny.series, ArrayImages(tiny.images), AlignSettings(method="none"))
    geometry = result.series.geometry
    np.testing.assert_array_equal(geometry.shifts_ang(), 0)
    np.testing.assert_array_equal(geometry.z_rot_deg, tiny.series.nominal_axis_deg)
    assert result.series.quality["AlignScore"] == result.series.quality["AlignScoreNone"]


def test_a_fixed_axis_stays(tiny: Any) -> None:
    result = align(tiny.series, ArrayImages(tiny.images), AlignSettings(axis="fixed", rounds=1))
    np.testing.assert_allclose(result.series.geometry.z_rot_deg, 87.5, atol=1e-6)


def test_magnification_and_tilt_angles_can_be_solved(noisy: Any) -> None:
    settings = AlignSettings(axis="smooth", tilt_angles="smooth", magnification="smooth", rounds=2, axis_range=5)
    geometry = align(noisy.series, ArrayImages(noisy.images), settings).series.geometry
    assert np.ptp(geometry.z_rot_deg) > 0
    assert np.ptp(geometry.magnification) > 0
    assert np.ptp(geometry.y_tilt_deg - noisy.series.nominal_tilt_deg) > 0
    assert geometry.magnification.mean() == pytest.approx(1)
    assert error_px(noisy, geometry) < 1.5


def test_an_odd_image_size_and_shuffled_views(simulate: Simulate, rng: np.random.Generator) -> None:
    simulated = simulate(size=131, views=21, shift_px=8, noise=1.0, particles=400)
    order = rng.permutation(21)
    result = align(simulated.series.select(order), ArrayImages(simulated.images[order]), AlignSettings(rounds=2))
    geometry = result.series.geometry
    assert geometry_error(geometry, simulated.truth.select(order), simulated.points).rms_ang < 7


def test_noise_is_a_series_that_failed(tiny: Any, rng: np.random.Generator) -> None:
    """Where views share nothing, whatever is found says in words that it is nothing."""
    blind = rng.normal(size=tiny.images.shape).astype(np.float32)
    result = align(tiny.series, ArrayImages(blind), AlignSettings())
    assert np.isfinite(result.series.geometry.shifts_ang()).all()
    assert result.series.other["lamellaAlignVerdict"] == "failed"
    assert any("the alignment failed" in note for note in result.notes)


def test_angles_in_the_wrong_order_do_not_crash(tiny: Any) -> None:
    wrong = tiny.series.with_changes(nominal_tilt_deg=-tiny.series.nominal_tilt_deg)
    result = align(wrong, ArrayImages(tiny.images), AlignSettings(rounds=1))
    assert np.isfinite(result.series.geometry.shifts_ang()).all()
    shuffled = tiny.series.with_changes(nominal_tilt_deg=np.roll(tiny.series.nominal_tilt_deg, 9))
    align(shuffled, ArrayImages(tiny.images), AlignSettings(method="coarse", axis_range=0))


def series_of(images: np.ndarray, tilt: np.ndarray, axis: float = 90.0) -> TiltSeries:
    return TiltSeries(
        name="some",
        pixel_size_ang=10.0,
        image_shape_px=images.shape[1:],
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(len(tilt), axis),
    )


@pytest.mark.parametrize(
    ("views", "tilt", "error", "words"),
    [
        (2, [0.0, 3.0], GeometryError, "2 views"),
        (4, [0.0, 0.0, 0.0, 0.0], GeometryError, "alike"),
        (4, [0.0, 30.0, 60.0, 90.0], GeometryError, "90°"),
        (4, [0.0, np.nan, 60.0, 70.0], GeometryError, "not a number"),
        (3, [0.0, 10.0, 20.0, 30.0], ImageError, "record of 4 views"),
    ],
)
def test_bad_angles_are_told_in_words(
    rng: np.random.Generator, views: int, tilt: list[float], error: type[Exception], words: str
) -> None:
    images = rng.normal(size=(views, 64, 64)).astype(np.float32)
    with pytest.raises(error, match=words):
        align(series_of(images, np.array(tilt)), ArrayImages(images), AlignSettings())


@pytest.mark.parametrize(("value", "words"), [(5.0, "view 3 is constant"), (np.nan, "view 3 holds pixels")])
def test_bad_pixels_name_their_view(rng: np.random.Generator, value: float, words: str) -> None:
    images = rng.normal(size=(5, 64, 64)).astype(np.float32)
    images[2] = value
    with pytest.raises(ImageError, match=words):
        align(series_of(images, np.linspace(-20, 20, 5)), ArrayImages(images), AlignSettings())


def test_patches_that_fail_are_an_error_where_nothing_else_is_allowed(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> None:
        raise GeometryError("only 2 points were followed through enough views")

    monkeypatch.setattr(sys.modules["lamella.tilts.patch_solve"], "solve", lost)
    with pytest.raises(PostconditionError, match="only 2 points"):
        align(tiny.series, ArrayImages(tiny.images), AlignSettings(method="patches", axis_range=0))
    result = align(tiny.series, ArrayImages(tiny.images), AlignSettings(axis_range=0))
    assert any(note.startswith("patches:") for note in result.notes)
    assert result.series.other["lamellaAlignMethod"] != "patches"


def test_working_images_keep_places(rng: np.random.Generator) -> None:
    """A spot stands at the same Å in images and in binned images, for sizes odd and even."""
    for height, width in ((201, 300), (256, 255)):
        y, x = np.mgrid[:height, :width]
        spot = np.exp(-((y - 130.0) ** 2 + (x - 77.0) ** 2) / (2 * 6.0**2)).astype(np.float32)
        working = prepare(ArrayImages(np.stack([spot] * 3)), 2.0, 100)
        image = working.stack[0] - working.stack[0].min()
        image = np.where(image > 0.3 * image.max(), image, 0)
        row, column = ((image * axis).sum() / image.sum() for axis in np.mgrid[: image.shape[0], : image.shape[1]])
        place = [
            (float(column) - working.origin_px[0]) * working.pixel_ang[0],
            (float(row) - working.origin_px[1]) * working.pixel_ang[1],
        ]
        np.testing.assert_allclose(place, [2.0 * (77 - width // 2), 2.0 * (130 - height // 2)], atol=1.0)


def test_real_haadf_series(shared_data: Path) -> None:
    """A rod's tip from a STEM: the known axis is near 92.8° in this model's terms, shifts of SD 12.9 and 3.6 px."""
    folder = shared_data / "haadf"
    with pytest.warns(match="MAP"):
        images = open_mrc(folder / "HAADF.mrc")
    tilt = np.loadtxt(folder / "HAADF.rawtlt")
    series = TiltSeries(
        name="HAADF",
        pixel_size_ang=33.6,
        image_shape_px=images.shape[1:],
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(77, 90.0),
        imaging="dark",
    )
    result = align(series, images, AlignSettings())
    geometry, quality = result.series.geometry, result.series.quality
    assert geometry.z_rot_deg.mean() == pytest.approx(92.8, abs=1.0)
    assert quality["AlignScore"] > quality["AlignScoreNone"] + 0.1
    assert any("compact" in note for note in result.notes)
    shifts_px = geometry.shifts_ang() / 33.6
    assert shifts_px[:, 0].std() == pytest.approx(3.6, abs=0.4)
    assert shifts_px[:, 1].std() == pytest.approx(12.9, abs=1.0)


def test_few_views_are_never_called_good(tiny: Any) -> None:
    some = [5, 7, 9]
    result = align(
        tiny.series.select(some), ArrayImages(tiny.images[some]), AlignSettings(method="coarse", axis_range=0)
    )
    assert result.series.other["lamellaAlignVerdict"] != "good"
    assert any("3 views" in note or "the alignment failed" in note for note in result.notes)
