"""How far a shell correlation reaches: where it falls below a threshold, and where it does so for good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ResolvedShells", "equal_half_correlation", "resolved_shells"]

Array = NDArray[np.float64]

_SURE = 2.0  # standard errors by which a recovery must outweigh the dip before it


@dataclass(frozen=True)
class ResolvedShells:
    """Shells, with fraction, up to which a correlation holds.

    Attributes
    ----------
    first
        where it falls below the threshold for the first time.
    last
        where it does so for good: at `first`, or after the last dip that it recovers from.
    falls
        whether it does so at all; else `last` is the last shell.
    """

    first: float
    last: float
    falls: bool


def resolved_shells(curve: ArrayLike, threshold: float, terms: ArrayLike | None = None) -> ResolvedShells:
    """Find the shells up to which a correlation holds.

    Parameters
    ----------
    curve
        ``(s,)`` correlation of each shell; shell 0 is left out, and what is no number counts as 0.
    threshold
        such as 0.143.
    terms
        ``(s,)`` independent real numbers behind each shell; None: 4 π s², a whole transform's.

    Notes
    -----
    Where all pictures share a zero of their transfer, the correlation dips, which says nothing of the detail beyond. A
    dip is stepped over if the shells from its beginning to the next fall, all together and each counted by its terms n,
    lie above the threshold t by more than two standard errors:

        Σ n (FSC − t) > 2 (1 − t²) √Σ n.

    The end found so is where Σ n (FSC − t) over all shells within is greatest, which is where the falling curve that
    fits best (isotonic regression; Barlow et al., Statistical Inference under Order Restrictions, 1972) passes t. Noise
    beyond the last detail has to make up for t in every shell that lies between, so that no peak of it counts, nor does
    a distant one of anything else. Crossings are on the straight line between two shells.
    """
    values = np.nan_to_num(np.asarray(curve, dtype=np.float64), posinf=0.0, neginf=0.0)
    count = len(values)
    numbers = 4 * np.pi * np.arange(count) ** 2.0 if terms is None else np.asarray(terms, dtype=np.float64)
    above = values >= threshold
    above[0] = True
    ends = [shell for shell in range(1, count) if not above[shell] and above[shell - 1]]
    if not ends:
        return ResolvedShells(float(count - 1), float(count - 1), falls=False)
    candidates = [*ends[1:], count] if above[-1] else ends[1:]
    excess = np.concatenate([[0.0], np.cumsum(numbers * (values - threshold))])
    spread = np.concatenate([[0.0], np.cumsum(numbers)])
    reached = ends[0]
    for end in candidates:
        error = (1 - threshold**2) * np.sqrt(spread[end] - spread[reached])
        if excess[end] - excess[reached] > _SURE * error:
            reached = end
    first = _between(values, ends[0], threshold)
    if reached == count:
        return ResolvedShells(first, float(count - 1), falls=False)
    return ResolvedShells(first, _between(values, reached, threshold), falls=True)


def equal_half_correlation(correlation: ArrayLike) -> Array:
    """Correlation of half maps whose mean correlates with the truth so: F = C² / (2 − C²), of C's sign.

    By it, correlations with a true map pass 0.143 where they are 0.5, and the rule for half maps judges both alike.
    The reverse of C = √(2 F / (1 + F)) (Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), eq. 11).
    """
    known = np.asarray(correlation, dtype=np.float64)
    equal: Array = known * np.abs(known) / (2 - known**2)
    return equal


def _between(values: Array, shell: int, threshold: float) -> float:
    """Where the line from the shell before passes the threshold; shell 1 where that was below already."""
    if shell == 1:
        return 1.0
    high, low = values[shell - 1], values[shell]
    return float(shell - 1 + (high - threshold) / (high - low))
