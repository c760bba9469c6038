"""What a budget of memory is shared out to, and what is said where it is too small."""

from __future__ import annotations

import re

import pytest

from lamella.errors import SettingsError
from lamella.tomograms import memory
from lamella.tomograms.memory import MemoryBudget

GIB = 2**30


def test_a_stated_budget_is_taken_as_it_is():
    budget = MemoryBudget.of(2.5)
    assert (budget.bytes, budget.stated) == (int(2.5 * GIB), True)


def test_auto_takes_a_part_of_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 8 * GIB)
    budget = MemoryBudget.of("auto")
    assert 0 < budget.bytes < 8 * GIB
    assert not budget.stated


def test_a_device_sets_a_limit_of_its_own(monkeypatch):
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: GIB)
    assert MemoryBudget.of(4.0, "cuda").bytes < GIB


def test_what_is_held_is_not_shared_out_again():
    budget = MemoryBudget(bytes=GIB, stated=True)
    assert budget.less(GIB / 4).bytes == 3 * GIB // 4
    assert budget.less(2 * GIB).bytes == 0
    assert budget.less(GIB / 4).for_slabs < budget.for_slabs < GIB


def test_views_beyond_their_share_go_to_a_file():
    budget = MemoryBudget(bytes=GIB)
    assert budget.keeps(GIB / 2)
    assert not budget.keeps(0.9 * GIB)


def test_pieces_side_by_side():
    budget = MemoryBudget(bytes=GIB)
    assert budget.side_by_side(GIB / 4, 8, "a slab") == 3
    assert budget.side_by_side(1, 8, "a slab") == 8
    assert budget.side_by_side(budget.for_slabs, 8, "a slab") == 1


def test_too_little_says_how_much_is_wanted():
    budget = MemoryBudget.of(0.5)
    with pytest.raises(SettingsError, match="one slab by sirt takes 2 GiB") as caught:
        budget.require(2 * GIB, "one slab by sirt")
    more = float(re.search(r"([\d.]+) GiB more", caught.value.mend).group(1))
    MemoryBudget.of(0.5 + 1.01 * more).require(2 * GIB, "one slab by sirt")


def planned(memory, method="wbp", shape=(64, 64), thickness=200.0, **changes):
    """Reconstruct noise under a budget."""
    import numpy as np
    from tests.tomograms.blobs import series_of

    from lamella.geometry import TiltGeometry
    from lamella.records import ArrayImages, ArrayVolume
    from lamella.tomograms.box import tomogram_shape
    from lamella.tomograms.reconstruct import plan_tomogram, reconstruct
    from lamella.tomograms.reconstruct_settings import ReconstructSettings

    tilts = np.arange(-60, 61, 6.0)
    series = series_of(TiltGeometry.from_angles(tilts, 85.0), shape, 5.0, **changes)
    images = np.random.default_rng(4).standard_normal((len(tilts), *shape)).astype(np.float32)
    how = ReconstructSettings(pixel_size=5.0, thickness=thickness, method=method, iterations=2, memory=memory)
    tomogram = plan_tomogram(series, how)
    volume = np.full(tomogram_shape(tomogram), np.nan, np.float32)
    return volume, reconstruct(series, ArrayImages(images), tomogram, how, ArrayVolume(volume))


@pytest.mark.parametrize("method", ["wbp", "fourier", "sirt", "sart"])
def test_a_budget_too_small_for_a_slab_is_told_beforehand(method):
    with pytest.raises(SettingsError, match="GiB") as caught:
        planned(1e-5, method)
    assert "reconstruct.memory" in caught.value.mend


@pytest.mark.parametrize("method", ["wbp", "fourier", "sirt"])
def test_a_small_budget_gives_the_same_voxels(method):
    import numpy as np

    roomy, _ = planned(1.0, method)
    tight, _ = planned(0.003, method)
    np.testing.assert_allclose(tight, roomy, atol=1e-5 * roomy.std())


@pytest.mark.parametrize("method", ["wbp", "fourier", "sirt", "sart"])
@pytest.mark.parametrize("thickness", [5.0, 20.0])
def test_a_tomogram_of_a_few_planes(method, thickness):
    volume, result = planned("auto", method, thickness=thickness)
    assert volume.shape[0] == max(thickness / 5, 2)
    assert result.deviation > 0


@pytest.mark.parametrize("method", ["wbp", "fourier"])
def test_planes_do_not_depend_on_the_box_where_the_thickness_is_known(method):
    import numpy as np

    thin, _ = planned("auto", method, thickness=40.0, thickness_ang=200.0)
    thick, _ = planned("auto", method, thickness=200.0, thickness_ang=200.0)
    same = thick[16:24]
    assert np.linalg.norm(thin - same) < (1e-5 if method == "wbp" else 0.02) * np.linalg.norm(same)


@pytest.mark.parametrize("method", ["sirt", "sart"])
def test_iterations_refuse_a_box_that_does_not_hold_the_specimen(method):
    from lamella.errors import InputError

    with pytest.raises(InputError, match="specimen is 200") as caught:
        planned("auto", method, thickness=40.0, thickness_ang=200.0)
    assert "crop" in caught.value.mend


def test_a_large_tomogram_is_made_within_four_gibibytes():
    """4096 × 4096 × 1024 voxels from 41 images of 4096²: views in a file, slabs and filtering within the budget."""
    import numpy as np
    import torch

    from lamella.geometry import TiltGeometry
    from lamella.kernels.rows import Box, RowPlan
    from lamella.kernels.sampling import ImageGrid
    from lamella.tomograms.correction import Layer
    from lamella.tomograms.tilt_images import _bytes_per_view
    from lamella.tomograms.wbp import _slab_size

    geometry = TiltGeometry.from_angles(np.arange(-60, 61, 3.0), 85.0, x_tilt_deg=2.0)
    grid = ImageGrid.of(geometry, (4096, 4096), 2.0, 2.0)
    budget = MemoryBudget.of(4.0)
    views = 41 * 4 * np.prod(grid.stored, dtype=np.int64)
    left = budget if not budget.keeps(views) else budget.less(views)
    assert left.side_by_side(_bytes_per_view(grid, 1, None), 2, "filtering a view") == 2
    box, plan = Box(shape=(1024, 4096, 4096), voxel_size_ang=2.0), RowPlan.fine(geometry)
    layers = [Layer(first=0, planes=1024, height_ang=0.0)]
    rows, planes = _slab_size(plan, box, layers, 1, left, torch.device("cpu"), 2)
    size = plan.window((-512, 0, -2048), (planes, rows, 4096)).size
    assert 4 * size < left.for_slabs / 2
    shared = plan.window((-512, -2048, -2048), (1024, 4096, 4096)).size
    assert size / (rows * planes) < 2 * shared / (4096 * 1024)  # little is read twice
