from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lamella.features.slab_density import fit_density_slab
from lamella.geometry import TiltGeometry, rotation_x, rotation_y
from lamella.geometry.regauge import regauge
from lamella.records import ArrayImages
from lamella.tilts.depth_profile import depth_map
from lamella.tilts.level import level
from lamella.tilts.slab_measure import SlabMeasure, measure_slab
from lamella.tilts.working import WorkingImages, prepare

PIXEL = 10.0
THICKNESS = 670.0
"""Of particles whose centres lie within 600 Å: they reach beyond by about their own width."""


def working(images: np.ndarray) -> WorkingImages:
    return prepare(ArrayImages(images), PIXEL, max(images.shape[-2:]))


def misplaced(truth: TiltGeometry) -> tuple[TiltGeometry, np.ndarray, float]:
    """The same pictures in a frame in which the slab is inclined and high; its normal and height there."""
    turn, shift = rotation_y(7.0) @ rotation_x(-2.5), np.array([0.0, 0.0, 250.0])
    normal = turn @ [0.0, 0.0, 1.0]
    return regauge(truth, turn, shift).geometry, normal, float(shift @ normal / normal[2])


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.rad2deg(np.arccos(np.clip(a @ b, -1, 1))))


@pytest.fixture(scope="module")
def crowd(simulate: Callable[..., Any]) -> Any:
    """A crowd in a slab of 600 Å, seen through noise."""
    return simulate(views=31, particles=500, thickness_px=60.0, noise=1.5, seed=5)


@pytest.fixture(scope="module")
def inclined(crowd: Any) -> SlabMeasure:
    """The crowd measured in a frame in which it is inclined."""
    return measure_slab(working(crowd.images), misplaced(crowd.truth)[0])


@pytest.fixture(scope="module")
def level_again(crowd: Any, inclined: SlabMeasure) -> SlabMeasure:
    """The crowd measured once it is levelled."""
    return measure_slab(working(crowd.images), level(misplaced(crowd.truth)[0], plane=inclined).geometry)


def test_the_density_tells_normal_height_and_thickness(crowd: Any, inclined: SlabMeasure) -> None:
    _, normal, height = misplaced(crowd.truth)
    found = inclined
    assert found.source == "density"
    assert angle_deg(found.normal, normal) < 1.5
    assert angle_deg(found.normal, normal) < 3 * found.error_deg
    assert found.height_ang == pytest.approx(height, abs=40)
    assert found.thickness_ang == pytest.approx(THICKNESS, rel=0.1)
    assert found.known
    assert np.isfinite(found.thickness_error_ang)


def test_levelling_by_the_measure_brings_the_slab_to_z_0(level_again: SlabMeasure) -> None:
    assert level_again.inclination_deg < 0.7
    assert abs(level_again.height_ang) < 15


def test_beads_on_both_faces_need_no_density(crowd: Any, rng: np.random.Generator) -> None:
    geometry, normal, height = misplaced(crowd.truth)
    beads = rng.uniform(-1200, 1200, (24, 3))
    beads[:, 2] = np.resize([-300.0, 300.0], 24) + rng.normal(scale=5, size=24)
    turn = rotation_y(7.0) @ rotation_x(-2.5)
    found = measure_slab(working(crowd.images), geometry, beads @ turn.T + [0, 0, 250], "beads")
    assert found.source == "beads"
    assert angle_deg(found.normal, normal) < 0.4
    assert found.height_ang == pytest.approx(height, abs=8)
    assert found.thickness_ang == pytest.approx(600, abs=12)


def test_beads_on_one_face_leave_the_other_to_the_density(crowd: Any, rng: np.random.Generator) -> None:
    beads = rng.uniform(-1200, 1200, (12, 3))
    beads[:, 2] = 300.0 + rng.normal(scale=5, size=12)
    found = measure_slab(working(crowd.images), crowd.truth, beads, "beads")
    assert found.inclination_deg < 0.8
    assert found.height_ang == pytest.approx(0, abs=50)
    assert found.thickness_ang == pytest.approx((600 + THICKNESS) / 2, rel=0.1)


def test_patches_are_heard(crowd: Any, inclined: SlabMeasure, rng: np.random.Generator) -> None:
    geometry, normal, _ = misplaced(crowd.truth)
    points = rng.uniform(-1200, 1200, (40, 3)) * [1, 1, 0.005]
    turn = rotation_y(7.0) @ rotation_x(-2.5)
    found = measure_slab(working(crowd.images), geometry, points @ turn.T + [0, 0, 250], "patches")
    assert found.source == "patches"
    assert found.error_deg < inclined.error_deg
    assert angle_deg(found.normal, normal) < 0.7
    assert found.thickness_ang == pytest.approx(inclined.thickness_ang, rel=0.01)


def test_noise_tells_nothing(crowd: Any, rng: np.random.Generator) -> None:
    noise = working(rng.normal(size=crowd.images.shape).astype(np.float32))
    found = measure_slab(noise, crowd.truth)
    assert not found.known
    assert np.isinf(found.error_deg)
    assert np.isnan(found.thickness_ang)
    beads = rng.uniform(-1200, 1200, (12, 3)) * [1, 1, 0.01] + [0, 0, 300]
    one_face = measure_slab(noise, crowd.truth, beads, "beads")
    assert one_face.error_deg < 1
    assert not one_face.known
    patches = measure_slab(noise, crowd.truth, beads, "patches")
    assert patches.known
    assert np.isinf(patches.thickness_error_ang)


def test_noise_has_no_covariance(crowd: Any, rng: np.random.Generator) -> None:
    """Whatever the power of the noise, at every height, although it fills each view."""
    noise = working(rng.normal(size=crowd.images.shape).astype(np.float32))
    found = depth_map(noise, crowd.truth, voxel_ang=20.0, half_depth_ang=800.0)
    layers = np.nanmean(found.covariance, axis=0) / len(crowd.images)  # of a view's own power
    assert np.abs(layers).max() < 0.003


def test_a_thin_layer_appears_at_its_height(crowd: Any) -> None:
    """A layer of structure at one height, with the kernel's width and the kernel's tails."""
    rng = np.random.default_rng(3)
    points = np.column_stack([rng.uniform(-2500, 2500, (800, 2)), np.full(800, 240.0)])
    images = np.zeros(crowd.images.shape, np.float32)
    for view, places in enumerate(crowd.truth.project(points)):
        pixel = np.round(places / PIXEL + crowd.images.shape[-1] // 2).astype(int)
        good = ((pixel > 3) & (pixel < crowd.images.shape[-1] - 3)).all(axis=1)
        np.add.at(images[view], (pixel[good, 1], pixel[good, 0]), 1.0)
    found = depth_map(working(images), crowd.truth, voxel_ang=20.0, half_depth_ang=800.0)
    profile = np.nanmean(found.covariance, axis=0)
    assert found.z_ang[profile.argmax()] == pytest.approx(240, abs=found.step_ang)
    assert profile[np.abs(found.z_ang - 240) > 100].max() < 0.15 * profile.max()
    assert (found.kernels.argmax(axis=1) == len(found.z_ang) - 1).all()
    assert (np.abs(found.kernels.sum(axis=1)) < 0.7).all()  # what all pairs share at every height is left out


def test_masked_parts_are_not_compared(crowd: Any) -> None:
    images = crowd.images.copy()
    masks = torch.ones(len(images), 64, 64)
    images[:, :, :60] = 30 * np.abs(images).max() * (np.arange(60) % 7 == 0)  # an opaque film with sharp marks
    masks[:, :, :16] = 0
    masked = working(images).masked(masks)
    found = measure_slab(masked, crowd.truth)
    assert found.inclination_deg < 2
    assert found.thickness_ang == pytest.approx(THICKNESS, rel=0.15)


def test_a_map_without_tiles_fits_nothing(crowd: Any) -> None:
    few = depth_map(working(crowd.images[:3]), crowd.truth.select([0, 1, 2]), voxel_ang=40.0, half_depth_ang=400.0)
    assert fit_density_slab(replace(few, covariance=np.full_like(few.covariance, np.nan))) is None
