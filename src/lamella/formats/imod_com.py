"""IMOD's command files (``tilt.com``, ``newst.com``): what a program in them is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lamella.errors import FormatError
from lamella.formats.angles import read_text

__all__ = ["CommandFile", "number_list", "read_command_file", "write_number_list"]

_LONGEST_LIST = 100_000


@dataclass(frozen=True)
class CommandFile:
    """The entries of one program in a command file.

    Attributes
    ----------
    path
        the file.
    entries
        ``(key, value)`` in order, keys in capitals.
    """

    path: Path
    entries: tuple[tuple[str, str], ...]

    def get(self, *keys: str) -> str | None:
        """The last value of any of the keys (as IMOD does), or None."""
        wanted = {key.upper() for key in keys}
        return next((value for key, value in reversed(self.entries) if key in wanted), None)

    def numbers(self, *keys: str) -> tuple[float, ...]:
        """The numbers of the last value of any of the keys; empty where there is none.

        Raises
        ------
        FormatError
            if a word is no number.
        """
        text = self.get(*keys)
        if text is None:
            return ()
        try:
            return tuple(float(word) for word in text.replace(",", " ").split())
        except ValueError as error:
            raise FormatError(f"{self.path}: {keys[0]} {text}", mend="correct the number") from error


def read_command_file(path: Path | str, program: str) -> CommandFile:
    """Read the entries under ``$program -StandardInput``.

    Raises
    ------
    FormatError
        if the file cannot be read, or does not call the program.
    """
    path = Path(path)
    entries: list[tuple[str, str]] = []
    inside = called = False
    for line in read_text(path, "command file").splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("$"):
            words = text[1:].split()
            inside = bool(words) and Path(words[0]).name == program
            called = called or inside
        elif inside:
            words = text.split(None, 1)
            entries.append((words[0].upper(), words[1].strip() if len(words) > 1 else ""))
    if not called:
        raise FormatError(f"{path}: it does not call {program}", mend="check that this is the right file")
    return CommandFile(path, tuple(entries))


def number_list(text: str, where: str) -> tuple[int, ...]:
    """IMOD's lists of numbers: ``1,3-5``.

    Raises
    ------
    FormatError
        if it is none.
    """
    numbers: list[int] = []
    for part in text.replace(" ", ",").split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last) if dash else int(first)
        except ValueError as error:
            raise FormatError(f"{where}: '{text}' is no list of numbers", mend="write it as 1,3-5") from error
        if abs(high - low) > _LONGEST_LIST:
            raise FormatError(f"{where}: '{part}' is too long a list", mend="write it as 1,3-5")
        numbers += range(low, high + 1) if low <= high else range(low, high - 1, -1)
    return tuple(numbers)


def write_number_list(numbers: tuple[int, ...]) -> str:
    """A list as IMOD reads it, in the order given; runs are written as ``3-5``."""
    parts: list[str] = []
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            first, last = numbers[start], numbers[end - 1]
            parts.append(f"{first}" if first == last else f"{first}-{last}")
            start = end
    return ",".join(parts)
