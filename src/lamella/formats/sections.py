"""Write sections one after another into whatever format a file's name asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.formats.mrc_writer import MrcWriter
from lamella.formats.tiff import write_tiff

__all__ = ["write_sections"]

Array = NDArray[np.float32]

_MRC = {".mrc", ".mrcs", ".st", ".ali", ".preali", ".rec", ".map"}
_TIFF = {".tif", ".tiff"}


def write_sections(
    path: Path | str,
    shape: tuple[int, int, int],
    sections: Iterable[Array],
    pixel_size_ang: float,
    dtype: str = "float32",
    *,
    stack: bool,
) -> None:
    """Write sections from first to last, whole or not at all.

    Parameters
    ----------
    path
        ``.mrc``, ``.mrcs``, ``.st``, ``.rec``, ``.map``: MRC; ``.tif``, ``.tiff``: TIFF.
    shape
        (sections, height, width).
    sections
        as many images `(height, width)`, row 0 at the bottom.
    pixel_size_ang
        edge of a pixel, Å.
    dtype
        type of the stored numbers.
    stack
        whether the sections are images rather than one volume.

    Raises
    ------
    InputError
        if the suffix names no format that is written, or the format has no such type.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in _TIFF:
        write_tiff(path, shape, sections, pixel_size_ang, dtype)
    elif suffix in _MRC:
        if dtype == "uint8":
            raise InputError(f"{path}: bytes of an MRC file are signed", mend="write int8, uint16, or a TIFF file")
        with MrcWriter(path, shape, pixel_size_ang, dtype, stack=stack) as write:
            for index, section in enumerate(_counted(sections, shape[0], path)):
                write(index, 0, 0, section[None])
    else:
        raise InputError(f"{path}: no format is known by {suffix or 'no suffix'}", mend="name it .mrc, .mrcs or .tif")


def _counted(sections: Iterable[Array], count: int, path: Path) -> Iterator[Array]:
    for index, section in enumerate(sections):
        if index >= count:
            raise InputError(f"{path}: more than the {count} sections stated", mend="state how many there are")
        yield section
