"""How finely poses are searched: steps that follow the detail that the reference holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.geometry.angular_grid import angular_grid, local_rotations, order_for_spacing, rotation_angle_deg
from lamella.geometry.rotations import euler_matrix
from lamella.particles.expectation import Search

__all__ = ["Grids", "SearchRange", "first_range", "next_range", "place_grid", "settled"]

Array = NDArray[np.float64]

_TURN = 0.8
"""Spacing of orientations in details at the particle's rim: half of it is within reach of a climb."""
_COARSEST_DEG = 15.0
_MOVE = 0.3  # step of places, in details
_GLOBAL_TURN, _GLOBAL_MOVE = 1.6, 0.4  # the same of a search everywhere, from whose best nodes many climbs begin
_NARROWEST = 1.7
"""Radius of a later search, in steps: a node and its twenty-six neighbours; a climb finds what lies between."""
_NARROWER = 3.0  # radius of a search over that of the next
_LOCAL_DEG = 20.0
_AFTER_GLOBAL_DEG = 45.0
_SETTLED = 0.35  # of a step: a pose that moved less was the grid's own node
_CERTAIN = 0.95
_FIRST_PEAKS, _GLOBAL_PEAKS, _LATER_PEAKS = 4, 16, 2


@dataclass(frozen=True, kw_only=True)
class SearchRange:
    """How far and how finely one iteration searches.

    Attributes
    ----------
    everywhere
        every orientation, or those about the particle's own.
    angle_range_deg, angle_step_deg
        radius and spacing of orientations; the radius counts only near the particle's own.
    shift_range_px, shift_step_px
        of places about the particle's own.
    detail_px
        finest detail that the nodes of the grids are compared at: coarse steps see no more.
    peaks
        most nodes that are climbed from.
    """

    everywhere: bool
    angle_range_deg: float
    angle_step_deg: float
    shift_range_px: float
    shift_step_px: float
    detail_px: float
    peaks: int


def first_range(
    detail_px: float, diameter_px: float, *, everywhere: bool, angle_range_deg: float | None,
    angle_step_deg: float | None, shift_range_px: float,
) -> SearchRange:  # fmt: skip
    """The first iteration's: a reference of details of `detail_px`; None: chosen here.

    A search everywhere is as coarse as can be, and compares no finer detail than such steps can tell: nodes grow with
    the detail's sixth power. From many of its nodes the reference's own detail is then climbed by.
    """
    step, move = angle_step_deg or _angle_step(detail_px, diameter_px), _MOVE
    if everywhere:
        step, move = angle_step_deg or _COARSEST_DEG, _GLOBAL_MOVE
        detail_px = max(detail_px, float(np.deg2rad(step)) * diameter_px / _GLOBAL_TURN)
    return SearchRange(
        everywhere=everywhere,
        angle_range_deg=angle_range_deg or _LOCAL_DEG,
        angle_step_deg=step,
        shift_range_px=shift_range_px,
        shift_step_px=move * detail_px,
        detail_px=detail_px,
        peaks=_GLOBAL_PEAKS if everywhere else _FIRST_PEAKS,
    )


def next_range(before: SearchRange, detail_px: float, diameter_px: float) -> SearchRange:
    """A later iteration's: a third as far as before, a node and its neighbours, no finer than the detail wants.

    Where the resolution rose faster than the range fell, the grid stays coarser than the detail that is climbed by.
    """
    before_deg = _AFTER_GLOBAL_DEG if before.everywhere else before.angle_range_deg
    radius = max(before_deg / _NARROWER, _NARROWEST * _angle_step(detail_px, diameter_px))
    step = radius / _NARROWEST
    coarse_px = max(detail_px, np.deg2rad(step) * diameter_px / _TURN)
    return SearchRange(
        everywhere=False,
        angle_range_deg=radius,
        angle_step_deg=step,
        shift_range_px=max(before.shift_range_px / _NARROWER, _MOVE * coarse_px),
        shift_step_px=_MOVE * coarse_px,
        detail_px=coarse_px,
        peaks=max(_LATER_PEAKS, before.peaks // 2),
    )


def settled(search: SearchRange, turns_deg: Array, moves_px: Array, certainty: Array) -> NDArray[np.bool_]:
    """Which particles ``(n,)`` need no grid any more: it found them where they were, and no other peak beside."""
    near: NDArray[np.bool_] = (
        (turns_deg < _SETTLED * search.angle_step_deg)
        & (moves_px < _SETTLED * search.shift_step_px)
        & (certainty > _CERTAIN)
    )
    return near & (not search.everywhere)


def place_grid(radius_px: float, step_px: float) -> Array:
    """Places ``(p, 3)`` of a cubic grid within a ball, its middle first."""
    reach = int(radius_px / step_px + 1e-9)
    line = np.arange(-reach, reach + 1) * step_px
    places = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(places, axis=1)
    inside = distance <= radius_px * (1 + 1e-9)
    grid: Array = places[inside][np.argsort(distance[inside], kind="stable")]
    return grid


class Grids:
    """The grids of one iteration, made once for all particles.

    Parameters
    ----------
    search
        how far and finely.
    symmetry
        of the reference, whose repeats are left out of a search everywhere.
    radius_px
        of the particle.
    """

    def __init__(self, search: SearchRange, symmetry: str, radius_px: float) -> None:
        self.search, self.symmetry, self.radius_px = search, symmetry, radius_px
        if search.everywhere:
            grid = angular_grid(order_for_spacing(search.angle_step_deg), symmetry)
            self._matrices = euler_matrix(*grid.T)
        else:
            self._matrices = local_rotations(search.angle_range_deg, search.angle_step_deg)
        self._places = place_grid(search.shift_range_px, search.shift_step_px)

    @property
    def counts(self) -> tuple[int, int]:
        """How many orientations and places are searched."""
        return len(self._matrices), len(self._places)

    def about(self, matrix: Array, place_px: Array, given: Array | None = None, most_deg: float = 180.0) -> Search:
        """The search for one particle.

        Parameters
        ----------
        matrix, place_px
            where it is believed to be.
        given, most_deg
            an orientation that none searched may be further from than so much; None: there is none.
        """
        matrices = self._matrices if self.search.everywhere else self._matrices @ matrix
        if given is not None and most_deg < 180:
            near = rotation_angle_deg(matrices, given, self.symmetry) <= most_deg
            matrices = matrices[near] if near.any() else given[None]
        return self._search(matrices, place_px + self._places)

    def only(self, matrix: Array, place_px: Array) -> Search:
        """The search that begins from one pose alone."""
        return self._search(matrix[None], place_px[None])

    def _search(self, matrices: Array, places_px: Array) -> Search:
        return Search(
            matrices=matrices,
            places_px=places_px,
            spacing_rad=float(np.deg2rad(self.search.angle_step_deg)),
            step_px=self.search.shift_step_px,
            detail_px=self.search.detail_px,
            peaks=self.search.peaks,
            radius_px=self.radius_px,
        )


def _angle_step(detail_px: float, diameter_px: float) -> float:
    return float(min(np.rad2deg(_TURN * detail_px / diameter_px), _COARSEST_DEG))
