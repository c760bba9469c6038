"""What a reader did that its user should know of: every assumption, every dropped section, every override."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Note"]


@dataclass(frozen=True, kw_only=True)
class Note:
    """One thing that was assumed, dropped, overridden, taken although it contradicts something, or merely noticed.

    Attributes
    ----------
    kind
        what was done.
    where
        the file, and the section or line in it.
    text
        one sentence: what, and which value was taken.
    """

    kind: Literal["assumed", "dropped", "overridden", "warning", "info"]
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.text}"
