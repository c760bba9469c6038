"""The contrast transfer in the report: what the record holds is what is drawn and said."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamella.errors import InputError
from lamella.geometry import TiltGeometry
from lamella.records import CtfProfiles, TiltSeries
from lamella.records.ctf_profiles import HAND_CAUSES, HAND_FIXED
from lamella.report import SeriesReport, write_report
from lamella.report.ctf_section import ctf_parts, hand_words
from lamella.report.pictures import as_svg, as_webp
from lamella.report.plots import (
    plot_ctf_image,
    plot_ctf_pictures,
    plot_ctf_profiles,
    plot_ctf_sheet,
    plot_defocus,
)
from lamella.tilts.ctf_settings import CtfSettings

sys.path.insert(0, str(Path(__file__).parents[1]))
from stand_in_ctf import estimate

VIEWS = 13


@pytest.fixture(scope="module")
def found() -> tuple[TiltSeries, CtfProfiles]:
    tilt = np.linspace(-60, 60, VIEWS)
    series = TiltSeries(
        name="TS",
        pixel_size_ang=4.0,
        image_shape_px=(64, 64),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(VIEWS, 85.0),
        geometry=TiltGeometry.from_angles(tilt + 1.5, 85.0),
    )
    result = estimate(series, None, CtfSettings())
    return result.series, result.profiles


def curve(axis, label: str) -> np.ndarray:
    return next(line for line in axis.get_lines() if line.get_label() == label).get_ydata()


def test_numbers_are_drawn_over_the_tilt(found):
    series, _ = found
    figure = plot_defocus(series)
    defocus, alone, astigmatism, resolution = figure.axes
    np.testing.assert_allclose(defocus.containers[0].lines[0].get_ydata(), series.defocus.mean_ang / 1e4)
    np.testing.assert_allclose(
        alone.containers[0].lines[0].get_ydata(), series.scores["CtfAloneDefocusAngst"] - series.defocus.mean_ang
    )
    np.testing.assert_allclose(astigmatism.containers[0].lines[0].get_ydata(), 500)
    np.testing.assert_allclose(resolution.get_lines()[0].get_ydata(), series.defocus.max_resolution_ang)
    assert len(curve(defocus, "borrowed from the others")) == 2  # those at ±60°
    as_svg(figure, "defocus", "a")


def test_a_record_from_elsewhere_has_no_errors_and_is_drawn_all_the_same(found):
    series, _ = found
    turning = replace(series.defocus, angle_deg=np.linspace(170, 190, VIEWS) % 180, max_resolution_ang=None)
    figure = plot_defocus(replace(series, defocus=turning, scores={}))
    directions = figure.axes[-1].get_lines()[0].get_ydata()
    assert np.abs(np.diff(directions)).max() < 5  # no leap where the angle passes 180°
    with pytest.raises(InputError, match="run `lamella ctf` first"):
        plot_defocus(replace(series, defocus=None))


def test_curves_are_the_profiles(found):
    series, profiles = found
    figure = plot_ctf_profiles(series, profiles, most=3)
    assert [axis.get_title(loc="left").split(":")[0] for axis in figure.axes] == ["0.0°", "+30.0°", "+60.0°"]
    np.testing.assert_array_equal(curve(figure.axes[0], "measured"), profiles.measured[6])
    np.testing.assert_array_equal(curve(figure.axes[0], "fitted"), profiles.fitted[6])
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_xdata(), profiles.frequency_per_ang**2)
    assert len(plot_ctf_sheet(series, profiles).axes) == 15  # 13 in rows of three
    with pytest.raises(InputError, match="5 profiles of 13 views"):
        plot_ctf_sheet(series, profiles.select(range(5)))


def test_pictures_show_every_view_with_its_circle(found):
    series, profiles = found
    figure = plot_ctf_pictures(series, profiles)
    assert len(figure.axes) == VIEWS
    for view, axis in enumerate(figure.axes):
        reached = series.defocus.max_resolution_ang[view]
        # a fit that holds beyond the picture's edge has no circle
        assert [circle.radius for circle in axis.patches] == pytest.approx([1 / reached] if reached > 8 else [])
        np.testing.assert_array_equal(axis.images[0].get_array(), profiles.pictures[view])
    side = profiles.pictures.shape[-1]
    left, right, *_ = figure.axes[0].images[0].get_extent()
    # the middle of pixel p // 2 is frequency 0
    assert left + (side // 2 + 0.5) * (right - left) / side == pytest.approx(0, abs=1e-12)
    assert len(as_webp(figure)) > 1000


def test_one_image_has_curve_and_picture(found):
    series, profiles = found
    figure = plot_ctf_image(series.select([4]), profiles.select([4]), "image.mrc")
    assert figure.get_suptitle() == "image.mrc"
    assert len(figure.axes[1].images) == 1


def words(series: TiltSeries) -> str:
    return " ".join(hand_words(series))


def test_hand_is_told_with_its_confidence_and_its_causes(found):
    series, _ = found
    assert "as for a hand of −1 (rlnTomoHand): confidence 0.999" in words(series)
    assert "two causes" not in words(series)
    turned = series.with_changes(quality={"CtfMeasuredHand": 1.0})
    assert "The record keeps −1." in words(turned)
    assert "ctf.fix = axis" in words(turned)
    assert "ctf.fix = mirror" in words(turned)
    assert words(turned.with_changes(other={HAND_CAUSES: "the axis is to blame"})).endswith("The axis is to blame.")
    fixed = series.with_changes(other={HAND_FIXED: "mirror", HAND_CAUSES: "the axis is to blame"})
    assert words(fixed).endswith(
        "The data said +1: the images were mirrored back (ctf.fix = mirror), which makes it −1."
    )
    undecided = series.with_changes(quality={"CtfHandConfidence": 0.71})
    assert "undecided: −1 is the likelier, with a confidence of 0.710" in words(undecided)
    assert words(replace(series, quality={})) == "The hand was not measured; the record keeps −1."


def test_section_holds_numbers_plots_and_table(found):
    series, profiles = found
    entry = SeriesReport(raw=series, defocused=series, ctf_profiles=profiles)
    html = "".join(ctf_parts(entry, "m"))
    assert html.count("<svg") == 2
    assert html.count("<img") == 2
    assert html.count("<tr>") == VIEWS + 1
    for text in ("1.020 ± 0.050", "0.40 ± 0.60°", "+1.50°", "2 of 13", "32250", "fit to / Å"):
        assert text in html, text
    assert "no profiles at hand" in "".join(ctf_parts(replace(entry, ctf_profiles=None), "m"))
    passed = SeriesReport(raw=series, ctf_passed_on="passed on: dark-field <images>")
    assert "dark-field &lt;images&gt;" in "".join(ctf_parts(passed, "m"))
    assert "record came with" in "".join(ctf_parts(replace(entry, ctf_passed_on="passed on: no rings"), "m"))
    assert "not estimated yet" in "".join(ctf_parts(SeriesReport(raw=series), "m"))


def test_table_of_series_and_excluded_views_know_the_step(found, tmp_path):
    series, profiles = found
    entry = SeriesReport(
        raw=series,
        cleaned=series,
        excluded=series.select([1]),
        excluded_reasons=("dark",),
        defocused=series,
        ctf_profiles=profiles,
        ctf_excluded=series.select([0, 12]),
        ctf_excluded_reasons=("excluded by ctf.exclude", "its fit reaches 31.0 Å"),
    )
    (page,) = write_report(tmp_path / "index.html", "t", [entry])
    html = page.read_text(encoding="utf-8")
    for text in (
        "CTF to",
        f"{np.median(series.defocus.max_resolution_ang):.1f} Å",
        "13 − 3",
        "13, 3 excluded",
        "defocus estimated",
        "its fit reaches 31.0 Å",
    ):
        assert text in html, text
