"""DM3 and DM4 files built byte by byte."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError
from lamella.formats.dm4 import is_dm, read_dm_image

F4, I2, U1, RGB, COMPLEX = 2, 1, 6, 23, 3
_CODES = {F4: (6, "f4"), I2: (2, "i2"), U1: (10, "u1"), RGB: (5, "u4"), COMPLEX: (6, "f4")}


class Builder:
    """Writes tags; `wide` for DM4, `order` for the data's byte order."""

    def __init__(self, *, wide: bool = True, order: str = "<") -> None:
        self.wide, self.order = wide, order

    def count(self, value: int) -> bytes:
        return struct.pack(">Q" if self.wide else ">I", value)

    def group(self, *tags: bytes) -> bytes:
        return b"\0\1" + self.count(len(tags)) + b"".join(tags)

    def named(self, kind: int, name: str, body: bytes) -> bytes:
        head = struct.pack(">BH", kind, len(name)) + name.encode("latin-1")
        return head + (self.count(len(body)) if self.wide else b"") + body

    def folder(self, name: str, *tags: bytes) -> bytes:
        return self.named(20, name, self.group(*tags))

    def data(self, name: str, info: list[int], body: bytes) -> bytes:
        described = self.count(len(info)) + b"".join(self.count(one) for one in info)
        return self.named(21, name, b"%%%%" + described + body)

    def whole(self, name: str, value: int) -> bytes:
        return self.data(name, [5], struct.pack(self.order + "I", value))

    def picture(self, array: np.ndarray, kind: int, depth: int | None = None) -> bytes:
        code, dtype = _CODES[kind]
        body = array.astype(self.order + dtype).tobytes()
        sides = [*array.shape[::-1]] + ([depth] if depth else [])
        return self.folder(
            "",
            self.folder(
                "ImageData",
                self.data("Data", [20, code, array.size], body),
                self.whole("DataType", kind),
                self.folder("Dimensions", *[self.whole("", side) for side in sides]),
            ),
        )

    def file(self, *pictures: bytes) -> bytes:
        extras = [
            self.data("Name", [18, 3], b"abc"),
            self.data("Rect", [15, 0, 2, 0, 3, 0, 6], bytes(8)),
            self.data("Points", [20, 15, 0, 2, 0, 2, 0, 7, 3], bytes(30)),
            self.data("Flag", [8], b"\1"),
        ]
        root = self.group(*extras, self.folder("ImageList", *pictures), self.whole("Last", 7))
        version = struct.pack(">I", 4 if self.wide else 3)
        return version + self.count(len(root)) + struct.pack(">I", self.order == "<") + root + bytes(8)


THUMBNAIL = np.arange(12).reshape(3, 4)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [F4, I2, U1])
def test_the_image_and_not_its_thumbnail(wide, order, kind, tmp_path, rng):
    build = Builder(wide=wide, order=order)
    seen = rng.integers(0, 100, (5, 7))  # row 0 at the top
    path = tmp_path / "gain.dm4"
    path.write_bytes(build.file(build.picture(THUMBNAIL, RGB), build.picture(seen, kind)))
    assert is_dm(path)
    image = read_dm_image(path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, seen[::-1])


def test_a_stack_of_one_is_an_image_and_a_stack_of_two_is_not(tmp_path, rng):
    build = Builder()
    seen = rng.normal(size=(4, 6))
    path = tmp_path / "gain.dm4"
    path.write_bytes(build.file(build.picture(seen, F4, depth=1)))
    np.testing.assert_allclose(read_dm_image(path), seen[::-1], rtol=1e-6)
    path.write_bytes(build.file(build.picture(seen, F4, depth=2)))
    with pytest.raises(FormatError, match="2 images"):
        read_dm_image(path)


@pytest.mark.parametrize("kind", [RGB, COMPLEX])
def test_what_is_no_real_image_is_refused(kind, tmp_path):
    build = Builder()
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


def test_truncated_anywhere_is_said(tmp_path, rng):
    build = Builder()
    whole = build.file(build.picture(rng.normal(size=(3, 4)), F4))
    path = tmp_path / "a.dm4"
    for length in range(0, len(whole) - 9, 3):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read_dm_image(path)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_damage_is_a_format_error_or_an_image(tmp_path_factory, place, patch):
    build = Builder()
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


def test_claims_beyond_the_file_allocate_nothing(tmp_path):
    build = Builder()
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
