"""How a seed becomes sizes, signs and directions of errors, by a stream of random numbers for each part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["signed", "size", "sphere", "stream"]

Array = NDArray[np.float64]

_PARTS = ("stage", "lenses", "grid", "targets", "pictures", "faults", "blobs")


def stream(seed: int, part: str) -> np.random.Generator:
    """The random numbers of one part; what one part draws does not change another's."""
    return np.random.default_rng([_PARTS.index(part), seed])


def size(between: tuple[float, float], rng: np.random.Generator) -> float:
    """A size from a range, all alike probable."""
    return float(rng.uniform(*between))


def signed(between: tuple[float, float], rng: np.random.Generator) -> float:
    """A size from a range, with a sign."""
    return size(between, rng) * (1.0 if rng.random() < 0.5 else -1.0)


def sphere(rng: np.random.Generator, *, flat: bool = False) -> Array:
    """``(3,)`` a direction; `flat`: across the beam."""
    vector = rng.normal(size=3)
    if flat:
        vector[2] = 0.0
    return vector / np.linalg.norm(vector)
