"""The stage as it is: where it really holds the specimen, against where it was told to.

A point of the specimen's holder turns about the tilt axis by the true angle (`lamella.geometry`'s Ry); the axis lies
beside the beam's middle, and the whole is displaced by what a stage does of itself:

    place = axis + Ry(θ) · (holder place − axis) + wander + jumps + play + settling · e^(−t/τ) + creep + drift

Each term is drawn anew at a tilt or a move from the stage's own stream of random numbers, so that two sessions of one
seed have the same stage, whatever else they do between the tilts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.acquire.microscope.simulated.draws import signed, size, sphere
from lamella.acquire.world_tables import StageTable
from lamella.geometry.rotations import rotation_y

__all__ = ["TrueStage"]

Array = NDArray[np.float64]

_NM_UM = 1e-3  # 1 nm in µm
_SIZES_DIFFER = 0.02  # by which part of its range settling after alike turns differs in size
_STOOD_S = 5.0  # a turn that follows another within this time goes on with it: an approach against the backlash
_CREEP_S = 5.0  # from which on creep goes with the logarithm of the time
_WHOLE_DRIFT_UM = 10.0  # a move of the stage this long makes it drift as at the session's start


class TrueStage:
    """Angle, place and displacement of the specimen's holder over time.

    Parameters
    ----------
    table
        what the world says of it.
    rng
        its own stream of random numbers.
    """

    def __init__(self, table: StageTable, rng: np.random.Generator) -> None:
        self._table = table
        self._rng, self._moving_rng = rng.spawn(2)  # a tilt's errors do not depend on how often the stage was moved
        self._time_s = 0.0
        self.told_deg = 0.0
        self.told_um: Array = np.zeros(3)
        self.axis_um: Array = np.array([signed(table.axis_offset, rng), 0.0, 0.0])
        self._true_um: Array = np.array([0.0, 0.0, signed(table.start_height, rng)])
        self._wander_um = np.array([size(table.wander, rng)] * 2 + [size(table.wander_height, rng)])
        self._repeated = self._settling_vector(rng)
        play = rng.uniform(0, 2 * np.pi)
        self._play_um: Array = size(table.play, rng) * np.array([np.cos(play), np.sin(play), 0.0])
        self._angle_play_deg = signed(table.angle_play, rng)
        self._stood_deg, self._turned_s = 0.0, 0.0
        self._sense = 1  # of the last turn: +1 rising, −1 falling
        self._angle_error_deg = 0.0
        self._readback_error_deg = 0.0
        self._base_um: Array = np.zeros(3)
        self._settling_um: Array = np.zeros(3)
        self._slow_um: Array = np.zeros(3)
        self._creep_um: Array = np.zeros(3)
        self._creep_size = size(table.creep, rng.spawn(1)[0]) / np.log(1 + 60.0 / _CREEP_S)
        self._drift_um_s: Array = _NM_UM * size(table.drift, rng) * sphere(rng)
        self._turn: Array = np.eye(3)
        self._turned()

    @property
    def true_deg(self) -> float:
        """The angle that it really has."""
        return self.told_deg + self._angle_error_deg + 0.5 * self._sense * self._angle_play_deg

    @property
    def read_deg(self) -> float:
        """The angle that it says it has."""
        return self.told_deg + self._readback_error_deg

    def tilt(self, angle_deg: float, time_s: float) -> None:
        """Turn; the stage stands still at `time_s` and settles from then on."""
        self._advance(time_s)
        table, rng = self._table, self._rng
        steps, random = self._wander_um * rng.normal(size=3), self._settling_vector(rng)
        jump = size(table.jump, rng) * sphere(rng, flat=True)
        jumps, before_s, crept = rng.random() < table.jump_rate, self._turned_s, self._crept_um(time_s)
        turn = self._turn_share(angle_deg, time_s)
        settling = self._settling_size(turn)
        errors = rng.normal(size=2)
        if angle_deg == self.told_deg:
            self._turned_s = before_s
            return
        self._sense = 1 if angle_deg > self.told_deg else -1
        self.told_deg = angle_deg
        self._angle_error_deg = table.angle_error * errors[0]
        self._readback_error_deg = table.readback_error * errors[1]
        self._base_um = self._base_um + crept + steps + (jump if jumps else 0.0)
        share = table.settling_random
        way = (1 - share) * self._sense * self._repeated + share * random
        # The last turn wipes out what was left of the one before: what the bearings strain into, they strain anew.
        way = way / max(float(np.hypot(way[0], way[1])), 1e-9)
        self._settling_um = (1 - table.settling_slow) * settling * way
        self._slow_um = table.settling_slow * settling * way
        self._creep_um = self._creep_size * turn**2 * way
        self._turned()

    def move(self, place_um: Array, time_s: float) -> None:
        """Go to a place; a long way makes it drift anew."""
        self._advance(time_s)
        way = place_um - self.told_um
        rng = self._moving_rng
        self._true_um = self._true_um + way + self._table.move_error * rng.normal(size=3)
        fresh = size(self._table.drift, rng) * sphere(rng)
        self._drift_um_s = self._drift_um_s + _NM_UM * fresh * min(1.0, float(np.linalg.norm(way)) / _WHOLE_DRIFT_UM)
        self.told_um = place_um.copy()

    def disturb(self, time_s: float) -> None:
        """Drift anew, as at the session's start: after a refill."""
        self._advance(time_s)
        rng = self._moving_rng
        self._drift_um_s = self._drift_um_s + _NM_UM * size(self._table.drift, rng) * sphere(rng)

    def displacement_um(self, time_s: float) -> Array:
        """``(3,)`` of the holder from where an ideal stage would have it."""
        self._advance(time_s)
        moved = self._base_um + self._settling_um + self._slow_um + self._crept_um(time_s)
        return moved + 0.5 * self._sense * self._play_um

    def placed(self, points_um: ArrayLike, time_s: float) -> Array:
        """``(..., 3)`` where points of the grid (as at 0° on a stage at its zero) are: across, along, height."""
        holder = np.asarray(points_um, np.float64) + self._true_um - self.axis_um
        placed: Array = holder @ self._turn.T + self.axis_um + self.displacement_um(time_s)
        return placed

    def grid_place(self, shift_um: Array, height_um: float, time_s: float) -> Array:
        """``(2,)`` x, y of the grid's point of a height (at 0°) that appears at a place across the beam.

        The inverse of `placed` where the height is known.
        """
        lateral = shift_um - (self.axis_um + self.displacement_um(time_s))[:2]
        z = height_um + self._true_um[2]
        x = (lateral[0] - self._turn[0, 2] * z) / self._turn[0, 0]
        return np.array([x, lateral[1]]) + (self.axis_um - self._true_um)[:2]

    def _crept_um(self, time_s: float) -> Array:
        """``(3,)`` by how much it crept since it stands."""
        crept: Array = self._creep_um * np.log1p(max(time_s - self._turned_s, 0.0) / _CREEP_S)
        return crept

    def _turn_share(self, angle_deg: float, time_s: float) -> float:
        """A turn's length from where the stage stood last (back and forth counts once), of the one that does most."""
        if time_s - self._turned_s > _STOOD_S:
            self._stood_deg = self.told_deg
        self._turned_s = time_s
        return min(1.0, abs(angle_deg - self._stood_deg) / self._table.settling_turn)

    def _settling_size(self, turn: float) -> float:
        """How much a turn sets free."""
        least, most = self._table.settling
        greatest = least + (most - least) * turn**2
        return float(greatest - _SIZES_DIFFER * (greatest - least) * self._rng.random())

    def _settling_vector(self, rng: np.random.Generator) -> Array:
        """Direction of a settling: in the plane of length 1, and what it has along the beam."""
        angle = rng.uniform(0, 2 * np.pi)
        return np.array([np.cos(angle), np.sin(angle), self._table.settling_height * rng.choice([-1.0, 1.0])])

    def _turned(self) -> None:
        self._turn = rotation_y(self.true_deg)

    def _advance(self, time_s: float) -> None:
        """Let settling and drift go on until a time."""
        passed = time_s - self._time_s
        if passed <= 0:
            return
        table = self._table
        left = float(np.exp(-passed / table.drift_time))
        self._base_um = self._base_um + self._drift_um_s * table.drift_time * (1 - left)
        self._drift_um_s = self._drift_um_s * left
        self._settling_um = self._settling_um * float(np.exp(-passed / table.settling_time))
        self._slow_um = self._slow_um * float(np.exp(-passed / table.settling_slow_time))
        self._time_s = time_s
