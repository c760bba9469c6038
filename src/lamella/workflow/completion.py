"""What a step knows of one series that it has finished: one small JSON file, written last.

It stands beside the series' own table in ``STEP/.done/NAME/``. Its being there is what *done* means, on any machine and
after any crash; the database repeats it for those who ask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lamella.formats.atomic import atomic_text

__all__ = ["Completion"]

_FILE = "completion.json"


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One finished series of one record.

    Attributes
    ----------
    fingerprint
        digest of everything that the result depends on; see `lamella.workflow.plan`.
    made_from
        the records that it was made from, the nearest first.
    settings, inputs
        the settings used, and the digests of the record and of each file that went in.
    version
        of lamella and of the step.
    origin
        ``run``, or ``import`` where another program made it.
    passed_on
        why the step had nothing to do and passed its record on; empty where it worked.
    outputs
        files written, relative to the project's folder → size in bytes.
    quality
        numbers by name.
    messages
        what the step had to say.
    started, wall_s, cpu_s, peak_mib
        time of the start (ISO 8601), seconds taken, and the largest memory of the process while it worked.
    """

    fingerprint: str
    made_from: tuple[str, ...]
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    version: str
    origin: str = "run"
    passed_on: str = ""
    outputs: Mapping[str, int] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    started: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mib: float = 0.0

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all: after this the series is done."""
        atomic_text(folder / _FILE, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Completion | None:
        """The completion in a folder, or None where the series is not done (or the file is of another version)."""
        try:
            values = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            return cls(
                **values | {"made_from": tuple(values["made_from"]), "messages": tuple(values.get("messages", ()))}
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def remove(self, folder: Path) -> None:
        """Take the completion away: the series is to be done again."""
        (folder / _FILE).unlink(missing_ok=True)

    def missing_outputs(self, root: Path) -> list[str]:
        """Files that it names and that are no longer there, or no longer of the size that they had."""
        missing = []
        for name, size in self.outputs.items():
            try:
                if (root / name).stat().st_size != size:
                    missing.append(name)
            except OSError:
                missing.append(name)
        return missing
