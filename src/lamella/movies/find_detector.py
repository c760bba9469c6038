"""The camera of a series: its references, placed and judged by the data, and the defects that the data show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.movies.defects import find_defects, survey
from lamella.movies.detector import Detector
from lamella.movies.gain_orientation import GainFit, find_position, place_gain
from lamella.movies.motion_settings import MotionSettings
from lamella.progress import Progress, no_progress
from lamella.records import FrameSource
from lamella.runtime import give_memory_back

__all__ = ["FoundDetector", "References", "find_detector"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """What is known of a camera beforehand.

    Attributes
    ----------
    factor, dead
        the gain as a factor ``(h, w)`` and the pixels that it marks as dead, in the orientation of its file; or None.
    dark
        ``(h, w)`` as the frames lie, or as the gain's file does; or None.
    defects
        ``(h, w)`` True where a file says that a pixel is bad, as the frames lie; or None.
    gain_name
        for messages.
    """

    factor: Image | None = None
    dead: Mask | None = None
    dark: Image | None = None
    defects: Mask | None = None
    gain_name: str = "the gain reference"


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundDetector:
    """A camera as it was found.

    Attributes
    ----------
    detector
        to correct frames with; its notes tell what was found.
    gain
        how the gain reference lies on the frames; None without one.
    hot, dead, columns, rows
        single pixels and lines that were found in the data.
    bad
        pixels that are replaced, whoever named them.
    """

    detector: Detector
    gain: GainFit | None
    hot: int
    dead: int
    columns: int
    rows: int
    bad: int


def find_detector(
    movies: Sequence[FrameSource],
    references: References,
    settings: MotionSettings,
    *,
    turn: int = 0,
    progress: Progress = no_progress,
) -> FoundDetector:
    """Put together what corrects the frames of some movies of one camera.

    Parameters
    ----------
    movies
        of one size; some of them are read where a gain is to be placed or defects are to be found.
    references
        what is known beforehand.
    settings
        position of the gain (stated, or ``auto``), and whether to look for defects.
    turn
        of the frames, see `Detector`.

    Raises
    ------
    ImageError
        if a reference does not fit the frames' size.
    """
    shape = (movies[0].shape[1], movies[0].shape[2])
    wants_counts = settings.find_defects or references.factor is not None
    counts = survey(movies, progress=progress) if wants_counts else None
    notes: list[str] = []
    fit, factor, bad = None, None, np.zeros(shape, bool)
    dark = references.dark
    if references.factor is not None:
        assert counts is not None
        total = counts.total if dark is None or dark.shape != shape else counts.total - counts.frames * dark
        fit = find_position(
            total,
            references.factor,
            rotation=settings.gain_rotation,
            flip=settings.gain_flip,
            name=references.gain_name,
        )
        notes += fit.notes
        factor = place_gain(references.factor, fit.position)
        if references.dead is not None:
            bad |= fit.position.place(references.dead)
        if dark is not None and dark.shape == references.factor.shape and fit.position.code != (0, False):
            dark = place_gain(dark, fit.position)
            notes.append("the dark reference was turned as the gain reference was")
    if dark is not None and dark.shape != shape:
        raise ImageError(
            f"a dark reference of {dark.shape[1]} × {dark.shape[0]} pixels for frames of {shape[1]} × {shape[0]}",
            mend="take the one that belongs to this camera and mode",
        )
    if references.defects is not None:
        bad |= references.defects
    if bad.any():
        marked = int(bad.sum())
        notes.append(f"marked bad by the files given, and replaced: {marked} pixel{'' if marked == 1 else 's'}")
    found = None
    if settings.find_defects:
        assert counts is not None
        lit = counts if dark is None else replace(counts, total=np.maximum(counts.total - counts.frames * dark, 0))
        found = find_defects(lit, factor, bad)
        bad |= found.mask
        notes += [found.note] if found.note else []
    del counts
    give_memory_back()
    detector = Detector(
        shape_px=shape, gain=factor, dark=dark, bad=bad if bad.any() else None, turn=turn, notes=tuple(notes)
    )
    return FoundDetector(
        detector=detector,
        gain=fit,
        hot=found.hot if found else 0,
        dead=found.dead if found else 0,
        columns=len(found.columns) if found else 0,
        rows=len(found.rows) if found else 0,
        bad=int(bad.sum()),
    )
