"""What a search over a tomogram has found so far, from which a stopped one goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError

__all__ = ["Forgetful", "SearchKeeper", "SearchState"]

Floats = NDArray[np.float32]
Numbers = NDArray[np.int32]
Shape = tuple[int, int, int]

_PLACE = ("blocks", "block", "turn", "compared")


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchState:
    """A search that stands between two orientations.

    Attributes
    ----------
    blocks
        number of blocks that the tomogram is cut into.
    block, turn, compared
        the block that is worked on; 0 while it is compared with the template, 1 with the background's; and how many
        orientations of that were.
    score, which, background, background_which
        ``(z, y, x)`` of the whole tomogram, as far as blocks are done (see `ScoreVolume`).
    best, best_which
        ``(z, y, x)`` of the block, of the orientations that it was compared with in this turn.
    """

    blocks: int
    block: int
    turn: int
    compared: int
    score: Floats
    which: Numbers
    background: Floats
    background_which: Numbers
    best: Floats
    best_which: Numbers

    def fits(self, blocks: int, whole: Shape, block: Shape) -> bool:
        """Whether it is of a search in so many blocks, of a tomogram and a present block of such shapes.

        Blocks follow the free memory: where there is less than before, the search begins anew.
        """
        return self.blocks == blocks and self.score.shape == whole and self.best.shape == block

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As arrays by name, to be kept in a file."""
        out: dict[str, NDArray[Any]] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            out[one.name] = np.array(value, np.int64) if one.name in _PLACE else value
        return out

    @classmethod
    def from_arrays(cls, found: Mapping[str, NDArray[Any]]) -> SearchState:
        """From what `arrays` gave.

        Raises
        ------
        InputError
            if something is missing.
        """
        names = {one.name for one in fields(cls)}
        if missing := names - set(found):
            raise InputError(f"no {', '.join(sorted(missing))} in the state of a search", mend="begin the search anew")
        values: dict[str, Any] = {name: int(found[name]) if name in _PLACE else found[name] for name in names}
        return cls(**values)


class SearchKeeper(Protocol):
    """Keeps a search's state, for one that is stopped."""

    def last(self) -> SearchState | None:
        """The state that a stopped search left; None where there is none."""

    def keep(self, state: SearchState) -> None:
        """Offered after every few orientations; the arrays change when the search goes on."""


class Forgetful:
    """Keeps nothing."""

    def last(self) -> SearchState | None:
        """None."""
        return None

    def keep(self, state: SearchState) -> None:
        """Forget it."""
