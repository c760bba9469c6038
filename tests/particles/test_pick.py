from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree
from tests.particles.blobs import (
    DIAMETER,
    blob_map,
    scattered,
    tomogram_of,
    tomogram_record,
    turned,
    unseen_removed,
)

from lamella.errors import ImageError, InputError
from lamella.geometry import euler_matrix, rotation_angle_deg
from lamella.particles import PickSettings, pick, prepare_template
from lamella.particles.exclusion import Exclusion
from lamella.particles.pick_hand import DOUBT
from lamella.particles.search_plan import blocks, plan_search, read_block
from lamella.records import ArrayVolume

VOXEL, SHAPE = 12.0, (40, 80, 84)
QUICK = PickSettings(angle_step=20.0, diameter=DIAMETER, background=False, false_positives=1.0)


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(5)
    centres, matrices = scattered(10, SHAPE, VOXEL, 1.1 * DIAMETER, rng), turned(10, 6)
    mass = tomogram_of(centres, matrices, SHAPE, VOXEL)
    noisy = mass + rng.normal(0, 0.1 * mass.max(), SHAPE)
    return centres, matrices, ArrayVolume(-unseen_removed(noisy, 60.0).astype(np.float32))


def template_of(volume=None):
    return prepare_template(blob_map(30, VOXEL) if volume is None else volume, VOXEL, VOXEL, diameter_ang=DIAMETER)


def test_particles_are_found_with_their_poses(scene):
    centres, matrices, volume = scene
    record = tomogram_record(SHAPE, VOXEL)
    scores = np.zeros(SHAPE, np.float32)
    result = pick(record, volume, template_of(), QUICK, ArrayVolume(scores))
    found = result.particles
    far, which = cKDTree(centres).query(found.positions_ang())
    assert sorted(which[far < 40]) == list(range(10))
    assert (far < 40).sum() >= len(found) - 1
    own = far < 40
    assert np.median(far[own]) < 0.6 * VOXEL
    assert np.median(rotation_angle_deg(found.matrices()[own], matrices[which[own]])) < 4
    assert (np.diff(found.scores["PickScore"]) <= 0).all()
    assert found.scores["PickScore"].min() >= result.threshold
    assert found.quality["ParticleDiameterAngst"] == DIAMETER
    index = np.round(found.positions_ang()[own] / VOXEL).astype(int)[:, ::-1] + np.array(SHAPE) // 2
    assert np.quantile(scores[tuple(index.T)], 0.1) > np.quantile(scores, 0.995)


def test_a_template_of_the_wrong_hand_is_told(scene):
    _centres, _matrices, volume = scene
    record = tomogram_record(SHAPE, VOXEL)
    settings = QUICK.model_copy(update={"score": 3.0, "maximum": 7})
    right, wrong = (pick(record, volume, one, settings).hand for one in (template_of(), template_of().mirrored()))
    assert right is not None
    assert wrong is not None
    assert right.own > 1.03 * right.mirrored
    assert right.margin > DOUBT
    assert not right.wrong
    assert wrong.wrong
    assert "WRONG HAND" in wrong.sentence()
    # the same comparison from the other side
    assert wrong.own == pytest.approx(right.mirrored, rel=0.05)


@pytest.mark.slow
def test_a_template_that_is_its_own_mirror_image_has_no_hand(scene):
    _centres, _matrices, volume = scene
    line = np.arange(30) - 15
    ball = np.exp(-0.5 * ((line[:, None, None] ** 2 + line[:, None] ** 2 + line**2) / 4.0**2)).astype(np.float32)
    settings = QUICK.model_copy(update={"score": 3.0, "maximum": 10})
    hand = pick(tomogram_record(SHAPE, VOXEL), volume, template_of(ball), settings).hand
    assert hand is not None
    assert abs(hand.margin) < DOUBT
    assert "no difference" in hand.sentence()


def test_masks_gold_and_the_slab_keep_particles_out():
    record = tomogram_record(SHAPE, VOXEL)
    places = np.array([[0.0, 0, 0], [200, 0, 0], [0, 0, 150], [-480, 0, 0], [505, 0, 0]])
    common = {"tomogram": record, "shape": SHAPE, "diameter_ang": DIAMETER}
    np.testing.assert_array_equal(Exclusion(**common).allows(places), [True, True, True, True, False])
    gold = np.array([[180.0, 0, 0, 60]])
    assert list(Exclusion(**common, gold_ang=gold).allows(places)[:3]) == [True, False, True]
    assert list(Exclusion(**common, gold_ang=gold, gold_distance_ang=80.0).allows(places)[:2]) == [False, False]
    thin = tomogram_record(SHAPE, VOXEL)
    thin = type(thin)(
        tilt_series=thin.tilt_series.with_changes(thickness_ang=200.0), size_px=thin.size_px, binning=thin.binning
    )
    slab = Exclusion(**{**common, "tomogram": thin}, slab_margin_ang=20.0)
    assert list(slab.allows(places)[:3]) == [True, True, False]
    measured = {
        "PositionXTiltDeg": 0.0, "PositionYTiltDeg": -10.0, "PositionOffsetAngst": 0.0,
        "PositionThicknessAngst": 100.0,
    }  # fmt: skip
    tilted = type(thin)(tilt_series=record.tilt_series, size_px=thin.size_px, binning=thin.binning, quality=measured)
    on_it = np.array([[300.0, 0.0, 300 * np.tan(np.deg2rad(10))], [300.0, 0, 0]])
    assert list(Exclusion(**{**common, "tomogram": tilted}, slab_margin_ang=0.0).allows(on_it)) == [True, False]
    mask = np.zeros(SHAPE, np.float32)
    mask[:, :, :50] = 1
    assert list(Exclusion(**common, mask=ArrayVolume(mask)).allows(places)[:2]) == [False, True]
    with pytest.raises(ImageError, match="exclusion mask"):
        Exclusion(**common, mask=ArrayVolume(mask[:10]))


def test_what_few_views_show_is_left_out():
    record = tomogram_record(SHAPE, VOXEL)
    series = record.tilt_series
    assert series.geometry is not None
    moved = np.where(np.arange(len(series)) % 4 == 0, 0.0, 100.0)  # most views lie 100 Å beside the least tilted one
    beside = replace(series.geometry, y_shift_ang=moved)
    moved_record = replace(record, tilt_series=series.with_changes(geometry=beside))
    places = np.array([[0.0, 430, 0], [0, -430, 0], [0, 300, 0]])
    given = {"shape": SHAPE, "diameter_ang": DIAMETER}
    assert list(Exclusion(tomogram=record, **given).allows(places)) == [True, True, True]
    assert list(Exclusion(tomogram=moved_record, **given).allows(places)) == [False, True, True]


@pytest.mark.slow
def test_a_particle_at_the_rim_scores_by_the_part_that_is_there(rng):
    # half of it lies inside: in noise its score is at least the root of a half of the whole one's, not a half
    shape = (32, 64, 64)
    record = tomogram_record(shape, VOXEL)
    settings = QUICK.model_copy(update={"score": 4.0})
    places = np.array([[0.0, 0, 0], [0.0, -31.5 * VOXEL, 0]])
    matrices = np.stack([euler_matrix(20.0, 50.0, 70.0)] * 2)
    mass = tomogram_of(places, matrices, shape, VOXEL)
    noisy = unseen_removed(mass + rng.normal(0, 0.15 * mass.max(), shape), 60.0)
    found = pick(record, ArrayVolume(-noisy.astype(np.float32)), template_of(), settings).particles
    far, which = cKDTree(found.positions_ang()).query(places)
    assert (far < np.array([0.5, 2.5]) * VOXEL).all()
    whole, half = found.scores["PickScore"][which]
    assert 0.6 < half / whole < 1.0
    assert set(which) == {0, 1}  # above all noise


def test_blocks_tile_the_tomogram_and_give_the_same_voxels(scene):
    _centres, _matrices, volume = scene
    template, plan = template_of(), plan_search(template_of(), PickSettings(angle_step=40.0, resolution=60.0))
    assert plan.ratio > 1
    whole = blocks(SHAPE, plan, template, 4.0)
    assert len(whole) == 1
    shape = (200, 400, 420)
    parts = blocks(shape, plan, template, 0.06)
    assert len(parts) > 1
    size = tuple(-(-n * plan.coarser[1] // plan.coarser[0]) for n in shape)
    count = np.zeros(size, int)
    for part in parts:
        count[part.inner[0]] += 1
        assert all(own.stop <= n for own, n in zip(part.inner[1], part.shape, strict=True))
    assert (count == 1).all()
    block, inside = read_block(volume, whole[0], plan, 0.0)
    assert tuple(block.shape) == whole[0].shape
    assert inside.sum() < inside.numel()


def test_angle_and_detail_go_together():
    template = template_of()
    auto = plan_search(template, PickSettings())
    assert auto.resolution_ang == 36.0
    assert auto.search_resolution_ang >= auto.resolution_ang
    fine = plan_search(template, PickSettings(angle_step=5.0))
    assert fine.search_resolution_ang == 36.0
    coarse = plan_search(template, PickSettings(angle_step=30.0))
    assert coarse.search_resolution_ang > 50
    assert coarse.ratio > fine.ratio
    assert plan_search(template, PickSettings(symmetry="D7")).step_deg < auto.step_deg
    with pytest.raises(ImageError, match="resolution"):
        plan_search(template, PickSettings(resolution=10.0))


def test_what_cannot_be_searched_is_refused(scene):
    _centres, _matrices, volume = scene
    record = tomogram_record(SHAPE, VOXEL)
    other = prepare_template(blob_map(36, 10.0), 10.0, 10.0, diameter_ang=DIAMETER)
    with pytest.raises(ImageError, match=r"voxels of 10 Å"):
        pick(record, volume, other, QUICK)
    thin = ArrayVolume(volume.array[:10])
    with pytest.raises(ImageError, match="larger than the tomogram"):
        pick(record, thin, template_of(), QUICK)
    hole = volume.array.copy()
    hole[20, 20, 20] = np.nan
    with pytest.raises(ImageError, match="not numbers"):
        pick(record, ArrayVolume(hole), template_of(), QUICK)
    dark = type(record)(
        tilt_series=record.tilt_series.with_changes(imaging="dark"), size_px=record.size_px, binning=record.binning
    )
    with pytest.raises(InputError, match="dark-field"):
        pick(dark, volume, template_of(), QUICK)
