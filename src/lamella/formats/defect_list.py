"""Defects of a camera that a file names: an image, a list of rectangles, or SerialEM's list.

- An image (MRC, TIFF, DM3/DM4) marks bad pixels by any number but 0; rows as in `lamella.formats.gain`.
- A text of ``x y width height`` lines, as MotionCor2 and RELION read it: counted from 0, row 0 the bottom row (MRC's
  order), whatever the frames' format.
- SerialEM's ``defects_….txt``: ``CameraSizeX 5760``, ``BadColumns 10 11``, ``BadRows …``, ``BadPixels x y x y …``,
  ``PartialBadColumn column width first last``, ``PartialBadRow row height first last``, ``UsableArea top left bottom
  right``. It counts rows from the top, and applies to the frames as they were saved (IMOD's `CorDefParseDefects`,
  `CorDefFlipDefectsInY`). Frames of twice its size are super-resolution frames: each of its pixels is 2 × 2 of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, ImageError
from lamella.formats.dm4 import is_dm
from lamella.formats.gain import read_image_reference

__all__ = ["read_defects"]

Mask = NDArray[np.bool_]
Rectangle = tuple[int, int, int, int]  # x, y, width, height

_LARGEST_TEXT = 2**24
_MOST_BAD = 0.5
_FACTS = {"CameraSizeX", "CameraSizeY", "RotationAndFlip", "WasScaled", "K2Type", "FalconType", "NumToAvgSuperRes"}
_WORDS = {"BadColumns", "BadRows", "BadPixels", "PartialBadColumn", "PartialBadRow", "UsableArea", *_FACTS}


def read_defects(path: Path | str, shape_px: tuple[int, int]) -> Mask:
    """The bad pixels that a file names: ``(h, w)`` bool, MRC's row order.

    Parameters
    ----------
    path
        the file; what it is, its content says.
    shape_px
        (height, width) of the frames as they are stored.

    Raises
    ------
    FormatError
        if the file cannot be read, or a line is none of its format's.
    ImageError
        if the image's or the camera's size is not the frames', a defect lies outside them, or more than half of the
        pixels would be bad.
    """
    path = Path(path)
    text = _text(path)
    if text is None:
        mask = _of_image(path, shape_px)
    elif any(line.split()[0] in _WORDS for line in _lines(text)):
        mask = _of_serialem(path, text, shape_px)
    else:
        mask = _of_rectangles(path, text, shape_px)
    if mask.mean() > _MOST_BAD:
        raise ImageError(f"{path}: {mask.mean():.0%} of the pixels are defects", mend="defects are marked by non-zero")
    return mask


def _text(path: Path) -> str | None:
    """The content, if it is text; None for an image."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(4096)
            if b"\0" in start or is_dm(path):
                return None
            if size > _LARGEST_TEXT:
                raise FormatError(f"{path}: {size} bytes, too large for a list of defects", mend="check the file")
            return (start + file.read()).decode("utf-8-sig", "replace")
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error


def _lines(text: str) -> list[str]:
    """Lines without comments and empty ones."""
    return [bare for line in text.splitlines() if (bare := line.partition("#")[0].strip())]


def _of_image(path: Path, shape_px: tuple[int, int]) -> Mask:
    image = read_image_reference(path)
    if image.shape != shape_px:
        raise ImageError(
            f"{path}: defects on {image.shape[1]} × {image.shape[0]} pixels for frames of {_size(shape_px)}",
            mend="take the defect map that belongs to these frames",
        )
    mask: Mask = image != 0
    return mask


def _of_rectangles(path: Path, text: str, shape_px: tuple[int, int]) -> Mask:
    rectangles = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.partition("#")[0].strip()
        if not bare:
            continue
        values = _whole_numbers(re.split(r"[,\s]+", bare))
        if values is None or len(values) != 4 or min(values[2:]) < 1:
            raise FormatError(
                f"{path}: line {number}: '{bare[:60]}' is not x y width height", mend="write four whole numbers"
            )
        rectangles.append((values[0], values[1], values[2], values[3]))
    return _filled(path, rectangles, shape_px)


def _of_serialem(path: Path, text: str, shape_px: tuple[int, int]) -> Mask:
    entries: list[tuple[str, list[int]]] = []
    for line in _lines(text):
        word, *rest = line.split()
        values = _whole_numbers(rest)
        if word not in _WORDS or not values:
            raise FormatError(f"{path}: '{line[:60]}' is no line of SerialEM's list", mend="correct the list")
        entries.append((word, values))
    facts = {word: values[0] for word, values in entries if word in _FACTS}
    camera = (facts.get("CameraSizeY", 0), facts.get("CameraSizeX", 0))
    if 0 in camera:
        raise FormatError(f"{path}: no CameraSizeX and CameraSizeY", mend="take the list as SerialEM wrote it")
    scale = _scale(path, camera, shape_px)
    height, width = shape_px
    # super-resolution lists state a pixel by the corner of the block that it covers
    block = {0: 1, 1: 2}.get(max(facts.get("WasScaled", 0), 0), 4)
    rectangles = [
        (scale * x, scale * y, scale * w, scale * h)
        for word, values in entries
        if word not in _FACTS
        for x, y, w, h in _rectangles_of(path, word, values, (height // scale, width // scale), block)
    ]
    return _filled(path, rectangles, shape_px)[::-1].copy()


def _scale(path: Path, camera: tuple[int, int], shape_px: tuple[int, int]) -> int:
    """Pixels of the frames per pixel of the list; frames may stand across the camera."""
    for scale in (1, 2):
        if sorted(shape_px) == sorted(scale * side for side in camera):
            return scale
    raise ImageError(
        f"{path}: defects of a camera of {_size(camera)} pixels for frames of {_size(shape_px)}",
        mend="take the list that belongs to these frames",
    )


def _rectangles_of(
    path: Path, word: str, values: Sequence[int], shape: tuple[int, int], block: int
) -> Iterable[Rectangle]:
    """What one line of SerialEM's list marks, rows from the top."""
    height, width = shape
    if word == "BadColumns":
        return [(column, 0, 1, height) for column in values]
    if word == "BadRows":
        return [(0, row, width, 1) for row in values]
    if word == "BadPixels" and len(values) % 2 == 0:
        return [(x, y, block, block) for x, y in zip(values[::2], values[1::2], strict=True)]
    if len(values) != 4:
        raise FormatError(f"{path}: {word} with {len(values)} numbers", mend="correct the list")
    first, second, third, fourth = values
    if word == "PartialBadColumn":
        return [(first, third, second, fourth + 1 - third)]
    if word == "PartialBadRow":
        return [(third, first, fourth + 1 - third, second)]
    top, left, bottom, right = values  # UsableArea: 0 leaves a side open
    outside = [(0, 0, width, top), (0, 0, left, height)]
    outside += [(0, bottom + 1, width, height - bottom - 1)] if bottom else []
    outside += [(right + 1, 0, width - right - 1, height)] if right else []
    return [(x, y, w, h) for x, y, w, h in outside if w > 0 and h > 0]


def _filled(path: Path, rectangles: Iterable[Rectangle], shape_px: tuple[int, int]) -> Mask:
    height, width = shape_px
    mask = np.zeros(shape_px, np.bool_)
    for x, y, w, h in rectangles:
        if w < 1 or h < 1 or x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise ImageError(
                f"{path}: a defect of {w} × {h} pixels at x {x}, y {y} lies outside frames of {_size(shape_px)}",
                mend="take the list that belongs to these frames",
            )
        mask[max(y, 0) : y + h, max(x, 0) : x + w] = True
    return mask


def _whole_numbers(words: Sequence[str]) -> list[int] | None:
    try:
        values = [int(word) for word in words]
    except ValueError:
        return None
    return values if all(abs(value) < 2**31 for value in values) else None


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} × {shape[0]}"
