"""How much memory a reconstruction may take, and what it is shared out to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from lamella.errors import SettingsError
from lamella.runtime import free_memory_bytes

__all__ = ["MemoryBudget"]

_OF_FREE = 0.75  # of what is free, where nothing is stated
_FOR_VIEWS = 0.6  # of the budget, above which views are kept in a temporary file
_FOR_SLABS = 0.8  # of what is left beside the views: the rest is for transforms, writers and what libraries keep
_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class MemoryBudget:
    """A ceiling for what the work holds at a time, beside the libraries and the arrays that its caller holds.

    Attributes
    ----------
    bytes
        the ceiling.
    stated
        whether `reconstruct.memory` states it; else it follows from what was free.

    Examples
    --------
    >>> budget = MemoryBudget(bytes=2**30, stated=True)
    >>> budget.keeps(2**29), budget.less(2**29).for_slabs == int(0.8 * 2**29)
    (True, True)
    """

    bytes: int
    stated: bool = False

    @classmethod
    def of(cls, memory_gib: float | Literal["auto"], device: str = "cpu") -> MemoryBudget:
        """What `reconstruct.memory` allows on a device: never more than is free there, where the device is no CPU.

        Parameters
        ----------
        memory_gib
            the setting: GiB, or ``auto`` for three quarters of what is free now.
        device
            ``cpu`` or a torch device.
        """
        if memory_gib == "auto":
            return cls(bytes=int(_OF_FREE * free_memory_bytes(device)))
        stated = int(memory_gib * _GIB)
        if device.startswith("cuda"):
            stated = min(stated, int(_OF_FREE * free_memory_bytes(device)))
        return cls(bytes=stated, stated=True)

    def keeps(self, size_bytes: float) -> bool:
        """Whether views of that size stay in memory; else they belong into a temporary file."""
        return size_bytes <= _FOR_VIEWS * self.bytes

    def less(self, held_bytes: float) -> MemoryBudget:
        """What is left beside something that is held."""
        return replace(self, bytes=max(int(self.bytes - held_bytes), 0))

    @property
    def for_slabs(self) -> int:
        """Bytes for all slabs that are worked on at the same time, everything that they need included."""
        return int(_FOR_SLABS * self.bytes)

    def side_by_side(self, each_bytes: float, most: int, what: str) -> int:
        """How many pieces of work of that size go on at the same time: 1 … `most`.

        Raises
        ------
        SettingsError
            if there is not room for one.
        """
        self.require(each_bytes, what)
        return max(1, min(most, int(self.for_slabs / max(each_bytes, 1))))

    def require(self, needed_bytes: float, what: str) -> None:
        """Raise `SettingsError` where there is no room for a piece of work, a phrase such as ``one slab by sirt``."""
        if needed_bytes <= self.for_slabs:
            return
        more = (needed_bytes - self.for_slabs) / _FOR_SLABS / _GIB
        allowed = "reconstruct.memory leaves" if self.stated else "there are"
        raise SettingsError(
            f"{what} takes {needed_bytes / _GIB:.3g} GiB, and {allowed} {self.for_slabs / _GIB:.3g} GiB for it",
            mend=f"give reconstruct.memory {more:.3g} GiB more, or make the tomogram smaller or its voxels larger "
            "(reconstruct.thickness, size_x, pixel_size)",
        )
