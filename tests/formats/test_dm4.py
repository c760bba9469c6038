"""DM3 and DM4 files built byte by byte."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError
from lamella.formats.dm4 import is_dm, read_dm_image

F4, I2, U1, RGB, COMPLEX = 2, 1, 6, 23, 3  # DigitalMicrograph's types of image
THUMBNAIL = np.arange(12).reshape(3, 4)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [F4, I2, U1])
def test_the_image_and_not_its_thumbnail(dm_builder, wide, order, kind, tmp_path, rng):
    build = dm_builder(wide=wide, order=order)
    seen = rng.integers(0, 100, (5, 7))  # row 0 at the top
    path = tmp_path / "gain.dm4"
    path.write_bytes(build.file(build.picture(THUMBNAIL, RGB), build.picture(seen, kind)))
    assert is_dm(path)
    image = read_dm_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, seen[::-1])


def test_a_stack_of_one_is_an_image_and_a_stack_of_two_is_not(dm_builder, tmp_path, rng):
    build = dm_builder()
    seen = rng.normal(size=(4, 6))
    path = tmp_path / "gain.dm4"
    path.write_bytes(build.file(build.picture(seen, F4, depth=1)))
    np.testing.assert_allclose(read_dm_image(path), seen[::-1], rtol=1e-6)
    path.write_bytes(build.file(build.picture(seen, F4, depth=2)))
    with pytest.raises(FormatError, match="2 images"):
        read_dm_image(path)


@pytest.mark.parametrize("kind", [RGB, COMPLEX])
def test_what_is_no_real_image_is_refused(dm_builder, kind, tmp_path):
    build = dm_builder()
    (tmp_path / "a.dm4").write_bytes(build.file(build.picture(THUMBNAIL, kind)))
    with pytest.raises(FormatError, match="no image of real numbers"):
        read_dm_image(tmp_path / "a.dm4")


def test_other_files_are_none(tmp_path):
    path = tmp_path / "a.dm4"
    for content in (b"", b"II*\0" * 8, bytes(1024)):
        path.write_bytes(content)
        assert not is_dm(path)
        with pytest.raises(FormatError):
            read_dm_image(path)
    assert not is_dm(tmp_path / "gone.dm4")
    with pytest.raises(FormatError, match=r"gone\.dm4"):
        read_dm_image(tmp_path / "gone.dm4")


def test_truncated_anywhere_is_said(dm_builder, tmp_path, rng):
    build = dm_builder()
    whole = build.file(build.picture(rng.normal(size=(3, 4)), F4))
    path = tmp_path / "a.dm4"
    for length in range(0, len(whole) - 9, 3):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read_dm_image(path)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_damage_is_a_format_error_or_an_image(dm_builder, tmp_path_factory, place, patch):
    build = dm_builder()
    whole = bytearray(build.file(build.picture(np.arange(12.0).reshape(3, 4), F4)))
    place %= len(whole)
    whole[place : place + len(patch)] = patch
    path = tmp_path_factory.mktemp("dm") / "a.dm4"
    path.write_bytes(bytes(whole))
    try:
        image = read_dm_image(path)
    except FormatError:
        return
    assert image.size <= 12


def test_claims_beyond_the_file_allocate_nothing(dm_builder, tmp_path):
    build = dm_builder()
    huge = build.folder(
        "",
        build.folder(
            "ImageData",
            build.data("Data", [20, 6, 2**60], b""),
            build.whole("DataType", F4),
            build.folder("Dimensions", build.whole("", 2**31), build.whole("", 2**31)),
        ),
    )
    path = tmp_path / "a.dm4"
    path.write_bytes(build.file(huge))
    with pytest.raises(FormatError, match="ends early"):
        read_dm_image(path)
    nested = build.group()
    for _ in range(100):
        nested = build.group(build.named(20, "x", nested))
    path.write_bytes(struct.pack(">IQI", 4, len(nested), 1) + nested)
    with pytest.raises(FormatError, match="nested"):
        read_dm_image(path)
