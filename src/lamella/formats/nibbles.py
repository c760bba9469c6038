"""Pixels of four bits, two in a byte: how SerialEM saves counted frames of few electrons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["unpack_nibbles"]


def unpack_nibbles(packed: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Take bytes ``(..., n)`` apart into ``(..., width)`` numbers from 0 to 15, the lower half of a byte first.

    A row ends with a whole byte: n is width / 2, rounded up.
    """
    pairs = np.empty((*packed.shape, 2), np.uint8)
    np.bitwise_and(packed, 15, out=pairs[..., 0])
    np.right_shift(packed, 4, out=pairs[..., 1])
    return pairs.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :width]
