"""How frames stand to the microscope's image: the turn that SerialEM did to them, or left to do.

A turn is a number from 0 to 7, SerialEM's property RotationAndFlip: the last two bits are quarter turns
counter-clockwise, 4 mirrors left and right (about the y axis) before them. SerialEM writes it into the titles of frame
files: ``r/f N`` says that the frames were turned by N before they were saved, ``r/f 0`` that they are as the camera
gave them (its option "Save frames without rotation/flip"), and ``need N`` which turn they still want. An mdoc's
RotationAndFlip is the camera's property alone: it does not say whether the turn was done.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tifffile
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.mrc_header import read_header
from lamella.formats.tiff_directories import TIFF_STARTS

__all__ = [
    "TurnTitle",
    "inverse_turn",
    "parse_turn_title",
    "read_turn_title",
    "turn_image",
    "turn_in_words",
    "turn_shape",
    "turn_to_do",
]

Pixels = TypeVar("Pixels", bound=NDArray[Any])

_TITLE = re.compile(r"\br/f\s+([0-7])\b(?:\s+need\s+([0-7])\b)?")
_LONGEST_TITLE = 100_000


@dataclass(frozen=True)
class TurnTitle:
    """What a frame file's title says of its turn.

    Attributes
    ----------
    done
        the turn that the frames had before they were saved.
    needed
        the turn that they still want; None where the title does not say.
    """

    done: int
    needed: int | None = None


def turn_image(images: Pixels, turn: int) -> Pixels:
    """Images ``(..., h, w)`` turned: mirrored left to right if `turn` has 4 in it, then turned counter-clockwise.

    Counter-clockwise as the picture is seen, with row 0 at the bottom. The result is a view of the same pixels.
    """
    mirrored = images[..., ::-1] if turn & 4 else images
    return np.rot90(mirrored, -(turn & 3), axes=(-2, -1))  # type: ignore[return-value]


def inverse_turn(turn: int) -> int:
    """The turn that undoes another; a mirrored one is its own inverse."""
    return turn if turn & 4 else -turn % 4


def turn_shape(shape: tuple[int, int], turn: int) -> tuple[int, int]:
    """(height, width) of a turned image."""
    return (shape[1], shape[0]) if turn % 2 else shape


def turn_in_words(turn: int) -> str:
    """What a turn does: ``mirror them left to right, then turn them by 90° counter-clockwise``."""
    parts = ["mirror them left to right"] if turn & 4 else []
    parts += [f"turn them by {90 * (turn & 3)}° counter-clockwise"] if turn & 3 else []
    return ", then ".join(parts) or "leave them as they are"


def turn_to_do(title: TurnTitle | None, rotation_and_flip: int | None) -> int | None:
    """The turn that frames still want.

    Parameters
    ----------
    title
        of the frame file, or None where it has none.
    rotation_and_flip
        the mdoc's RotationAndFlip, or None.

    Returns
    -------
    turn
        0 … 7, or None where nobody can know: the camera wants a turn, and no title says whether it was done.
    """
    if title is None:
        return 0 if not rotation_and_flip else None
    if title.needed is not None:
        return title.needed
    return 0 if title.done else (rotation_and_flip or 0)


def read_turn_title(path: Path | str) -> TurnTitle | None:
    """What the titles of a frame file say of its turn: a TIFF file's ImageDescription, an MRC file's labels.

    None where they say nothing, as in EER files and in all that SerialEM did not write.

    Raises
    ------
    FormatError
        if the file cannot be read.
    """
    return parse_turn_title(_titles(Path(path)))


def parse_turn_title(titles: Iterable[str]) -> TurnTitle | None:
    """The last ``r/f N`` or ``r/f N need M`` of some titles, or None."""
    found = [match for title in titles for match in _TITLE.finditer(title[:_LONGEST_TITLE])]
    if not found:
        return None
    done, needed = found[-1].groups()
    return TurnTitle(int(done), None if needed is None else int(needed))


def _titles(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start not in TIFF_STARTS:
            return read_header(path).labels
        with tifffile.TiffFile(path) as tiff:
            return (str(tiff.pages.first.description),)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}", mend="check the name and the permissions") from error
    except (tifffile.TiffFileError, struct.error, ValueError, KeyError, IndexError, TypeError) as error:
        raise FormatError(f"{path}: its directories are damaged ({error})", mend="copy the file again") from error
