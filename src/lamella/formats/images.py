"""Open images by the names that tables give them: ``000001@stack.mrcs``, ``image.mrc``, ``image.tif``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, ImageError
from lamella.formats.mrc import open_mrc
from lamella.formats.mrc_writer import STACK_SUFFIXES
from lamella.formats.tiff import open_tiff
from lamella.formats.tiff_directories import TIFF_STARTS

__all__ = [
    "NamedImages",
    "StackFile",
    "holds_volume",
    "image_name",
    "open_images",
    "open_stack",
    "open_volume",
    "split_name",
]


class StackFile(Protocol):
    """One file of sections, whatever its format: an `ImageSource` and a `VolumeSource`."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(sections, height, width)."""
        ...

    @property
    def pixel_size_ang(self) -> float | None:
        """What the file says, Å, or None."""
        ...

    def __len__(self) -> int: ...

    def view(self, index: int) -> NDArray[np.float32]:
        """One section `(height, width)`, float32, row 0 at the bottom."""
        ...

    def block(self, z: slice, y: slice, x: slice) -> NDArray[np.float32]:
        """A part of the file, float32."""
        ...


def open_stack(path: Path | str) -> StackFile:
    """Open an MRC or TIFF file, or an OME-Zarr folder; which of them it is, its first bytes say."""
    path = Path(path)
    if path.is_dir():
        from lamella.formats.zarr import open_zarr  # zarr takes long to load

        return open_zarr(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
    return open_tiff(path) if start in TIFF_STARTS else open_mrc(path)


def open_images(names: Sequence[str], root: Path | str) -> NamedImages:
    """Open the images of a series; each file once, however many of its sections are named.

    Parameters
    ----------
    names
        in the order wanted, as RELION writes them: ``number@file`` (counted from 1) or ``file``.
    root
        the folder that relative names start from.

    Raises
    ------
    FormatError
        if a file cannot be read, or has many sections where the name states none.
    ImageError
        if a section does not exist, or the images differ in size.
    """
    return NamedImages(names, root)


def open_volume(path: Path | str, root: Path | str = ".") -> StackFile:
    """Open a volume, an MRC or TIFF file or an OME-Zarr; a relative path starts from `root`."""
    return open_stack(Path(root) / split_name(str(path))[1])


def holds_volume(file: StackFile) -> bool:
    """Whether a file holds one volume rather than a stack of images, as far as it says.

    An MRC file's space group 1 (or a group of crystals) is a volume; space group 0 is a stack, unless the header gives
    the cell as many intervals along z as there are sections, as old volumes do, and the name is not a stack's. The
    pages of a TIFF file are a stack, an OME-Zarr is a volume.
    """
    if file.path.is_dir():
        return True
    header = getattr(file, "header", None)
    if header is None:
        return False
    if not header.is_stack:
        return True
    sections = file.shape[0]
    return sections > 1 and int(header.fields["mz"]) == sections and file.path.suffix not in STACK_SUFFIXES


def split_name(name: str) -> tuple[int | None, str]:
    """Take ``000012@stack.mrcs`` apart: the section counted from 0, or None where the name has none, and the file."""
    number, at, file = name.rpartition("@")
    for suffix in (":mrc", ":mrcs"):  # RELION's way to name a format where the suffix is another
        file = file.removesuffix(suffix)
    if not at:
        return None, file
    if not (number.isascii() and number.isdigit() and int(number) > 0):
        raise FormatError(f"an image named {name}", mend="write it as 000001@stack.mrcs, sections counted from 1")
    return int(number) - 1, file


def image_name(section: int, file: str) -> str:
    """Name section `section` (counted from 0) of a stack as RELION does: ``000001@stack.mrcs``."""
    return f"{section + 1:06d}@{file}"


class NamedImages:
    """An `ImageSource` of images that tables name; the files may be many, and of several formats."""

    def __init__(self, names: Sequence[str], root: Path | str) -> None:
        files: dict[str, StackFile] = {}
        self._places: list[tuple[StackFile, int]] = []
        for name in names:
            section, path = split_name(name)
            file = files.get(path) or files.setdefault(path, open_stack(Path(root) / path))
            if section is None and len(file) != 1:
                raise FormatError(
                    f"{name}: {len(file)} sections in a file that is named as one image",
                    mend="name one section, such as 000001@stack.mrcs",
                )
            if (section or 0) >= len(file):
                raise ImageError(f"{name}: the file has {len(file)} sections", mend="check the table that names it")
            self._places.append((file, section or 0))
        sizes: dict[tuple[int, int], str] = {}
        for name, (file, _) in zip(names, self._places, strict=True):
            sizes.setdefault((file.shape[1], file.shape[2]), name)
        if len(sizes) != 1:
            listed = ", ".join(f"{width} × {height} ({name})" for (height, width), name in sizes.items())
            raise ImageError(
                f"images of one series differ in size: {listed or 'there is none'}", mend="crop or pad them"
            )
        self._size = next(iter(sizes))
        self._files = tuple(files.values())

    @property
    def shape(self) -> tuple[int, int, int]:
        """(images, height, width)."""
        return (len(self._places), *self._size)

    @property
    def files(self) -> tuple[StackFile, ...]:
        """The files behind the images, each once."""
        return self._files

    @property
    def pixel_size_ang(self) -> float | None:
        """What the first file says, Å, or None."""
        return self._files[0].pixel_size_ang

    def __len__(self) -> int:
        return len(self._places)

    def view(self, index: int) -> NDArray[np.float32]:
        """One image `(height, width)`, float32, row 0 at the bottom."""
        file, section = self._places[index]
        return file.view(section)
