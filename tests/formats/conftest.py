"""Fixtures that tests of formats share."""

from __future__ import annotations

import struct

import numpy as np
import pytest

F4, I2, U1, RGB, COMPLEX = 2, 1, 6, 23, 3
_CODES = {F4: (6, "f4"), I2: (2, "i2"), U1: (10, "u1"), RGB: (5, "u4"), COMPLEX: (6, "f4")}


class DmBuilder:
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


@pytest.fixture(scope="session")
def dm_builder() -> type[DmBuilder]:
    """Builds DM3 and DM4 files byte by byte."""
    return DmBuilder
