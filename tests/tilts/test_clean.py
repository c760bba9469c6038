"""Which views are left out and why, and that one mask cleans the full, even and odd images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from lamella.errors import ImageError, SettingsError
from lamella.records import ArrayImages, TiltSeries
from lamella.tilts import clean
from lamella.tilts.clean_settings import CleanSettings
from lamella.tilts.views import expected_brightness

H, W = 96, 112


def record(tilt, **changes) -> TiltSeries:
    tilt = np.asarray(tilt, float)
    values = {"name": "ts", "pixel_size_ang": 10.0, "image_shape_px": (H, W)} | changes
    return TiltSeries(nominal_tilt_deg=tilt, nominal_axis_deg=np.full(len(tilt), 85.0), **values)


def stack(rng, tilt, *, dose=60.0, thickness=0.7, pre_tilt=0.0) -> np.ndarray:
    """Views of a slab through which exp(−t/(Λ cos θ)) gets, with a specimen on it, counted."""
    views = []
    for angle in tilt:
        mass = 1 + 3 * np.abs(gaussian_filter(rng.normal(size=(H, W)), 4))
        rate = dose * np.exp(-thickness * mass / np.cos(np.deg2rad(angle - pre_tilt)))
        views.append(rng.poisson(rate))
    return np.asarray(views, dtype=np.float32)


class Sink(dict):
    def __call__(self, index, image):
        assert index not in self
        self[index] = image


def run(series, images, **settings):
    sink = Sink()
    return clean(series, ArrayImages(images), CleanSettings(**settings), sink), sink


TILTS = np.arange(-60, 61, 6.0)


@pytest.mark.parametrize("thickness", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("pre_tilt", [0.0, 12.0])
def test_good_views_stay_however_dark_they_get(rng, thickness, pre_tilt):
    """The thickest lets 24 % through at 0 degrees and 6 % at 60; with the pre-tilt 1 % at one end."""
    images = stack(rng, TILTS, thickness=thickness, pre_tilt=pre_tilt, dose=200)
    result, sink = run(record(TILTS), images)
    assert result.excluded is None
    assert result.reasons == ()
    assert len(sink) == len(TILTS)
    assert np.abs(result.series.scores["CleanBrightness"] - 1).max() < 0.4


def test_good_views_stay_where_brightness_rises_with_tilt(rng):
    rate = 40 / np.cos(np.deg2rad(TILTS)) ** 2
    mass = 1 + 0.5 * np.abs(gaussian_filter(rng.normal(size=(len(TILTS), H, W)), (0, 4, 4)))
    images = rng.poisson(rate[:, None, None] * mass).astype(np.float32)
    result, _ = run(record(TILTS, imaging="dark"), images)
    assert result.excluded is None


def test_faulty_views_are_left_out_with_a_reason(rng):
    images = stack(rng, TILTS)
    images[3] = rng.poisson(0.3, size=(H, W))  # beam off
    images[8] *= 0.15  # shutter half open
    images[14, :, : int(0.75 * W)] = rng.poisson(0.3, size=(H, int(0.75 * W)))  # a grid bar
    images[20] = 0  # never read out
    result, sink = run(record(TILTS), images)
    assert result.excluded is not None
    np.testing.assert_array_equal(result.excluded.place, [4, 9, 15, 21])
    for reason, words in zip(result.reasons, ("dark", "dark", "", "blank"), strict=True):
        assert reason.startswith(words or ("dark", "blocked"))
    np.testing.assert_array_equal(result.kept, [i for i in range(21) if i not in (3, 8, 14, 20)])
    np.testing.assert_array_equal(result.series.place, result.kept + 1)
    assert sorted(sink) == list(range(17))
    np.testing.assert_array_equal(sink[3][sink[3] == images[4]], images[4][sink[3] == images[4]])


def test_views_are_blocked_only_if_more_black_than_the_others(rng):
    images = stack(rng, TILTS, dose=200)
    images[:, :, : int(0.3 * W)] = rng.poisson(0.5, size=(len(TILTS), H, int(0.3 * W)))
    result, _ = run(record(TILTS), images)
    assert result.excluded is None
    images[10, :, : int(0.9 * W)] = 0.5
    result, _ = run(record(TILTS), images, min_brightness=0.0)
    assert result.excluded is not None
    assert list(result.excluded.place) == [11]
    assert result.reasons[0].startswith("blocked: ")


def test_blank_views_are_found_where_the_zero_is_unknown(rng):
    """Signed, offset numbers: nothing says how bright a view is, but beam-off views have next to no noise."""
    images = stack(rng, TILTS) - 32000
    images[6] = -31950 + rng.normal(scale=0.4, size=(H, W))
    result, _ = run(record(TILTS), images)
    assert result.excluded is not None
    assert list(result.excluded.place) == [7]


def test_nothing_is_judged_where_that_is_off(rng):
    images = stack(rng, TILTS)
    images[3] *= 0.01
    result, _ = run(record(TILTS), images, bad_views=False)
    assert result.excluded is None


def test_views_are_excluded_by_their_place_in_the_users_file(rng):
    images = stack(rng, TILTS)
    images[1] = np.nan  # an excluded view is never looked at
    place = np.arange(len(TILTS))[::-1] + 1
    result, sink = run(record(TILTS, place=place), images, exclude=(20, 3))
    assert result.excluded is not None
    assert sorted(result.excluded.place) == [3, 20]
    assert result.reasons == ("excluded by clean.exclude",) * 2
    assert len(sink) == 19
    assert result.series.quality["CleanExcludedViews"] == 2


def test_places_that_are_not_there_are_named(rng):
    with pytest.raises(SettingsError, match="names view 22, 99,"):
        run(record(TILTS), stack(rng, TILTS), exclude=(2, 22, 99))


def moving(rng, tilt, shift_px, *, dose=30.0) -> np.ndarray:
    """Views of one flat specimen, foreshortened across an axis along y, each shifted by (x, y) px."""
    mass = gaussian_filter(rng.normal(size=(3 * H, 3 * W)), 2.0)
    mass = 0.6 + 0.25 * mass / mass.std()
    views = []
    for angle, (dx, dy) in zip(np.deg2rad(tilt), shift_px, strict=True):
        rows, columns = np.mgrid[:H, :W].astype(float)
        places = [rows - H // 2 - dy + 3 * H // 2, (columns - W // 2 - dx) / np.cos(angle) + 3 * W // 2]
        seen = map_coordinates(mass, places, order=1, mode="grid-wrap")
        views.append(rng.poisson(dose * np.exp(-np.maximum(seen, 0) / np.cos(angle))))
    return np.asarray(views, dtype=np.float32)


def axis_along_y(**changes) -> TiltSeries:
    return record(TILTS).with_changes(nominal_axis_deg=np.zeros(len(TILTS)), **changes)


def test_views_that_wander_a_quarter_of_the_field_stay(rng):
    shifts = rng.uniform(-0.12, 0.12, (len(TILTS), 2)) * [W, H]
    result, _ = run(axis_along_y(), moving(rng, TILTS, shifts))
    assert result.reasons == ()
    assert np.nanmin(result.series.scores["CleanAgreement"]) > 9


@pytest.mark.parametrize("view", [0, 1, 10, 19, 20])
def test_a_view_of_another_field_is_shifted_out(rng, view):
    shifts = rng.uniform(-0.05, 0.05, (len(TILTS), 2)) * [W, H]
    images = moving(rng, TILTS, shifts)
    images[view] = moving(rng, TILTS[view : view + 1], [(0, 0)])[0]
    result, _ = run(axis_along_y(), images)
    assert result.excluded is not None
    assert list(result.excluded.place) == [view + 1]
    assert result.reasons[0].startswith("shifted out: ")
    kept, _ = run(axis_along_y(), images, bad_views=False)
    assert kept.excluded is None


@pytest.mark.parametrize("way", [(0.7, 0.0), (0.0, -0.65)])
def test_a_view_far_beside_its_neighbours_is_shifted_out(rng, way):
    shifts = np.zeros((len(TILTS), 2))
    shifts[12] = np.multiply(way, [W, H])
    result, _ = run(axis_along_y(), moving(rng, TILTS, shifts))
    assert result.excluded is not None
    assert list(result.excluded.place) == [13]
    shifts[12] *= 0.5
    result, _ = run(axis_along_y(), moving(rng, TILTS, shifts))
    assert result.excluded is None


def test_included_views_stay_and_their_fault_is_said(rng):
    images = stack(rng, TILTS)
    images[3] *= 0.1
    images[8] *= 0.1
    result, sink = run(record(TILTS), images, include=(4,), exclude=(21,))
    assert result.excluded is not None
    assert list(result.excluded.place) == [9, 21]
    assert len(sink) == 19
    assert len(result.warnings) == 1
    assert result.warnings[0].startswith("view 4 stays by clean.include, although dark")
    with pytest.raises(SettingsError, match=r"clean.include names view 99"):
        run(record(TILTS), images, include=(99,))
    images[8] = 0
    with pytest.raises(ImageError, match=r"view 9 .*every pixel of the image is 0"):
        run(record(TILTS), images, include=(9,))


def test_a_view_is_not_excluded_and_included():
    with pytest.raises(ValueError, match="view 3 stands in exclude and in include"):
        CleanSettings(exclude=(1, 3), include=(3, 4))


@pytest.mark.parametrize("blank", [0.0, 0.01])
def test_where_most_views_are_blank_it_is_said(rng, blank):
    images = stack(rng, TILTS)
    bad = np.arange(len(TILTS)) % 5 < 3
    images[bad] = rng.poisson(blank, size=(int(bad.sum()), H, W))
    result, _ = run(record(TILTS), images)
    assert result.excluded is not None
    np.testing.assert_array_equal(result.excluded.place, np.flatnonzero(bad) + 1)
    assert "13 of 21 views show nothing" in result.warnings[0]


def test_a_film_over_a_part_does_not_make_a_view_dark(rng):
    """The specimen beside it is as bright as it should be; beyond `max_blocked` the view shows too little of it."""
    images = stack(rng, TILTS, dose=100)
    for view, share in ((18, 0.3), (19, 0.4), (20, 0.47)):
        images[view, :, : int(share * W)] = rng.poisson(1.0, size=(H, int(share * W)))
    result, _ = run(record(TILTS), images, min_brightness=0.8)
    assert result.excluded is None
    assert result.series.scores["CleanCovered"][20] == pytest.approx(0.47, abs=0.02)
    assert result.series.scores["CleanBrightness"][18:].min() > 0.85
    images[20, :, : int(0.7 * W)] = rng.poisson(1.0, size=(H, int(0.7 * W)))
    result, _ = run(record(TILTS), images)
    assert result.excluded is not None
    assert result.reasons[0].startswith("blocked: 70 %")


def test_one_mask_serves_full_even_and_odd(rng):
    tilt = TILTS[::3]
    even, odd = stack(rng, tilt, dose=100), stack(rng, tilt, dose=100)
    odd[2, 70, 80] = np.nan
    full = np.nan_to_num(even) + np.nan_to_num(odd)
    full[:, 10, 11] += 900  # a hot pixel in every view
    full[4, 40, 50] += 900
    even[4, 40, 50] += 900
    sinks = Sink(), Sink(), Sink()
    result = clean(
        record(tilt),
        ArrayImages(full),
        CleanSettings(),
        sinks[0],
        even=ArrayImages(even),
        odd=ArrayImages(odd),
        write_even=sinks[1],
        write_odd=sinks[2],
    )
    for sink, source in zip(sinks, (full, even, odd), strict=True):
        assert sorted(sink) == list(range(len(tilt)))
        changed = np.array([sink[i] != source[i] for i in range(len(tilt))])
        assert changed[4, 40, 50]
        assert changed[2, 70, 80]
        assert changed[:, 10, 11].mean() > 0.5  # a fit may by chance give the count itself
        assert np.isfinite(np.array(list(sink.values()))).all()
        assert changed.sum() <= result.replaced.sum()
    assert result.hot >= 1
    assert result.replaced[2] >= 2


def test_a_weak_hot_pixel_is_found_over_all_views_together(rng):
    """Seven SD: below the peak criterion's ten in most views."""
    images = rng.normal(100, 10, size=(15, H, W)).astype(np.float32)
    images[:, 33, 44] += 65
    result, sink = run(record(np.linspace(-42, 42, 15)), images, difference=50.0)
    assert result.hot == 1
    assert np.mean([sink[i][33, 44] for i in range(15)]) == pytest.approx(100, abs=5)


def test_isolated_invalid_pixels_are_replaced_and_counted(rng):
    images = stack(rng, TILTS)
    images[5, 3, 4] = np.nan
    result, sink = run(record(TILTS), images)
    assert result.invalid[5] == 1
    assert result.invalid.sum() == 1
    assert np.isfinite(sink[5]).all()


def test_unusable_views_are_named(rng):
    images = stack(rng, TILTS)
    images[7] = np.nan
    with pytest.raises(ImageError, match=r"ts, view 8 \(tilt -18.0 degrees\): no pixel"):
        run(record(TILTS), images)
    images[7] = 3.0
    with pytest.raises(ImageError, match=r"view 8 .*every pixel of the image is 3"):
        run(record(TILTS), images, bad_views=False)
    images[7] = np.where(rng.random((H, W)) < 0.1, np.nan, 5 + rng.random((H, W)))
    with pytest.raises(ImageError, match=r"view 8 .*not finite"):
        run(record(TILTS), images)


def test_a_series_of_constant_images_is_refused():
    with pytest.raises(ImageError, match=r"0 of 21 views are left, 3 are needed \(view 1: blank.*; and 16 more\)"):
        run(record(TILTS), np.ones((21, H, W), np.float32))


def test_at_least_three_views_must_stay(rng):
    images = stack(rng, TILTS[:4])
    with pytest.raises(ImageError, match="leaves 2 of 4 views"):
        run(record(TILTS[:4]), images, exclude=(1, 2))
    result, _ = run(record(TILTS[:4]), images, exclude=(1,))
    assert len(result.series) == 3


def test_images_must_fit_the_record(rng):
    images = stack(rng, TILTS)
    with pytest.raises(ImageError, match="even images"):
        clean(record(TILTS), ArrayImages(images), CleanSettings(), None, even=ArrayImages(images[:-1]))
    with pytest.raises(ImageError, match="for a record of"):
        run(record(TILTS), images[:, :-1])


def test_nothing_is_written_without_a_sink(rng):
    result = clean(record(TILTS), ArrayImages(stack(rng, TILTS)), CleanSettings(), None)
    assert len(result.series) == len(TILTS)


@given(
    thickness=st.floats(0.0, 1.5),
    pre_tilt=st.sampled_from([-16.0, 0.0, 8.0]),
    bad=st.sets(st.integers(0, 40), max_size=12),
)
def test_the_course_of_brightness_is_found_through_faults(thickness, pre_tilt, bad):
    tilt = np.arange(-60, 61, 3.0)
    truth = 100 * np.exp(-thickness / np.cos(np.deg2rad(tilt - pre_tilt)))
    seen = truth.copy()
    seen[list(bad)] *= 0.05
    good = [i for i in range(41) if i not in bad]
    ratio = seen[good] / expected_brightness(seen, tilt)[good]
    assert ratio.min() > 0.6
    assert ratio.max() < 1.7


def test_real_views_all_stay(shared_data):
    import warnings

    import mrcfile

    folder = shared_data / "haadf"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(folder / "HAADF.mrc", permissive=True) as file:
            images = np.asarray(file.data, dtype=np.float32)
    tilt = np.loadtxt(folder / "HAADF.rawtlt")
    result, _ = run(record(tilt, image_shape_px=(256, 256), imaging="dark"), images)
    assert result.excluded is None
    assert result.replaced.max() < 60
