"""How many rounds an iterative reconstruction should take: as many as predict views best that it has not seen.

Rounds first restore what many views agree on and last what a single view says, its noise included. Projecting the
voxels again into the views that made them tells nothing of that: they fit better with every round. A view that was left
out is fitted better while the rounds restore the specimen, and worse once they restore noise. Its own noise adds a
constant to the error, whatever the number of rounds (cross-validation: Stone 1974, J. R. Stat. Soc. B 36:111).

Frequencies count as often as they occur in the volume, not in the views: see `Iteration.misfit`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.progress import Progress
from lamella.tomograms.iterations import Slabs
from lamella.tomograms.memory import MemoryBudget

__all__ = ["LEAST_VIEWS", "HeldOut", "choose_rounds", "held_out_views"]

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_VIEWS = 6
"""Fewer views are not split."""

_EVERY = 8  # of so many views one is left out
_FEWEST, _MOST = 2, 8
_SLABS, _ROWS = 4, 16
_PATIENCE = 5  # rounds, and half as many as the best took, without a better one


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """What views that were left out say of the number of rounds.

    Attributes
    ----------
    views
        which views of the series were left out.
    errors
        ``(n,)`` mean square of what they differ by from the voxels' projections after 1 … n rounds, over their own mean
        square, frequencies weighted as in the volume.
    best
        the round with the least error.
    rounds
        rounds for the reconstruction from all views.
    """

    views: tuple[int, ...]
    errors: Array
    best: int
    rounds: int

    @property
    def at_the_limit(self) -> bool:
        """Whether the error still fell in the last round that was tried."""
        return self.best == len(self.errors)


def held_out_views(tilt_deg: ArrayLike) -> Ints:
    """``(k,)`` indices of views that are left out, spread evenly over the tilts, neither end among them."""
    order = np.argsort(np.asarray(tilt_deg, np.float64), kind="stable")
    count = int(np.clip(len(order) // _EVERY, _FEWEST, _MOST))
    places = ((np.arange(count) + 0.5) / count * len(order)).astype(np.int64)
    return np.sort(order[np.clip(places, 1, len(order) - 2)])


def choose_rounds(slabs: Slabs, left_out: Ints, *, most: int, budget: MemoryBudget, progress: Progress) -> HeldOut:
    """Try a few slabs without some views, and watch how well these are predicted round after round.

    Parameters
    ----------
    slabs
        with a scheme that corrects from all views but those.
    left_out
        indices of the views that are predicted.
    most
        rounds that are tried at most.

    Raises
    ------
    SettingsError
        if the budget holds no slab.

    Notes
    -----
    A frequency that one of n views measures comes back at a rate of 1/n per round of a single group, so that the whole
    takes n / (n − k) as many rounds as the trial without k views. With a group for each view the rate is the same.
    """
    works = [slabs.start(y, rows) for y, rows in _places(slabs, budget)]
    errors: list[float] = []
    with ThreadPoolExecutor(slabs.workers) as pool:
        while len(errors) < most and not _past_the_best(errors):
            list(pool.map(lambda work: work.round(), works))
            sums = np.sum(list(pool.map(lambda work: work.misfit(left_out), works)), axis=0)
            errors.append(float(sums[0] / sums[1]) if sums[1] > 0 else 1.0)
            progress(len(errors) / most, f"round {len(errors)} without {len(left_out)} views")
    progress(1.0, "rounds chosen")
    best = int(np.argmin(errors)) + 1
    views = len(slabs.plan)
    rate = 1.0 if len(slabs.scheme.groups) > 1 else views / (views - len(left_out))
    return HeldOut(
        views=tuple(left_out.tolist()), errors=np.array(errors), best=best, rounds=max(1, round(best * rate))
    )


def _past_the_best(errors: list[float]) -> bool:
    """Whether so many rounds have passed since the best one that no better one is to be expected."""
    if not errors:
        return False
    best = int(np.argmin(errors)) + 1
    return len(errors) >= best + max(_PATIENCE, best // 2)


def _places(slabs: Slabs, budget: MemoryBudget) -> list[tuple[int, int]]:
    """First row and number of rows of the slabs that are tried, spread evenly."""
    ny = slabs.box.shape[1]
    rows = min(_ROWS, ny)
    count = min(_SLABS, max(ny // rows, 1))
    while rows > 4 and slabs.bytes_of(rows) > budget.for_slabs:
        rows //= 2
    count = budget.side_by_side(slabs.bytes_of(rows), count, f"a slab of {rows} rows by iteration")
    return [(round((i + 0.5) / count * ny - rows / 2), rows) for i in range(count)]
