"""Which views an algebraic reconstruction takes together, in what order, and how far each correction goes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import SettingsError
from lamella.tomograms.reconstruct_settings import ReconstructSettings

__all__ = ["Scheme", "multilevel_order", "plan_scheme", "view_groups"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scheme:
    """How voxels are corrected.

    Attributes
    ----------
    groups
        views whose corrections are made together, group after group, once per round.
    relaxation
        part of a correction that is applied, 0 … 2.
    sign
        +1 keeps voxels from falling below 0, −1 from rising above it, 0 lets them be.
    """

    groups: tuple[Ints, ...]
    relaxation: float = 1.0
    sign: int = 0

    @property
    def sizes(self) -> set[int]:
        """Numbers of views that a group may have."""
        return {len(group) for group in self.groups}


def plan_scheme(
    tilt_deg: ArrayLike, settings: ReconstructSettings, *, sign: int = 0, without: ArrayLike = ()
) -> Scheme:
    """The scheme that the settings ask for.

    Parameters
    ----------
    tilt_deg
        ``(n,)`` of all views.
    settings
        ``method``, ``subsets`` and ``relaxation``.
    sign
        see `Scheme`.
    without
        indices of views that correct nothing.

    Raises
    ------
    SettingsError
        if there are more subsets than views.

    Notes
    -----
    Views that are corrected for one after the other each add their noise with the full step. Unless stated, relaxation
    is 1 over the root of the number of groups, so that a round's noise, and how far it goes, depend little on them.
    """
    tilts = np.asarray(tilt_deg, np.float64)
    views = np.setdiff1d(np.arange(len(tilts)), np.asarray(without, np.int64))
    count = 1
    if settings.method == "sart":
        count = len(views) if settings.subsets == "auto" else settings.subsets
    if count > len(tilts):
        raise SettingsError(
            f"{count} subsets of {len(tilts)} views",
            mend=f"set reconstruct.subsets to auto, or to {len(tilts)} at most",
        )
    groups = tuple(views[group] for group in view_groups(tilts[views], min(count, len(views))))
    relaxation = 1 / math.sqrt(len(groups)) if settings.relaxation == "auto" else settings.relaxation
    return Scheme(groups=groups, relaxation=relaxation, sign=sign)


def view_groups(tilt_deg: ArrayLike, count: int) -> tuple[Ints, ...]:
    """Views in `count` groups, in the order in which the groups' corrections are made.

    Each group takes every `count`-th view in order of tilt; successive groups are as far from each other as they can
    be, so that each corrects what the ones before it left (Guan & Gordon 1994, Phys. Med. Biol. 39:2005).

    Parameters
    ----------
    tilt_deg
        ``(n,)``.
    count
        1 … n; one group is all views in their own order.

    Examples
    --------
    >>> [group.tolist() for group in view_groups([-40, -20, 0, 20, 40], 2)]
    [[0, 2, 4], [1, 3]]
    """
    tilts = np.asarray(tilt_deg, np.float64)
    if count == 1:
        return (np.arange(len(tilts)),)
    order = np.argsort(tilts, kind="stable")
    return tuple(order[start::count] for start in multilevel_order(count))


def multilevel_order(count: int) -> Ints:
    """``0 … count − 1`` such that every beginning of the sequence is spread evenly: numbers with their bits reversed.

    Examples
    --------
    >>> multilevel_order(8).tolist()
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    bits = max(int(count - 1).bit_length(), 1)
    numbers = np.arange(2**bits)
    turned = np.zeros_like(numbers)
    for bit in range(bits):
        turned |= ((numbers >> bit) & 1) << (bits - 1 - bit)
    return turned[turned < count].astype(np.int64)
