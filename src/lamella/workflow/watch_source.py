"""Where a project's raw record came from, and further series will come from: ``raw/source.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lamella.errors import InputError, ProjectError
from lamella.formats.atomic import atomic_text
from lamella.formats.overrides import Overrides
from lamella.workflow.project import Project

__all__ = ["RawSource"]

_FILE = "raw/source.json"


@dataclass(frozen=True, kw_only=True)
class RawSource:
    """What `lamella new` was told of mdoc files.

    Attributes
    ----------
    patterns
        mdoc files, or patterns of their names; absolute.
    frames, session
        folder of the frame files, and the session whose geometry is taken along; None where it is looked for.
    overrides
        what the user stated over the files.
    references
        of the camera, by the option's name without its dashes; files with their absolute names.
    """

    patterns: tuple[str, ...]
    frames: str | None = None
    session: str | None = None
    overrides: Overrides = field(default_factory=Overrides)
    references: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        patterns: Sequence[str],
        *,
        frames: Path | None = None,
        session: Path | None = None,
        overrides: Overrides | None = None,
        references: Mapping[str, str | None] | None = None,
    ) -> RawSource:
        """What a user gave, with names that hold in any working folder."""
        given = {name: value for name, value in (references or {}).items() if value is not None}
        for name in ("gain", "dark", "defects"):
            if name in given:
                given[name] = os.path.abspath(Path(given[name]).expanduser())
        return cls(
            patterns=tuple(os.path.abspath(pattern) for pattern in patterns),
            frames=None if frames is None else os.path.abspath(frames),
            session=None if session is None else os.path.abspath(session),
            overrides=overrides or Overrides(),
            references=given,
        )

    def write(self, project: Project) -> None:
        """Keep it in a project."""
        atomic_text(project.root / _FILE, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, project: Project) -> RawSource | None:
        """What a project keeps; None where it was made from a bare stack, by an import, or by an earlier version.

        Raises
        ------
        ProjectError
            if the file cannot be understood.
        """
        path = project.root / _FILE
        if not path.is_file():
            return None
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                patterns=tuple(map(str, values["patterns"])),
                frames=values["frames"],
                session=values["session"],
                overrides=Overrides(**values["overrides"]),
                references=dict(values["references"]),
            )
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            raise ProjectError(
                f"{path}: where the raw data come from cannot be read ({error})",
                mend="remove it, and name a session with --session, or make the project anew with `lamella new --mdoc`",
            ) from error
