"""Noise2noise: one half of the data predicts the other, whose noise it does not know."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["mean_square", "n2n_loss"]


def mean_square(values: Tensor) -> Tensor:
    """Mean of the squares, in double precision: as a float32 it is the same in whatever order threads add them up."""
    return values.square().mean(dtype=torch.float64)


def n2n_loss(network: Callable[[Tensor], Tensor], first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of one denoised half and the other, which patches come in both orders.

    Notes
    -----
    Lehtinen et al. 2018; for tomograms Buchholz et al. 2019 (cryoCARE). The expectation over the other half's noise,
    which is independent, is the squared distance from the clean tomogram plus a constant.
    """
    return mean_square(network(first) - second)
