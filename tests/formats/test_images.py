"""Images by the names that tables give them."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from lamella.errors import FormatError, ImageError
from lamella.formats.images import holds_volume, image_name, open_images, open_stack, open_volume, split_name
from lamella.formats.mrc import write_mrc


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stack, a single image, a TIFF and an MRC file under a wrong name, all of 4 × 5 pixels."""
    write_mrc(tmp_path / "stack.mrcs", np.arange(60, dtype=np.float32).reshape(3, 4, 5), 2.0)
    write_mrc(tmp_path / "one.mrc", np.full((1, 4, 5), 7, np.float32), 2.0)
    write_mrc(tmp_path / "odd.ctf", np.full((1, 4, 5), 8, np.float32), 2.0)
    tifffile.imwrite(tmp_path / "t.tif", np.arange(20, dtype=np.uint8).reshape(4, 5))
    return tmp_path


def test_names_as_relion_writes_them(folder: Path) -> None:
    images = open_images(["000003@stack.mrcs", "one.mrc", "1@stack.mrcs", "t.tif", "odd.ctf:mrc"], folder)
    assert images.shape == (5, 4, 5)
    assert len(images) == 5
    assert len(images.files) == 4  # the stack is opened once
    assert images.pixel_size_ang == 2.0
    np.testing.assert_array_equal(images.view(0), np.arange(40, 60).reshape(4, 5))
    assert images.view(1).max() == 7
    np.testing.assert_array_equal(images.view(2), np.arange(20).reshape(4, 5))
    np.testing.assert_array_equal(images.view(3), np.arange(20).reshape(4, 5)[::-1])  # a TIFF's rows run downwards
    assert images.view(4).max() == 8
    assert open_images([str(folder / "one.mrc")], "/elsewhere").view(0).max() == 7


def test_names_that_cannot_be_right(folder: Path) -> None:
    with pytest.raises(ImageError, match="3 sections"):
        open_images(["4@stack.mrcs"], folder)
    with pytest.raises(FormatError, match="named as one image"):
        open_images(["stack.mrcs"], folder)
    for name in ("0@stack.mrcs", "x@stack.mrcs", "-1@stack.mrcs", "@stack.mrcs"):
        with pytest.raises(FormatError):
            open_images([name], folder)
    with pytest.raises(FormatError, match=r"absent\.mrc"):
        open_images(["absent.mrc"], folder)
    write_mrc(folder / "other.mrc", np.zeros((1, 5, 4), np.float32), 2.0)
    with pytest.raises(ImageError, match="differ in size"):
        open_images(["one.mrc", "other.mrc"], folder)
    with pytest.raises(ImageError, match="none"):
        open_images([], folder)


def test_names_come_apart_and_together() -> None:
    assert split_name(image_name(11, "a/b.mrcs")) == (11, "a/b.mrcs")
    assert split_name("frames/x.tif") == (None, "frames/x.tif")


def test_volumes_and_stacks(folder: Path) -> None:
    write_mrc(folder / "v.mrc", np.zeros((3, 4, 5), np.float32), 2.0)
    assert holds_volume(open_volume("v.mrc", folder))
    assert not holds_volume(open_stack(folder / "stack.mrcs"))
    assert not holds_volume(open_stack(folder / "t.tif"))
    with mrcfile.new(folder / "old.mrc") as file:  # an old volume: space group 0, as many intervals as sections
        file.set_data(np.zeros((3, 4, 5), np.float32))
        file.header.ispg, file.header.mz = 0, 3
    assert holds_volume(open_stack(folder / "old.mrc"))
    np.testing.assert_array_equal(open_volume(folder / "v.mrc").block(slice(0, 1), slice(0, 2), slice(1, 3)), 0)
