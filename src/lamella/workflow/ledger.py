"""``lamella.db``: what was run, on what, with which settings and versions, how long it took and how good it was.

SQLite with a write-ahead log: a reader never waits for the runner, and a killed run leaves a sound file. Only the
process that runs a project writes to it; workers return what they have to say.
"""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamella.errors import OutputError, ProjectError

if TYPE_CHECKING:
    from lamella.records import Note
    from lamella.workflow.completion import Completion
    from lamella.workflow.digests import FileDigests
    from lamella.workflow.record_name import RecordName

__all__ = ["Ledger", "TaskRow", "note_completion", "now"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, finished TEXT, command TEXT NOT NULL, version TEXT NOT NULL,
    python TEXT NOT NULL, machine TEXT NOT NULL, executor TEXT NOT NULL, device TEXT NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY, run INTEGER REFERENCES runs (id), record TEXT NOT NULL, step TEXT NOT NULL,
    series TEXT NOT NULL, state TEXT NOT NULL, started TEXT, finished TEXT, fingerprint TEXT, version TEXT,
    made_from TEXT, settings TEXT, inputs TEXT, outputs TEXT, wall_s REAL, cpu_s REAL, peak_mib REAL, passed_on TEXT,
    error_kind TEXT, error TEXT, trace TEXT);
CREATE INDEX IF NOT EXISTS tasks_by_record ON tasks (record, series, id);
CREATE TABLE IF NOT EXISTS numbers (task INTEGER REFERENCES tasks (id), name TEXT NOT NULL, value REAL);
CREATE INDEX IF NOT EXISTS numbers_by_task ON numbers (task);
CREATE TABLE IF NOT EXISTS messages (task INTEGER REFERENCES tasks (id), text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS messages_by_task ON messages (task);
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY, record TEXT NOT NULL, kind TEXT NOT NULL, place TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, digest TEXT NOT NULL);
"""


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """The last task of one series in one record, as `status` and `report` show it."""

    record: str
    step: str
    series: str
    state: str
    started: str
    wall_s: float
    peak_mib: float
    made_from: str
    error: str
    passed_on: str
    quality: Mapping[str, float]
    messages: tuple[str, ...]


class Ledger:
    """The open database of one project.

    Parameters
    ----------
    path
        of ``lamella.db``; made where it is missing.

    Raises
    ------
    ProjectError
        if the file is no database of lamella's.
    OutputError
        if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            self._base = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = NORMAL")
            self._base.executescript(_SCHEMA)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OutputError(
                f"{self.path}: {error}", mend="make room on the disk, or give yourself permission"
            ) from error
        except sqlite3.DatabaseError as error:
            raise ProjectError(
                f"{self.path} is damaged: {error}",
                mend="move it away: it is made anew, and only the history of runs is lost",
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._errors():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def start_run(self, *, command: str, version: str, executor: str, device: str) -> int:
        """Note that a run begins; runs that a crash left open are closed as ``killed``, and so are their tasks."""
        machine = f"{platform.node()} ({platform.system()} {platform.machine()})"
        with self._transaction():
            self._base.execute("UPDATE runs SET state = 'killed' WHERE state = 'running'")
            self._base.execute("UPDATE tasks SET state = 'killed' WHERE state = 'running'")
            row = self._base.execute(
                "INSERT INTO runs (started, command, version, python, machine, executor, device, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'running')",
                (now(), command, version, platform.python_version(), machine, executor, device),
            )
        return int(row.lastrowid or 0)

    def finish_run(self, run: int, state: str) -> None:
        """Note how a run ended: ``done``, ``failed`` or ``stopped``."""
        with self._transaction():
            self._base.execute("UPDATE runs SET state = ?, finished = ? WHERE id = ?", (state, now(), run))
            self._base.execute("UPDATE tasks SET state = ? WHERE run = ? AND state = 'running'", ("stopped", run))

    def start_task(self, run: int, *, record: str, step: str, series: str, fingerprint: str) -> int:
        """Note that a series is handed to a worker."""
        with self._transaction():
            row = self._base.execute(
                "INSERT INTO tasks (run, record, step, series, state, started, fingerprint)"
                " VALUES (?, ?, ?, ?, 'running', ?, ?)",
                (run, record, step, series, now(), fingerprint),
            )
        return int(row.lastrowid or 0)

    def finish_task(
        self, task: int, values: Mapping[str, Any], quality: Mapping[str, float], messages: Sequence[str]
    ) -> None:
        """Note how a task ended.

        Parameters
        ----------
        task
            as `start_task` returned it.
        values
            columns of the table ``tasks``; mappings and tuples are kept as JSON.
        quality, messages
            numbers by name, and sentences.
        """
        columns = {
            name: json.dumps(_jsonable(value), ensure_ascii=False) if isinstance(value, (Mapping, tuple)) else value
            for name, value in values.items()
        }
        with self._transaction():
            self._base.execute(
                f"UPDATE tasks SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",
                (*columns.values(), task),
            )
            self._base.execute("DELETE FROM numbers WHERE task = ?", (task,))
            self._base.execute("DELETE FROM messages WHERE task = ?", (task,))
            self._base.executemany(
                "INSERT INTO numbers VALUES (?, ?, ?)", [(task, name, float(value)) for name, value in quality.items()]
            )
            self._base.executemany("INSERT INTO messages VALUES (?, ?)", [(task, text) for text in messages])

    def last_fingerprint(self, record: str, series: str) -> tuple[str, str] | None:
        """State and fingerprint of the last task of a series in a record."""
        with self._errors():
            row = self._base.execute(
                "SELECT state, fingerprint FROM tasks WHERE record = ? AND series = ? ORDER BY id DESC LIMIT 1",
                (record, series),
            ).fetchone()
        return (str(row["state"]), str(row["fingerprint"])) if row else None

    def last_tasks(self) -> list[TaskRow]:
        """The last task of every series in every record, oldest first."""
        with self._errors():
            rows = self._base.execute(
                "SELECT * FROM tasks WHERE id IN (SELECT MAX(id) FROM tasks GROUP BY record, series) ORDER BY id"
            ).fetchall()
            return [self._task_row(row) for row in rows]

    def _task_row(self, row: sqlite3.Row) -> TaskRow:
        numbers = self._base.execute("SELECT name, value FROM numbers WHERE task = ?", (row["id"],))
        texts = self._base.execute("SELECT text FROM messages WHERE task = ?", (row["id"],))
        return TaskRow(
            record=row["record"],
            step=row["step"],
            series=row["series"],
            state=row["state"],
            started=row["started"] or "",
            wall_s=row["wall_s"] or 0.0,
            peak_mib=row["peak_mib"] or 0.0,
            made_from=", ".join(json.loads(row["made_from"] or "[]")),
            error=row["error"] or "",
            passed_on=row["passed_on"] or "",
            quality={name: value for name, value in numbers if value is not None},
            messages=tuple(text for (text,) in texts),
        )

    def runs(self) -> list[dict[str, Any]]:
        """Every run, oldest first."""
        with self._errors():
            return [dict(row) for row in self._base.execute("SELECT * FROM runs ORDER BY id")]

    def add_notes(self, record: str, notes: Sequence[Note]) -> None:
        """Keep what a reader assumed, dropped or overrode; notes that the record had are replaced."""
        with self._transaction():
            self._base.execute("DELETE FROM notes WHERE record = ?", (record,))
            self._base.executemany(
                "INSERT INTO notes (record, kind, place, text) VALUES (?, ?, ?, ?)",
                [(record, note.kind, note.where, note.text) for note in notes],
            )

    def notes(self) -> list[tuple[str, str, str, str]]:
        """(record, kind, where, text) of every note, in order."""
        with self._errors():
            rows = self._base.execute("SELECT record, kind, place, text FROM notes ORDER BY id")
            return [(row[0], row[1], row[2], row[3]) for row in rows]

    def load_digests(self, digests: FileDigests) -> None:
        """Hand over the digests of files that are known."""
        with self._errors():
            for row in self._base.execute("SELECT path, size, mtime_ns, digest FROM files"):
                digests.known[row[0]] = (row[1], row[2], row[3])

    def save_digests(self, digests: FileDigests) -> None:
        """Keep the digests that were taken anew."""
        if not digests.fresh:
            return
        with self._transaction():
            self._base.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                [(path, *values) for path, values in digests.fresh.items()],
            )
        digests.fresh.clear()


def note_completion(ledger: Ledger, run: int, target: RecordName, series: str, done: Completion) -> None:
    """Write what a completion says into the database."""
    row = ledger.start_task(run, record=str(target), step=target.step, series=series, fingerprint=done.fingerprint)
    values = {
        "state": "done",
        "started": done.started,
        "finished": now(),
        "version": done.version,
        "made_from": done.made_from,
        "settings": done.settings,
        "inputs": done.inputs,
        "outputs": done.outputs,
        "wall_s": done.wall_s,
        "cpu_s": done.cpu_s,
        "peak_mib": done.peak_mib,
        "passed_on": done.passed_on,
    }
    ledger.finish_task(row, values, done.quality, done.messages)


def _jsonable(value: Any) -> Any:
    return {**value} if isinstance(value, Mapping) else list(value)
