"""The log of a session: one append-only file of one line per event, calls to the microscope and decisions alike.

A session is a deterministic program that asks a microscope. Its log holds every call with its answer, so the program
can be run again from its start: it asks the same, is answered from the log, and goes on live where the log ends. That
is how a session that was killed is resumed, and why nothing else needs to be saved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lamella.errors import FormatError, ProjectError
from lamella.formats.atomic import output_errors

__all__ = ["LOG_NAME", "Journal", "LogFile", "read_log"]

LOG_NAME = "events.jsonl"
FORMAT = 1

Line = dict[str, Any]


def read_log(folder: Path | str) -> tuple[Line, list[Line], int]:
    """The head, the other lines, and the length in bytes of what is whole; a torn last line is left out.

    Raises
    ------
    ProjectError
        if there is no session in the folder.
    FormatError
        if a line before the last is none, or the log is of a later version.
    """
    path = Path(folder) / LOG_NAME
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ProjectError(f"{folder}: no session is recorded here", mend="name the folder of a session") from error
    lines: list[Line] = []
    whole = 0
    for number, text in enumerate(raw.splitlines(keepends=True), start=1):
        last = whole + len(text) == len(raw)
        try:
            line = json.loads(text)
            complete = text.endswith(b"\n") and isinstance(line, dict)
        except ValueError:
            complete = False
        if not complete:
            if last:
                break
            raise FormatError(f"{path}: line {number} cannot be read", mend="begin the session anew")
        lines.append(line)
        whole += len(text)
    if not lines or "session" not in lines[0]:
        raise FormatError(f"{path}: the log has no head", mend="begin the session anew")
    if not isinstance(lines[0]["session"], int) or lines[0]["session"] > FORMAT:
        raise FormatError(f"{path}: the log of a later version of lamella", mend="resume it with that version")
    return lines[0], lines[1:], whole


class LogFile:
    """The file that lines are appended to.

    Parameters
    ----------
    folder
        of the session.
    durable
        every line is on the disk before the session goes on; otherwise it survives the end of the process, not a power
        cut.
    whole
        bytes of the file that are kept (a torn line behind them is cut off); None: there must be no file yet.

    Raises
    ------
    ProjectError
        if the folder holds a session already.
    OutputError
        if the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, durable: bool, whole: int | None = None) -> None:
        self.folder = folder
        self._durable = durable
        path = folder / LOG_NAME
        if whole is None and path.exists():
            raise ProjectError(f"{folder}: it holds a session already", mend="resume it, or name another folder")
        with output_errors(path, every=True):
            folder.mkdir(parents=True, exist_ok=True)
            if whole is not None:
                os.truncate(path, whole)
            self._file = path.open("ab")

    def append(self, line: Mapping[str, Any]) -> None:
        """Write a line."""
        with output_errors(self.folder / LOG_NAME, every=True):
            self._file.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
            self._file.flush()
            if self._durable:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write nothing more."""
        with output_errors(self.folder / LOG_NAME, every=True):
            self._file.close()

    def __enter__(self) -> LogFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Journal:
    """What the session has asked and told: the lines of an earlier run first, then new ones.

    Parameters
    ----------
    file
        that new lines are appended to; None: nothing is kept.
    earlier
        lines of the run that is gone on with.
    """

    def __init__(self, file: LogFile | None = None, earlier: Sequence[Line] = ()) -> None:
        self.file = file
        self._earlier = [line for line in earlier if "note" not in line]
        self._place = 0

    @property
    def live(self) -> bool:
        """Whether the earlier lines are used up."""
        return self._place >= len(self._earlier)

    @property
    def kept(self) -> bool:
        """Whether lines are written."""
        return self.file is not None

    @property
    def number(self) -> int:
        """Of the next line."""
        return self._place

    def earlier(self, line: Line) -> Line | None:
        """The earlier run's line in this one's place, which must begin like it; None once they are used up.

        Raises
        ------
        ProjectError
            if the earlier run asked or told something else.
        """
        if self.live:
            return None
        found = self._earlier[self._place]
        asked = json.loads(json.dumps(line))
        # Compared as text, where a number that is none equals itself.
        if any(json.dumps(found.get(name)) != json.dumps(value) for name, value in asked.items()):
            raise ProjectError(
                f"line {self._place + 2} of the log says {_short(found)}, where this run says {_short(asked)}",
                mend="resume with the version and the predictor that began it, or replay it",
            )
        self._place += 1
        return found

    def write(self, line: Line) -> None:
        """Append a line that is new."""
        self._place += 1
        if self.file is not None:
            self.file.append(line)

    def note(self, text: str) -> None:
        """Append a remark for people, which no run is compared with."""
        if self.file is not None:
            self.file.append({"note": text})


def _short(line: Line) -> str:
    text = json.dumps(line, ensure_ascii=False)
    return text if len(text) < 160 else text[:157] + "…"
