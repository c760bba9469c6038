"""Sum and sum of squares of a block in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["moments"]


def moments(block: NDArray[np.float32]) -> tuple[float, float]:
    """Sum and sum of squares of a C-contiguous float32 array; not finite where it holds NaN or infinity."""
    total, squares = _moments(block.reshape(-1))
    return float(total), float(squares)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _moments(flat):  # type: ignore[no-untyped-def]
    total, squares = np.float64(0), np.float64(0)
    for start in range(0, len(flat), 4096):
        part = flat[start : start + 4096]
        s, q = np.float32(0), np.float32(0)
        for i in range(len(part)):
            s += part[i]
            q += part[i] * part[i]
        total += np.float64(s)
        squares += np.float64(q)
    return total, squares
