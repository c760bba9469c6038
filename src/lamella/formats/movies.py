"""One door to the frames of a movie, whatever file holds them: TIFF, MRC or EER.

Rows come in MRC's order from every format: a TIFF's are turned over, an EER file's are left as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.eer import holds_events, open_eer
from lamella.formats.mrc import MrcFile, open_mrc
from lamella.formats.tiff import TiffStack, open_tiff
from lamella.formats.tiff_directories import TIFF_STARTS

__all__ = ["MovieFile", "StackMovie", "open_movie"]

MovieKind = Literal["tiff", "mrc", "eer"]

_TIFF_NAMES = (".tif", ".tiff", ".eer")
_STAMP = slice(208, 211)  # where an MRC header says MAP


class MovieFile(Protocol):
    """The frames of one file: a `FrameSource` that also says what the file says of itself.

    Several threads may ask for frames at the same time, and an opened file may be sent to another process.
    """

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def kind(self) -> MovieKind:
        """The format."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, height, width) of what `frame` returns."""
        ...

    @property
    def raw_frames(self) -> int:
        """Frames in the file; of EER files far more than the fractions that `frame` returns."""
        ...

    @property
    def pixel_size_ang(self) -> float | None:
        """What the file says of the pixels that `frame` returns, Å, or None."""
        ...

    @property
    def gain(self) -> str | None:
        """Name of the gain reference, where the file states one."""
        ...

    def __len__(self) -> int: ...

    def frame(self, index: int) -> NDArray[Any]:
        """One frame `(height, width)` as it is stored (of EER: events counted), in MRC's row order; index from 0."""
        ...


@dataclass(frozen=True, eq=False)
class StackMovie:
    """A movie whose frames are the pages of a TIFF file or the sections of an MRC file."""

    stack: TiffStack | MrcFile

    @property
    def path(self) -> Path:
        """The file."""
        return self.stack.path

    @property
    def kind(self) -> MovieKind:
        """The format."""
        return "tiff" if isinstance(self.stack, TiffStack) else "mrc"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, height, width)."""
        return self.stack.shape

    @property
    def raw_frames(self) -> int:
        """Frames in the file."""
        return self.stack.shape[0]

    @property
    def pixel_size_ang(self) -> float | None:
        """What the file says, Å, or None."""
        return self.stack.pixel_size_ang

    @property
    def gain(self) -> str | None:
        """None: these formats name no gain reference."""
        return None

    def __len__(self) -> int:
        return self.stack.shape[0]

    def frame(self, index: int) -> NDArray[Any]:
        """One frame `(height, width)` in the type it is stored in, row 0 at the bottom."""
        return self.stack.frame(index)


def open_movie(path: Path | str, *, eer_frames: int = 1, eer_upsampling: int = 1) -> MovieFile:
    """Open a file of frames; what it is, its first bytes say. No pixel is read before a frame is asked for.

    Parameters
    ----------
    path
        a TIFF, MRC or EER file.
    eer_frames
        of EER files: raw frames that are summed into one frame, see `open_eer`.
    eer_upsampling
        of EER files: 1 for the detector's own pixels, 2 for halves of them.

    Raises
    ------
    InputError
        if `eer_frames` or `eer_upsampling` is out of range.
    FormatError
        if the file cannot be read as what it is, or ends early; if a plain TIFF is named ``.eer``.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(_STAMP.stop)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
    if not start:
        raise FormatError(f"{path}: the file is empty", mend="copy the file again")
    if start[:4] in TIFF_STARTS:
        if path.suffix.lower() == ".eer" or holds_events(path):
            return open_eer(path, frames=eer_frames, upsampling=eer_upsampling)
        return StackMovie(open_tiff(path))
    if path.suffix.lower() in _TIFF_NAMES and start[_STAMP] != b"MAP":
        raise FormatError(f"{path}: no TIFF file, as its name promises", mend="copy the file again")
    return StackMovie(open_mrc(path))
