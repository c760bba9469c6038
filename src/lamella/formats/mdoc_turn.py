"""Whether the frame files of a tilt series still want a turn: what their titles and the mdoc say together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lamella.errors import FormatError
from lamella.formats.frame_turn import TurnTitle, read_turn_title, turn_in_words, turn_to_do
from lamella.formats.mdoc_values import MdocView
from lamella.records import Note

__all__ = ["settle_turn"]

_UNTITLED = (".eer",)


def settle_turn(where: str, views: Sequence[MdocView], files: Sequence[Path]) -> tuple[int, tuple[Note, ...]]:
    """The turn that the frames of a series still want, and what is to be told of it.

    Parameters
    ----------
    where
        the series, for messages.
    views, files
        the views that are kept, and the frame file of each.

    Raises
    ------
    FormatError
        if two files of the series want different turns.
    """
    titles = [None if path.suffix.lower() in _UNTITLED else read_turn_title(path) for path in files]
    turns = [turn_to_do(title, view.rotation_and_flip) for title, view in zip(titles, views, strict=True)]
    for view, path, turn in zip(views, files, turns, strict=True):
        if turn != turns[0]:
            raise FormatError(
                f"{view.where}: the title of {path.name} and its RotationAndFlip ask for another turn than those of "
                f"{files[0].name}",
                mend="take the section out, or give the frames of one session",
            )
    return turns[0] or 0, _notes(where, turns[0], titles[0], views[0].rotation_and_flip)


def _notes(where: str, turn: int | None, title: TurnTitle | None, stated: int | None) -> tuple[Note, ...]:
    if turn is None:
        text = (
            f"RotationAndFlip {stated}: the camera's frames want a turn, and no title of the frame files says whether "
            "it was done; they are read as they are stored. If they were saved unturned, images and tomograms come out "
            + ("mirrored" if (stated or 0) & 4 else "turned")
        )
        return (Note(kind="warning", where=where, text=text),)
    notes = []
    if turn:
        text = f"the frames were saved as the camera gave them: motion will {turn_in_words(turn)}"
        notes.append(Note(kind="info", where=where, text=text))
    if title is not None and title.done:
        text = (
            f"the frames were turned before they were saved (r/f {title.done}): a gain reference as the camera wrote "
            f"it wants the same ({turn_in_words(title.done)}), which motion finds out unless it is told"
        )
        notes.append(Note(kind="info", where=where, text=text))
    return tuple(notes)
