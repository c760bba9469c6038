"""Particles that are one, and particles that gold is too close to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

__all__ = ["apart", "away_from_gold"]

Marks = NDArray[np.bool_]


def apart(positions_ang: ArrayLike, scores: ArrayLike | None, distance_ang: float) -> Marks:
    """Which particles stay, so that no two are closer than a distance; the lower score goes, of equals the later.

    Parameters
    ----------
    positions_ang
        ``(n, 3)``.
    scores
        ``(n,)``, higher is better; None: the earlier one is. A score that is not a number is the lowest.
    distance_ang
        two particles at this distance both stay.

    Returns
    -------
    marks
        ``(n,)`` True for those that stay. One that goes makes no other go.
    """
    positions = np.asarray(positions_ang, dtype=np.float64).reshape(-1, 3)
    keep = np.ones(len(positions), dtype=bool)
    if len(positions) < 2:
        return keep
    height = np.zeros(len(positions)) if scores is None else np.nan_to_num(np.asarray(scores, np.float64), nan=-np.inf)
    rank = np.empty(len(positions), np.int64)
    rank[np.argsort(-height, kind="stable")] = np.arange(len(positions))
    pairs = cKDTree(positions).query_pairs(distance_ang, output_type="ndarray")
    close = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1) < distance_ang
    ranks = np.sort(rank[pairs[close]], axis=1)
    by_rank = np.argsort(rank)
    for better, worse in ranks[np.lexsort((ranks[:, 1], ranks[:, 0]))]:
        if keep[by_rank[better]]:
            keep[by_rank[worse]] = False
    return keep


def away_from_gold(
    positions_ang: ArrayLike,
    diameter_ang: float,
    gold_ang: ArrayLike,
    gold_diameter_ang: ArrayLike,
    distance_ang: float,
) -> Marks:
    """Which particles' edges are no closer than a distance to the edge of every bead.

    Parameters
    ----------
    positions_ang, diameter_ang
        ``(n, 3)``, and of every particle.
    gold_ang, gold_diameter_ang
        ``(m, 3)`` and ``(m,)`` of the beads.
    distance_ang
        between the edges; 0: they may touch.
    """
    positions = np.asarray(positions_ang, dtype=np.float64).reshape(-1, 3)
    keep = np.ones(len(positions), dtype=bool)
    beads = np.asarray(gold_ang, dtype=np.float64).reshape(-1, 3)
    for place, size in zip(beads, np.broadcast_to(np.asarray(gold_diameter_ang, np.float64), len(beads)), strict=True):
        gap = np.linalg.norm(positions - place, axis=1) - (diameter_ang + size) / 2
        keep &= gap >= distance_ang
    return keep
