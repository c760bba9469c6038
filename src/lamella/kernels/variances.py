"""Variances of the parts that a covariance is the sum of: a few hundred thousand small matrix products in a row."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["fit_variances"]

Array = NDArray[np.float64]


@njit(cache=True, nogil=True, error_model="numpy")
def fit_variances(scatter: Array, parts: Array, ridge: float, rounds: int) -> Array:
    """Variances ≥ 0 of `parts` under whose sum a scatter matrix is likeliest.

    Parameters
    ----------
    scatter
        ``(n, n)`` mean outer product of samples.
    parts
        ``(j, n, n)`` covariances of unit variance.
    ridge
        variance of white noise that is there besides.
    rounds
        of multiplicative updates (Zhou et al. 2019, J. Comput. Graph. Stat. 28:350), each of which makes it likelier.
    """
    count, size = len(parts), len(scatter)
    variances = np.empty(count)
    for j in range(count):
        variances[j] = np.trace(scatter) / count / max(np.trace(parts[j]), 1e-12)
    total = np.empty((size, size))
    for _ in range(rounds):
        total[:] = 0.0
        for j in range(count):
            for a in range(size):
                for b in range(size):
                    total[a, b] += variances[j] * parts[j, a, b]
        for a in range(size):
            total[a, a] += ridge
        inverse = np.linalg.inv(total)
        both = inverse @ scatter @ inverse
        for j in range(count):
            wanted = there = 0.0
            for a in range(size):
                for b in range(size):
                    wanted += parts[j, a, b] * both[b, a]
                    there += parts[j, a, b] * inverse[b, a]
            variances[j] *= math.sqrt(max(wanted, 0.0) / max(there, 1e-30))
    return variances
