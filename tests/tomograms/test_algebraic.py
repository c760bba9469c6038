"""The recursion held to an explicit matrix of the same projector, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.geometry import TiltGeometry
from lamella.kernels.loops import Loops
from lamella.kernels.rows import RowPlan
from lamella.tomograms.algebraic import Iteration, bytes_held, ray_lengths
from lamella.tomograms.scheme import Scheme

FIRST, SHAPE = (-3, -2, -5), (6, 4, 10)
GEOMETRIES = {
    "level": TiltGeometry.from_angles([-50.0, -20.0, 5.0, 30.0, 60.0], 85.0),
    "x-tilt": TiltGeometry.from_angles([-50.0, -20.0, 5.0, 30.0, 60.0], 85.0, x_tilt_deg=4.0),
    "x-tilt per view": TiltGeometry.from_angles([-50.0, -20.0, 5.0, 30.0], 85.0, x_tilt_deg=[1.0, 2.0, -3.0, 4.0]),
    "a steep view": TiltGeometry.from_angles([-50.0, 0.0, 45.0, 86.0], 85.0),
}
LOOPS = [Loops(compiled=True), Loops(compiled=False)]


class Dense:
    """P as a matrix, and what the recursion makes of it."""

    def __init__(self, geometry, mask=None):
        self.plan = RowPlan.rays(geometry)
        self.window = self.plan.window(FIRST, SHAPE)
        size = int(np.prod(SHAPE))
        self.matrix = np.empty((self.window.size, size))
        for voxel in range(size):
            unit = torch.zeros(size)
            unit[voxel] = 1
            rays = torch.zeros(self.window.size)
            Loops(compiled=True).project(unit.reshape(SHAPE), self.plan, self.window, FIRST, rays)
            self.matrix[:, voxel] = rays.numpy()
        self.full, self.length = ray_lengths(self.plan, SHAPE)
        self.view = np.empty(self.window.size, int)
        for view, (offset, phases, samples, rows, *_rest) in enumerate(self.window.layout.tolist()):
            self.view[offset : offset + phases * samples * rows] = view
        self.allowed = np.ones(size) if mask is None else (mask.ravel() != 0).astype(float)
        self.masked = mask is not None

    def data(self, rng):
        """Image values along the rays; some rays have none."""
        values = rng.normal(3, 1, self.window.size)
        values[rng.random(self.window.size) < 0.1] = 0
        return values.astype(np.float32)

    def system(self, data):
        """R and b of the rays that are used."""
        crossed = self.matrix.sum(axis=1)
        used = (crossed > 0.1 * self.full[self.view]) & (data != 0)
        target = np.where(used, data / self.length[self.view] * crossed, 0.0)
        met = np.maximum(self.matrix @ self.allowed, 1) if self.masked else crossed
        weight = np.where(used & (target != 0), 1 / np.maximum(met, 1e-12), 0.0)
        return weight, target

    def rounds(self, data, scheme, count):
        """Gilbert's recursion, group by group."""
        weight, target = self.system(data)
        used = weight > 0
        column = self.matrix[used].sum(axis=0)
        x = np.zeros(self.matrix.shape[1])
        for _ in range(count):
            for group in scheme.groups:
                rays = np.isin(self.view, group)
                part = self.matrix[rays]
                step = np.minimum(column, len(group))
                step = np.where((column > 1e-3) & (self.allowed > 0), scheme.relaxation / np.maximum(step, 1e-3), 0)
                x = x + step * (part.T @ (weight[rays] * (target[rays] - part @ x)))
                if scheme.sign:
                    x = scheme.sign * np.maximum(scheme.sign * x, 0)
        return x.reshape(SHAPE)


def ours(dense, data, scheme, count, loops, mask=None):
    where = None if mask is None else torch.from_numpy(mask.astype(np.float32))
    work = Iteration(dense.plan, dense.window, FIRST, SHAPE, torch.from_numpy(data.copy()), loops, scheme, where)
    residuals = [work.round() for _ in range(count)]
    return work.volume.numpy(), residuals, work


def all_views(count):
    return (np.arange(count),)


@pytest.mark.parametrize("loops", LOOPS, ids=["compiled", "torch"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_sirt_is_gilberts_recursion(name, loops, rng):
    dense = Dense(GEOMETRIES[name])
    data = dense.data(rng)
    scheme = Scheme(groups=all_views(len(dense.plan)), relaxation=1.3)
    volume, _residuals, _work = ours(dense, data, scheme, 5, loops)
    expected = dense.rounds(data, scheme, 5)
    np.testing.assert_allclose(volume, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("loops", LOOPS, ids=["compiled", "torch"])
@pytest.mark.parametrize("sign", [-1, 0, 1])
def test_groups_signs_and_masks_are_those_of_the_matrix(sign, loops, rng):
    mask = rng.random(SHAPE) < 0.7
    dense = Dense(GEOMETRIES["level"], mask)
    data = dense.data(rng)
    data -= np.float32(2.5) * (data != 0)
    scheme = Scheme(groups=(np.array([1, 4]), np.array([0, 3]), np.array([2])), relaxation=0.6, sign=sign)
    volume, _residuals, _work = ours(dense, data, scheme, 4, loops, mask)
    expected = dense.rounds(data, scheme, 4)
    np.testing.assert_allclose(volume, expected, atol=2e-4 * np.abs(expected).max())
    assert not volume[~mask].any()
    assert (sign * volume >= 0).all()
    assert np.abs(volume).max() > 0.1


def test_rounds_converge_to_least_squares(rng):
    dense = Dense(TiltGeometry.from_angles(np.arange(-85.0, 90.0, 10.0), 85.0))
    data = dense.data(rng)
    scheme = Scheme(groups=all_views(18), relaxation=1.9)
    volume, residuals, _work = ours(dense, data, scheme, 1500, LOOPS[0])
    weight, target = dense.system(data)
    root = np.sqrt(weight)
    best = np.linalg.lstsq(root[:, None] * dense.matrix, root * target, rcond=None)[0]
    least = np.sum(weight * (target - dense.matrix @ best) ** 2)
    assert residuals[-1] == pytest.approx(least, rel=1e-3)
    assert residuals[:50] == sorted(residuals[:50], reverse=True)
    assert np.linalg.norm(volume.ravel() - best) < 0.1 * np.linalg.norm(best)


@pytest.mark.parametrize("groups", [[[0], [2], [4], [1], [3]], [[0, 2, 4], [1, 3]]])
def test_what_is_consistent_is_met_by_every_scheme(groups, rng):
    dense = Dense(GEOMETRIES["level"])
    truth = rng.random(int(np.prod(SHAPE)))
    crossed = dense.matrix.sum(axis=1)
    data = (dense.matrix @ truth * dense.length[dense.view] / np.maximum(crossed, 1e-9)).astype(np.float32)
    scheme = Scheme(groups=tuple(np.array(group) for group in groups), relaxation=1.0)
    _volume, residuals, work = ours(dense, data, scheme, 300, LOOPS[0])
    assert residuals[-1] < 1e-4 * residuals[0]
    missed, whole = work.misfit(np.arange(5))
    assert missed < 1e-3 * whole


def test_memory_is_foretold():
    plan = RowPlan.rays(GEOMETRIES["level"])
    shape = (64, 32, 128)
    one = bytes_held(plan, (-32, -16, -64), shape, Scheme(groups=all_views(5)))
    two = bytes_held(plan, (-32, -16, -64), shape, Scheme(groups=(np.array([0, 1, 2]), np.array([3, 4]))))
    assert two - one == 4 * np.prod(shape)
    assert one > 5 * 4 * np.prod(shape)
