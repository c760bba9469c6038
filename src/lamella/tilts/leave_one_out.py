"""How well each observation is predicted by all the others, without solving again.

Of a linear weighted fit, the residual that an observation would have if it took no part is (1 − H)⁻¹ r, with H its own
block of the hat matrix (Cook & Weisberg 1982, "Residuals and influence in regression", 2.2.1). Views and points count
in H, and so do local terms: freedom that only lowers residuals raises the leave-one-out error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.tilts.covariance import Covariance
from lamella.tilts.problem import Equations, Problem

__all__ = ["LeftOut", "leave_one_out"]

Array = NDArray[np.float64]

_LEAST_LEFT = 1e-6  # share of an observation that the others must predict for it to be called predicted


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Residuals against predictions in which an observation takes no part.

    Attributes
    ----------
    residuals
        ``(n, p, 2)`` of each observation, predicted from all the others; NaN where the others do not determine it.
    leverage
        ``(n, p)`` the share of itself in its own fit, 0…1, mean of both axes; NaN where unseen.
    """

    residuals: Array
    leverage: Array


def leave_one_out(problem: Problem, equations: Equations, cover: Covariance, weights: Array) -> LeftOut:
    """Leave out every observation in turn.

    What several points share of one label in one view (the pieces of one patch's track) is one observation, and is left
    out together.

    Parameters
    ----------
    problem, equations, cover
        the problem, linearised at the solution with the same `weights`, and its inverse curvature.
    weights
        ``(n, p)`` inverse variances, robust weights included.
    """
    n, p = weights.shape
    t = equations.jacobian.shape[-1]
    used = (problem.weights > 0) & problem.usable
    at_root = np.asarray(problem.columns @ cover.root).reshape(n, t, -1)  # (n, t, k)
    reach_root = np.einsum("gpi,gk->pik", equations.reach, cover.root, optimize=True)
    if len(np.unique(problem.tracks.labels)) == p:
        return _each_alone(equations, at_root, reach_root, np.where(used, weights, 0.0))
    residuals, leverage = np.full((n, p, 2), np.nan), np.full((n, p), np.nan)
    for view in range(n):
        seen = np.flatnonzero(used[view])
        if not len(seen):
            continue
        at_point = equations.matrices[view] @ equations.half[seen].swapaxes(1, 2)  # (s, 2, 3)
        slopes = equations.jacobian[view, seen] @ at_root[view] - at_point @ reach_root[seen]  # (s, 2, k)
        found, share = _left_out(
            slopes,
            at_point,
            equations.residuals[view, seen],
            np.sqrt(weights[view, seen]),
            problem.tracks.labels[seen],
        )
        residuals[view, seen], leverage[view, seen] = found, share
    return LeftOut(residuals, leverage)


def _each_alone(equations: Equations, at_root: Array, reach_root: Array, weights: Array) -> LeftOut:
    """Where each label is one point, everything at once: only 2 × 2 blocks of the hat matrix are needed.

    With R Rᵀ the covariance of the parameters, an observation's slopes along R are S = J·a − P·b, where a and b are R
    seen by its view and by its point; of S·Sᵀ the products a·aᵀ, a·bᵀ and b·bᵀ are taken once.
    """
    n, p = weights.shape
    of_views = at_root @ at_root.swapaxes(1, 2)  # (n, t, t)
    k = at_root.shape[-1]
    across = (at_root.reshape(-1, k) @ reach_root.reshape(-1, k).T).reshape(n, -1, p, 3).swapaxes(1, 2)  # (n, p, t, 3)
    of_points = reach_root @ reach_root.swapaxes(1, 2)  # (p, 3, 3)
    at_point = equations.matrices[:, None] @ equations.half.swapaxes(1, 2)  # (n, p, 2, 3)
    slopes = equations.jacobian  # (n, p, 2, t)
    mixed = slopes @ across @ at_point.swapaxes(2, 3)
    hat = slopes @ of_views[:, None] @ slopes.swapaxes(2, 3) - mixed - mixed.swapaxes(2, 3)
    hat += at_point @ (of_points + np.eye(3)) @ at_point.swapaxes(2, 3)
    hat *= weights[..., None, None]
    share, turned = np.linalg.eigh(np.eye(2) - hat)
    along = turned.swapaxes(2, 3) @ equations.residuals[..., None]
    predicted = (turned @ (along / np.maximum(share, _LEAST_LEFT)[..., None]))[..., 0]
    predicted[(share[..., 0] < _LEAST_LEFT) | (weights <= 0)] = np.nan
    leverage = np.where(weights > 0, np.einsum("npii->np", hat) / 2, np.nan)
    return LeftOut(predicted, leverage)


def _left_out(
    slopes: Array, at_point: Array, residuals: Array, roots: Array, labels: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Residuals ``(s, 2)`` and leverages ``(s,)`` of one view's observations, each label left out at once."""
    names, member = np.unique(labels, return_inverse=True)
    order = np.argsort(member, kind="stable")
    size = np.bincount(member)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(size) - size, size)
    k = int(size.max())
    block = np.full((len(names), k), -1)
    block[member[order], place] = order
    there = block >= 0
    taken = np.where(there, block, 0)
    scale = (roots[taken] * there)[..., None]  # (l, k, 1): square roots of the weights
    weighted = (slopes[taken] * scale[..., None]).reshape(len(names), 2 * k, -1)
    hat = weighted @ weighted.swapaxes(1, 2)
    own = at_point[taken] * scale[..., None]
    of_points = (own @ own.swapaxes(2, 3)).reshape(len(names), k, 2, 2)
    for piece in range(k):
        hat[:, 2 * piece : 2 * piece + 2, 2 * piece : 2 * piece + 2] += of_points[:, piece]
    left = np.eye(2 * k) - hat
    share, turned = np.linalg.eigh(left)
    lost = share[:, 0] < _LEAST_LEFT
    scaled = (residuals[taken] * scale).reshape(len(names), 2 * k, 1)
    predicted = turned @ ((turned.swapaxes(1, 2) @ scaled) / np.maximum(share, _LEAST_LEFT)[..., None])
    predicted = predicted.reshape(len(names), k, 2) / np.where(scale > 0, scale, 1.0)
    predicted[lost] = np.nan
    diagonal = np.einsum("lii->li", hat).reshape(len(names), k, 2).mean(axis=-1)
    out, leverage = np.empty_like(residuals), np.empty(len(labels))
    out[block[there]], leverage[block[there]] = predicted[there], diagonal[there]
    return out, leverage
