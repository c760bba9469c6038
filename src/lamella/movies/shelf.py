"""Working spectra of a whole series, put aside on disk between two looks at them.

A series' spectra would fill the memory that its frames were to be kept out of, and making them again would read every
movie twice. As 16-bit floats in a file without a name they cost a few MB for each frame, and are gone when it closes.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
import torch

from lamella.errors import OutputError
from lamella.movies.spectra import FrameSpectra, working_shape

__all__ = ["Shelf", "bytes_on_shelf"]

_LARGEST = 6e4  # of a float16
_BYTES = 2


def bytes_on_shelf(shape_px: tuple[int, int], frames: float, pixel_size_ang: float) -> float:
    """What the spectra of one movie take, at most; groups of frames take less."""
    height, width = working_shape(shape_px, pixel_size_ang)
    return frames * height * (width // 2 + 1) * 2 * _BYTES


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a movie's spectra lie: offset in the file, what they were divided by, and all but the numbers."""

    offset: int
    scale: float
    bare: FrameSpectra


@dataclass(eq=False)
class Shelf:
    """A nameless file of spectra; use it in a ``with`` block.

    Attributes
    ----------
    folder
        where the file lies; None: the system's folder for temporary files.

    Raises
    ------
    OutputError
        if no file can be made there.
    """

    folder: Path | None = None
    _places: dict[int, _Place] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _file: IO[bytes] | None = None
    _end: int = 0

    def __enter__(self) -> Shelf:
        try:
            self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)
        except OSError as error:
            raise self._refused(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, number: int, spectra: FrameSpectra) -> None:
        """Keep the spectra of movie `number`.

        Raises
        ------
        OutputError
            if the disk is full.
        """
        frames = [torch.view_as_real(terms) for terms in spectra.terms]
        scale = float(sum(float(parts.abs().mean()) for parts in frames)) / len(frames) or 1.0
        size = frames[0].numel() * _BYTES
        with self._lock:
            offset, self._end = self._end, self._end + size * len(frames)
        for number_of_frame, parts in enumerate(frames):
            stored = (parts / scale).clamp_(-_LARGEST, _LARGEST).half().cpu().numpy()
            self._write(memoryview(stored.reshape(-1).view(np.uint8).data), offset + number_of_frame * size)
        self._places[number] = _Place(
            offset, scale, replace(spectra, terms=spectra.terms.new_empty((len(spectra), 0, 0)))
        )

    def get(self, number: int) -> FrameSpectra:
        """The spectra of movie `number` again."""
        place = self._places[number]
        height, width = place.bare.shape
        terms = place.bare.terms.new_empty((len(place.bare.terms), height, width // 2 + 1))
        stored = np.empty((height, width // 2 + 1, 2), dtype=np.float16)
        assert self._file is not None
        for index, frame in enumerate(terms):
            buffer, offset = memoryview(stored.reshape(-1).view(np.uint8).data), place.offset + index * stored.nbytes
            while len(buffer):
                count = os.preadv(self._file.fileno(), [buffer], offset)
                buffer, offset = buffer[count:], offset + count
            torch.view_as_real(frame).copy_(torch.from_numpy(stored)).mul_(place.scale)
        return replace(place.bare, terms=terms)

    def _write(self, buffer: memoryview, offset: int) -> None:
        assert self._file is not None
        try:
            while len(buffer):
                count = os.pwrite(self._file.fileno(), buffer, offset)
                buffer, offset = buffer[count:], offset + count
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> OutputError:
        return OutputError(
            f"spectra cannot be put aside in {self.folder or tempfile.gettempdir()}: {error.strerror}",
            mend="make room on that disk, and see that the folder can be written to",
        )
