"""Which file of a folder belongs to a series: the one of its name, or the only one there is, which is said."""

from __future__ import annotations

from pathlib import Path

from lamella.errors import FormatError
from lamella.records import Note

__all__ = ["locate"]


def locate(path: Path, name: str, ending: str, folders: tuple[str, ...] = (".",)) -> tuple[Path, list[Note]]:
    """The file itself, or that of a series in a folder.

    Parameters
    ----------
    path
        a file, or a folder.
    name, ending
        of the file looked for: ``name + ending``.
    folders
        of the given one, in the order in which they are looked into.

    Raises
    ------
    FormatError
        if nothing is there, or the folder has several files of that kind and none of that name.
    """
    if path.is_file():
        return path, []
    if not path.is_dir():
        raise FormatError(f"{path}: not there", mend=f"name the {ending} file, or the folder that has it")
    for folder in folders:
        if (file := path / folder / f"{name}{ending}").is_file():
            return file, []
    others = sorted(path.glob(f"*{ending}"))
    if len(others) != 1:
        listed = ", ".join(other.name for other in others[:5]) or f"no {ending}"
        raise FormatError(f"{path}: no {name}{ending} (it has {listed})", mend=f"name the {ending} file itself")
    return others[0], [Note(kind="assumed", where=str(path), text=f"{others[0].name} was taken for {name}")]
