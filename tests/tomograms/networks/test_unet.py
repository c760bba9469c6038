"""The network: what a voxel depends on, and that blocks agree wherever they are cut."""

from __future__ import annotations

import pytest
import torch

from lamella.tomograms.networks.unet import Architecture, UNet


def filled(architecture: Architecture) -> UNet:
    """A network whose last layer is not zero."""
    torch.manual_seed(3)
    network = UNet(architecture).eval()
    torch.nn.init.normal_(network.last.weight, std=0.1)
    torch.nn.init.normal_(network.smooth.weight)
    return network


@pytest.mark.parametrize("shape", [(1, 0), (2, 0), (3, 0), (3, 1)])
def test_a_voxel_depends_on_no_more_than_the_halo(shape):
    depth, flat = shape
    architecture = Architecture(channels=4, depth=depth, flat=flat)
    network = filled(architecture)
    halo, align = architecture.halo, architecture.align
    assert all(h % a == 0 for h, a in zip(halo, align, strict=True))
    n = 2 * max(halo) + 2 * max(align)
    n += -n % max(align)
    for place in (n // 2, n // 2 + max(align) - 1):  # the two ends of a coarsest voxel
        volume = torch.randn(1, 1, n, n, n, requires_grad=True)
        network(volume)[0, 0, place, place, place].backward()
        seen = (volume.grad[0, 0] != 0).nonzero()
        reach = (seen - place).abs().amax(dim=0)
        assert (reach <= torch.tensor(halo)).all(), (reach, halo)


def test_it_begins_with_nothing_and_takes_any_size_that_align_divides():
    architecture = Architecture(channels=4, depth=3, flat=1)
    network = UNet(architecture)
    volume = torch.randn(2, 1, 6, 8, 12)
    assert architecture.align == (2, 4, 4)
    assert torch.equal(network(volume), torch.zeros_like(volume))


def test_the_stated_operations_are_those_of_the_layers():
    from torch.utils.flop_counter import FlopCounterMode

    architecture = Architecture(channels=8, depth=3)
    with FlopCounterMode(display=False) as counter:
        UNet(architecture)(torch.randn(1, 1, 16, 16, 16))
    assert architecture.flops == pytest.approx(counter.get_total_flops() / 16**3, rel=0.02)
