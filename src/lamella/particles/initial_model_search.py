"""Poses of many particles at once: how well each node of a grid explains them, and maps from what they may be.

Particles of one tomogram share the frames of its views, so the slices of a reference are cut out once for all of them
and compared by a product of matrices: a grid of thousands of orientations costs little more than its slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.kernels.central_slices import take_terms
from lamella.kernels.insertion import add_terms
from lamella.particles.initial_model_data import Pictures
from lamella.particles.refine_maps import MapSums

__all__ = ["PoseGrid", "add_nodes", "node_scores", "node_weights"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Complex = NDArray[np.complex64]

_BYTES_AT_ONCE = 1 << 26
_LEAST_SHARE = 1e-2
"""Of a particle's likeliest node: nodes with less are left out of the maps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PoseGrid:
    """Nodes that are compared: every orientation at every place about the one that a particle is believed to be at.

    Attributes
    ----------
    matrices
        ``(k, 3, 3)``.
    places_px
        ``(s, 3)``.
    width_px
        standard deviation of the prior of each coordinate, about where the particle was cut out.
    """

    matrices: Array
    places_px: Array
    width_px: float


def node_scores(transforms: Sequence[Complex], pictures: Pictures, grid: PoseGrid) -> Floats:
    """Log-posterior ``(p, c, k, s)`` of each particle for each reference, orientation and place.

    Parameters
    ----------
    transforms
        of the references (`padded_transform`).
    """
    p, s, k = len(pictures), len(grid.places_px), len(grid.matrices)
    data = _moved(pictures, grid).reshape(p * s, -1).view(np.float32).T
    squares = pictures.squares.reshape(p, -1).T
    scores = np.empty((p, len(transforms), k, s), np.float32)
    for part in _parts(k, pictures):
        for number, transform in enumerate(transforms):
            slices = take_terms(transform, pictures.at.index, _turned(pictures, grid, part), pictures.at.box_px)
            flat = slices.reshape(part.stop - part.start, -1)
            cross = (flat.view(np.float32) @ data).reshape(-1, p, s)
            power = (flat.real**2 + flat.imag**2) @ squares
            scores[:, number, part] = (cross - 0.5 * power[:, :, None]).transpose(1, 0, 2)
    reach = ((pictures.places[:, None] + grid.places_px) ** 2).sum(axis=-1) / grid.width_px**2
    scores -= (0.5 * reach).astype(np.float32)[:, None, None]
    return scores


def node_weights(scores: Floats, temperature: float) -> tuple[Floats, Array]:
    """Weights of every node, whose sum is 1 for each particle, and the logarithm ``(p,)`` of their mean likelihood."""
    p = len(scores)
    flat = scores.reshape(p, -1)
    top = flat.max(axis=1, keepdims=True)
    weights = np.exp((flat - top) / np.float32(temperature))
    total = weights.sum(axis=1, dtype=np.float64)
    evidence = top[:, 0] + temperature * np.log(total / flat.shape[1])
    weights[weights < _LEAST_SHARE] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.reshape(scores.shape), evidence


def add_nodes(sums: Sequence[MapSums], pictures: Pictures, grid: PoseGrid, weights: Floats) -> None:
    """Add particles to the sums of each class, at every node by its weight."""
    p, s = len(pictures), len(grid.places_px)
    data = _moved(pictures, grid).reshape(p * s, -1).view(np.float32)
    squares = pictures.squares.reshape(p, -1)
    t = len(pictures.at.index)
    for number, one in enumerate(sums):
        own = weights[:, number]  # (p, k, s)
        used = np.flatnonzero(own.any(axis=(0, 2)))
        for part in _parts(len(used), pictures):
            nodes = used[part]
            shares = np.ascontiguousarray(own[:, nodes].transpose(1, 0, 2))  # (k, p, s)
            values = (shares.reshape(len(nodes), p * s) @ data).view(np.complex64).reshape(-1, t)
            masses = (shares.sum(axis=2) @ squares).reshape(-1, t)
            turned = np.einsum("vij,kjl->kvil", pictures.frames, grid.matrices[nodes]).reshape(-1, 3, 3)
            add_terms(values, masses, pictures.at.index, turned, pictures.at.box_px, one.grid)


def _moved(pictures: Pictures, grid: PoseGrid) -> Complex:
    """Data ``(p, s, v, t)`` moved back from every place."""
    phases = [_phases(pictures, places) for places in (pictures.places, grid.places_px)]
    moved: Complex = (pictures.data * phases[0])[:, None] * phases[1]
    return moved


def _phases(pictures: Pictures, places: Array) -> Complex:
    """``(s, v, t)`` what moves data back from places."""
    moves = np.einsum("vij,sj->svi", pictures.frames, places)
    phases: Complex = np.exp(2j * np.pi / pictures.at.box_px * (moves @ pictures.at.index.T)).astype(np.complex64)
    return phases


def _turned(pictures: Pictures, grid: PoseGrid, part: slice) -> Array:
    turned: Array = np.einsum("vij,kjl->kvil", pictures.frames, grid.matrices[part]).reshape(-1, 3, 3)
    return turned


def _parts(count: int, pictures: Pictures) -> list[slice]:
    """Slices of the nodes that are worked on at once."""
    v, t = pictures.data.shape[1:]
    size = max(1, _BYTES_AT_ONCE // (16 * v * t))
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]
