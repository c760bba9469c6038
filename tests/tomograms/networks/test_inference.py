"""A network over a whole volume: no seams, and only where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tomograms.networks.scenes import halves

from lamella.errors import InputError, SettingsError
from lamella.records import ArrayVolume
from lamella.tomograms import DenoiseSettings, denoise
from lamella.tomograms.networks.checkpoint import Epoch, Model
from lamella.tomograms.networks.inference import check_model
from lamella.tomograms.networks.unet import Architecture, UNet


def some_model(depth: int = 3, flat: int = 0) -> Model:
    """A network with weights that smooth, and add something of their own."""
    torch.manual_seed(2)
    network = UNet(Architecture(channels=4, depth=depth, flat=flat))
    torch.nn.init.normal_(network.last.weight, std=0.02)
    return Model(
        method="n2n",
        architecture=network.architecture,
        weights=network.state_dict(),
        voxel_size_ang=10.0,
        bright_field=True,
        trained_on=("TS",),
        settings={},
        curve=(Epoch(1, 1.0, 1.0, 1.0),),
    )


@pytest.mark.parametrize(("flat", "memory_gib"), [(0, 0.022), (1, 0.022)])
def test_tiles_leave_no_seam(flat, memory_gib):
    _truth, volume, _ = halves((24, 90, 85))
    model, results, tiles = some_model(flat=flat), [], []
    for memory in (4.0, memory_gib):
        out = ArrayVolume(np.full(volume.shape, np.nan, np.float32))
        done = denoise(ArrayVolume(volume), DenoiseSettings(method="n2n", memory=memory), out, model=model)
        results.append(out.array)
        tiles.append(done.tiles)
    assert tiles[0] == 1
    assert tiles[1] > 2
    assert np.abs(results[0] - results[1]).max() < 1e-3 * done.noise_before


def test_too_little_memory_is_refused():
    _truth, volume, _ = halves()
    with pytest.raises(SettingsError, match=r"raise denoise\.memory"):
        denoise(
            ArrayVolume(volume), DenoiseSettings(method="n2n", memory=0.0005), ArrayVolume(volume), model=some_model()
        )


def test_a_network_is_wanted_and_of_the_right_kind():
    _truth, volume, _ = halves()
    with pytest.raises(InputError, match="n2n wants a trained network"):
        denoise(ArrayVolume(volume), DenoiseSettings(method="n2n"), ArrayVolume(volume))
    with pytest.raises(InputError, match="trained for n2n, not for wedge"):
        denoise(ArrayVolume(volume), DenoiseSettings(method="wedge"), ArrayVolume(volume), model=some_model())


def test_a_network_of_other_voxels_or_contrast_is_refused_in_words():
    model = some_model()
    check_model(model, 10.5, bright_field=True)
    with pytest.raises(InputError, match="voxels of 10 Å and the tomogram has 16 Å"):
        check_model(model, 16.0, bright_field=True)
    with pytest.raises(InputError, match="in which mass is dark, and in this one it is not"):
        check_model(model, 10.0, bright_field=False)
