"""Names of records: ``raw``, ``align``, ``denoise.strong``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lamella.errors import ProjectError
from lamella.workflow import steps

__all__ = ["COMBINE", "DERIVED", "LEVEL", "RAW", "SELECT", "RecordName", "check_file_name"]

SELECT = "select"
"""Records of chosen series, which `lamella select` makes and no step of the line."""

COMBINE = "combine"
"""Records of two tilt axes that became one, which `lamella combine` makes."""

LEVEL = "level"
"""Records of series in a better frame, which `lamella level` makes."""

DERIVED = {SELECT: "selection", LEVEL: "levelling", COMBINE: "combining"}
"""Records that no step of the line makes, and the module of `lamella.workflow` that does."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True, order=True)
class RecordName:
    """A step and, for a labelled rerun, its label; also the name of the record's folder."""

    step: str
    label: str | None = None

    def __str__(self) -> str:
        return self.step if self.label is None else f"{self.step}.{self.label}"

    @property
    def maker(self) -> str:
        """The command that makes the record of this name, to tell users."""
        label = f" --as {self.label}" if self.label is not None else ""
        if self.step in (SELECT, LEVEL):
            return f"lamella {self.step} PROJECT{label}"
        if self.step == COMBINE:
            return f"lamella combine PROJECT A B{label}"
        if label or self.step in {step.name for step in steps.ASIDE}:
            return f"lamella {self.step} PROJECT{label}"
        return f"lamella run PROJECT --to {self.step}"

    @classmethod
    def parse(cls, text: str) -> RecordName:
        """Read ``STEP`` or ``STEP.LABEL``.

        Raises
        ------
        ProjectError
            if the step does not exist or the label is no plain word: nothing may point out of the project's folder.
        """
        step, dot, label = text.strip().rstrip("/").partition(".")
        known = ["raw", *DERIVED, *(entry.name for entry in steps.all_steps())]
        if step not in known or (dot and not _LABEL.fullmatch(label)) or (step == "raw" and dot):
            raise ProjectError(
                f"{text!r} is not the name of a record",
                mend=f"give STEP or STEP.LABEL: STEP one of {', '.join(known)}, LABEL of letters and digits",
            )
        return cls(step, label if dot else None)


RAW = RecordName("raw")


def check_file_name(name: str) -> str:
    """The name of a series, if it can be the name of a file inside the project."""
    if not name or name in (".", "..") or name.startswith(".") or re.search(r"[/\\\0\n]", name):
        raise ProjectError(f"{name!r} cannot be the name of a tilt series", mend="rename the file that it comes from")
    return name
