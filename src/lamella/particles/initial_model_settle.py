"""The end of a first model: every particle's own pose, by climbing from the best nodes, and maps from those."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import PostconditionError
from lamella.kernels.central_slices import padded_transform
from lamella.parallel import each
from lamella.particles.initial_model_data import Pictures
from lamella.particles.initial_model_search import PoseGrid, node_scores
from lamella.particles.likelihood import ParticleTerms, Peak, Prior, climb
from lamella.particles.refine_maps import MapSums

__all__ = ["Poses", "poses_of", "sums_of"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Complex = NDArray[np.complex64]

_PEAKS = 4
_TURN, _MOVE = 0.5, 0.35  # longest step of a climb, in details at the particle's rim
_BYTES_AT_ONCE = 1 << 28


@dataclass(frozen=True, kw_only=True, eq=False)
class Poses:
    """Of some particles: in the frame of their pictures.

    Attributes
    ----------
    numbers
        ``(p,)`` of the particles in their set.
    matrices, places
        ``(p, 3, 3)`` M and ``(p, 3)`` u of `Pictures`.
    classes
        ``(p,)`` from 0.
    probability
        ``(p,)`` of that class.
    """

    numbers: Integers
    matrices: Array
    places: Array
    classes: Integers
    probability: Array


def poses_of(maps: Tensor, pictures: Pictures, grid: PoseGrid, radius_px: float, coarse_shell: int) -> Poses:
    """The likeliest pose and class of each particle.

    Parameters
    ----------
    maps
        ``(c, n, n, n)``.
    pictures
        with terms as fine as is to be compared.
    grid
        to begin from.
    radius_px
        of the particle.
    coarse_shell
        finest detail that nodes are scored by, and first climbed by.

    Raises
    ------
    PostconditionError
        if no class has a map.
    """
    transforms = [padded_transform(one).numpy() for one in maps]
    # a class that lost all of its particles has no map, and gets none back
    alive = [number for number, one in enumerate(maps) if bool(one.any())]
    if not alive:
        raise PostconditionError(
            "the first model is empty in every class", mend="look for damaged pictures, or set fewer classes"
        )
    prior = Prior(place_px=np.zeros(3), place_width_px=grid.width_px)
    bytes_of_one = 16.0 * len(transforms) * len(grid.matrices) * len(grid.places_px)
    found: list[tuple[Peak, int, float]] = []
    for some in pictures.batches(bytes_of_one, _BYTES_AT_ONCE):
        coarse = some.up_to(coarse_shell)
        scores = node_scores(transforms, coarse, grid)

        def work(
            index: int, some: Pictures = some, coarse: Pictures = coarse, scores: NDArray[np.float32] = scores
        ) -> tuple[Peak, int, float]:
            peaks = []
            for number in alive:
                transform = transforms[number]
                nodes = _best_nodes(scores[index, number])
                starts = [(grid.matrices[k], some.places[index] + grid.places_px[s]) for k, s in nodes]
                climbed = [_climb(transform, coarse.terms(index), m, u, prior, radius_px) for m, u in starts]
                near = max(climbed, key=lambda peak: peak.value)
                peaks.append(_climb(transform, some.terms(index), near.matrix, near.place_px, prior, radius_px))
            evidence = np.array([peak.evidence for peak in peaks])
            best = int(evidence.argmax())
            return peaks[best], alive[best], float(1 / np.exp(evidence - evidence[best]).sum())

        found += each(work, range(len(some)))
    return Poses(
        numbers=pictures.numbers,
        matrices=np.stack([peak.matrix for peak, _, _ in found]),
        places=np.stack([peak.place_px for peak, _, _ in found]),
        classes=np.array([number for _, number, _ in found], dtype=np.int64),
        probability=np.array([probability for _, _, probability in found]),
    )


def sums_of(pictures: Sequence[Pictures], poses: Sequence[Poses], classes: int, group: Array) -> list[MapSums]:
    """Sums of each class from poses, with a symmetry imposed.

    Parameters
    ----------
    group
        ``(g, 3, 3)`` of `point_group`.
    """
    sums = [MapSums(pictures[0].at.box_px, group) for _ in range(classes)]
    one = np.ones(1)
    for part, own in zip(pictures, poses, strict=True):
        for index in range(len(part)):
            place = own.places[index][None]
            sums[own.classes[index]].add(part.terms(index), own.matrices[index][None], place, one)
    return sums


def _climb(
    transform: Complex, terms: ParticleTerms, matrix: Array, place: Array, prior: Prior, radius_px: float
) -> Peak:
    detail = terms.at.box_px / float(terms.at.shell.max())
    return climb(transform, terms, matrix, place, prior, _TURN * detail / radius_px, _MOVE * detail)


def _best_nodes(scores: NDArray[np.float32]) -> list[tuple[int, int]]:
    """The best orientations ``(k, s)`` of one class, each at its best place."""
    places = scores.argmax(axis=1)
    values = scores[np.arange(len(scores)), places]
    order = np.argsort(-values, kind="stable")[:_PEAKS]
    return [(int(k), int(places[k])) for k in order]
