"""The grid: the heights of its terrain, the holes in it, and where the targets lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.acquire.microscope.simulated.draws import signed, size, sphere
from lamella.acquire.world_tables import GridTable, TargetTable
from lamella.errors import SettingsError

__all__ = ["Terrain", "drawn_targets"]

Array = NDArray[np.float64]

_WAVES = 24  # of which the roughness is made
_BEND_AT_UM = 8.0
_TRIES = 2000


class Terrain:
    """Heights of the grid over its own plane, and of single areas on it.

    Parameters
    ----------
    table
        what the world says of it.
    rng
        its own stream of random numbers.

    Attributes
    ----------
    turn_deg, spacing_um, hole_um, foil
        of the lattice of holes: its turn, its step, the holes' diameter, and the share of the beam that passes the
        foil between them.
    """

    def __init__(self, table: GridTable, rng: np.random.Generator) -> None:
        angle, tilt = rng.uniform(0, 2 * np.pi), np.tan(np.deg2rad(size(table.pretilt, rng)))
        self._slope: Array = tilt * np.array([np.cos(angle), np.sin(angle)])
        self._curvature = signed(table.bend, rng) / _BEND_AT_UM**2
        # Waves of the shortest length and longer ones, in all directions: a smooth random field.
        directions = rng.uniform(0, 2 * np.pi, _WAVES)
        lengths = table.roughness_length * rng.uniform(1.0, 3.0, _WAVES)
        self._waves: Array = (2 * np.pi / lengths) * np.stack([np.cos(directions), np.sin(directions)])  # (2, waves)
        self._phases = rng.uniform(0, 2 * np.pi, _WAVES)
        self._amplitude = table.roughness * np.sqrt(2 / _WAVES)
        self.turn_deg = size(table.turn, rng)
        self.spacing_um = table.spacing
        self.hole_um, self.foil = table.hole, table.foil
        self._own_um = table.target_height
        self._own_motion, self._own_motion_s = table.own_motion, table.own_motion_time
        self._own_seed = int(rng.integers(2**31))

    def height_um(self, places_um: ArrayLike) -> Array:
        """``(...)`` heights at places ``(..., 2)`` of the grid."""
        places = np.asarray(places_um, np.float64)
        height = places @ self._slope + self._curvature * (places**2).sum(axis=-1)
        if self._amplitude:
            height = height + self._amplitude * np.sin(places @ self._waves + self._phases).sum(axis=-1)
        return np.asarray(height)

    def own_height_um(self, area: int) -> float:
        """By how much an area's film lies over or under the terrain."""
        if not self._own_um:
            return 0.0
        draw = np.random.default_rng([self._own_seed, area + 2**16])
        return float(draw.uniform(-self._own_um, self._own_um))

    def own_motion_um(self, area: int, time_s: float) -> Array:
        """``(3,)`` how far an area's film has moved for itself since the session began."""
        if not self._own_motion[1]:
            return np.zeros(3)
        draw = np.random.default_rng([self._own_seed, area + 2**16, 1])
        gone = 1.0 - float(np.exp(-time_s / self._own_motion_s))
        return size(self._own_motion, draw) * gone * sphere(draw)

    def lattice_um(self) -> Array:
        """``(2, 2)`` the two steps from hole to hole, as rows."""
        turn = np.deg2rad(self.turn_deg)
        return self.spacing_um * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def drawn_targets(count: int, terrain: Terrain, table: TargetTable, rng: np.random.Generator) -> Array:
    """``(count, 2)`` where targets lie, as the image shifts that a navigator would state.

    Of holes the one in the middle comes first, the others row by row; free targets come from the inside out.

    Raises
    ------
    SettingsError
        if so many free targets find no room.
    """
    if count < 1:
        raise SettingsError(f"{count} targets", mend="ask for one at least")
    if table.arrangement == "holes":
        reach = int(np.ceil(np.sqrt(count))) + 2
        steps = np.arange(-reach, reach + 1)
        numbers = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        order = np.lexsort((np.arctan2(numbers[:, 1], numbers[:, 0]), (numbers**2).sum(axis=1)))
        places = _by_rows(numbers[order[:count]]) @ terrain.lattice_um()
        return np.asarray(places + table.off_centre * rng.normal(size=places.shape))
    return _free(count, table, rng)


def _by_rows(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(n, 2)`` numbers of holes, the middle one first, the others row by row, forth and back."""
    middle, others = numbers[:1], numbers[1:]
    along = np.where(others[:, 1] % 2, -others[:, 0], others[:, 0])
    return np.concatenate([middle, others[np.lexsort((along, others[:, 1]))]])


def _free(count: int, table: TargetTable, rng: np.random.Generator) -> Array:
    """Places in a circle, no two nearer than allowed."""
    chosen: Array = np.zeros((0, 2))
    for _ in range(count):
        tried = table.radius * np.sqrt(rng.random(_TRIES)) * np.stack(_unit(rng.uniform(0, 2 * np.pi, _TRIES)))
        away = np.hypot(*(tried[:, None] - chosen.T[:, :, None])).min(axis=0, initial=np.inf)
        free = np.flatnonzero(away >= table.distance)
        if not len(free):
            break
        chosen = np.concatenate([chosen, tried[:, free[:1]].T])
    if len(chosen) == count:
        return chosen[np.argsort(np.hypot(*chosen.T))]
    raise SettingsError(
        f"{count} targets {table.distance} µm apart find no room within {table.radius} µm",
        mend="ask for fewer, or widen targets.radius",
    )


def _unit(angles: Array) -> tuple[Array, Array]:
    return np.cos(angles), np.sin(angles)
