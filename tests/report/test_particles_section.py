"""Plots of picks and averages, and the section that shows them."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.geometry import TiltGeometry
from lamella.records import ArrayVolume, Particles, ParticleSet, TiltSeries, Tomogram
from lamella.records.map_fsc import MapFsc
from lamella.report import AverageReport, ParticlesReport, PickReport, write_report
from lamella.report.plots import plot_gallery, plot_map_fsc, plot_picks


@pytest.fixture
def picks(rng) -> Particles:
    series = TiltSeries(
        name="<TS>",
        pixel_size_ang=10.0,
        image_shape_px=(128, 128),
        nominal_tilt_deg=np.array([-10.0, 0, 10]),
        nominal_axis_deg=np.zeros(3),
        geometry=TiltGeometry.from_angles(np.array([-10.0, 0, 10]), 0.0),
    )
    places = rng.uniform(-400, 400, (30, 3)) * (1, 1, 0.4)
    places[0] = (5000, 0, 0)  # out of the tomogram
    return Particles(
        tomogram=Tomogram(tilt_series=series, size_px=(128, 128, 64), binning=2.0),
        coordinates_ang=places,
        angles_deg=rng.uniform(0, 180, (30, 3)),
        scores={"PickScore": rng.uniform(7, 12, 30)},
        quality={"ParticleDiameterAngst": 200.0, "PickThreshold": 7.0},
    )


@pytest.fixture
def volume(rng) -> ArrayVolume:
    return ArrayVolume(rng.normal(size=(32, 64, 64)).astype(np.float32))


def test_rings_stand_where_the_particles_are(picks, volume):
    figure = plot_picks(picks, volume, 200.0)
    above, below = figure.axes
    drawn = np.concatenate([line.get_xydata() for line in above.lines if line.get_marker() == "o"])
    wanted = picks.positions_ang()[:, :2] / 20 + 32.5  # a voxel's middle is half a voxel past its edge
    assert sorted(map(tuple, drawn.round(6))) == sorted(map(tuple, wanted.round(6)))
    drawn = np.concatenate([line.get_xydata() for line in below.lines if line.get_marker() == "o"])
    wanted = picks.positions_ang()[:, (0, 2)] / 20 + (32.5, 16.5)
    assert sorted(map(tuple, drawn.round(6))) == sorted(map(tuple, wanted.round(6)))


def test_gallery_begins_with_the_best_and_bears_a_particle_outside(picks, volume):
    texts = [text.get_text() for axis in plot_gallery(picks, volume, 200.0).axes for text in axis.texts]
    scores = [float(text) for text in texts]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(picks.scores["PickScore"][1:].max(), abs=0.05)


def test_resolution_is_marked_where_the_curve_crosses():
    k = np.arange(20) / 400
    fsc = MapFsc(frequency_per_ang=k, correlation=np.clip(1.2 - 30 * k, 0, 1))
    (axis,) = plot_map_fsc(fsc).axes
    assert axis.texts[0].get_text() == f"{fsc.resolution_ang():.1f} Å"


def test_section_shows_everything_and_escapes_names(picks, volume, tmp_path, rng):
    box = 24
    cube = ArrayVolume(rng.normal(size=(box,) * 3).astype(np.float32))
    ones = ArrayVolume(np.ones((box,) * 3, np.float32))
    k = np.arange(box // 2 + 1) / (box * 10)
    fsc = MapFsc(frequency_per_ang=k, correlation=np.linspace(1, 0, len(k)))
    history = {name: np.array([3.0, 2, 1]) for name in ("resolution_ang", "angle_change_deg", "angle_error_deg")}
    average = AverageReport(
        record="refine",
        particles=ParticleSet(members=(picks,)),
        voxel_size_ang=10.0,
        volume=cube,
        classes=(cube, cube),
        fsc=fsc,
        iterations=(fsc,),
        history=history | {"shift_change_px": np.array([1.0, 0.5, 0.2])},
        mask=ones,
        local_resolution=cube,
        numbers={"RefineUndone": 1.0, "MapResolutionAngst": 20.0},
        said=("undone: <b>",),
    )
    gone = AverageReport(record="average", particles=ParticleSet(members=()), voxel_size_ang=10.0)
    report = ParticlesReport(
        picks=(PickReport(record="pick", particles=picks, volume=volume, extracted=29),), averages=(average, gone)
    )
    (page,) = write_report(tmp_path / "index.html", "P", [], particles=report)
    text = page.read_text(encoding="utf-8")
    assert "could not be drawn" not in text
    assert "&lt;TS&gt;" in text
    assert "undone: &lt;b&gt;" in text
    assert "was undone" in text
    assert "20.00 Å" in text
    assert "the file of the map has gone" in text
