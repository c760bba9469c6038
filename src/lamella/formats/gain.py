"""References of a camera: gain, dark, from MRC, TIFF, DM3/DM4 and Thermo Fisher's ``.gain`` files.

Rows come in MRC's order, as the frames' do: a TIFF's and a DM file's row 0 is the top of the picture and is turned to
the bottom. A ``.gain`` file is a TIFF that belongs to EER movies, whose rows RELION leaves in file order; it undoes the
turn of its TIFF reader for these files, and so do we (RELION's `EERRenderer::loadEERGain`). By the same rule a
``.gain`` is multiplied with, while any other gain of EER movies holds what the pixels count and is divided by.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, ImageError
from lamella.formats.dm4 import is_dm, read_dm_image
from lamella.formats.images import open_stack
from lamella.formats.tiff import TiffStack
from lamella.records import Note

__all__ = ["GainReference", "as_factor", "match_grid", "read_gain", "read_image_reference"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_THERMO = ".gain"
_LARGEST = 2**30  # pixels; the largest camera's half pixels are 2²⁸
_MOST_DEAD = 0.5


@dataclass(frozen=True, eq=False)
class GainReference:
    """A gain reference as its file states it, in the orientation of the file.

    Attributes
    ----------
    values
        ``(h, w)`` float32, finite, in MRC's row order.
    multiplies
        whether frames are multiplied with it; else they are divided by it.
    path
        the file.
    notes
        what its user should know.
    """

    values: Image
    multiplies: bool
    path: Path
    notes: tuple[Note, ...] = ()


def read_gain(path: Path | str, *, eer: bool = False) -> GainReference:
    """Read a gain reference.

    Parameters
    ----------
    path
        an MRC, TIFF, DM3, DM4 or ``.gain`` file.
    eer
        whether it belongs to EER movies: then all but ``.gain`` files divide.

    Raises
    ------
    FormatError
        if the file cannot be read.
    ImageError
        if it holds several images, or a pixel is NaN or infinite: how many, the first, and what can be done.
    """
    path = Path(path)
    values, notes = _read_image(path, "gain reference")
    if float(values.min()) == float(values.max()):
        text = f"every pixel of this gain reference is {values.flat[0]:g}: it corrects nothing"
        notes.append(Note(kind="warning", where=path.name, text=text))
    negative = int((values < 0).sum())
    if negative:
        text = f"{negative} pixels of this gain reference are negative: they count as dead"
        notes.append(Note(kind="warning", where=path.name, text=text))
    return GainReference(values, _is_thermo(path) or not eer, path, tuple(notes))


def read_image_reference(path: Path | str) -> Image:
    """Read a dark reference, or any single image: ``(h, w)`` float32, MRC's row order.

    Raises
    ------
    FormatError, ImageError
        as `read_gain`.
    """
    return _read_image(Path(path), "reference")[0]


def as_factor(reference: GainReference) -> tuple[Image, Mask]:
    """What frames are multiplied with, and the pixels that the gain marks as dead.

    Returns
    -------
    factor
        ``(h, w)`` float32; 0 where a pixel is dead. Of a gain that divides it is mean / gain, the mean over living
        pixels, so that counts stay counts; one that multiplies is taken as it is.
    dead
        ``(h, w)`` bool: pixels of gain 0, which is how cameras mark their defects, or below.

    Raises
    ------
    ImageError
        if more than half of the pixels are dead.
    """
    values = reference.values
    dead: Mask = np.less_equal(values, 0)
    if dead.mean() > _MOST_DEAD:
        raise ImageError(
            f"{reference.path}: {dead.mean():.0%} of the gain reference's pixels are 0 or negative",
            mend="take another reference: this one would leave no image",
        )
    if reference.multiplies:
        return np.where(dead, np.float32(0), values).astype(np.float32), dead
    mean = values[~dead].mean(dtype=np.float64)
    factor = np.zeros_like(values)
    np.divide(np.float32(mean), values, out=factor, where=~dead)
    return factor, dead


def match_grid(factor: Image, dead: Mask, shape_px: tuple[int, int]) -> tuple[Image, Mask]:
    """A factor on another grid of the same camera: half pixels repeat their pixel's, whole ones take the mean.

    EER frames can be counted in the camera's pixels or in half pixels, and gains are kept for either.

    Parameters
    ----------
    factor, dead
        `as_factor`'s, turned as the frames are.
    shape_px
        (height, width) of the frames: the factor's own, twice that, or half of it.

    Raises
    ------
    ImageError
        if the frames are of another size.
    """
    height, width = factor.shape
    if shape_px == (height, width):
        return factor, dead
    if shape_px == (2 * height, 2 * width):
        return factor.repeat(2, axis=0).repeat(2, axis=1), dead.repeat(2, axis=0).repeat(2, axis=1)
    if (height, width) == (2 * shape_px[0], 2 * shape_px[1]):
        blocks = (shape_px[0], 2, shape_px[1], 2)
        lost = np.asarray(dead.reshape(blocks).any(axis=(1, 3)), np.bool_)
        halved = factor.reshape(blocks).mean(axis=(1, 3), dtype=np.float64).astype(np.float32)
        return np.where(lost, np.float32(0), halved).astype(np.float32), lost
    raise ImageError(
        f"a gain reference of {width} × {height} pixels for frames of {shape_px[1]} × {shape_px[0]}",
        mend="take the reference that belongs to these frames",
    )


def _is_thermo(path: Path) -> bool:
    return path.suffix.lower() == _THERMO


def _read_image(path: Path, what: str) -> tuple[Image, list[Note]]:
    """One finite image, and what is to be told of it."""
    notes: list[Note] = []
    image = read_dm_image(path) if is_dm(path) else _of_stack(path, what, notes)
    bad = ~np.isfinite(image)
    count = int(np.count_nonzero(bad))
    if count:
        row, column = divmod(int(np.argmax(bad)), image.shape[1])
        raise ImageError(
            f"{path}: {count} pixel(s) of the {what} are NaN or infinite, the first at x {column}, y {row} "
            "(counted from 0, from the bottom left)",
            mend="set them to 0, which marks a pixel as dead, or take another reference",
        )
    return image, notes


def _of_stack(path: Path, what: str, notes: list[Note]) -> Image:
    file = open_stack(path)
    sections, height, width = file.shape
    if height * width > _LARGEST:
        raise ImageError(f"{path}: a {what} of {width} × {height} pixels", mend="check that this is the right file")
    thermo = _is_thermo(path)
    if thermo and not isinstance(file, TiffStack):
        raise FormatError(f"{path}: a .gain file that is no TIFF", mend="give an MRC file its own suffix, .mrc")
    if sections != 1 and not thermo:
        raise ImageError(
            f"{path}: {sections} images where one {what} is wanted", mend="give a single image, such as their mean"
        )
    if sections != 1:
        text = f"{sections} images in this file; the first is the {what}"
        notes.append(Note(kind="assumed", where=path.name, text=text))
    image = file.view(0)
    return np.ascontiguousarray(image[::-1]) if thermo else image
