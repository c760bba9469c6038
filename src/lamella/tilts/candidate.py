"""What a method of alignment found: a geometry that might be the result, and everything that speaks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lamella.geometry import TiltGeometry
from lamella.tilts.solve import Solution

__all__ = ["Candidate", "Method"]

Method = Literal["beads", "patches", "matching", "coarse", "none"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A geometry that might be the result.

    Attributes
    ----------
    method
        what found it.
    geometry
        of every view.
    solution
        what was solved from tracks, or None.
    quality
        numbers that the method states of itself, by the name of their column without ``lamella``.
    notes
        what the user should know.
    doubts
        what speaks against it whatever its score.
    """

    method: Method
    geometry: TiltGeometry
    solution: Solution | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
