"""Which frames of a movie are used, the motion of a movie that does not move, and how far one moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lamella.errors import ImageError
from lamella.movies.motion_settings import MotionSettings
from lamella.records import FrameSource, MovieMotion

if TYPE_CHECKING:
    from lamella.movies.detector import Detector

__all__ = ["EARLY_DOSE", "PathLength", "frame_range", "is_blank", "path_length", "still_motion"]

EARLY_DOSE = 4.0
"""e/Å²: motion of the specimen's first 4 e/Å² is early, as in RELION's `rlnAccumMotionEarly`."""


def frame_range(count: int, settings: MotionSettings) -> range:
    """The frames of a movie of `count` that are used, counted from 0.

    Raises
    ------
    ImageError
        if there is none.
    """
    last = min(settings.last_frame or count, count)
    if settings.first_frame > last:
        raise ImageError(
            f"{count} frames, of which none from {settings.first_frame} on",
            mend="set motion.first_frame lower",
        )
    return range(settings.first_frame - 1, last)


def still_motion(count: int, shape_px: tuple[int, int], pixel_size_ang: float, settings: MotionSettings) -> MovieMotion:
    """The motion of a movie of `count` frames that is taken to stand still."""
    used = frame_range(count, settings)
    return MovieMotion(
        shape_px=shape_px,
        pixel_size_ang=pixel_size_ang,
        global_px=np.zeros((len(used), 2)),
        first_frame=used.start + 1,
    )


def is_blank(movie: FrameSource, detector: Detector, settings: MotionSettings) -> bool:
    """Whether no frame that is used shows anything: all pixels of each are alike once it is corrected."""
    used = frame_range(len(movie), settings)
    return all(float(np.ptp(detector.correct(movie.frame(index)))) == 0 for index in used)


@dataclass(frozen=True)
class PathLength:
    """How far the whole field moved, along its way, Å; `early` and `late` None where no dose is known."""

    total: float
    early: float | None
    late: float | None


def path_length(motion: MovieMotion) -> PathLength:
    """Length of the way of the whole field; early is what lies within the specimen's first 4 e/Å².

    RELION's rule: a step belongs to the frame that it leads to, which is early if its number in the movie is at most
    (4 − pre-exposure) / dose per frame.
    """
    steps = np.hypot(*np.diff(motion.global_px, axis=0).T) * motion.pixel_size_ang
    total = float(steps.sum())
    if not motion.dose_per_frame or motion.pre_exposure is None:
        return PathLength(total, None, None)
    numbers = motion.first_frame + 1 + np.arange(len(steps))
    early = float(steps[numbers <= (EARLY_DOSE - motion.pre_exposure) / motion.dose_per_frame].sum())
    return PathLength(total, early, total - early)
