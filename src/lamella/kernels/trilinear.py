"""Places between the samples of a volume's transform, in plain torch: what the compiled loops are held to.

The transform of a real volume is stored by its half x ≥ 0, ``(m, m, m // 2 + 1)`` zyx, origin at index 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["corners", "linear_fall", "square_reach", "stored_half"]

_SLACK = 1e-3  # what lies on the last shell but one stays there however rounding turns it


def square_reach(m: int) -> float:
    """Square of the longest place whose eight samples are all stored."""
    return float((m // 2 - 1) ** 2) + _SLACK


def stored_half(place: Tensor) -> tuple[Tensor, Tensor]:
    """Places ``(p, 3)`` x, y, z or, where x < 0, their mates at −k; and ``(p,)`` where it is the mate."""
    flipped = place[:, 0] < 0
    return torch.where(flipped[:, None], -place, place), flipped


def corners(place: Tensor, m: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The eight samples around places ``(p, 3)``: index in the flattened transform and weight, ``(p,)`` each."""
    floor = place.floor()
    part, base = (place - floor).float(), floor.long()
    for corner in np.ndindex(2, 2, 2):
        x, y, z = (base + torch.tensor(corner, device=place.device)).unbind(1)
        tap = torch.ones(len(place), device=place.device)
        for axis, upper in enumerate(corner):
            tap = tap * (part[:, axis] if upper else 1 - part[:, axis])
        yield ((z % m) * m + y % m) * (m // 2 + 1) + x, tap


def linear_fall(n: int, m: int, device: torch.device | str = "cpu") -> Tensor:
    """``(n, n, n)`` what linear interpolation between samples of an m-fold transform multiplies a volume with.

    The volume has n voxels of the m that the transform is of, and its origin at voxel n // 2: sinc² along each axis.
    """
    line = torch.sinc((torch.arange(n, dtype=torch.float32, device=device) - n // 2) / m) ** 2
    return line[:, None, None] * line[:, None] * line
