"""What of a series is painted over, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.gold_scene import DIAMETER_ANG, gold_scene

from lamella.records import ArrayImages
from lamella.tomograms.gold import plan_gold
from lamella.tomograms.gold_halo import halo_of, paint_radius_px
from lamella.tomograms.reconstruct_settings import ReconstructSettings


def plan(scene, **settings):
    return plan_gold(scene.series, scene.images, ReconstructSettings(**settings))


def test_auto_erases_what_it_finds():
    scene = gold_scene()
    made = plan(scene)
    assert made.messages[0].startswith("10 gold beads of 10.")
    assert 0.01 < made.painted_fraction < 0.1
    painted = made.images(scene.images)
    for view in (0, 10, 20):
        inside = scene.mask(view, DIAMETER_ANG / 2)
        assert painted.view(view)[inside].mean() == pytest.approx(120, rel=0.03)


def test_halves_are_painted_alike():
    scene = gold_scene()
    made = plan(scene)
    full, even, odd = (
        made.images(source, kind=kind)
        for source, kind in ((scene.images, "full"), (scene.even, "even"), (scene.odd, "odd"))
    )
    for view in (0, 10):
        inside = scene.mask(view, DIAMETER_ANG / 2)
        e, o, f = (source.view(view)[inside] for source in (even, odd, full))
        assert abs(np.corrcoef(e, o)[0, 1]) < 4 / np.sqrt(inside.sum())
        assert e.var() == pytest.approx(60, rel=0.25)
        assert (f - e - o).std() < 0.2 * f.std()


def test_some_views_are_painted_as_all_are():
    scene = gold_scene()
    made = plan(scene)
    views = np.array([1, 3, 5])
    some = made.images(ArrayImages(scene.images.array[views]), views)
    assert np.array_equal(some.view(1), made.images(scene.images).view(3))


def test_keep_looks_for_nothing():
    scene = gold_scene(beads=2, views=5, size=96)
    made = plan(scene, gold="keep")
    assert made.beads is None
    assert made.images(scene.images) is scene.images


def test_erase_says_that_there_is_none_and_auto_does_not():
    scene = gold_scene(beads=0)
    assert plan(scene).messages == ()
    made = plan(scene, gold="erase")
    assert made.messages[0].startswith("no gold beads: ")
    assert made.images(scene.images) is scene.images


def test_too_much_gold_is_left():
    line = np.arange(-500, 501, 140.0)
    points = np.stack(np.meshgrid(line, line, [0.0]), axis=-1).reshape(-1, 3)
    scene = gold_scene(points_ang=points, bodies=0, size=128, views=15)
    made = plan(scene, gold_diameter=DIAMETER_ANG)
    assert "were left" in made.messages[0]
    assert made.painters == ()
    assert len(made.beads) > 20


def test_lumps_are_painted_after_beads_or_refused(rng):
    scene = gold_scene(beads=6, bodies=0, size=192, views=9)
    array = scene.images.array.copy()
    array[:, 20:50, 110:150] *= 0.7
    made = plan_gold(scene.series, ArrayImages(array), ReconstructSettings(gold_mask="dense"))
    assert "dense lumps painted over in 9 views" in made.messages[1]
    view = made.images(ArrayImages(array)).view(4)
    assert view[20:50, 110:150].mean() == pytest.approx(120, rel=0.04)
    array[:, :80] *= 0.5
    refused = plan_gold(scene.series, ArrayImages(array), ReconstructSettings(gold_mask="dense"))
    assert "dense lumps were left" in refused.messages[-1]
    dark = plan_gold(
        scene.series.with_changes(imaging="dark"), ArrayImages(array), ReconstructSettings(gold_mask="dense")
    )
    assert dark.messages == (
        "no gold beads: they are looked for in bright field alone",
        "no lumps: they are looked for in bright field alone",
    )


def test_a_beads_reach_is_where_its_halo_ends():
    """A ball of radius 5 px with a ring round it, up to 9 px, in noise that hides what lies beyond."""
    rng = np.random.default_rng(2)
    places = np.stack(np.meshgrid(np.arange(40, 380, 60.0), np.arange(40, 380, 60.0)), axis=-1).reshape(-1, 2)
    y, x = np.mgrid[:400, :400]
    far = np.min([np.hypot(x - a, y - b) for a, b in places], axis=0)
    clean = 100 - 60 * np.sqrt(np.clip(1 - (far / 5) ** 2, 0, None)) + 4 * ((far > 6) & (far < 9))
    images = ArrayImages(np.stack([rng.normal(clean, 10).astype(np.float32) for _ in range(8)]))
    halo = halo_of(images, (places,) * 8, 5.0)
    assert halo.reach == pytest.approx(9 / 5, abs=0.21)
    assert halo.depth[0] == pytest.approx(-5.8, abs=0.4)
    assert paint_radius_px(halo, 5.0, 1.0) == pytest.approx(np.hypot(halo.reach * 5, 2) + 0.5)
    nothing = halo_of(images, (places[:0],) * 8, 5.0)
    assert nothing.reach == pytest.approx(1.3)
