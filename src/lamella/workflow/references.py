"""References of the camera that a new project begins with: checked before anything is made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamella.checked_settings import validate
from lamella.errors import ImageError, InputError
from lamella.formats.defect_list import read_defects
from lamella.formats.frame_turn import turn_shape
from lamella.formats.gain import as_factor, read_gain, read_image_reference
from lamella.formats.overrides import Imported
from lamella.movies import MotionSettings
from lamella.records import Note, TiltSeries

__all__ = ["settle_references"]

_OPTIONS = ("gain", "gain_flip", "gain_rotation", "dark", "defects")
_EER = ".eer"
_ACROSS = ("90", "270")

Shape = tuple[int, int]


def settle_references(imported: Imported, given: Mapping[str, str | None]) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """Settings of `motion` that name the camera's references, and what is to be told of them.

    Parameters
    ----------
    imported
        the series; the references that their mdocs name stand in where the user gives none.
    given
        ``gain``, ``gain_flip``, ``gain_rotation``, ``dark`` and ``defects`` as the user gives them, or None.

    Returns
    -------
    settings, notes
        values for the table ``[motion]``, files with their absolute paths.

    Raises
    ------
    InputError
        if no series has movies, a file cannot be read, or its size does not fit the frames' (both are named).
    """
    settings: dict[str, Any] = {name: given[name] for name in _OPTIONS if given.get(name) is not None}
    movies = [series for series in imported.series if series.images is None]
    if settings and not movies:
        option = next(iter(settings)).replace("_", "-")
        raise InputError(f"--{option} is for movies, and these are tilt images", mend="leave it out")
    notes: list[Note] = []
    for name, reference in imported.references.items():
        if name not in settings:
            notes += reference.notes
            settings |= {} if reference.path is None else {name: str(reference.path)}
    for name in ("gain", "dark", "defects"):
        if settings.get(name):
            settings[name] = os.path.abspath(Path(settings[name]).expanduser())
    chosen = validate(MotionSettings, settings, "--")
    if chosen.gain:
        notes += _check_gain(Path(chosen.gain), movies, chosen.gain_rotation)
    else:
        text = "no gain reference: its frames are taken to be normalised, unless they are EER files that name their own"
        notes += [Note(kind="assumed", where=series.name, text=text) for series in movies]
    if chosen.dark:
        dark = read_image_reference(chosen.dark)
        _check_size(chosen.dark, "dark reference", dark.shape, movies, _either_way)
    if chosen.defects:
        for shape in dict.fromkeys(_stored_shape(series) for series in movies):
            read_defects(chosen.defects, shape)
    return settings, tuple(notes)


def _check_gain(path: Path, movies: Sequence[TiltSeries], rotation: str) -> tuple[Note, ...]:
    eer = any(_is_eer(series) for series in movies)
    reference = read_gain(path, eer=eer)
    as_factor(reference)

    def fits(gain: Shape, frames: Shape) -> bool:
        ways = {"auto": (gain, gain[::-1])}.get(rotation, (gain[::-1] if rotation in _ACROSS else gain,))
        return frames in ways

    height, width = reference.values.shape
    _check_size(str(path), "gain reference", (height, width), movies, fits)
    return reference.notes


def _check_size(
    path: str, what: str, size: tuple[int, ...], movies: Sequence[TiltSeries], fits: Callable[[Shape, Shape], bool]
) -> None:
    """A reference has the frames' size; one of EER movies may be kept in pixels or in half pixels."""
    shape = (size[0], size[1])
    for series in movies:
        frames = _stored_shape(series)
        grids = [frames]
        if _is_eer(series):
            grids += [(2 * frames[0], 2 * frames[1]), (frames[0] // 2, frames[1] // 2)]
        if not any(fits(shape, grid) for grid in grids):
            raise ImageError(
                f"{path}: a {what} of {shape[1]} × {shape[0]} pixels for {series.name}'s frames of "
                f"{frames[1]} × {frames[0]}",
                mend="take the reference that belongs to these frames"
                + (", or another --gain-rotation" if sorted(shape) == sorted(frames) else ""),
            )


def _either_way(size: Shape, frames: Shape) -> bool:
    return sorted(size) == sorted(frames)


def _stored_shape(series: TiltSeries) -> Shape:
    """(height, width) of the frames as they lie in their files; a quarter turn is its own inverse here."""
    return turn_shape(series.image_shape_px, series.frame_turn)


def _is_eer(series: TiltSeries) -> bool:
    return bool(series.movies) and all(Path(movie).suffix.lower() == _EER for movie in series.movies or ())
