"""Electron Event Representation (EER): movies of a Falcon camera as the list of the electrons that it counted.

A BigTIFF whose pages are the raw frames, some hundred to some thousand of them, each a stream of codes (`eer_codec`).
Raw frames are summed into fractions as they are decoded. Rows stay in the file's order, as in RELION.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, ImageError, InputError
from lamella.formats.eer_metadata import EerMetadata, read_metadata
from lamella.formats.tiff_directories import COMPRESSION, Directory, first_compressions, read_directories, read_exactly
from lamella.records import Note

if TYPE_CHECKING:
    from lamella.formats.eer_codec import EventCode

__all__ = ["EerMovie", "events_of", "holds_events", "open_eer"]

EIGHT_BITS, SEVEN_BITS, STATED_BITS = 65000, 65001, 65002
_COMPRESSIONS = (EIGHT_BITS, SEVEN_BITS, STATED_BITS)
_WIDTH, _HEIGHT, _METADATA = 256, 257, 65001
_RUN_BITS, _X_BITS, _Y_BITS = 65007, 65008, 65009
_BATCH_BYTES = 1 << 26  # of streams held at once
_LARGEST_SIDE = 1 << 15
_UPSAMPLINGS = (1, 2)


def holds_events(path: Path | str) -> bool:
    """Whether a TIFF file holds EER frames; those that begin with a picture of their sum too."""
    return any(compression in _COMPRESSIONS for compression in first_compressions(Path(path), 2))


def open_eer(path: Path | str, *, frames: int = 1, upsampling: int = 1) -> EerMovie:
    """Open an EER file; only its directories and its metadata are read.

    Parameters
    ----------
    path
        the file.
    frames
        raw frames per fraction. n raw frames make round(n / frames) fractions, at least one, as equal as possible: none
        is lost.
    upsampling
        1 for the detector's own pixels, 2 for halves of them.

    Raises
    ------
    InputError
        if `frames` is less than 1, or `upsampling` neither 1 nor 2.
    FormatError
        if it is no EER file (a plain TIFF of that name too), ends early, or its frames differ in size or code.
    """
    return EerMovie(Path(path), frames, upsampling)


def events_of(path: Path | str, raw_frame: int) -> NDArray[np.int64]:
    """The events of one raw frame (counted from 0), in raster order of their pixels.

    Returns
    -------
    events
        ``(n,)`` index on the grid of quarter pixels, ``y · 4 width + x`` with x and y in quarter pixels.

    Raises
    ------
    FormatError
        as `open_eer`, or if the frame is damaged.
    """
    from lamella.formats.eer_codec import decode_events  # late: it compiles

    with open_eer(path) as movie:
        events = decode_events(movie.stream(raw_frame), movie.code, movie.sensor_shape)
        if events is None:
            raise movie.damaged(raw_frame)
        return events


@dataclass(frozen=True, eq=False)
class _Frames:
    """Where the raw frames lie: strips of each, their size, and the compression that all have."""

    strips: tuple[tuple[tuple[int, int], ...], ...]
    shape: tuple[int, int]
    compression: int
    bits: tuple[int, int, int]
    notes: tuple[Note, ...]


class EerMovie:
    """The fractions of an EER file: a `FrameSource`. Several threads may ask for fractions at once."""

    kind: Literal["eer"] = "eer"

    def __init__(self, path: Path, frames: int = 1, upsampling: int = 1) -> None:
        if frames < 1:
            raise InputError(f"{path}: {frames} EER frames per fraction", mend="give 1 or more")
        if upsampling not in _UPSAMPLINGS:
            raise InputError(f"{path}: EER frames upsampled {upsampling} times", mend="choose 1 or 2")
        self.path = path
        self._frames_per_fraction = frames
        self._upsampling = upsampling
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
        self._close = weakref.finalize(self, os.close, self._descriptor)
        try:
            directories = read_directories(path, self._descriptor)
            self._raw = _find_frames(path, directories)
            self.metadata: EerMetadata = read_metadata(path, _metadata_bytes(directories))
        except BaseException:
            self.close()
            raise
        self._edges = _fractions(self.raw_frames, frames)

    def __enter__(self) -> EerMovie:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "frames": self._frames_per_fraction, "upsampling": self._upsampling}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def close(self) -> None:
        """Close the file."""
        self._close()

    @property
    def sensor_shape(self) -> tuple[int, int]:
        """(height, width) of the detector, px."""
        return self._raw.shape

    @property
    def shape(self) -> tuple[int, int, int]:
        """(fractions, height, width) of what `frame` returns."""
        height, width = self._raw.shape
        return len(self), height * self._upsampling, width * self._upsampling

    @property
    def raw_frames(self) -> int:
        """Frames in the file."""
        return len(self._raw.strips)

    @property
    def raw_per_frame(self) -> tuple[int, ...]:
        """How many raw frames each fraction sums: its share of the dose."""
        return tuple(stop - start for start, stop in zip(self._edges, self._edges[1:], strict=False))

    @property
    def pixel_size_ang(self) -> float | None:
        """What the file says of the pixels that `frame` returns, Å, or None."""
        size = self.metadata.pixel_size_ang
        return None if size is None else size / self._upsampling

    @property
    def gain(self) -> str | None:
        """Name of the gain reference, where the file states one."""
        return self.metadata.gain

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was left out or assumed in reading the file."""
        said = self.metadata.frames
        notes = self._raw.notes + self.metadata.notes
        if said is None or said == self.raw_frames:
            return notes
        text = f"its metadata state {said} raw frames, it holds {self.raw_frames}; those are read"
        return (*notes, Note(kind="warning", where=str(self.path), text=text))

    def __len__(self) -> int:
        return len(self._edges) - 1

    def frame(self, index: int) -> NDArray[Any]:
        """Events counted in fraction `index` ``(height, width)``, uint8 where none can hold more than 255, else uint16.

        Raises
        ------
        ImageError
            if there is no such fraction.
        FormatError
            if a raw frame of it is damaged.
        """
        from lamella.formats.eer_codec import count_events  # late: it compiles

        if not 0 <= index < len(self):
            raise ImageError(f"{self.path}: fraction {index + 1} of {len(self)}", mend="ask for one that is there")
        out = np.zeros(self.shape[1:], np.uint8 if max(self.raw_per_frame) <= 255 else np.uint16)
        for first, streams in self._batches(self._edges[index], self._edges[index + 1]):
            sound = count_events(streams, self.code, self._raw.shape, self._upsampling, out)
            if not sound.all():
                raise self.damaged(first + int(np.argmin(sound)))
        return out

    @cached_property
    def code(self) -> EventCode:
        """How the events are coded; of the two ways of 8-bit files, the one that the first frame can be read in."""
        from lamella.formats.eer_codec import EventCode, decode_events

        code = EventCode(*self._raw.bits)
        if self._raw.compression != EIGHT_BITS or decode_events(self.stream(0), code, self._raw.shape) is not None:
            return code
        wasteful = EventCode(*self._raw.bits, wasteful=True)
        return code if decode_events(self.stream(0), wasteful, self._raw.shape) is None else wasteful

    def stream(self, raw_frame: int) -> bytes:
        """The codes of one raw frame, as they lie in the file."""
        if not 0 <= raw_frame < self.raw_frames:
            raise ImageError(f"{self.path}: raw frame {raw_frame + 1} of {self.raw_frames}", mend="ask for another")
        if not self._close.alive:
            raise ValueError(f"{self.path} is read after it was closed")
        try:
            return b"".join(read_exactly(self._descriptor, *strip) for strip in self._raw.strips[raw_frame])
        except (EOFError, OSError) as error:
            raise FormatError(
                f"{self.path}: raw frame {raw_frame + 1} of {self.raw_frames} cannot be read ({error})",
                mend="copy the file again",
            ) from error

    def damaged(self, raw_frame: int) -> FormatError:
        """The error for a stream that does not end with its frame."""
        return FormatError(
            f"{self.path}: raw frame {raw_frame + 1} of {self.raw_frames} is damaged: its events do not end with it",
            mend="copy the file again, or leave the movie out",
        )

    def _batches(self, start: int, stop: int) -> Iterator[tuple[int, list[bytes]]]:
        """The streams of raw frames from `start` to `stop`, some at a time, with the number of the first."""
        first, held, streams = start, 0, list[bytes]()
        for raw_frame in range(start, stop):
            streams.append(self.stream(raw_frame))
            held += len(streams[-1])
            if held >= _BATCH_BYTES:
                yield first, streams
                first, held, streams = raw_frame + 1, 0, []
        if streams:
            yield first, streams


def _fractions(raw_frames: int, per_fraction: int) -> tuple[int, ...]:
    """The first raw frame of each fraction, and the number of raw frames."""
    count = max(1, round(raw_frames / per_fraction))
    return tuple(raw_frames * place // count for place in range(count + 1))


def _find_frames(path: Path, directories: Sequence[Directory]) -> _Frames:
    """The pages that hold events; pictures of the sum, which some programs put first or last, are left out aloud."""
    compressions = [page.number(COMPRESSION, 1) for page in directories]
    pages = [page for page, code in zip(directories, compressions, strict=True) if code in _COMPRESSIONS]
    if not pages:
        raise FormatError(
            f"{path}: a plain TIFF file that is named .eer: it holds pictures, no events",
            mend="give it a name that ends in .tif, or find the EER file that it was made from",
        )
    notes = []
    if len(pages) < len(directories):
        text = f"{len(directories) - len(pages)} of {len(directories)} pages hold a picture, no events; left out"
        notes.append(Note(kind="dropped", where=str(path), text=text))
    layouts = {_layout(page): page.page + 1 for page in reversed(pages)}
    if len(layouts) > 1:
        raise FormatError(
            f"{path}: pages {' and '.join(str(page) for page in sorted(layouts.values())[:2])} differ in size or code",
            mend="take the file apart, or copy it again",
        )
    shape, compression, bits = next(iter(layouts))
    if not all(0 < side <= _LARGEST_SIDE for side in shape):
        raise FormatError(f"{path}: EER frames of {shape[1]} × {shape[0]} pixels", mend="copy the file again")
    if not (4 <= bits[0] <= 16 and 0 <= bits[1] <= 2 and 0 <= bits[2] <= 2):
        raise FormatError(
            f"{path}: an EER code of {bits[0]} + {bits[1]} + {bits[2]} bits, which lamella does not know",
            mend="write the file again with 7 + 2 + 2 bits",
        )
    strips = tuple(tuple(zip(*(part.tolist() for part in page.segments()), strict=True)) for page in pages)
    return _Frames(strips, shape, compression, bits, tuple(notes))


def _layout(page: Directory) -> tuple[tuple[int, int], int, tuple[int, int, int]]:
    """(height, width), compression, and bits of run, x and y."""
    compression = page.number(COMPRESSION, 1)
    bits = (8 if compression == EIGHT_BITS else 7, 2, 2)
    if compression == STATED_BITS:
        bits = (page.number(_RUN_BITS, 7), page.number(_X_BITS, 2), page.number(_Y_BITS, 2))
    return (page.number(_HEIGHT, 0), page.number(_WIDTH, 0)), compression, bits


def _metadata_bytes(directories: Sequence[Directory]) -> bytes:
    """What tag 65001 of the first page that has one holds; a picture of the sum may come before the frames."""
    return next((page.raw(_METADATA) for page in directories[:2] if _METADATA in page.tags), b"")
