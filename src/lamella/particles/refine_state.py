"""What one iteration of refinement hands to the next: with it, a killed run goes on as if nothing had been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.particles.convergence import IterationNumbers
from lamella.particles.sampling import SearchRange

__all__ = ["RefineState"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_ARRAYS = ("matrices", "positions_ang", "certainty", "settled", "half_maps", "references", "whole", "noise", "fsc")


@dataclass(frozen=True, kw_only=True, eq=False)
class RefineState:
    """The state after an iteration.

    Attributes
    ----------
    iteration
        how many are done.
    finished
        whether the last one was the closing one.
    closing
        whether the next one closes the refinement.
    matrices, positions_ang, certainty
        ``(n, 3, 3)``, ``(n, 3)`` and ``(n,)``: the best pose of each particle, and how much of its posterior is there.
    settled
        ``(n,)`` bool: particles that the last grid found where they were; from there alone the next iteration climbs.
    half_maps
        ``(2, b, b, b)`` float32 of the half sets, not filtered, not masked.
    references
        ``(2, b, b, b)`` float32, regularised and masked: what the next iteration compares with.
    whole
        ``(b, b, b)`` float32: the map of all particles, regularised.
    noise
        ``(2, tomograms, b // 2 + 1)`` noise of each half set, tomogram and shell, per term.
    fsc
        ``(b // 2 + 1,)`` of the half maps within the sphere.
    highest_shell
        that the next iteration compares.
    search
        how far and finely the next iteration searches.
    absolute
        whether the references' grey values are those of the pictures.
    history
        one entry per iteration.
    """

    iteration: int
    finished: bool = False
    closing: bool = False
    matrices: Array
    positions_ang: Array
    certainty: Array
    settled: NDArray[np.bool_]
    half_maps: Floats
    references: Floats
    whole: Floats
    noise: Array
    fsc: Array
    highest_shell: int
    search: SearchRange
    absolute: bool
    history: tuple[IterationNumbers, ...] = ()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays by name, for a file (``numpy.savez``)."""
        found: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _ARRAYS}
        for name in ("iteration", "finished", "closing", "highest_shell", "absolute"):
            found[name] = np.array(getattr(self, name))
        found["search"] = np.array(list(asdict(self.search).values()), dtype=np.float64)
        rows = [list(asdict(entry).values()) for entry in self.history]
        found["history"] = np.array(rows, dtype=np.float64).reshape(len(rows), len(fields(IterationNumbers)))
        return found

    @classmethod
    def from_arrays(cls, found: Mapping[str, NDArray[Any]]) -> RefineState:
        """The state that `arrays` gave; the same bit for bit.

        Raises
        ------
        InputError
            if something is missing or of another form.
        """
        try:
            search = _record(SearchRange, found["search"])
            history = tuple(_record(IterationNumbers, row) for row in found["history"])
            return cls(
                iteration=int(found["iteration"]),
                finished=bool(found["finished"]),
                closing=bool(found["closing"]),
                highest_shell=int(found["highest_shell"]),
                absolute=bool(found["absolute"]),
                search=search,
                history=history,
                **{name: np.array(found[name]) for name in _ARRAYS},
            )
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"the saved state of the refinement cannot be used ({error})", mend="begin the refinement anew"
            ) from error


def _record(kind: Any, numbers: NDArray[Any]) -> Any:
    """A record whose fields are plain numbers, from those numbers."""
    names = {entry.name: str(entry.type) for entry in fields(kind)}
    made = {"bool": bool, "int": int, "float": float}
    return kind(**{name: made[text](value) for (name, text), value in zip(names.items(), numbers, strict=True)})
