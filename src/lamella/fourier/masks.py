"""Soft masks in real space, so that edges do not ring in Fourier space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lamella.fourier.chunks import as_float

__all__ = ["edge_taper", "soft_mask", "taper_edges"]


def soft_mask(
    shape: Sequence[int],
    radius_px: float,
    edge_px: float,
    centre_px: Sequence[float] | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A disc or ball: 1 up to the radius, falling as a raised cosine to 0 at radius + edge.

    Parameters
    ----------
    shape
        `(h, w)` or `(d, h, w)`.
    radius_px, edge_px
        pixels; an edge of 0 is sharp.
    centre_px
        (y, x) or (z, y, x), counted from pixel 0; the centre pixel n // 2 where left out.

    Returns
    -------
    Tensor
        of that shape, float32, 0…1.
    """
    centre = [size // 2 for size in shape] if centre_px is None else centre_px
    square: Tensor | float = 0.0
    for axis, (size, middle) in enumerate(zip(shape, centre, strict=True)):
        line = torch.arange(size, dtype=torch.float32, device=device) - middle
        square = square + line.reshape([-1 if other == axis else 1 for other in range(len(shape))]) ** 2
    beyond = torch.sqrt(torch.as_tensor(square)) - radius_px
    if edge_px <= 0:
        return (beyond <= 0).float()
    return 0.5 * (1 + torch.cos(math.pi * (beyond / edge_px).clamp(0, 1)))


def edge_taper(shape: Sequence[int], width_px: float, device: torch.device | str = "cpu") -> Tensor:
    """A window of `shape`, float32: 1 inside, falling as a raised cosine over `width_px` towards 0 at every edge."""
    window = torch.ones(tuple(shape), dtype=torch.float32, device=device)
    for axis, size in enumerate(shape):
        place = torch.arange(size, dtype=torch.float32, device=device) + 0.5
        inward = torch.minimum(place, size - place)  # of pixel centres from the nearer edge
        line = 0.5 * (1 - torch.cos(math.pi * (inward / max(width_px, 1e-6)).clamp(0, 1)))
        window = window * line.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return window


def taper_edges(image: Tensor, width_px: float) -> Tensor:
    """Fade images `(..., h, w)` to their mean over `width_px` pixels at the edges, so that opposite edges meet."""
    image = as_float(image)
    mean = image.mean(dim=(-2, -1), keepdim=True)
    window = edge_taper(tuple(image.shape[-2:]), width_px, image.device).to(image.dtype)
    return mean + (image - mean) * window
