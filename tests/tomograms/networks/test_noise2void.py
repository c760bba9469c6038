"""Noise2void: blind where it must be, and as far as the noise reaches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lamella.tomograms.networks.noise2void import blind_reach, blinded, n2v_loss, noise_correlation
from lamella.tomograms.networks.unet import Architecture, UNet


def test_what_is_guessed_is_hidden():
    """No voxel of a hidden box changes what the network says at its centre: the gradient is zero, exactly."""
    torch.manual_seed(1)
    network = UNet(Architecture(channels=4, depth=2)).eval()
    torch.nn.init.normal_(network.last.weight)
    volume = torch.randn(1, 1, 24, 24, 24, requires_grad=True)
    reach = (2, 1, 0)
    hidden, points = blinded(volume, reach, torch.Generator().manual_seed(5))
    network(hidden)[points].sum().backward()
    for z, y, x in points[0, 0].nonzero().tolist():
        box = volume.grad[0, 0, max(0, z - 2) : z + 3, max(0, y - 1) : y + 2, x]
        assert torch.all(box == 0)
    assert (volume.grad != 0).any()
    boxes = (hidden != volume)[0, 0]
    assert 0.05 < boxes.float().mean() < 0.2
    assert torch.isin(hidden, volume).all()


def test_the_loss_looks_at_the_guesses_alone():
    volume = torch.randn(2, 1, 16, 16, 16)
    generator = torch.Generator().manual_seed(5)
    state = generator.get_state()
    _hidden, points = blinded(volume, (1, 1, 1), generator)
    generator.set_state(state)
    loss = n2v_loss(torch.zeros_like, volume, (1, 1, 1), generator)
    assert float(loss) == pytest.approx(float(volume[points].square().mean()), rel=1e-5)


def test_the_reach_follows_the_noise():
    """Smoothing with a Gaussian of width s leaves exp(-d²/4s²) of the variance at a distance d."""
    random = np.random.default_rng(1)
    white = random.normal(size=(4, 40, 40, 40)).astype(np.float32)
    assert blind_reach(noise_correlation(white)) == (0, 0, 0)
    widths = (1.0, 0.8, 0.5)
    coloured = np.stack([gaussian_filter(block, widths) for block in white])
    found = noise_correlation(coloured)
    for axis, width in enumerate(widths):
        expected = np.exp(-(np.arange(5) ** 2) / (4 * width**2))
        assert np.abs(found[axis, :3] - expected[:3]).max() < 0.2  # the background's removal takes a little
    assert blind_reach(found)[0] >= blind_reach(found)[1] >= blind_reach(found)[2] >= 1
