"""Write sections one after another, or a whole volume, into whatever format a file's name asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.formats.atomic import MARK, output_errors
from lamella.formats.mrc import open_mrc
from lamella.formats.mrc_writer import MrcWriter
from lamella.formats.tiff import write_tiff
from lamella.formats.zarr_metadata import Version

__all__ = ["write_sections"]

Array = NDArray[np.float32]

_MRC = {".mrc", ".mrcs", ".st", ".ali", ".preali", ".rec", ".map"}
_TIFF = {".tif", ".tiff"}
_ZARR = ".zarr"


def write_sections(
    path: Path | str,
    shape: tuple[int, int, int],
    sections: Iterable[Array],
    pixel_size_ang: float,
    dtype: str = "float32",
    *,
    stack: bool,
    zarr_version: Version = "0.4",
    label: str = "",
) -> None:
    """Write sections from first to last, whole or not at all.

    Parameters
    ----------
    path
        ``.mrc``, ``.mrcs``, ``.st``, ``.rec``, ``.map``: MRC; ``.tif``, ``.tiff``: TIFF; ``.zarr``: OME-Zarr, a folder,
        for which the sections are first put into a file beside it.
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
    zarr_version
        of OME-Zarr.
    label
        a line of text for the header, where the format has room for it (MRC, OME-Zarr).

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
        with MrcWriter(path, shape, pixel_size_ang, dtype, stack=stack, label=label) as write:
            for index, section in enumerate(_counted(sections, shape[0], path)):
                write(index, 0, 0, section[None])
    elif suffix == _ZARR:
        _write_zarr(path, shape, _counted(sections, shape[0], path), pixel_size_ang, dtype, stack, zarr_version, label)
    else:
        raise InputError(
            f"{path}: no format is known by {suffix or 'no suffix'}", mend="name it .mrc, .mrcs, .tif or .zarr"
        )


def _write_zarr(
    path: Path,
    shape: tuple[int, int, int],
    sections: Iterator[Array],
    pixel_size_ang: float,
    dtype: str,
    stack: bool,
    version: Version,
    label: str,
) -> None:
    """By way of a file, since a pyramid's blocks are many sections thick."""
    from lamella.formats.zarr import write_zarr  # zarr takes long to load

    if stack:
        raise InputError(f"{path}: images of a stack, which OME-Zarr would take for one volume", mend="write .mrcs")
    with output_errors(path, every=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        room = TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.", suffix=MARK)
    with room as folder:
        between = Path(folder) / "sections.mrc"
        with MrcWriter(between, shape, pixel_size_ang) as write:
            for index, section in enumerate(sections):
                write(index, 0, 0, section[None])
        labels = (label,) if label else ()
        write_zarr(path, open_mrc(between), pixel_size_ang, version=version, dtype=dtype, labels=labels)


def _counted(sections: Iterable[Array], count: int, path: Path) -> Iterator[Array]:
    for index, section in enumerate(sections):
        if index >= count:
            raise InputError(f"{path}: more than the {count} sections stated", mend="state how many there are")
        yield section
