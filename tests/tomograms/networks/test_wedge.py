"""The missing wedge: which frequencies count, turned and not, and what the loss cannot see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tomograms.blobs import series_of

from lamella.errors import InputError
from lamella.geometry import TiltGeometry
from lamella.tomograms.networks.wedge import Wedge, random_rotations, turned, wedge_loss

STILL = torch.eye(3)[None]


def test_a_view_measures_the_plane_that_the_geometry_says():
    """A projected wave is constant along the line of sight, so its wave vector lies in the view's plane."""
    edge, tilt = 32, 40.0
    geometry = TiltGeometry.from_angles([tilt])
    across = geometry.rotations()[0, 0]  # the specimen's direction along the image's x
    assert across[1] == pytest.approx(0)
    k = np.round(10 * across).astype(int)  # xyz, in cycles per edge
    mask = Wedge(tilt - 5, tilt + 5).measured(edge, STILL)[0, 0]
    sign = 1 if k[0] >= 0 else -1
    assert mask[sign * k[2] % edge, 0, sign * k[0]] == 1
    assert mask[-sign * k[2] % edge, 0, sign * k[0]] == 0


def test_the_share_that_is_measured_is_that_of_the_angles():
    mask = Wedge(-60.0, 60.0).measured(48, STILL)[0, 0]
    kz, kx = np.fft.fftfreq(48)[:, None], np.fft.rfftfreq(48)[None]
    disc = np.hypot(kz, kx) < 0.5
    assert mask.numpy()[:, 5][disc].mean() == pytest.approx(120 / 180, abs=0.02)
    assert Wedge(-90.0, 90.0).measured(15, STILL).min() == 1


def test_turning_is_the_same_in_space_and_in_fourier_space():
    """A cube without a wedge, turned, lacks the turned wedge."""
    size, edge = 64, 32
    random = np.random.default_rng(2)
    wedge = Wedge(-50.0, 50.0)
    noise = torch.from_numpy(random.normal(size=(1, 1, size, size, size)).astype(np.float32))
    k = torch.fft.fftfreq(size)
    smooth = torch.exp(-((k[:, None, None] ** 2 + k[None, :, None] ** 2 + torch.fft.rfftfreq(size) ** 2) / 0.02))
    terms = torch.fft.rfftn(noise, dim=(-3, -2, -1)) * wedge.measured(size, STILL) * smooth
    cube = torch.fft.irfftn(terms, s=(size,) * 3, dim=(-3, -2, -1))
    turns = torch.tensor([[[1.0, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]], [[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]]])
    window = torch.hann_window(edge, periodic=False)
    got = turned(cube.expand(2, -1, -1, -1, -1), turns, edge) * window[:, None, None] * window[:, None] * window
    power = torch.fft.rfftn(got, dim=(-3, -2, -1)).abs() ** 2
    k = torch.fft.fftfreq(edge)
    radius = torch.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + torch.fft.rfftfreq(edge) ** 2)
    band = (radius > 0.08) & (radius < 0.3)  # above what the window spreads, below what interpolation spoils

    def lacking(rotation, n):
        inside = wedge.measured(edge, rotation[None])[0, 0] > 0
        return power[n, 0][~inside & band].mean() / power[n, 0][inside & band].mean()

    for n, turn in enumerate(turns):
        assert lacking(turn, n) < 0.3
        assert lacking(turn.T, n) > 2 * lacking(turn, n)


def test_rotations_are_rotations():
    turns = random_rotations(200, np.random.default_rng(1)).double()
    assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(200, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(turns), torch.ones(200, dtype=torch.float64), atol=1e-6)
    still = (turns - torch.eye(3)).abs().amax(dim=(1, 2)) == 0
    assert 0.1 < still.double().mean() < 0.4


def test_the_loss_sees_only_what_was_measured():
    """What the network puts where nothing was measured in the turned frame costs nothing."""
    wedge, align = Wedge(-40.0, 40.0), 4
    cubes = torch.randn(2, 1, 32, 32, 32)
    edge = 24
    added = torch.zeros(2, 1, edge, edge, edge, requires_grad=True)
    wedge_loss(lambda volumes: volumes + added, cubes, cubes, wedge, np.random.default_rng(7), align).backward()
    turns = random_rotations(2, np.random.default_rng(7))
    gradient = torch.fft.rfftn(added.grad, dim=(-3, -2, -1)).abs()
    mask = wedge.measured(edge, turns) > 0
    assert gradient[mask].max() > 1e3 * gradient[~mask].max() + 1e-12


def test_the_wedge_is_that_of_the_solved_angles():
    series = series_of(TiltGeometry.from_angles(np.arange(-57.0, 64.0, 3.0)), (32, 32), 5.0)
    wedge = Wedge.of(series)
    assert (wedge.low_deg, wedge.high_deg) == pytest.approx((-58.5, 64.5))
    with pytest.raises(InputError, match="run align first"):
        Wedge.of(series.with_changes(geometry=None))
