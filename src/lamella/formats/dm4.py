"""Images of Gatan's DigitalMicrograph files, DM3 and DM4: a bounded reader of their tags.

A file is a tree of tags, big-endian counts and lengths around data in the byte order that the header names (DM4 has
64-bit numbers where DM3 has 32-bit ones). The pictures stand in ``ImageList``, a thumbnail among them; the largest one
of real numbers is the image. Its row 0 is the top of the picture. Layout as described by C. Boothroyd and G. Tatlock,
https://www.er-c.org/cbb/info/dmformat/.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError

__all__ = ["is_dm", "read_dm_image"]

_VERSIONS = (3, 4)
_GROUP, _DATA = 20, 21
_STRUCT, _STRING, _ARRAY = 15, 18, 20
_BYTES = {2: 2, 3: 4, 4: 2, 5: 4, 6: 4, 7: 8, 8: 1, 9: 1, 10: 1, 11: 8, 12: 8}
_KINDS = {1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 14: "u1"}  # ImageData's DataType
_MOST_TAGS, _DEEPEST, _MOST_INFO = 1_000_000, 64, 4096
_LARGEST_SIDE = 2**17


@dataclass(frozen=True)
class _Block:
    """Where the elements of an array lie."""

    offset: int
    size: int


@dataclass
class _Picture:
    """What ``ImageData`` of one picture says."""

    data: _Block | None = None
    kind: int = 0
    sides: list[int] = field(default_factory=list)


def is_dm(path: Path | str) -> bool:
    """Whether a file begins as a DM3 or DM4 file does; False where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(16)
    except OSError:
        return False
    if len(start) < 16 or struct.unpack(">I", start[:4])[0] not in _VERSIONS:
        return False
    order = start[8:12] if start[3] == 3 else start[12:16]
    return order in (b"\0\0\0\0", b"\0\0\0\1")


def read_dm_image(path: Path | str) -> NDArray[np.float32]:
    """The image of a DM3 or DM4 file, ``(h, w)`` float32, row 0 at the bottom.

    Raises
    ------
    FormatError
        if it is no such file, is damaged or truncated, or holds a stack, colours or complex numbers alone.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            reader = _Reader(file, path)
            pictures = reader.pictures()
            picture = _largest(pictures, path)
            stored = reader.elements(picture)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}", mend="check the name and the permissions") from error
    return np.ascontiguousarray(stored[::-1], dtype=np.float32)


def _largest(pictures: list[_Picture], path: Path) -> _Picture:
    usable = [one for one in pictures if one.kind in _KINDS and one.data is not None and len(one.sides) >= 2]
    if not usable:
        kinds = ", ".join(str(one.kind) for one in pictures) or "none"
        raise FormatError(f"{path}: no image of real numbers (data types: {kinds})", mend="save it as a real image")
    largest = max(reversed(usable), key=lambda one: prod(one.sides))
    if prod(largest.sides[2:]) != 1:
        raise FormatError(
            f"{path}: {prod(largest.sides[2:])} images where one is wanted", mend="save a single image, or their mean"
        )
    if not all(0 < side <= _LARGEST_SIDE for side in largest.sides[:2]):
        raise FormatError(f"{path}: {largest.sides[0]} × {largest.sides[1]} pixels", mend="copy the file again")
    return largest


class _Reader:
    """Walks through the tags; every count is checked against the file's length before it is believed."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._size = os.fstat(file.fileno()).st_size
        self._tags = 0
        self._pictures: dict[tuple[str, ...], _Picture] = {}
        version = self._number("I")
        if version not in _VERSIONS:
            raise FormatError(f"{path}: no DM3 or DM4 file", mend="check that this is the right file")
        self._wide = version == 4
        self._count()  # length of the rest
        order = self._number("I")
        if order not in (0, 1):
            raise self._damage("its byte order is neither of the two")
        self._order = "<" if order else ">"

    def pictures(self) -> list[_Picture]:
        """Every picture of ``ImageList``, in the file's order."""
        self._group(())
        return list(self._pictures.values())

    def elements(self, picture: _Picture) -> NDArray[np.generic]:
        """The pixels ``(h, w)`` as they are stored, row 0 at the top."""
        width, height = picture.sides[:2]
        kind = np.dtype(self._order + _KINDS[picture.kind])
        block = picture.data or _Block(0, 0)
        if block.size != width * height * kind.itemsize:
            raise self._damage(f"{block.size} bytes for {width} × {height} pixels of {kind.itemsize}")
        self._file.seek(block.offset)
        return np.frombuffer(self._read(block.size), kind).reshape(height, width)

    def _group(self, path: tuple[str, ...]) -> None:
        if len(path) > _DEEPEST:
            raise self._damage("its tags are nested without end")
        self._read(2)  # whether sorted, whether open
        for place in range(self._count()):
            self._tags += 1
            if self._tags > _MOST_TAGS:
                raise self._damage("it has tags without end")
            kind, length = self._number("B"), self._number("H")
            name = self._read(length).decode("latin-1") or str(place)
            if self._wide:
                self._count()  # bytes of the tag
            if kind == _GROUP:
                self._group((*path, name))
            elif kind == _DATA:
                self._data((*path, name))
            else:
                raise self._damage(f"a tag of kind {kind}")

    def _data(self, path: tuple[str, ...]) -> None:
        if self._read(4) != b"%%%%":
            raise self._damage(f"tag {'.'.join(path)} does not begin as one")
        count = self._count()
        if not 0 < count <= _MOST_INFO:
            raise self._damage(f"tag {'.'.join(path)} is described by {count} numbers")
        info = [self._count() for _ in range(count)]
        size = self._bytes_of(info)
        offset = self._file.tell()
        if size > self._size - offset:
            raise FormatError(f"{self._path}: the file ends early", mend="copy the file again")
        self._keep(path, info, _Block(offset, size))
        self._file.seek(offset + size)

    def _bytes_of(self, info: list[int]) -> int:
        """Bytes of a tag's data, by the numbers that describe it."""
        kind = info[0]
        if kind in _BYTES:
            return _BYTES[kind]
        if kind == _STRUCT:
            return sum(self._simple(one) for one in info[4::2])
        if kind == _STRING and len(info) == 2:
            return info[1]
        if kind == _ARRAY and len(info) >= 3:
            return info[-1] * self._bytes_of(info[1:-1])
        raise self._damage(f"data of kind {kind}")

    def _simple(self, kind: int) -> int:
        if kind not in _BYTES:
            raise self._damage(f"a structure with a field of kind {kind}")
        return _BYTES[kind]

    def _keep(self, path: tuple[str, ...], info: list[int], block: _Block) -> None:
        """Remember what the pictures are made of: ``ImageList.n.ImageData.{Data, DataType, Dimensions.n}``."""
        if len(path) < 4 or path[0] != "ImageList" or path[2] != "ImageData":
            return
        picture = self._pictures.setdefault(path[:2], _Picture())
        if path[3:] == ("Data",) and info[0] == _ARRAY:
            picture.data = block
        elif path[3:] == ("DataType",):
            picture.kind = self._whole(info, block)
        elif path[3] == "Dimensions" and len(path) == 5:
            picture.sides.append(self._whole(info, block))

    def _whole(self, info: list[int], block: _Block) -> int:
        if info[0] not in (2, 3, 4, 5, 11, 12):
            raise self._damage(f"a count of kind {info[0]}")
        return int.from_bytes(
            self._read(block.size), "little" if self._order == "<" else "big", signed=info[0] in (2, 3, 11)
        )

    def _count(self) -> int:
        return self._number("Q" if self._wide else "I")

    def _number(self, code: str) -> int:
        return int(struct.unpack(">" + code, self._read(struct.calcsize(code)))[0])

    def _read(self, size: int) -> bytes:
        data = self._file.read(size) if size <= self._size else b""
        if len(data) != size:
            raise FormatError(f"{self._path}: the file ends early", mend="copy the file again")
        return data

    def _damage(self, what: str) -> FormatError:
        return FormatError(f"{self._path}: a damaged DM file: {what}", mend="copy the file again")
