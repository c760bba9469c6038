"""The same gold beads in two tomograms: which is which, from nothing but their places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lamella.geometry import rotation_z
from lamella.tomograms.combine_rigid import RigidMotion, fit_rigid

__all__ = ["BeadMatch", "match_beads"]

Array = NDArray[np.float64]

_CANDIDATES = 4000
_LONGEST_TILT_DEG = 10.0  # between the two tomograms' z axes
_TURN_MARGIN_DEG = 6.0  # about a turn that is stated
_FEWEST = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class BeadMatch:
    """Beads of two tomograms that are the same.

    Attributes
    ----------
    first, second
        ``(m,)`` indices of the pairs.
    mirrored
        whether the second had to be mirrored (z → −z) to match: then the two tomograms have opposite hands.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    mirrored: bool

    def __len__(self) -> int:
        return len(self.first)


def match_beads(
    first_ang: Array, second_ang: Array, tolerance_ang: float, turn_deg: float | None = None, seed: int = 0
) -> BeadMatch | None:
    """Find the beads that two tomograms have in common; None where too few agree.

    Parameters
    ----------
    first_ang, second_ang
        ``(n, 3)`` and ``(m, 3)`` places, Å from the centre voxels; neither need hold all of the other.
    tolerance_ang
        how far from each other the two places of a bead may be when the tomograms lie on each other.
    turn_deg
        about how far the specimen was turned from the first to the second; None: any turn.
    seed
        of the choice among candidates.

    Notes
    -----
    Two beads of one and two of the other that are as far apart in the plane, and in z as far as small tilts allow,
    state a turn and a shift (Fischler & Bolles 1981). The candidate under which most beads find a partner is refined by
    `fit_rigid`, and the partners are looked for again. Both hands are tried; the mirrored one has to win by a quarter
    more pairs, since beads of one plane cannot tell.
    """
    found = []
    for mirrored in (False, True):
        flip = np.array([1.0, 1.0, -1.0 if mirrored else 1.0])
        pairs = _match(first_ang, second_ang * flip, tolerance_ang, turn_deg, np.random.default_rng(seed))
        found.append(BeadMatch(first=pairs[0], second=pairs[1], mirrored=mirrored))
    plain, mirror = found
    best = mirror if len(mirror) > max(1.25 * len(plain), len(plain) + 2) else plain
    wanted = max(_FEWEST, 0.3 * min(len(first_ang), len(second_ang)))
    return best if len(best) >= wanted else None


def _match(
    first: Array, second: Array, tolerance: float, turn_deg: float | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    nothing = np.zeros(0, np.int64)
    turns, shifts = _candidates(first, second, tolerance, turn_deg, rng)
    if len(turns) == 0:
        return nothing, nothing
    tree = cKDTree(first)
    # p1 = Rz(−turn) · p2 + shift; small tilts, which a candidate does not know, cost depth
    placed = np.einsum("cij,pj->cpi", rotation_z(-turns), second) + shifts[:, None]
    reach = tolerance + np.ptp(second[:, :2]) / 2 * np.sin(np.deg2rad(_LONGEST_TILT_DEG)) / 2
    near, _ = tree.query(placed, distance_upper_bound=reach)
    counts = np.isfinite(near).sum(axis=1)
    pairs = (nothing, nothing)
    for best in np.argsort(-counts, kind="stable")[:20]:
        motion = RigidMotion(rotation=rotation_z(-turns[best]), shift_ang=shifts[best])
        found = _refined(first, second, tree, motion, reach, tolerance)
        if len(found[0]) > len(pairs[0]):
            pairs = found
    return pairs


def _refined(
    first: Array, second: Array, tree: cKDTree, motion: RigidMotion, reach: float, tolerance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs within the tolerance after a few rounds of fitting and matching with a shrinking reach."""
    nothing = np.zeros(0, np.int64)
    chosen = (nothing, nothing)
    for limit in (*np.geomspace(reach, tolerance, 5), tolerance, tolerance):
        chosen = _partners(first, second, tree, motion, float(limit))
        if len(chosen[0]) < 3:
            return nothing, nothing
        centred = second[chosen[1]] - second[chosen[1]].mean(axis=0)
        if np.linalg.matrix_rank(centred, tol=10.0) < 2:
            return nothing, nothing
        motion = fit_rigid(second[chosen[1]], first[chosen[0]]).motion
        if motion.tilt_deg > _LONGEST_TILT_DEG:
            return nothing, nothing
    return chosen


def _partners(
    first: Array, second: Array, tree: cKDTree, motion: RigidMotion, limit: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each bead with its nearest one, where that is mutual and within the limit."""
    placed = motion.to_first(second)
    distance, partner = (np.atleast_1d(part) for part in tree.query(placed, distance_upper_bound=limit))
    back = np.atleast_1d(cKDTree(placed).query(first)[1])
    mutual = np.flatnonzero(np.isfinite(distance))
    mutual = mutual[back[partner[mutual]] == mutual]
    return partner[mutual].astype(np.int64), mutual.astype(np.int64)


def _candidates(
    first: Array, second: Array, tolerance: float, turn_deg: float | None, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Turns ``(c,)`` in degrees and shifts ``(c, 3)`` from pairs of beads that are as far apart in both."""
    a, b = (_long_pairs(points, 8 * tolerance) for points in (first, second))
    if len(a) == 0 or len(b) == 0:
        return np.zeros(0), np.zeros((0, 3))
    apart_a, apart_b = first[a[:, 1]] - first[a[:, 0]], second[b[:, 1]] - second[b[:, 0]]
    length_a, length_b = np.hypot(*apart_a[:, :2].T), np.hypot(*apart_b[:, :2].T)
    order = np.argsort(length_b)
    low = np.atleast_1d(np.searchsorted(length_b[order], length_a - 2 * tolerance))
    high = np.atleast_1d(np.searchsorted(length_b[order], length_a + 2 * tolerance))
    of_a = np.repeat(np.arange(len(a)), high - low)
    of_b = order[np.arange(len(of_a)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + low[of_a]]
    slack = 2 * tolerance + length_a[of_a] * np.sin(np.deg2rad(_LONGEST_TILT_DEG))
    fits = np.abs(apart_a[of_a, 2] - apart_b[of_b, 2]) < slack
    of_a, of_b = of_a[fits], of_b[fits]
    turns = np.rad2deg(np.arctan2(apart_b[of_b, 1], apart_b[of_b, 0]) - np.arctan2(apart_a[of_a, 1], apart_a[of_a, 0]))
    if turn_deg is not None:
        off = (turns - turn_deg + 180) % 360 - 180
        of_a, of_b, turns = (part[np.abs(off) < _TURN_MARGIN_DEG] for part in (of_a, of_b, turns))
    if len(turns) > _CANDIDATES:
        some = rng.choice(len(turns), _CANDIDATES, replace=False)
        of_a, of_b, turns = of_a[some], of_b[some], turns[some]
    middle_a, middle_b = first[a].mean(axis=1)[of_a], second[b].mean(axis=1)[of_b]
    return turns, middle_a - np.einsum("cij,cj->ci", rotation_z(-turns), middle_b)


def _long_pairs(points: Array, shortest: float) -> NDArray[np.int64]:
    """``(k, 2)`` ordered pairs that lie apart in the plane; of many beads the farthest pairs say most of the turn."""
    i, j = np.nonzero(~np.eye(len(points), dtype=bool))
    apart = np.hypot(*(points[j] - points[i])[:, :2].T)
    chosen = np.flatnonzero(apart > shortest)
    pairs: NDArray[np.int64] = np.stack([i[chosen], j[chosen]], axis=-1)
    return pairs
