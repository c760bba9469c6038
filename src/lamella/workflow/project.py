"""The project's folder: where everything lies, and who may write to it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lamella.errors import OutputError, ProjectError
from lamella.workflow.record_name import RAW, RecordName, check_file_name
from lamella.workflow.settings_file import SettingsFile

__all__ = ["Project"]


@dataclass(frozen=True)
class Project:
    """One project's folder.

    Attributes
    ----------
    root
        absolute path of the folder.
    """

    root: Path

    @classmethod
    def open(cls, path: Path | str) -> Project:
        """The project in a folder.

        Raises
        ------
        ProjectError
            if the folder is none.
        """
        root = Path(path).expanduser().resolve()
        if not root.is_dir():
            raise ProjectError(f"{path}: there is no such project", mend="make it with `lamella new`")
        for name in ("lamella.toml", "raw.star"):
            if not (root / name).is_file():
                raise ProjectError(f"{path} is not a project: it has no {name}", mend="make one with `lamella new`")
        return cls(root)

    @property
    def settings_path(self) -> Path:
        """Of ``lamella.toml``."""
        return self.root / "lamella.toml"

    @property
    def ledger_path(self) -> Path:
        """Of ``lamella.db``."""
        return self.root / "lamella.db"

    @property
    def report_path(self) -> Path:
        """Of the report's first page."""
        return self.root / "report" / "index.html"

    def read_settings(self) -> SettingsFile:
        """``lamella.toml``, checked."""
        return SettingsFile.read(self.settings_path)

    def folder(self, record: RecordName) -> Path:
        """The only folder that a step writes to."""
        return self.root / str(record)

    def completions(self, record: RecordName) -> Path:
        """Where a step keeps what it knows of each series that is done."""
        return self.folder(record) / ".done"

    def completion(self, record: RecordName, series: str) -> Path:
        """The folder of one series' completion."""
        return self.completions(record) / check_file_name(series)

    def records(self) -> Iterator[RecordName]:
        """Every record that has a folder, raw first, then by name."""
        yield RAW
        for folder in sorted(self.root.iterdir()):
            if (folder / ".done").is_dir():
                try:
                    yield RecordName.parse(folder.name)
                except ProjectError:
                    continue

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process from changing this project; the system frees the lock of a killed process.

        Raises
        ------
        ProjectError
            if another process has it.
        """
        try:
            handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        except OSError as error:
            raise OutputError(
                f"{self.root} cannot be written to: {error.strerror}", mend="choose a project that you may change"
            ) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                owner = os.pread(handle, 64, 0).decode(errors="replace").strip()
                raise ProjectError(
                    f"{self.root} is being worked on" + (f" by process {owner}" if owner else ""),
                    mend="wait until it has finished, or stop it",
                ) from None
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} on {os.uname().nodename}".encode(), 0)
            yield
        finally:
            os.close(handle)
