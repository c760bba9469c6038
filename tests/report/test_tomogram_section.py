"""The tomogram's section: every part there, every missing part said, curves and films true to their numbers."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lamella.records import ArrayVolume, TiltSeries, Tomogram
from lamella.records.half_fsc import HalfFsc
from lamella.report import SeriesReport
from lamella.report.plots import plot_half_fsc, plot_held_out, slice_movie
from lamella.report.tomogram_section import tomogram_parts

SHAPE = (40, 60, 80)
NUMBERS = {
    "HalfFscResolutionAngst": 41.26,
    "HalfFscResolutionErrorAngst": 1.14,
    "TomogramContrast": 0.345,
    "TiltCoverageDeg": 120.0,
    "LargestTiltGapDeg": 3.0,
    "MeasuredFraction": 0.69,
    "PositionXTiltDeg": 0.42,
    "PositionYTiltDeg": -1.2,
    "PositionOffsetAngst": 30.0,
    "PositionThicknessAngst": 200.0,
    "Rounds": 7.0,
    "SupportMedian": 0.82,
    "UnsupportedFraction": 0.031,
    "UnsupportedTexture": 0.31,
    "NoiseBefore": 2.0,
    "NoiseAfter": 0.5,
}


def curve() -> HalfFsc:
    k = np.arange(41) / 800
    return HalfFsc(frequency_per_ang=k, correlation=1 / (1 + (k / 0.02) ** 4), terms=np.maximum(np.arange(41) ** 2, 1))


@pytest.fixture
def entry(rng) -> SeriesReport:
    tilts = np.linspace(-60, 60, 41)
    series = TiltSeries(
        name="TS",
        pixel_size_ang=10.0,
        image_shape_px=SHAPE[1:],
        nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(41, 85.0),
    )
    volume = rng.normal(size=SHAPE).astype(np.float32)
    return SeriesReport(
        raw=series,
        tomogram=Tomogram(tilt_series=series, size_px=SHAPE[::-1], volume="r/TS.mrc", denoised="d/TS.mrc"),
        volume=ArrayVolume(volume),
        denoised=ArrayVolume(volume * 0.5),
        support=ArrayVolume(np.full(SHAPE, 0.9, np.float32)),
        tomogram_numbers=NUMBERS,
        half_fsc=curve(),
        held_out_errors=(0.9, 0.7, 0.6, 0.65, 0.7),
        unsupported=((100.0, -50.0, 20.0, 80.0),),
        denoise_said=("<unsupported> structure at x = 3 nm",),
    )


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<[^>]+>|data:[^\"]+", " ", html, flags=re.DOTALL))


def test_a_whole_section_has_every_part(entry):
    html = "\n".join(tomogram_parts(entry, "s1"))
    assert "could not be drawn" not in html
    text = words(html)
    for expected in (
        "41.3 ± 1.1 Å",
        "69 %",
        "120.0°",
        "3.0°",
        "25 %",
        "-1.2°",
        "Film through",
        "mid-plane",
        "Red rings",
        "82 % (median)",
    ):
        assert expected in text, expected
    assert "3.1 % of the contrast that the denoised tomogram shows is not in the measured data" in text
    assert "texture with 31 % of their contrast that is not in the measured data" in text
    calm = "\n".join(tomogram_parts(replace(entry, tomogram_numbers=NUMBERS | {"UnsupportedTexture": 0.15}), "s1"))
    assert "texture with" not in words(calm)
    assert "&lt;unsupported&gt; structure" in html
    assert html.count("<svg") == 2
    assert "missing" not in re.sub("missing wedge", "", text)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ({"tomogram": None, "volume": None, "denoised": None}, "not reconstructed yet"),
        ({"volume": None}, "the file of the reconstruction has gone"),
        ({"half_fsc": None}, "the halves were not compared"),
        ({"support": None}, "no map of what the data support"),
        ({"tomogram_numbers": {}}, "where the specimen lies in the tomogram is not known"),
        ({"denoised": None, "support": None}, "reconstructed (not denoised)"),
    ],
)
def test_what_is_missing_is_said(entry, gone, said):
    html = "\n".join(tomogram_parts(replace(entry, **gone), "s1"))
    assert said in words(html)
    assert "could not be drawn" not in html


def test_the_film_runs_from_below_to_above_and_stays_light(rng):
    volume = np.zeros((60, 90, 120), np.float32)
    volume += np.arange(60, dtype=np.float32)[:, None, None]  # brighter with height
    volume += rng.normal(scale=3, size=volume.shape).astype(np.float32)
    movie = slice_movie(ArrayVolume(volume), 20.0, z_range_ang=(-400, 400))
    film = Image.open(io.BytesIO(movie.film))
    assert film.format == "WEBP"
    assert film.n_frames == movie.frames > 30
    assert film.size == (120, 90)
    means = []
    for frame in range(film.n_frames):
        film.seek(frame)
        means.append(np.asarray(film.convert("L"))[40:].mean())
    assert np.polyfit(range(len(means)), means, 1)[0] > 0
    # frames of three slices of 20 Å: the first of them lies 20 voxels below the centre voxel 30
    assert movie.heights_nm == pytest.approx((-38.0, 36.0))
    light = slice_movie(ArrayVolume(volume), 20.0, z_range_ang=(-400, 400), most_bytes=6_000)
    assert len(light.film) <= 6_000
    assert light.frames < movie.frames
    one = slice_movie(ArrayVolume(volume[:1]), 20.0)
    assert one.frames == 1


def test_the_still_takes_the_films_place_where_motion_is_unwelcome(entry):
    html = "\n".join(tomogram_parts(entry, "s1"))
    found = re.search(
        r'<source media="\(prefers-reduced-motion: reduce\)" srcset="data:image/webp;base64,([^"]+)"', html
    )
    assert found is not None
    still = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert getattr(still, "n_frames", 1) == 1


def test_the_curves_mark_their_numbers():
    figure = plot_half_fsc(curve(), {"HalfFscResolutionAngst": 30.0})
    axis = figure.axes[0]
    marked = [line for line in axis.lines if line.get_marker() == "o"]
    assert marked[0].get_xdata()[0] == pytest.approx(1 / 30)
    assert any("30.0 Å" in text.get_text() for text in axis.texts)
    held = plot_held_out((0.9, 0.6, 0.7), taken=2).axes[0]
    assert any("round 2" in text.get_text() for text in held.get_legend().get_texts())
