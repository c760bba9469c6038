"""What the camera does to a frame, undone: dark current, gain, bad pixels, and the way it was turned when saved."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.formats.frame_turn import turn_image, turn_shape
from lamella.kernels.frames import correct_rows, in_bands, replace_pixels

__all__ = ["Detector"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

_NONE = np.empty((0, 0), np.float32)
_MOST_BAD = 0.5
_SAMPLE = 37  # every such pixel of a frame decides its random numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class Detector:
    """One camera, as its frames need it. All its images stand as the frames are stored, before they are turned.

    Attributes
    ----------
    shape_px
        (height, width) of a stored frame.
    gain
        ``(h, w)`` factor that a pixel is multiplied with, float32; None: 1.
    dark
        ``(h, w)`` what is subtracted first; None: 0.
    bad
        ``(h, w)`` bool, True where a pixel is to be replaced; None: nowhere.
    turn
        how a frame is turned into the image, see `lamella.formats.frame_turn`.
    notes
        what was found, assumed or is doubtful; sentences.
    """

    shape_px: tuple[int, int]
    gain: Image | None = None
    dark: Image | None = None
    bad: Mask | None = None
    turn: int = 0
    notes: tuple[str, ...] = ()
    _places: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("gain", "dark", "bad"):
            image = getattr(self, name)
            if image is not None and image.shape != self.shape_px:
                raise ImageError(
                    f"the {name} of {_size(image.shape)} pixels for frames of {_size(self.shape_px)}",
                    mend="take the reference that belongs to this camera and mode",
                )
        for name in ("gain", "dark"):
            image = getattr(self, name)
            if image is not None:
                object.__setattr__(self, name, np.ascontiguousarray(image, dtype=np.float32))
        places = np.empty(0, np.int64) if self.bad is None else np.flatnonzero(self.bad)
        if len(places) > _MOST_BAD * self.shape_px[0] * self.shape_px[1]:
            raise ImageError(
                f"{len(places)} of {self.shape_px[0] * self.shape_px[1]} pixels are marked bad",
                mend="look at the defect map: is it the right file, and not inverted?",
            )
        object.__setattr__(self, "_places", places)

    @property
    def image_shape_px(self) -> tuple[int, int]:
        """(height, width) of a corrected, turned frame."""
        return turn_shape(self.shape_px, self.turn)

    @property
    def bad_pixels_px(self) -> NDArray[np.int64]:
        """``(n, 2)`` (x, y) of the replaced pixels in the turned image."""
        if self.bad is None:
            return np.empty((0, 2), np.int64)
        y, x = np.nonzero(turn_image(self.bad, self.turn))
        return np.stack([x, y], axis=1).astype(np.int64)

    def correct(self, frame: NDArray[Any], *, threads: int = 1) -> Image:
        """Correct one frame.

        Parameters
        ----------
        frame
            `shape_px`, counts of any type.
        threads
            to work with.

        Returns
        -------
        image
            ``image_shape_px`` float32: (frame − dark) · gain, bad pixels replaced, turned to the image's hand.

        Raises
        ------
        ImageError
            if the frame has another size, or holds NaN or infinity.

        Notes
        -----
        A bad pixel takes the value of a good pixel near it, drawn anew in every frame. Its noise then is a pixel's
        noise, and has nothing in common with the same place of another frame, whereas a mean of the neighbours
        would be smoother than its surroundings, always at one place: a pattern that stands still while the specimen
        moves. The draw is decided by the frame's own counts, so that the same frame always gives the same image.
        """
        if frame.shape != self.shape_px:
            raise ImageError(
                f"a frame of {_size(frame.shape)} pixels where {_size(self.shape_px)} are expected",
                mend="check the frame file",
            )
        frame = frame if frame.dtype.isnative else frame.astype(frame.dtype.newbyteorder("="))
        frame = np.ascontiguousarray(frame)
        dark = _NONE if self.dark is None else self.dark
        gain = _NONE if self.gain is None else self.gain
        out = np.empty(self.shape_px, np.float32)
        wrong = [0]

        def some_rows(first: int, last: int) -> None:
            found = correct_rows(frame, dark, gain, out, first, last)
            if found:
                wrong.append(found)

        in_bands(some_rows, self.shape_px[0], threads)
        if sum(wrong):
            raise ImageError(
                f"{sum(wrong)} pixels of a frame are NaN or infinite", mend="repair the frame file, or leave it out"
            )
        if len(self._places):
            assert self.bad is not None
            replace_pixels(out, self.bad, self._places, frame_seed(frame))
        return np.ascontiguousarray(turn_image(out, self.turn)) if self.turn else out


def frame_seed(frame: NDArray[Any]) -> int:
    """A number that the counts of a frame decide, another one for every frame."""
    return zlib.crc32(np.ascontiguousarray(frame.reshape(-1)[::_SAMPLE]).tobytes())


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(str(side) for side in reversed(shape))
