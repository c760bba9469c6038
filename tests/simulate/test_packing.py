"""Crowds: dense, without overlap, evenly turned, quick."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from lamella.geometry import angles_from_matrix, rotation_z
from lamella.simulate.bodies import ACTIN_SEGMENT_TURN_DEG, actin_segment, capsomer, microtubule_segment, spike
from lamella.simulate.filaments import filament_poses
from lamella.simulate.gaussians import Gaussians
from lamella.simulate.globs import globs_cloud
from lamella.simulate.library import named_template
from lamella.simulate.membranes import hexagonal_sphere, membrane_angles, sheet_surface, sphere_surface
from lamella.simulate.packaged import read_packaged
from lamella.simulate.packing import MEMBRANE, SOLID, Space, ball_shape, shape_of, shell_shape, uniform_angles
from lamella.simulate.templates import cloud_template


def space_of(edge: float = 2400.0) -> Space:
    space = Space((edge, edge), (-edge / 2, edge / 2))
    space.close_outside(np.zeros(space.taken.shape[1:]), edge / 2)
    return space


def test_a_crowd_fills_a_quarter_of_the_space_and_nothing_overlaps() -> None:
    template, space, rng = named_template("groel", 8.0), space_of(), np.random.default_rng(4)
    shape = shape_of(template, space.step_ang)
    started = time.perf_counter()
    places, turns = [], []
    for _ in range(40):
        tried = rng.uniform(-1200, 1200, (4096, 3))
        _, matrices = uniform_angles(rng, len(tried))
        kept = space.fit(shape, tried, matrices)
        places.append(tried[kept])
        turns.append(matrices[kept])
    assert time.perf_counter() - started < 20
    places, turns = np.concatenate(places), np.concatenate(turns)
    assert space.filled_fraction() > 0.25
    points = read_packaged("groel").steps[::3] * 0.02
    everywhere = np.einsum("nij,mj->nmi", turns, points) + places[:, None]
    trees = [cKDTree(body) for body in everywhere]
    centres = cKDTree(places)
    pairs = centres.query_pairs(230.0)
    assert len(pairs) > 1000
    assert all(trees[a].count_neighbors(trees[b], 4.0) == 0 for a, b in pairs), "residues of two bodies meet"


def test_balls_and_shells_keep_apart() -> None:
    space, rng = space_of(), np.random.default_rng(5)
    shell = shell_shape(300.0, 30.0, space.step_ang)
    kept = space.fit(shell, np.zeros((1, 3)))
    assert len(kept) == 1
    space.mark_shell(np.zeros(3), 300.0, 30.0)
    on_shell = rng.normal(size=(4000, 3))
    on_shell *= 300.0 / np.linalg.norm(on_shell, axis=1)[:, None]
    assert ((space.at(on_shell) & MEMBRANE) > 0).all()
    assert not (space.at(on_shell) & SOLID).any()
    ball = ball_shape(60.0, space.step_ang)
    places = rng.uniform(-1200, 1200, (3000, 3))
    kept = places[space.fit(ball, places)]
    assert np.abs(np.linalg.norm(kept, axis=1) - 300.0).min() > 60.0 + 20.0
    assert cKDTree(kept).query(kept, k=2)[0][:, 1].min() > 2 * 60.0 - space.step_ang
    assert (np.abs(kept[:, 2]) < 1200 - 60 + space.step_ang).all()
    assert (np.linalg.norm(kept, axis=1) < 300).any()  # inside the vesicle too


@given(st.integers(0, 2**32 - 1))
def test_membrane_bodies_stand_on_the_membrane(seed: int) -> None:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(20, 3))
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    angles, matrices = membrane_angles(normals, rng.uniform(0, 360, 20))
    np.testing.assert_allclose(matrices[:, :, 2], normals, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-9)
    np.testing.assert_allclose(np.stack(angles_from_matrix(matrices), axis=1), angles, atol=1e-6)


def test_orientations_are_spread_evenly() -> None:
    _, matrices = uniform_angles(np.random.default_rng(1), 4000)
    for axis in range(3):
        line = matrices[:, :, axis]
        np.testing.assert_allclose(line.mean(axis=0), 0, atol=0.04)
        np.testing.assert_allclose((line[:, :, None] * line[:, None]).mean(axis=0), np.eye(3) / 3, atol=0.03)


def test_a_sphere_and_a_sheet_have_their_area_and_two_leaflets() -> None:
    surface, cloud = sphere_surface(np.array([10.0, 20.0, 30.0]), 400.0)
    assert surface.area_ang2 == pytest.approx(4 * np.pi * 400**2)
    radial = np.linalg.norm(cloud.places_ang - [10, 20, 30], axis=1)
    assert set(np.round(radial, 6)) == {380.0, 420.0}
    sheet = sheet_surface(np.random.default_rng(3), (3000.0, 3000.0), (4000.0, 4000.0), 1500.0, lambda xy: 0 * xy[:, 0])
    assert np.abs(sheet.points_ang[:, 2]).max() < 750
    assert np.abs(sheet.normals[:, 2]).max() < np.sin(np.deg2rad(26))
    assert sheet.area_ang2 == pytest.approx(14.0**2 * len(sheet.points_ang), rel=1e-6)
    np.testing.assert_allclose(np.linalg.norm(sheet.normals, axis=1), 1)
    upper, lower = np.split(sheet.leaflets().places_ang, 2)
    np.testing.assert_allclose(np.linalg.norm(upper - lower, axis=1), 40.0)


def test_a_lattice_on_a_sphere_is_hexagonal() -> None:
    places, towards = hexagonal_sphere(465.0, 75.0)
    distance, _ = cKDTree(places).query(places, k=7)
    assert np.linalg.norm(places, axis=1) == pytest.approx(465.0)
    assert distance[:, 1].min() > 0.8 * 75.0
    assert (distance[:, 6] < 1.35 * 75.0).mean() > 0.9
    assert np.abs((towards * places).sum(axis=1)).max() < 1e-9


def filament(cloud: Gaussians, length: float, turn_deg: float) -> Gaussians:
    return Gaussians.joined([cloud.moved(rotation_z(n * turn_deg), (0, 0, n * length)) for n in (-1, 0, 1)])


def self_correlation(cloud: Gaussians, turn_deg: float, rise: float) -> float:
    volumes = []
    for moved in (cloud, cloud.moved(rotation_z(turn_deg), (0.0, 0.0, rise))):
        volumes.append(cloud_template("f", moved.widened(8.0), 8.0).volume)
    size = min(len(volume) for volume in volumes)
    middle = [volume[(len(volume) - size) // 2 :][:size] for volume in volumes]
    cut = [
        volume[size // 2 - 15 : size // 2 + 15, (volume.shape[1] - 40) // 2 :, (volume.shape[2] - 40) // 2 :][
            :, :40, :40
        ]
        for volume in middle
    ]
    return float(np.corrcoef(cut[0].ravel(), cut[1].ravel())[0, 1])


def test_microtubules_have_13_protofilaments_and_three_starts() -> None:
    tube = filament(microtubule_segment(), 3 * 82.0, 0.0)
    assert self_correlation(tube, 360 / 13, 3 * 41.0 / 13) > 0.98  # to the neighbour, up by its stagger
    assert self_correlation(tube, 0.0, 82.0) > 0.999
    assert self_correlation(tube, 180 / 13, 0.0) < 0.8
    radial = np.hypot(*tube.places_ang[:, :2].T)
    assert radial.min() > 80
    assert radial.max() < 145  # about 25 nm across


def test_actin_is_a_helix_across_its_segments() -> None:
    thread = filament(actin_segment(), 13 * 27.6, ACTIN_SEGMENT_TURN_DEG)
    assert self_correlation(thread, -166.7, 27.6) > 0.99
    assert self_correlation(thread, 166.7, 27.6) < 0.97  # of one hand


def test_made_up_bodies_have_their_symmetry() -> None:
    for cloud, order in ((spike(), 3), (capsomer(), 6)):
        volume = cloud_template("a", cloud, 5.0).volume
        turned = cloud_template("a", cloud.moved(rotation_z(360 / order), np.zeros(3)), 5.0).volume
        assert np.corrcoef(volume.ravel(), turned.ravel())[0, 1] > 0.995
        other = cloud_template("a", cloud.moved(rotation_z(180 / order), np.zeros(3)), 5.0).volume
        assert np.corrcoef(volume.ravel(), other.ravel())[0, 1] < 0.95


def test_a_filament_follows_the_slab_and_its_segments_join() -> None:
    rng = np.random.default_rng(8)

    def hill(xy):
        return 1e-5 * xy[:, 0] ** 2

    places, matrices = filament_poses(rng, (4000, 4000), (9000, 5000), 900.0, hill, 246.0, 0.0, 60000.0)
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert steps.min() > 0.99 * 246
    assert steps.max() < 1.02 * 246
    ahead = np.diff(places, axis=0) / steps[:, None]
    assert (np.einsum("ni,ni->n", ahead, matrices[:-1, :, 2]) > 0.999).all()  # z runs along it
    assert np.ptp(places[:, 2] - hill(places[:, :2])) < 1e-9
    np.testing.assert_allclose(np.linalg.det(matrices), 1)


def test_globs_stand_for_their_template_in_space() -> None:
    """The coarse shape covers the matter: 95 % of the globs lie in voxels that it takes."""
    space = space_of(900.0)
    shape = shape_of(named_template("ribosome", 8.0), space.step_ang)
    assert len(space.fit(shape, np.zeros((1, 3)))) == 1
    cloud = globs_cloud(read_packaged("ribosome"))
    assert ((space.at(cloud.places_ang) & SOLID) > 0).mean() > 0.95
