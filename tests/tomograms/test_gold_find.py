"""Gold beads found in three dimensions, held to the places where they were drawn."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.gold_scene import DIAMETER_ANG, PIXEL_ANG, gold_scene, matched

from lamella.errors import ProjectError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages
from lamella.tomograms.gold_find import find_gold


@pytest.mark.parametrize("field", [False, True])
def test_every_bead_is_found_and_nothing_else(field):
    scene = gold_scene(beads=12, field=field)
    found = find_gold(scene.series, scene.images)
    recall, precision, off = matched(found.points_ang, scene.points_ang)
    assert (recall, precision) == (1.0, 1.0)
    assert off < 4.0  # Å: 0.4 px, of beads seen in 21 views
    assert found.diameter_ang == pytest.approx(DIAMETER_ANG, rel=0.12)
    assert found.contrast == pytest.approx(0.6, abs=0.12)
    assert (found.views_seen >= 0.8 * found.views_shown).all()
    true = scene.series.geometry.project(scene.points_ang)
    apart = np.linalg.norm(found.places_ang[:, :, None] - true[:, None], axis=-1).min(axis=1)
    assert np.median(apart) < 5.0


def test_beads_that_touch_are_two():
    points = np.array([[-300.0, 0.0, 200.0], [-190.0, 0.0, 200.0], [250.0, 100.0, -200.0], [250.0, 100.0, 250.0]])
    found = find_gold(*_of(gold_scene(points_ang=points)))
    assert matched(found.points_ang, points)[:2] == (1.0, 1.0)


def test_a_bead_that_the_images_edge_cuts_is_found():
    edge = 96 * PIXEL_ANG
    still = TiltGeometry.from_angles(np.linspace(-60, 60, 21), 90.0)  # the axis along x: x stays
    points = np.array([[-edge + 5.0, 0.0, 0.0], [0.0, 100.0, 300.0], [400.0, -300.0, 0.0]])
    found = find_gold(*_of(gold_scene(points_ang=points, geometry=still)))
    assert np.abs(found.points_ang[:, 0] + edge).min() < 40


def test_a_bead_in_few_views_is_loose():
    """A bead that only the steepest views show cannot be placed, yet is known for one of those of the others."""
    scene = gold_scene(points_ang=np.array([[0.0, 0.0, 0.0], [300.0, 200.0, 100.0], [1650.0, -300.0, 0.0]]))
    found = find_gold(*_of(scene))
    place = scene.series.geometry.project(scene.points_ang[2])
    shown = np.flatnonzero((np.abs(place) < 96 * PIXEL_ANG - 60).all(axis=1))
    assert 1 <= len(shown) <= 4
    assert len(found) == 2
    for view in shown:
        assert np.linalg.norm(found.in_views()[view] - place[view], axis=1).min() < 40


@pytest.mark.parametrize("stated", [0.0, DIAMETER_ANG])
def test_no_gold_is_seen_where_there_is_none(stated):
    for kind in ({"bodies": 40}, {"film": True}):
        scene = gold_scene(beads=0, **kind)
        found = find_gold(scene.series, scene.images, diameter_ang=stated)
        assert len(found) == 0, kind
        assert found.why_none
        assert all(len(here) == 0 for here in found.in_views())


def test_ice_crystals_are_not_gold():
    scene = gold_scene(beads=14, absorbs=0.15)
    found = find_gold(scene.series, scene.images)
    assert len(found) == 0
    assert "gold takes more" in found.why_none


def test_dark_field_is_left():
    scene = gold_scene(beads=2, views=5, size=96)
    found = find_gold(scene.series.with_changes(imaging="dark"), scene.images)
    assert "bright field" in found.why_none


def test_images_without_their_zero_need_a_size():
    scene = gold_scene()
    images = ArrayImages(scene.images.array - scene.images.array.mean(axis=(1, 2), keepdims=True))
    assert "gold_diameter" in find_gold(scene.series, images).why_none
    told = scene.series.with_changes(quality={"AlignBeadDiameterAngst": DIAMETER_ANG})
    found = find_gold(told, images)
    assert matched(found.points_ang, scene.points_ang)[:2] == (1.0, 1.0)


def test_where_the_alignment_is_rough_the_spots_say_where_beads_are(rng):
    scene = gold_scene(beads=8)
    true = scene.series.geometry
    off = rng.normal(0, 12.0, (2, len(true)))
    rough = true.with_terms(x_shift_ang=true.x_shift_ang + off[0], y_shift_ang=true.y_shift_ang + off[1])
    found = find_gold(*_of(scene.with_geometry(rough)))
    assert found.residual_ang > 8
    places = true.project(scene.points_ang)
    apart = np.linalg.norm(places[:, :, None] - found.places_ang[:, None], axis=-1).min(axis=2)
    assert np.median(apart) < 5
    assert (apart < 50).mean() > 0.97


def test_what_cannot_be_looked_for_is_said():
    scene = gold_scene(beads=2, views=5, size=96)
    with pytest.raises(ProjectError, match="not aligned"):
        find_gold(scene.series.with_changes(geometry=None), scene.images)
    assert "pixels across" in find_gold(scene.series, scene.images, diameter_ang=25.0).why_none


def _of(scene):
    return scene.series, scene.images
