"""Places from measured differences: a robust least-squares solve over the links of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LinkSolution", "neighbour_links", "solve_links"]

Array = NDArray[np.float64]
Pairs = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LinkSolution:
    """Places found from links.

    Attributes
    ----------
    places
        ``(n, 2)`` place of each node; the weighted mean of each connected part is 0.
    variances
        ``(n, 2)`` of the places about that mean; infinite where no link holds a node.
    robust_weights
        ``(l,)`` what was made of each link: 1 where it agrees with the others, towards 0 where it does not.
    """

    places: Array
    variances: Array
    robust_weights: Array


def neighbour_links(order: Pairs, steps: tuple[int, ...]) -> Pairs:
    """``(l, 2)`` pairs of entries of `order` that lie `steps` apart in it (1: neighbours, 2: one left out…)."""
    pairs = [np.stack([order[:-step], order[step:]], axis=-1) for step in steps if step < len(order)]
    return np.concatenate(pairs) if pairs else np.zeros((0, 2), dtype=np.int64)


def solve_links(
    pairs: Pairs, differences: Array, information: Array, n: int, *, tolerance: float, iterations: int = 20
) -> LinkSolution:
    """Places x with x[a] − x[b] ≈ difference for each link (a, b).

    Parameters
    ----------
    pairs
        ``(l, 2)`` nodes a and b.
    differences
        ``(l, 2)`` measured x[a] − x[b].
    information
        ``(l, 2)`` inverse variances of the differences, 0 where nothing was measured.
    n
        number of nodes.
    tolerance
        length of a residual beyond which a link is doubted, in the differences' unit; it grows with the residuals'
        median where they are larger.
    iterations
        rounds of reweighting at most.

    Notes
    -----
    Iterated reweighting with Cauchy's weights. A link that went wrong by far costs little where other links span the
    same views, which is why views are linked to more than their neighbours.
    """
    incidence = np.zeros((len(pairs), n))
    rows = np.arange(len(pairs))
    incidence[rows, pairs[:, 0]] += 1
    incidence[rows, pairs[:, 1]] -= 1
    robust = np.ones(len(pairs))
    places = np.zeros((n, 2))
    inverses = [np.zeros((n, n))] * 2
    for _ in range(iterations):
        before = places
        inverses = [_pseudo_inverse(incidence, information[:, axis] * robust) for axis in (0, 1)]
        places = np.stack(
            [
                inverses[axis] @ (incidence.T @ (information[:, axis] * robust * differences[:, axis]))
                for axis in (0, 1)
            ],
            axis=-1,
        )
        lengths = np.linalg.norm(incidence @ places - differences, axis=-1)
        measured = information.sum(axis=1) > 0
        doubt = max(tolerance, 2 * float(np.median(lengths[measured]))) if measured.any() else tolerance
        robust = 1 / (1 + (lengths / doubt) ** 2) ** 2
        if np.abs(places - before).max(initial=0) < 1e-4 * tolerance:
            break
    variances = np.stack([np.diag(inverse) for inverse in inverses], axis=-1)
    linked = (np.abs(incidence) * (information.sum(axis=1) > 0)[:, None]).any(axis=0)
    variances[~linked] = np.inf
    return LinkSolution(places, variances, robust)


def _pseudo_inverse(incidence: Array, weights: Array) -> Array:
    """Pseudo-inverse of the graph's Laplacian, whose null space is one constant per connected part."""
    laplacian = incidence.T @ (weights[:, None] * incidence)
    n = len(laplacian)
    scale = float(np.trace(laplacian)) / n
    if scale <= 0:
        return np.zeros_like(laplacian)
    # in one connected part the only null vector is constant, and lifting it makes an ordinary inverse
    lifted = laplacian / scale + 1 / n
    try:
        inverse = np.linalg.inv(lifted)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.pinv(laplacian, rcond=1e-10, hermitian=True))
    if np.linalg.norm(lifted, 1) * np.linalg.norm(inverse, 1) < 1e9:
        return np.asarray((inverse - 1 / n) / scale)
    return np.asarray(np.linalg.pinv(laplacian, rcond=1e-10, hermitian=True))
