"""A camera with a gain, faults and a specimen that moves from view to view."""

from __future__ import annotations

import numpy as np

from lamella.records import ArrayFrames

Image = np.ndarray


def structured_gain(rng: np.random.Generator, shape: tuple[int, int], spread: float = 0.03) -> Image:
    """A factor per pixel: pixel noise, columns, tiles of an uneven camera, and a slope."""
    height, width = shape
    response = 1 + spread * rng.normal(size=shape)
    response *= 1 + 0.01 * rng.normal(size=width)
    response[: height // 3, : width // 4] *= 1.05
    response *= np.linspace(0.95, 1.05, width)
    return (1 / response).astype(np.float32)


def movies(
    rng: np.random.Generator,
    shape: tuple[int, int],
    dose: float,
    *,
    gain: Image | None = None,
    views: int = 8,
    frames: int = 4,
) -> list[Image]:
    """Counts of views of a few dark beads and a film's edge, which move from view to view; ``(frames, h, w)`` each."""
    height, width = shape
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    response = 1.0 if gain is None else 1 / gain
    out = []
    places = rng.uniform(0, 1, (12, 2))
    for view in range(views):
        bright = np.full(shape, 1.0) - 0.2 * (x < 0.2 * width + 6 * view)
        for px, py in places:
            centre = (px * width + 7 * (view - views / 2), py * height)
            bright -= 0.3 * (np.hypot(x - centre[0], y - centre[1]) < 10)
        out.append(rng.poisson(dose * np.clip(bright, 0.2, None) * response, (frames, *shape)).astype(np.uint8))
    return out


def sources(stacks: list[Image]) -> list[ArrayFrames]:
    return [ArrayFrames(stack) for stack in stacks]
