"""RELION itself opens the volumes and stacks that we write."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.mrc_writer import MrcWriter

pytestmark = pytest.mark.program("relion_image_handler")


def relion(*arguments: str) -> str:
    """What relion_image_handler prints."""
    done = subprocess.run(["relion_image_handler", *arguments], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


def test_relion_measures_our_volume(tmp_path: Path, rng: np.random.Generator) -> None:
    volume = rng.normal(3, 2, (12, 20, 16)).astype(np.float32)
    write_mrc(tmp_path / "volume.mrc", volume, 7.5)
    line = relion("--i", str(tmp_path / "volume.mrc"), "--stats")
    numbers = [float(x) for x in re.findall(r"(?<![\w])-?\d+\.?\d*(?:e-?\d+)?", line.split("=", 1)[1])]
    assert tuple(int(x) for x in numbers[:3]) == (16, 20, 12)
    for value in (volume.mean(), volume.std(), volume.min(), volume.max(), 7.5):
        assert min(abs(x - value) for x in numbers) < 2e-3 * max(1, abs(value)), (value, line)


def test_relion_writes_what_we_read(tmp_path: Path, rng: np.random.Generator) -> None:
    volume = rng.normal(0, 1, (8, 8, 8)).astype(np.float32)
    write_mrc(tmp_path / "in.mrc", volume, 4.0)
    relion("--i", str(tmp_path / "in.mrc"), "--o", str(tmp_path / "out.mrc"), "--multiply_constant", "2")
    back, pixel_ang = read_mrc(tmp_path / "out.mrc")
    np.testing.assert_allclose(back, 2 * volume, rtol=1e-6)
    assert pixel_ang == pytest.approx(4.0)


def test_relion_measures_our_stack_of_images(tmp_path: Path, rng: np.random.Generator) -> None:
    """A stack as `motion` writes it, image by image: RELION sees images, not a volume."""
    images = rng.normal(3, 2, (3, 20, 16)).astype(np.float32)
    with MrcWriter(tmp_path / "stack.mrcs", images.shape, 1.35) as writer:
        for view in (2, 0, 1):
            writer.image_sink()(view, images[view])
    for view, image in enumerate(images):
        line = relion("--i", f"{view + 1}@{tmp_path / 'stack.mrcs'}", "--stats")
        size, numbers = line.split("=", 1)[1].split(";", 1)
        assert size.split() == ["16", "x", "20", "x", "1", "x", "1"]
        found = {name: float(value) for name, value in re.findall(r"(\w+) *= *(-?[\d.]+)", numbers)}
        stated = {"avg": image.mean(), "stddev": image.std(), "minval": image.min(), "maxval": image.max()}
        assert found == pytest.approx(stated | {"angpix": 1.35}, rel=1e-4)
