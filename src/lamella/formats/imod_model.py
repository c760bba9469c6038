"""IMOD's binary models (``.fid``, ``.mod``): the contours of points in them, read and written.

A file is ``IMODV1.2``, a header, then for each object ``OBJT`` with its contours ``CONT``, then chunks of one kind or
another, then ``IEOF``; every number is big-endian. Objects, contours and meshes have a length that follows from their
own counts; every other chunk states its length, so unknown ones are passed over.

Coordinates are pixels of the image that the model was last shown on: x and y run from 0 to nx and ny, so that the first
pixel's centre is at 0.5, while z counts sections from 0 and is whole on a section. ``MINX`` states that image's pixel
size and, where 3dmod showed only part of a stack, where the part lay.

Source: IMOD's description of its binary file format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_path, output_errors

__all__ = ["ImodModel", "read_model", "write_model"]

Array = NDArray[np.float64]

_MAGIC = b"IMODV1.2"
_HEADER = struct.Struct(">128s4iI4i6f5ifii3f")
_OBJECT = struct.Struct(">64s64siIii3fi8Bii")
_CONTOUR = struct.Struct(">iIii")
_MESH = struct.Struct(">iiIhh")
_IMAGE = struct.Struct(">18f")
_LARGEST_FILE = 512 * 2**20
_MOST_LABEL = 2**16

_FLIPPED = 1 << 16  # y and z stand exchanged
_ANGLES_STORED = 1 << 15
_ORIGIN_STORED = 1 << 14  # MINX holds the whole stack's origin too
_BYTES_OF_MATERIAL = 1 << 13
_OPEN_CONTOURS, _WILD_CONTOURS = 1 << 3, 1 << 4

# The model's unit of its pixel size, in Å by its exponent; 0 is "pixels".
_UNITS = {1: 1e10, 3: 1e13, -2: 1e8, -3: 1e7, -6: 1e4, -9: 10.0, -10: 1.0, -12: 0.01}


@dataclass(frozen=True, kw_only=True, eq=False)
class ImodModel:
    """Contours of points.

    Attributes
    ----------
    contours
        one ``(k, 3)`` array each, in pixels of the whole stack: x and y with the first pixel's centre at 0.5, z the
        section from 0.
    size_px
        (nx, ny, nz) of the stack, as the model states it.
    pixel_ang
        of the stack, or None where it does not say.
    labels
        a word for each contour; empty where it has none.
    """

    contours: tuple[Array, ...]
    size_px: tuple[int, int, int]
    pixel_ang: float | None = None
    labels: tuple[str, ...] = ()


class _Bytes:
    """A file's bytes, taken from the front; one too few is an error that names the place."""

    def __init__(self, path: Path, raw: bytes) -> None:
        self.path, self.raw, self.at = path, raw, 0

    def take(self, count: int, what: str) -> bytes:
        if count < 0 or self.at + count > len(self.raw):
            raise FormatError(
                f"{self.path}: {what} at byte {self.at} reaches beyond the file's end",
                mend="copy the file again: it is cut short, or no model of IMOD's",
            )
        piece = self.raw[self.at : self.at + count]
        self.at += count
        return piece

    def unpack(self, form: struct.Struct, what: str) -> tuple[int | float | bytes, ...]:
        return form.unpack(self.take(form.size, what))


def read_model(path: Path | str) -> ImodModel:
    """Read the contours of a model, of all its objects one after the other; empty ones are left out.

    Raises
    ------
    FormatError
        if the file is no model, is cut short, or holds coordinates that are not finite.
    """
    path = Path(path)
    source = _open(path)
    header = source.unpack(_HEADER, "the header")
    size, flags = [int(n) for n in header[1:4]], int(header[5])
    pixel_ang = float(header[21]) * _UNITS.get(int(header[22]), 0.0)
    contours: list[Array] = []
    labels: list[str] = []
    image: tuple[float, ...] | None = None
    while len(source.raw) - source.at >= 4:
        kind = source.take(4, "a chunk")
        if kind == b"IEOF":
            break
        if kind == b"OBJT":
            source.unpack(_OBJECT, "an object")
        elif kind == b"CONT":
            count = int(source.unpack(_CONTOUR, "a contour")[0])
            points = np.frombuffer(source.take(12 * count, "a contour's points"), dtype=">f4")
            contours.append(points.reshape(-1, 3).astype(np.float64))
            labels.append("")
        elif kind == b"MESH":
            vertices, indices = (int(n) for n in source.unpack(_MESH, "a mesh")[:2])
            source.take(12 * vertices + 4 * indices, "a mesh")
        else:
            data = source.take(int.from_bytes(source.take(4, "a chunk"), "big", signed=True), f"the chunk {kind!r}")
            if kind == b"MINX" and len(data) == _IMAGE.size:
                image = _IMAGE.unpack(data)
            elif kind == b"LABL" and labels:
                labels[-1] = _label(data)
    for points in contours:
        if not np.isfinite(points).all():
            raise FormatError(f"{path}: a point of a contour is not finite", mend="copy the file again")
    if flags & _FLIPPED:
        contours = [points[:, [0, 2, 1]] for points in contours]
    if image is not None:
        contours, pixel_ang = _in_whole_stack(contours, image, flags, pixel_ang)
    kept = [(points, label) for points, label in zip(contours, labels, strict=True) if len(points)]
    return ImodModel(
        contours=tuple(points for points, _ in kept),
        size_px=(size[0], size[1], size[2]),
        pixel_ang=pixel_ang if np.isfinite(pixel_ang) and pixel_ang > 0 else None,
        labels=tuple(label for _, label in kept),
    )


def write_model(path: Path | str, model: ImodModel) -> None:
    """Write a model of one object of open contours, whose points may lie on any section, as IMOD's bead tracker makes.

    The file appears whole or not at all.
    """
    pixel_ang = model.pixel_ang or 1.0
    flags = _ANGLES_STORED | _ORIGIN_STORED | _BYTES_OF_MATERIAL
    pieces = [
        _MAGIC,
        _HEADER.pack(
            b"lamella", *model.size_px, 1, flags, 1, 1, 0, 255, *(0.0, 0.0, 0.0, 1.0, 1.0, 1.0), 0, 0, 0, 3, 128,
            pixel_ang / 10, -9 if model.pixel_ang else 0, 0, *(0.0, 0.0, 0.0),
        ),
        b"OBJT",
        _OBJECT.pack(
            b"beads", b"", len(model.contours), _OPEN_CONTOURS | _WILD_CONTOURS, 0, 0, *(0.0, 1.0, 0.0), 0,
            *(0, 7, 1, 1, 0, 0, 0, 0), 0, 0,
        ),
    ]  # fmt: skip
    labels = model.labels or ("",) * len(model.contours)
    for points, label in zip(model.contours, labels, strict=True):
        pieces += [b"CONT", _CONTOUR.pack(len(points), 0, 0, 0), np.asarray(points, dtype=">f4").tobytes()]
        if label:
            word = label.encode("ascii", "replace")
            word += b"\0" * (4 - len(word) % 4)
            data = struct.pack(">ii", 0, len(word)) + word
            pieces += [b"LABL", struct.pack(">i", len(data)), data]
    scale, zero = (pixel_ang,) * 3, (0.0,) * 3
    pieces += [b"MINX", struct.pack(">i", _IMAGE.size), _IMAGE.pack(1.0, 1.0, 1.0, *zero, *zero, *scale, *zero, *zero)]
    pieces.append(b"IEOF")
    with atomic_path(path) as temporary, output_errors(Path(path), every=True):
        temporary.write_bytes(b"".join(pieces))


def _open(path: Path) -> _Bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise FormatError(f"{path}: too large for a model", mend="check that this is the right file")
        source = _Bytes(path, path.read_bytes())
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
    magic = source.raw[: len(_MAGIC)]
    if magic != _MAGIC:
        old = magic[:4] == b"IMOD"
        raise FormatError(
            f"{path}: {'a model of an old version of IMOD' if old else 'no binary model of IMOD'}",
            mend="open it in 3dmod and save it as a binary IMOD model",
        )
    source.at = len(_MAGIC)
    return source


def _label(data: bytes) -> str:
    """The contour's own label, ahead of those of its points."""
    length = int.from_bytes(data[4:8], "big") if len(data) >= 8 else 0
    return data[8 : 8 + min(length, _MOST_LABEL)].split(b"\0")[0].decode("latin-1")


def _in_whole_stack(
    contours: list[Array], image: tuple[float, ...], flags: int, pixel_ang: float
) -> tuple[list[Array], float]:
    """Contours counted from the whole stack's corner, and the pixel size that its header states, Å."""
    whole, scale, part = (np.array(image[first : first + 3]) for first in (3, 9, 12))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return contours, pixel_ang
    if flags & _ORIGIN_STORED and np.isfinite([*whole, *part]).all():
        contours = [points + (whole - part) / scale for points in contours]
    return contours, float(scale[0]) if pixel_ang <= 0 or scale[0] != 1.0 else pixel_ang
