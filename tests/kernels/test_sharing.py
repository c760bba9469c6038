"""Exact weights: against the ramp they become for dense even angles, by hand for few views, compiled and in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamella.geometry import TiltGeometry, regauge
from lamella.geometry.rotations import rotation_z
from lamella.kernels.sharing import Sharing, share_row, slab_paths_px


def weights_of(geometry, view, paths, ku, kv=0.0, kept=None, rounds=0):
    sharing = Sharing.of(geometry, view, paths, kept, 0.75, rounds)
    ku, kv = (torch.as_tensor(np.atleast_1d(np.asarray(k, np.float32) * np.ones(1, np.float32))) for k in (ku, kv))
    ku, kv = torch.broadcast_tensors(ku, kv)
    return sharing.weights(ku.contiguous(), kv.contiguous()).numpy()


def test_rays_are_as_long_as_the_slab_makes_them():
    geometry = TiltGeometry.from_angles([0.0, 60.0, 90.0], 85.0)
    np.testing.assert_allclose(slab_paths_px(geometry, (100, 500, 400)), [100, 200, 400])


def test_dense_even_angles_have_the_ramp():
    step = 0.5
    geometry = TiltGeometry.from_angles(np.arange(-90, 90, step), 30.0)
    paths = np.full(len(geometry), 100.0)
    ku = np.array([0.02, 0.05, 0.2, 0.4])  # k Δθ L < 1 / 2 up to 0.5: slices overlap
    np.testing.assert_allclose(weights_of(geometry, 180, paths, ku), ku * np.deg2rad(step), rtol=0.06)


def test_a_frequency_seen_by_one_view_alone_is_taken_whole():
    geometry = TiltGeometry.from_angles([-40.0, 0.0, 37.0], 12.0)
    paths = slab_paths_px(geometry, (50, 1e6, 1e6))
    for view in range(3):
        np.testing.assert_allclose(weights_of(geometry, view, paths, 0.3), 1 / paths[view], rtol=1e-6)


def test_two_views_by_hand():
    geometry = TiltGeometry.from_angles([0.0, 10.0])
    paths, k = np.array([40.0, 50.0]), 0.04
    apart = k * np.sin(np.deg2rad(10.0))  # of the point on slice 0 from slice 1
    np.testing.assert_allclose(weights_of(geometry, 0, paths, k), 1 / (40 + 50 * (1 - 50 * apart)), rtol=1e-5)


def test_the_same_view_twice_has_half_the_weight():
    paths = np.full(4, 80.0)
    once = weights_of(TiltGeometry.from_angles([0.0, 8.0, 20.0]), 1, paths[:3], 0.11)
    twice = weights_of(TiltGeometry.from_angles([0.0, 8.0, 8.0, 20.0]), 1, paths, 0.11)
    np.testing.assert_allclose(twice, once / 2, rtol=1e-6)


def test_a_damaged_view_leaves_the_frequency_to_the_others():
    geometry = TiltGeometry.from_angles([0.0, 0.0])
    kept = np.array([[1.0, 1.0], [0.25, 0.25]])
    fresh, damaged = (weights_of(geometry, view, np.full(2, 10.0), 0.1, kept=kept)[0] for view in (0, 1))
    assert damaged == pytest.approx(fresh / 4)
    alone = weights_of(geometry.select([1]), 0, np.full(1, 10.0), 0.1, kept=kept[1:])
    assert alone[0] == pytest.approx(0.25 / 10)  # and is not raised to what it was


def test_rounds_restore_what_few_views_see_more_slowly():
    geometry = TiltGeometry.from_angles(np.arange(-60, 61, 3.0))
    paths = slab_paths_px(geometry, (60, 400, 400))
    ku = np.array([0.001, 0.05, 0.4])
    part = weights_of(geometry, 20, paths, ku, rounds=5) / weights_of(geometry, 20, paths, ku)
    assert part[0] > part[1] > part[2] > 0
    many = weights_of(geometry, 20, paths, ku, rounds=1000) / weights_of(geometry, 20, paths, ku)
    np.testing.assert_allclose(many, 1, atol=1e-3)


@given(st.floats(-180, 180), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.integers(0, 8))
def test_weights_do_not_depend_on_the_frame(angle, ku, kv, view):
    """The specimen turned about its normal, as of a second axis, has the same views in other words."""
    tilts = np.array([-57.0, -41, -30, -12, 0, 5, 22, 48, 60])
    geometry = TiltGeometry.from_angles(tilts, 85.0, x_tilt_deg=2.0)
    turned = regauge(geometry, rotation_z(angle)).geometry
    paths = slab_paths_px(geometry, (60, 1e6, 1e6))
    np.testing.assert_allclose(slab_paths_px(turned, (60, 1e6, 1e6)), paths, rtol=1e-9)
    # the same place of an image has other u, v where the axis is told to lie elsewhere
    turn = np.deg2rad(geometry.z_rot_deg[view] - turned.z_rot_deg[view])
    u, v = np.cos(turn) * ku - np.sin(turn) * kv, np.sin(turn) * ku + np.cos(turn) * kv
    np.testing.assert_allclose(
        weights_of(turned, view, paths, u, v), weights_of(geometry, view, paths, ku, kv), rtol=2e-3
    )


def test_compiled_and_torch_agree(rng):
    tilts = np.sort(rng.uniform(-65, 65, 30))
    geometry = TiltGeometry.from_angles(tilts, 85.0, x_tilt_deg=rng.normal(0, 20, 30))
    kept = np.exp(-np.outer(rng.uniform(0, 3, 30), np.linspace(0, 1, 500)))
    paths = slab_paths_px(geometry, (90, 300, 300))
    for rounds in (0, 7):
        sharing = Sharing.of(geometry, 11, paths, kept, 0.75, rounds)
        out = np.empty(200, np.float32)
        share_row(
            (-0.1, 0.03), (0.002, -0.0015), 200, sharing.view, sharing.slopes, sharing.paths, sharing.kept,
            sharing.highest, sharing.rounds, out,
        )  # fmt: skip
        i = torch.arange(200)
        found = sharing.weights(-0.1 + 0.002 * i, 0.03 - 0.0015 * i)
        np.testing.assert_allclose(found, out, rtol=1e-3)
