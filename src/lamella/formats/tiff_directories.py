"""The directories of a TIFF file: where each page's pixels lie, and whether the file is long enough to hold them.

A chain of directories that leads beyond the end of the file is an error here: other readers take such a file, of which
the end is missing, for one of fewer pages. TIFF revision 6 (1992) and BigTIFF.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError

__all__ = ["TIFF_STARTS", "Directory", "Tag", "first_compressions", "read_directories", "read_exactly"]

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WHOLE = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
_MOST_PAGES = 1_000_000
_MOST_ENTRIES = 4096
_MOST_BYTES = 2**28  # of one tag: the offsets of 2²⁵ strips

COMPRESSION = 259
STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES = 273, 279, 324, 325


@dataclass(frozen=True)
class Tag:
    """One entry of a directory: its kind of value, how many, and where in the file they are."""

    kind: int
    count: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return self.count * _SIZES.get(self.kind, 1)


@dataclass(frozen=True, eq=False)
class Directory:
    """What a page's directory says.

    Attributes
    ----------
    path
        the file.
    page
        number of the page, from 0.
    order
        byte order of the file.
    tags
        by number.
    descriptor
        the open file.
    """

    path: Path
    page: int
    order: Literal["<", ">"]
    tags: Mapping[int, Tag]
    descriptor: int = field(repr=False)

    def numbers(self, tag: int) -> NDArray[np.int64]:
        """Whole numbers of a tag ``(n,)``; none where the page has no such tag."""
        entry = self.tags.get(tag)
        if entry is None or entry.kind not in _WHOLE:
            return np.zeros(0, np.int64)
        values = np.frombuffer(self.raw(tag), np.dtype(_WHOLE[entry.kind]).newbyteorder(self.order))
        return values.astype(np.int64)

    def number(self, tag: int, default: int) -> int:
        """The first number of a tag, or `default` where the page has no such tag."""
        values = self.numbers(tag)
        return int(values[0]) if len(values) else default

    def raw(self, tag: int) -> bytes:
        """Bytes of a tag's values, as they lie in the file; none where the page has no such tag.

        Raises
        ------
        FormatError
            if the file ends before.
        """
        entry = self.tags.get(tag)
        try:
            return read_exactly(self.descriptor, entry.offset, entry.size) if entry else b""
        except (EOFError, OSError) as error:
            raise FormatError(
                f"{self.path}: the file ends early: page {self.page + 1} lacks the values of its tag {tag}",
                mend="copy the file again",
            ) from error

    def segments(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Offset and length ``(n,)`` in bytes of each strip, or of each tile."""
        tiled = TILE_OFFSETS in self.tags
        offsets = self.numbers(TILE_OFFSETS if tiled else STRIP_OFFSETS)
        return offsets, self.numbers(TILE_BYTES if tiled else STRIP_BYTES)


def read_directories(path: Path, descriptor: int) -> Sequence[Directory]:
    """Read the directories of all pages, and check that their strips or tiles lie inside the file.

    Parameters
    ----------
    path
        the file's name, for messages.
    descriptor
        the open file; the directories go on reading from it.

    Raises
    ------
    FormatError
        if it is no TIFF file, holds no page, or ends early; the message names the first page that is not whole.
    """
    size = os.fstat(descriptor).st_size
    directories = list(_walk(path, descriptor))
    if not directories:
        raise FormatError(f"{path}: no page", mend="check that this is the right file")
    short = [directory.page + 1 for directory in directories if _reach(directory) > size]
    if short:
        pages = f"page {short[0]}" if len(short) == 1 else f"pages {short[0]}–{short[-1]}"
        raise FormatError(
            f"{path}: the file ends early: {pages} of {len(directories)} not whole", mend="copy the file again"
        )
    return directories


def first_compressions(path: Path, most: int) -> list[int]:
    """How the first `most` pages of a TIFF file are packed, by the standard's numbers (1: as they are).

    Raises
    ------
    FormatError
        as `read_directories`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
    try:
        return [page.number(COMPRESSION, 1) for page in islice(_walk(path, descriptor), most)]
    finally:
        os.close(descriptor)


def read_exactly(descriptor: int, offset: int, size: int) -> bytes:
    """Read `size` bytes from `offset`; needs no lock, since the file's position is not used.

    Raises
    ------
    EOFError
        if the file ends before.
    """
    data = os.pread(descriptor, size, offset)
    if len(data) == size:
        return data
    parts = [data]
    while data and sum(map(len, parts)) < size:  # one call of the system reads at most 2 GiB
        done = sum(map(len, parts))
        data = os.pread(descriptor, size - done, offset + done)
        parts.append(data)
    if sum(map(len, parts)) < size:
        raise EOFError(f"the file ends before byte {offset + size}")
    return b"".join(parts)


def _walk(path: Path, descriptor: int) -> Iterator[Directory]:
    start = os.pread(descriptor, 16, 0)
    if start[:4] not in TIFF_STARTS:
        raise FormatError(f"{path}: no TIFF file that can be read", mend="check that this is the right file")
    order: Literal["<", ">"] = "<" if start[:2] == b"II" else ">"
    big = start[2:3] == b"+" or start[3:4] == b"+"
    try:
        offset = int(struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)[0])
    except struct.error as error:
        raise FormatError(f"{path}: a TIFF file of {len(start)} bytes", mend="copy the file again") from error
    seen: set[int] = set()
    while offset:
        page = len(seen)
        if offset in seen or page >= _MOST_PAGES:
            raise FormatError(f"{path}: its directories run in a circle at page {page + 1}", mend="copy the file again")
        seen.add(offset)
        try:
            tags, offset = _directory(descriptor, offset, order, big)
        except (EOFError, struct.error) as error:
            raise FormatError(
                f"{path}: the file ends early: page {page + 1} and what follows it are missing",
                mend="copy the file again",
            ) from error
        except ValueError as error:
            raise FormatError(
                f"{path}: the directory of page {page + 1} is damaged ({error})", mend="copy the file again"
            ) from error
        yield Directory(path, page, order, tags, descriptor)


def _directory(descriptor: int, offset: int, order: str, big: bool) -> tuple[dict[int, Tag], int]:
    """The tags of the directory at `offset`, and where the next one is (0: nowhere)."""
    head = struct.Struct(order + ("Q" if big else "H"))
    entry = struct.Struct(order + ("HHQ8s" if big else "HHI4s"))
    last = struct.Struct(order + ("Q" if big else "I"))
    (count,) = head.unpack(read_exactly(descriptor, offset, head.size))
    if not 0 < count <= _MOST_ENTRIES:
        raise ValueError(f"{count} entries")
    table = read_exactly(descriptor, offset + head.size, count * entry.size + last.size)
    tags: dict[int, Tag] = {}
    for place, (tag, kind, values, field_bytes) in enumerate(entry.iter_unpack(table[: -last.size])):
        size = values * _SIZES.get(kind, 1)
        if size > _MOST_BYTES:
            raise ValueError(f"tag {tag} of {size} bytes")
        inside = offset + head.size + place * entry.size + entry.size - last.size
        where = inside if size <= last.size else int(last.unpack(field_bytes)[0])
        tags.setdefault(tag, Tag(kind, values, where))
    return tags, int(last.unpack(table[-last.size :])[0])


def _reach(directory: Directory) -> int:
    """The byte behind the last one of the page's pixels."""
    where = f"{directory.path}: page {directory.page + 1}"
    offsets, counts = directory.segments()
    if len(offsets) == 0 or (len(counts) not in (0, len(offsets))):
        raise FormatError(f"{where} does not say where its pixels are", mend="write the file again")
    if (offsets < 0).any() or (len(counts) and (counts < 0).any()):
        raise FormatError(f"{where} has pixels at impossible places", mend="copy the file again")
    return int((offsets + (counts if len(counts) else 0)).max())
