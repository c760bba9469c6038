"""The gain reference and the list of defects that SerialEM's mdoc files name beside frames that are not normalised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamella.formats.mdoc_interpret import MdocSeries
from lamella.formats.mdoc_values import file_name
from lamella.records import Note

__all__ = ["NamedReference", "named_references"]

_KEYS = {"gain": "GainReference", "defects": "DefectFile"}
_WORDS = {"gain": "gain reference", "defects": "list of defects"}


@dataclass(frozen=True)
class NamedReference:
    """A reference that mdoc files name.

    Attributes
    ----------
    path
        the file, where it lies beside the frames or the mdoc; None where it does not, or where several are named.
    notes
        what is to be told if this is what settles the reference.
    """

    path: Path | None
    notes: tuple[Note, ...]


def named_references(series: Sequence[tuple[MdocSeries, Sequence[str]]]) -> Mapping[str, NamedReference]:
    """What some series' mdocs name: ``gain`` and ``defects``, where they name any.

    Parameters
    ----------
    series
        each series of movies with its frame files.
    """
    references = {}
    for what, key in _KEYS.items():
        named = {
            (name, folder): one.where
            for one, movies in series
            for name in _names(one, key)
            for folder in [_folders(one, movies)]
        }
        if named:
            references[what] = _settled(what, key, named)
    return references


def _names(series: MdocSeries, key: str) -> Iterable[str]:
    """Names of the files, without their folders, each once."""
    texts = [mdoc.header.get(key) for mdoc in series.mdocs] + [view.section.get(key) for view in series.views]
    return dict.fromkeys(name for text in texts if (name := file_name(text)))


def _folders(series: MdocSeries, movies: Sequence[str]) -> tuple[Path, ...]:
    places = [Path(movie).parent for movie in movies] + [mdoc.path.parent.resolve() for mdoc in series.mdocs]
    return tuple(dict.fromkeys(places))


def _settled(what: str, key: str, named: Mapping[tuple[str, tuple[Path, ...]], str]) -> NamedReference:
    where = next(iter(named.values()))
    found: list[Path] = []
    missing: list[str] = []
    for name, folders in named:
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        missing += [name] if path is None else []
        found += [] if path is None or path in found else [path]
    option = f"--{what}"
    if len(found) > 1:
        listed = ", ".join(str(path) for path in found[:3])
        text = (
            f"{key} names {len(found)} different files ({listed}): none was taken. A project has one {_WORDS[what]}: "
            f"make a project for each, or state one with {option}"
        )
        return NamedReference(None, (Note(kind="warning", where=where, text=text),))
    notes = []
    if missing:
        text = f"{key} {missing[0]} lies neither beside the frames nor beside the mdoc; {option} states where it is"
        notes.append(Note(kind="warning", where=where, text=text))
    if found:
        text = f"{_WORDS[what]} {found[0]}, which {key} names; {option} states another"
        notes.append(Note(kind="assumed", where=where, text=text))
    return NamedReference(found[0] if found else None, tuple(notes))
