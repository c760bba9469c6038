"""mdoc files, whole: every section, key, title and odd line, in order, and back to the same bytes.

An mdoc is IMOD's "autodoc" text that SerialEM and Tomography 5 write beside their images: global ``key = value`` lines,
titles (``[T = …]``, or ``T = …`` without brackets), then sections such as ``[ZValue = 0]``, ``[FrameSet = 0]`` or
``[MontSection = 0]`` with lines of their own. What the keys mean is the matter of `mdoc_series`; nothing is interpreted
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lamella.errors import FormatError
from lamella.formats.angles import read_text
from lamella.formats.atomic import atomic_path, output_errors

__all__ = ["Entry", "Line", "Mdoc", "Section", "new_mdoc", "parse_mdoc", "read_mdoc", "write_mdoc"]

TITLE = "T"


@dataclass(frozen=True)
class Line:
    """One line of the file.

    Attributes
    ----------
    number
        counted from 1.
    text
        the line as it stands, without its end.
    end
        its end: ``\\n``, ``\\r\\n``, ``\\r``, or nothing at the end of the file.
    """

    number: int
    text: str
    end: str


@dataclass(frozen=True)
class Entry:
    """A ``key = value`` line, white space around both removed."""

    key: str
    value: str
    line: int


@dataclass(frozen=True)
class Section:
    """``[kind = name]`` and the entries under it, in order; a key may come more than once."""

    kind: str
    name: str
    line: int
    entries: tuple[Entry, ...]

    def get(self, key: str) -> str | None:
        """The first value of a key, or None."""
        return next((entry.value for entry in self.entries if entry.key == key), None)

    def values(self, key: str) -> tuple[str, ...]:
        """Every value of a key, in order."""
        return tuple(entry.value for entry in self.entries if entry.key == key)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys in order, each once."""
        return tuple(dict.fromkeys(entry.key for entry in self.entries))

    @property
    def label(self) -> str:
        """How a message names the section."""
        return f"[{self.kind} = {self.name}] (line {self.line})"


@dataclass(frozen=True)
class Mdoc:
    """One mdoc file.

    Attributes
    ----------
    path
        where it was read, or will be written.
    lines
        every line of it.
    """

    path: Path
    lines: tuple[Line, ...]

    @cached_property
    def _parsed(self) -> tuple[Section, tuple[str, ...], tuple[Section, ...], tuple[Line, ...]]:
        return _parse(self.lines)

    @property
    def header(self) -> Section:
        """The global values, as a section without a name; lines after a title count as global too."""
        return self._parsed[0]

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles, in order."""
        return self._parsed[1]

    @property
    def sections(self) -> tuple[Section, ...]:
        """Every section but the titles, in order."""
        return self._parsed[2]

    @property
    def malformed(self) -> tuple[Line, ...]:
        """Lines that are neither a section, a ``key = value``, a comment nor empty."""
        return self._parsed[3]

    @property
    def text(self) -> str:
        """The file as text, to the byte."""
        return "".join(line.text + line.end for line in self.lines)


def read_mdoc(path: Path | str) -> Mdoc:
    """Read an mdoc file.

    Raises
    ------
    FormatError
        if it cannot be read, is empty, binary or too large, or holds not one ``key = value``.
    """
    path = Path(path)
    return parse_mdoc(read_text(path, "mdoc file"), path)


def parse_mdoc(text: str, path: Path | str = Path("text.mdoc")) -> Mdoc:
    """Take mdoc text apart; any line end is understood and kept."""
    lines = []
    for number, whole in enumerate(_split(text), start=1):
        bare = whole.rstrip("\r\n")
        lines.append(Line(number, bare, whole[len(bare) :]))
    mdoc = Mdoc(Path(path), tuple(lines))
    if not mdoc.header.entries and not mdoc.sections and not mdoc.titles:
        raise FormatError(f"{path}: not one 'key = value' line: no mdoc file", mend="check that this is the right file")
    return mdoc


def write_mdoc(mdoc: Mdoc, path: Path | str | None = None) -> Path:
    """Write an mdoc, whole or not at all; line ends stay as they were."""
    target = Path(mdoc.path if path is None else path)
    with atomic_path(target) as temporary, output_errors(target, every=True):
        temporary.write_text(mdoc.text, encoding="utf-8", newline="")
    return target


def new_mdoc(
    path: Path | str,
    values: Mapping[str, object],
    titles: Sequence[str],
    sections: Iterable[tuple[str, object, Mapping[str, object]]],
    *,
    end: str = "\n",
) -> Mdoc:
    """Make an mdoc as SerialEM lays it out.

    Parameters
    ----------
    path
        where it is to be written.
    values
        the global values.
    titles
        without brackets.
    sections
        ``(kind, name, values)`` of each.
    end
        line end.
    """
    text = [f"{key} = {value}" for key, value in values.items()]
    for title in titles:
        text += ["", f"[{TITLE} = {title}]"]
    for kind, name, entries in sections:
        text += ["", f"[{kind} = {name}]", *(f"{key} = {value}" for key, value in entries.items())]
    return parse_mdoc("".join(f"{line}{end}" for line in [*text, ""]), path)


def _split(text: str) -> list[str]:
    """Lines with their ends; `str.splitlines` would also split at form feeds and Unicode's separators."""
    lines, start = [], 0
    for place, letter in enumerate(text):
        if letter == "\n" or (letter == "\r" and text[place + 1 : place + 2] != "\n"):
            lines.append(text[start : place + 1])
            start = place + 1
    return [*lines, text[start:]] if start < len(text) else lines


def _parse(lines: Sequence[Line]) -> tuple[Section, tuple[str, ...], tuple[Section, ...], tuple[Line, ...]]:
    header: list[Entry] = []
    titles: list[str] = []
    sections: list[tuple[str, str, int, list[Entry]]] = []
    malformed: list[Line] = []
    current = header
    for line in lines:
        text = line.text.strip()
        if not text or text.startswith("#"):
            continue
        bracketed = text.startswith("[") and text.endswith("]")
        key, equals, value = (text[1:-1] if bracketed else text).partition("=")
        key, value = key.strip(), value.strip()
        if not equals or not key or (text.startswith("[") and not bracketed):
            malformed.append(line)
        elif key == TITLE and (bracketed or current is header):
            titles.append(value)
            current = header
        elif bracketed:
            current = []
            sections.append((key, value, line.number, current))
        else:
            current.append(Entry(key, value, line.number))
    return (
        Section("", "", 1, tuple(header)),
        tuple(titles),
        tuple(Section(kind, name, number, tuple(entries)) for kind, name, number, entries in sections),
        tuple(malformed),
    )
