"""A specimen as it lies in the holder: turned in its plane and moved, for a second tilt axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.geometry import angles_from_matrix, rotation_z
from lamella.simulate.specimen import Bodies, Specimen

__all__ = ["SECOND_AXIS_DEG", "MountedSpecimen", "mount", "moved_specimen"]

Array = NDArray[np.float64]

SECOND_AXIS_DEG = 90.0


@dataclass(frozen=True, kw_only=True, eq=False)
class MountedSpecimen:
    """A specimen in the frame of one tilt series.

    Attributes
    ----------
    specimen
        all matter, in the series' frame.
    source
        the same specimen in its own frame: what its functions of (x, y) refer to.
    turn_deg, shift_ang
        x_series = Rz(turn) · x_own + shift.
    """

    specimen: Specimen
    source: Specimen
    turn_deg: float = 0.0
    shift_ang: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def own_xy(self, xy_ang: ArrayLike) -> Array:
        """Points ``(..., 2)`` of the series' frame in the specimen's own."""
        xy = np.asarray(xy_ang, dtype=np.float64) - np.array(self.shift_ang[:2])
        moved: Array = xy @ rotation_z(self.turn_deg)[:2, :2]
        return moved


def mount(specimen: Specimen, turn_deg: float = 0.0, shift_ang: ArrayLike = (0.0, 0.0, 0.0)) -> MountedSpecimen:
    """Turn a specimen by an angle about z, then shift it by ``(3,)`` Å."""
    x, y, z = (float(value) for value in np.asarray(shift_ang, dtype=np.float64))
    if turn_deg == 0 and (x, y, z) == (0.0, 0.0, 0.0):
        return MountedSpecimen(specimen=specimen, source=specimen)
    moved = moved_specimen(specimen, rotation_z(turn_deg), (x, y, z))
    return MountedSpecimen(specimen=moved, source=specimen, turn_deg=turn_deg, shift_ang=(x, y, z))


def moved_specimen(specimen: Specimen, rotation: ArrayLike, shift_ang: ArrayLike) -> Specimen:
    """All bodies, membranes and beads turned by a matrix ``(3, 3)`` about the centre, then shifted by ``(3,)`` Å.

    The slab and the film, which are functions of the specimen's own (x, y), stay as they are.
    """
    turn, shift = np.asarray(rotation, dtype=np.float64), np.asarray(shift_ang, dtype=np.float64)
    bodies = specimen.bodies
    angles = np.stack(angles_from_matrix(turn @ bodies.rotations()), axis=-1) if len(bodies) else bodies.angles_deg
    return replace(
        specimen,
        bodies=Bodies(places_ang=bodies.places_ang @ turn.T + shift, angles_deg=angles, template=bodies.template),
        cloud=specimen.cloud.moved(turn, shift),
        beads_ang=specimen.beads_ang @ turn.T + shift,
        vesicles_ang=specimen.vesicles_ang @ turn.T + shift,
    )
