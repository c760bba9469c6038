"""The header of an MRC file: what it says, and how it is read where it says it wrongly.

MRC2014 (Cheng et al., J. Struct. Biol. 192 (2015) 146) with the additions that IMOD and SerialEM make to it. Layout and
field names are `mrcfile`'s.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from lamella import __version__
from lamella.errors import FormatError, InputError
from lamella.formats.warnings import FormatWarning
from lamella.records import Note

__all__ = ["HEADER_BYTES", "MrcHeader", "new_header", "read_header"]

Order = Literal["<", ">"]

HEADER_BYTES = 1024
IMOD_STAMP = 1146047817

# mode -> kind of one pixel; the byte order is the file's
PIXELS = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}
MODES = {"int8": 0, "uint8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}
_REFUSED = {3: "complex 16-bit numbers", 4: "complex numbers (a Fourier transform)"}
_KNOWN_MODES = {*PIXELS, *_REFUSED}

_STAMPS: dict[bytes, Order] = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}
_ORDERS: tuple[Order, Order] = ("<", ">")
_LARGEST_SIDE = 2**26
_OFFSET_NINT, _OFFSET_NREAL, _OFFSET_STAMP, _OFFSET_FLAGS = 128, 130, 152, 156
_SIGNED_BYTES, _NIBBLES = 1, 16  # of IMOD's flags: bytes are signed; each byte holds two pixels, and nx counts bytes
_MODE_NIBBLES = 101


@dataclass(frozen=True, eq=False)
class MrcHeader:
    """What the first 1024 bytes say, in this machine's byte order.

    Attributes
    ----------
    path
        the file.
    fields
        every field of the standard, by `mrcfile`'s names, a numpy record.
    shape
        (z, y, x).
    pixel
        type of the stored pixels, with the file's byte order; of nibbles, uint8.
    nibbles
        whether a byte holds two pixels of four bits, the left one in its lower half (mode 101, or IMOD's flag 16).
    byte_order
        ``<`` (little-endian) or ``>``.
    data_offset
        where the pixels begin, bytes.
    pixel_size_ang
        the cell's edge over its number of intervals, x direction; None where the header has no usable cell.
    top_row_first
        whether row 0 of the file is the picture's top.
    int_count, real_count
        IMOD's two numbers about the extended header (nint, nreal).
    imod_stamped
        whether IMOD or SerialEM wrote the header.
    notes
        what was assumed about the file.
    """

    path: Path
    fields: Any
    shape: tuple[int, int, int]
    pixel: np.dtype[Any]
    nibbles: bool
    byte_order: Order
    data_offset: int
    pixel_size_ang: float | None
    top_row_first: bool
    int_count: int
    real_count: int
    imod_stamped: bool
    notes: tuple[Note, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in the file; a row of nibbles ends with a whole byte."""
        return (self.shape[2] + 1) // 2 if self.nibbles else self.shape[2] * self.pixel.itemsize

    @property
    def extended_type(self) -> str:
        """The four letters that name the layout of the extended header (``SERI``, ``FEI1``), or none."""
        return bytes(self.fields["exttyp"]).rstrip(b"\0 ").decode("ascii", "replace")

    @property
    def origin_ang(self) -> tuple[float, float, float]:
        """(x, y, z) where viewers put the centre of the first voxel, Å: the origin, else the first voxel's number."""
        origin = [float(self.fields["origin"][axis]) for axis in "xyz"]
        if any(origin):
            return origin[0], origin[1], origin[2]
        voxel = self.pixel_size_ang or 0.0
        start = [int(self.fields[f"n{axis}start"]) * voxel for axis in "xyz"]
        return start[0], start[1], start[2]

    @property
    def is_stack(self) -> bool:
        """Whether the file says that it holds images, not a volume (space group 0, one section per cell)."""
        return int(self.fields["ispg"]) == 0

    @property
    def labels(self) -> tuple[str, ...]:
        """The header's lines of text."""
        count = min(max(int(self.fields["nlabl"]), 0), 10)
        return tuple(bytes(text).rstrip(b"\0 ").decode("latin-1") for text in self.fields["label"][:count])


def read_header(path: Path | str) -> MrcHeader:
    """Read and judge a header.

    Raises
    ------
    FormatError
        if the file is no MRC file, is of a mode that holds no plain pixels, has no pixels, or ends too early.

    Warns
    -----
    FormatWarning
        where a stamp is wrong or missing, the file is longer than it says, or its bytes' sign had to be judged.
    """
    path = Path(path)
    raw, size = _first_bytes(path)
    notes: list[Note] = []

    def doubt(text: str) -> None:
        notes.append(Note(kind="assumed", where=str(path), text=text))

    order = _byte_order(path, raw, size, doubt)
    fields = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order), count=1)[0]
    halved = _counts_bytes(path, fields, raw, order)
    shape = (int(fields["nz"]), int(fields["ny"]), int(fields["nx"]) * (2 if halved else 1))
    if bytes(raw[208:211]) != b"MAP":
        doubt("no MAP stamp; read as MRC because its sizes and mode make sense")
    kind = _pixel_kind(path, fields, raw, order, doubt)
    header = MrcHeader(
        path=path,
        fields=fields,
        shape=shape,
        pixel=np.dtype(kind).newbyteorder(order),
        nibbles=halved or int(fields["mode"]) == _MODE_NIBBLES,
        byte_order=order,
        data_offset=HEADER_BYTES + max(int(fields["nsymbt"]), 0),
        pixel_size_ang=None,
        top_row_first=False,
        int_count=_number(raw, _OFFSET_NINT, "i2", order),
        real_count=_number(raw, _OFFSET_NREAL, "i2", order),
        imod_stamped=_number(raw, _OFFSET_STAMP, "i4", order) == IMOD_STAMP,
        notes=(),
    )
    _check_length(header, size, doubt)
    for note in notes:
        warnings.warn(f"{path}: {note.text}", FormatWarning, stacklevel=3)
    pixel_size_ang = _pixel_size(header, notes)
    # IMOD's rule; −2 in mapr is its sign for rows that run downwards
    flipped = not header.imod_stamped and (header.extended_type == "FEI1" or int(fields["mapr"]) == -2)
    if flipped:
        text = (
            "row 0 of the file is taken as the top (FEI1 header or mapr −2 without IMOD's stamp): rows are turned over"
        )
        notes.append(Note(kind="info", where=str(path), text=text))
    return replace(header, pixel_size_ang=pixel_size_ang, top_row_first=flipped, notes=tuple(notes))


def new_header(
    shape: tuple[int, int, int],
    pixel_size_ang: float,
    dtype: str,
    *,
    stack: bool,
    label: str = "",
    origin_ang: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Any:
    """A header for a file of ours: little-endian, MRC2014; statistics are filled in later.

    Parameters
    ----------
    shape
        (z, y, x).
    pixel_size_ang
        edge of a pixel, Å.
    dtype
        ``float32``, ``float16``, ``int16``, ``uint16``, ``int8`` or ``uint8`` (bytes that IMOD's stamp calls
        unsigned).
    stack
        whether the sections are images of a stack (space group 0) or of one volume (1).
    label
        a second line of text, up to 80 characters of ASCII, or none.
    origin_ang
        (x, y, z) where viewers put the centre of the first voxel, Å.
    """
    if dtype not in MODES:
        raise InputError(f"an MRC file of {dtype} numbers", mend=f"choose one of {', '.join(MODES)}")
    if min(shape) < 1 or max(shape) > _LARGEST_SIDE:
        raise InputError(f"an MRC file of {shape} (z, y, x) pixels", mend="give a size of at least one pixel each way")
    if not (np.isfinite(pixel_size_ang) and pixel_size_ang > 0):
        raise InputError(f"a pixel size of {pixel_size_ang} Å", mend="give a positive pixel size")
    nz, ny, nx = shape
    fields = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    intervals = (nx, ny, 1 if stack else nz)
    fields["nx"], fields["ny"], fields["nz"], fields["mode"] = nx, ny, nz, MODES[dtype]
    fields["mx"], fields["my"], fields["mz"] = intervals
    fields["cella"] = tuple(pixel_size_ang * count for count in intervals)
    fields["cellb"] = (90.0, 90.0, 90.0)
    fields["origin"] = origin_ang
    fields["mapc"], fields["mapr"], fields["maps"] = 1, 2, 3
    fields["ispg"] = 0 if stack else 1
    fields["nversion"] = 20141
    fields["map"] = b"MAP "
    fields["machst"] = (0x44, 0x44, 0, 0)
    labels = [f"Written by lamella {__version__}", *([label] if label else [])]
    fields["nlabl"] = len(labels)
    for place, text in enumerate(labels):
        fields["label"][place] = text.encode("ascii")
    if MODES[dtype] == 0:  # IMOD takes unstamped bytes for unsigned, the standard for signed
        extra = bytearray(bytes(fields["extra2"]))
        start = _OFFSET_STAMP - 112
        flags = _SIGNED_BYTES if dtype == "int8" else 0
        extra[start : start + 8] = np.array([IMOD_STAMP, flags], "<i4").tobytes()
        fields["extra2"] = np.void(bytes(extra))
    return fields


def _first_bytes(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
    if len(raw) < HEADER_BYTES:
        raise FormatError(
            f"{path}: {len(raw)} bytes, too few for an MRC header of {HEADER_BYTES}", mend="copy the file again"
        )
    return raw, size


def _number(raw: bytes, offset: int, kind: str, order: Order) -> int:
    return int(np.frombuffer(raw, np.dtype(kind).newbyteorder(order), count=1, offset=offset)[0])


def _byte_order(path: Path, raw: bytes, size: int, doubt: Any) -> Order:
    """The byte order that the machine stamp names, or the one in which sizes and mode make sense."""
    stamped = _STAMPS.get(bytes(raw[212:214]))
    sound = [order for order in _ORDERS if _plausible(raw, order)]
    if stamped in sound:
        return stamped
    if not sound:
        raise FormatError(
            f"{path}: no MRC file: its sizes and mode make no sense in either byte order",
            mend="check that this is the right file",
        )
    fitting = [order for order in sound if _expected_bytes(raw, order) <= size]
    order = (fitting or sound)[0]
    stamp = "a wrong machine stamp" if any(raw[212:216]) else "no machine stamp"
    doubt(f"{stamp}; read as {'little' if order == '<' else 'big'}-endian because its sizes and mode make sense so")
    return order


def _plausible(raw: bytes, order: Order) -> bool:
    nx, ny, nz, mode = (_number(raw, offset, "i4", order) for offset in (0, 4, 8, 12))
    return mode in _KNOWN_MODES and min(nx, ny, nz) >= 0 and max(nx, ny, nz) <= _LARGEST_SIDE


def _expected_bytes(raw: bytes, order: Order) -> int:
    nx, ny, nz, mode, extended = (_number(raw, offset, "i4", order) for offset in (0, 4, 8, 12, 92))
    row = (nx + 1) // 2 if mode == _MODE_NIBBLES else nx * np.dtype(PIXELS.get(mode, "i1")).itemsize
    return HEADER_BYTES + max(extended, 0) + row * ny * nz


def _counts_bytes(path: Path, fields: Any, raw: bytes, order: Order) -> bool:
    """Whether nx counts bytes of two pixels each: how SerialEM saves 4-bit frames for programs without mode 101."""
    flags = _number(raw, _OFFSET_FLAGS, "i4", order) if _number(raw, _OFFSET_STAMP, "i4", order) == IMOD_STAMP else 0
    if int(fields["mode"]) != 0 or not flags & _NIBBLES:
        return False
    if flags & _SIGNED_BYTES:
        raise FormatError(
            f"{path}: its flags call its bytes signed and say that each holds two pixels: a contradiction",
            mend="write the file again, or convert it to mode 1",
        )
    return True


def _pixel_kind(path: Path, fields: Any, raw: bytes, order: Order, doubt: Any) -> str:
    mode = int(fields["mode"])
    if mode in _REFUSED:
        raise FormatError(
            f"{path}: MRC mode {mode}, {_REFUSED[mode]}, which is no image that lamella reads",
            mend="convert it to mode 2 (float32) first",
        )
    if mode != 0:
        return PIXELS[mode]
    if _number(raw, _OFFSET_STAMP, "i4", order) == IMOD_STAMP:
        return "i1" if _number(raw, _OFFSET_FLAGS, "i4", order) & _SIGNED_BYTES else "u1"
    lowest, highest = float(fields["dmin"]), float(fields["dmax"])
    if lowest >= 0 and highest > 127:
        doubt(f"bytes without IMOD's stamp; taken as unsigned because the header's maximum is {highest:g}")
        return "u1"
    return "i1"


def _check_length(header: MrcHeader, size: int, doubt: Any) -> None:
    path, (nz, ny, nx) = header.path, header.shape
    if int(header.fields["nsymbt"]) < 0:
        raise FormatError(f"{path}: an extended header of negative size", mend="copy the file again")
    if 0 in header.shape:
        raise FormatError(f"{path}: {nx} × {ny} × {nz} pixels: it holds no image", mend="write the stack again")
    section = header.row_bytes * ny
    expected = header.data_offset + section * nz
    if size < expected:
        whole = max(size - header.data_offset, 0) // section
        raise FormatError(
            f"{path}: the file ends early: {nz - whole} of {nz} sections are missing "
            f"({size} bytes, {expected} expected)",
            mend="copy the file again, or write it again",
        )
    if size > expected:
        doubt(f"{size - expected} bytes follow the last section that the header knows of; they are not read")


def _pixel_size(header: MrcHeader, notes: list[Note]) -> float | None:
    """Cell over intervals, x; None and a note where that is no length."""
    fields, where = header.fields, str(header.path)
    sizes = []
    for axis in "xy":
        cell, intervals = float(fields["cella"][axis]), int(fields[f"m{axis}"])
        size = cell / intervals if intervals > 0 else float("nan")
        sizes.append(size if np.isfinite(size) and size > 0 else None)
    x, y = sizes
    if x is None:
        notes.append(Note(kind="warning", where=where, text="the header states no pixel size (its cell is zero)"))
        return None
    if y is None or abs(x - y) > 0.01 * x:
        notes.append(Note(kind="warning", where=where, text=f"pixels are not square: {x} × {y} Å; x is taken"))
    elif abs(x - 1) < 1e-6:
        notes.append(
            Note(kind="warning", where=where, text="a pixel size of 1 Å, which often means that nobody set it")
        )
    return x
