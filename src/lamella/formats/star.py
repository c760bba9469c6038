"""STAR tables, as RELION writes them: read leniently (gemmi), written so that RELION and starfile read them.

A file is a sequence of named blocks, each one table. Values stay text; a table of one row may be a loop or a list of
pairs, which reads the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_text

__all__ = ["StarTable", "number_text", "read_star", "vector_text", "write_star"]

_LARGEST_FILE = 2**31
# CIF takes a value that begins like a keyword, or with a dollar sign, for something else. RELION does not, and folders
# are called data_2024.
_RESERVED = r"(?:(?:data_|save_|loop_|stop_|global_)\S+|\$\S*)"
_INNER = re.compile(rf"(?<=[ \t])({_RESERVED})", re.IGNORECASE)
_LEADING = re.compile(rf"^({_RESERVED})(?=[ \t]+[^\s#])", re.IGNORECASE)
# gemmi keeps to CIF's ASCII, people's folders do not
_FOREIGN = re.compile(r"[^\x00-\x7f]|\\(?=U)")
_ESCAPED = re.compile(r"\\U([0-9a-f]{8})")
_NEEDS_QUOTES = re.compile(rf"\s|^[#;_'\"]|^{_RESERVED}|^(?:loop_|stop_|global_)$|^[?.]$", re.IGNORECASE)
_BLOCK = re.compile(r"^\s*data_", re.MULTILINE)


@dataclass(frozen=True)
class StarTable:
    """One table.

    Attributes
    ----------
    name
        of its block, without ``data_``; may be empty.
    columns
        text of every column by its label without the underscore (``rlnTomoName``).
    is_list
        whether it was or shall be written as label–value pairs (one row) rather than as a loop.
    where
        the file, for messages.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    is_list: bool = False
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self.columns.values()}
        if len(lengths) > 1 or (self.is_list and lengths not in ({1}, set())):
            raise FormatError(
                f"{self.where}: columns of {sorted(lengths)} rows in table {self.name!r}", mend="write it anew"
            )

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __contains__(self, label: str) -> bool:
        return label in self.columns

    def text(self, label: str) -> tuple[str, ...]:
        """A column as text.

        Raises
        ------
        FormatError
            if there is no such column.
        """
        if label not in self.columns:
            raise FormatError(
                f"{self.where}: no column {label} in table {self.name!r}", mend="check that this is the right file"
            )
        return self.columns[label]

    def numbers(self, label: str) -> NDArray[np.float64]:
        """A column as float64; what is no number is an error that names row and column."""
        column = self.text(label)
        try:
            return np.array([float(value) for value in column])
        except ValueError:
            row = next(i for i, value in enumerate(column) if not _is_number(value))
            raise FormatError(
                f"{self.where}: row {row + 1} of {label} in table {self.name!r} is {column[row]!r}, no number",
                mend="correct the table",
            ) from None

    def is_text(self, label: str) -> bool:
        """Whether a column holds words: it has entries, and none of them is a number."""
        column = self.text(label)
        return bool(column) and not any(map(_is_number, column))

    def integers(self, label: str) -> NDArray[np.int64]:
        """A column as whole numbers; ``3.000000`` is one."""
        numbers = self.numbers(label)
        if not (np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all()):
            raise FormatError(f"{self.where}: {label} in table {self.name!r} holds fractions", mend="correct the table")
        return numbers.astype(np.int64)

    def vectors(self, label: str) -> list[NDArray[np.float64]]:
        """A column of bracketed lists (``[1,2,3]``)."""
        out = []
        for row, value in enumerate(self.text(label)):
            try:
                out.append(np.array([float(part) for part in value.strip("[]").split(",") if part.strip()]))
            except ValueError:
                raise FormatError(
                    f"{self.where}: row {row + 1} of {label} in table {self.name!r} is no list of numbers",
                    mend="correct the table",
                ) from None
        return out


def read_star(path: Path | str) -> dict[str, StarTable]:
    """Read every table of a STAR file, by block name; empty blocks are left out.

    Raises
    ------
    FormatError
        if the file is no STAR file, is unreasonably large, or a block holds two tables.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise FormatError(f"{path}: {path.stat().st_size} bytes, too large for a table", mend="check the file")
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
    if not _BLOCK.search(text):
        text = "data_\n" + text
    if _INNER.search(text) or re.search(_LEADING.pattern, text, re.IGNORECASE | re.MULTILINE):
        text = "\n".join(_with_quotes(line) for line in text.split("\n"))
    try:
        document = gemmi.cif.read_string(_FOREIGN.sub(lambda found: f"\\U{ord(found[0]):08x}", text))
    except (ValueError, RuntimeError) as error:
        reason = str(error).split("\n")[0].removeprefix("string:")
        raise FormatError(f"{path}: no STAR file that can be read ({reason})", mend="check the file") from error
    tables = [_table(block, str(path)) for block in document]
    return {table.name: table for table in tables if table.columns}


def write_star(path: Path | str, tables: Iterable[StarTable]) -> None:
    """Write tables to a STAR file, whole or not at all: columns padded and numbered, as RELION writes them."""
    atomic_text(path, "".join(_formatted(table) for table in tables))


def number_text(value: float) -> str:
    """The shortest text that reads back as the same float64; whole numbers of any kind without an exponent."""
    return repr(float(value))


def vector_text(values: Sequence[float] | NDArray[np.float64]) -> str:
    """A list in one column, as RELION writes it."""
    return "[" + ",".join(number_text(value) for value in values) + "]"


def _with_quotes(line: str) -> str:
    """A line whose values cannot be taken for keywords; lines that have quotes already are left as they are."""
    return line if '"' in line or "'" in line else _LEADING.sub(r"'\1'", _INNER.sub(r"'\1'", line))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _table(block: gemmi.cif.Block, where: str) -> StarTable:
    name = block.name.strip()
    loops = [item.loop for item in block if item.loop is not None]
    pairs: list[tuple[str, str]] = [item.pair for item in block if item.pair is not None]  # type: ignore[misc]
    if len(loops) + bool(pairs) > 1:
        raise FormatError(f"{where}: two tables in block {name!r}", mend="give each a block of its own")
    if not loops:
        return StarTable(name, {label.removeprefix("_"): (_plain(value),) for label, value in pairs}, True, where)
    values, labels = list(loops[0].values), list(loops[0].tags)
    width = len(labels)
    columns = {
        label.removeprefix("_"): tuple(_plain(value) for value in values[place::width])
        for place, label in enumerate(labels)
    }
    if len(columns) != width:
        raise FormatError(f"{where}: a label comes twice in block {name!r}", mend="remove one of the columns")
    return StarTable(name, columns, False, where)


def _plain(value: str) -> str:
    """A value without its quotes."""
    value = gemmi.cif.as_string(value) if value[0] in "'\";" else value
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value) if "\\U" in value else value


def _quoted(value: str) -> str:
    """A value as it must stand to read back as itself; double quotes where RELION can read them."""
    if "\n" in value or "\r" in value:
        raise FormatError(
            f"the text {value!r} has a line end in it", mend="a row of a STAR table is one line: take it out"
        )
    if value and not _NEEDS_QUOTES.search(value):
        return value
    for quote in ('"', "'"):
        if not re.search(rf"{quote}\s", value):  # a quote inside ends the value only where white space follows
            return f"{quote}{value}{quote}"
    raise FormatError(f"the text {value!r} cannot stand in a STAR table", mend="take the quotes out of it")


def _formatted(table: StarTable) -> str:
    head = f"\n# version 50001\n\ndata_{table.name}\n\n"
    if table.is_list:
        width = max((len(label) for label in table.columns), default=0) + 4
        return head + "".join(f"{'_' + label:<{width}} {_quoted(c[0])}\n" for label, c in table.columns.items()) + "\n"
    columns = [[_quoted(value) for value in column] for column in table.columns.values()]
    widths = [max((len(value) for value in column), default=0) for column in columns]
    labels = "".join(f"_{label} #{number}\n" for number, label in enumerate(table.columns, 1))
    rows = "".join(
        " ".join(value.rjust(width) for value, width in zip(row, widths, strict=True)) + "\n"
        for row in zip(*columns, strict=True)
    )
    return f"{head}loop_\n{labels}{rows}\n"
