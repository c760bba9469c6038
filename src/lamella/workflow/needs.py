"""What a step will need for one series, so that `lamella check` can tell whether it is there."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Needs"]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Room on the disk for a step's files, and the most memory that it takes at once; bytes."""

    disk: float = 0.0
    memory: float = 0.0
