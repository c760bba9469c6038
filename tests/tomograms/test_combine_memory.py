"""What combining holds at a time, against what it plans by."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.tomograms.two_axes import VOXEL, motion_of, series_of, tomogram_of

from lamella.progress import no_progress
from lamella.records import ArrayVolume
from lamella.runtime import give_memory_back, prepare
from lamella.tomograms.combine_coverage import Coverage
from lamella.tomograms.combine_merge import Pair, cut_blocks, merge
from lamella.tomograms.combine_resample import Grid, resample

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
HALO = 32


def memory_of(name: str) -> int:
    """Bytes from /proc/self/status."""
    found = re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


def merged(shape, volumes, motion, budget):
    """Merge two volumes; the number of blocks."""
    grid = Grid(shape=shape, voxel_ang=VOXEL)
    coverage = Coverage.of(tomogram_of(series_of("A"), shape).tilt_series, VOXEL, shape[0] * VOXEL)
    pair = Pair(volumes[0], lambda block: resample(volumes[1], grid, motion, None, grid, block), volumes[2])
    both = coverage, coverage.turned(motion.rotation.T)
    return merge([pair, pair], shape, both, 1.0, HALO, budget, no_progress)


@pytest.mark.parametrize("turn", [90.0, 45.0])  # under 45° a block's bounding box in the second is twice as large
def test_blocks_take_no_more_than_the_budget(turn):
    prepare()
    shape, motion = (96, 192, 192), motion_of(turn)
    rng = np.random.default_rng(0)
    volumes = [ArrayVolume(rng.normal(size=shape).astype(np.float32)) for _ in range(3)]
    merged((16, 32, 32), [ArrayVolume(v.array[:16, :32, :32]) for v in volumes], motion, 1e9)  # compiles its loops
    budget = 2e8
    assert len(cut_blocks(shape, HALO, budget)) > 1
    give_memory_back()
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_of("VmRSS")
    assert merged(shape, volumes, motion, budget) > 1
    assert memory_of("VmHWM") - before < budget
