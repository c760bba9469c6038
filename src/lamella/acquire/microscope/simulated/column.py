"""Stage, lenses and grid together: where a point of the grid appears in a picture, and how far out of focus it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import Preset, Purpose, Status
from lamella.acquire.microscope.simulated.draws import stream
from lamella.acquire.microscope.simulated.grid import Terrain
from lamella.acquire.microscope.simulated.lenses import TrueLenses
from lamella.acquire.microscope.simulated.pictures import Scene
from lamella.acquire.microscope.simulated.stage import TrueStage
from lamella.acquire.world_tables import World
from lamella.geometry.rotations import rotation_z

__all__ = ["Column"]

Array = NDArray[np.float64]

_FARTHEST_UM = 200.0  # a line of sight along a steep slope may meet the surface nowhere: then the search ends here
_BEAM_TILT = 1e-3  # µm of displacement for 1 mrad and 1 µm of defocus
_AREAS = ("eucentric", "montage")  # kinds of pictures that show areas of their own; all others show their target's


class Column:
    """The optical truth.

    Parameters
    ----------
    world
        every parameter.
    seed
        which of the world's microscopes and grids.

    Attributes
    ----------
    stage, lenses, grid
        its parts.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.stage = TrueStage(world.stage, stream(seed, "stage"))
        self.lenses = TrueLenses(world.optics, stream(seed, "lenses"))
        self.grid = Terrain(world.grid, stream(seed, "grid"))
        self._hand = world.optics.hand
        self._camera: Array = rotation_z(self.lenses.picture_turn_deg)[:2, :2]

    def state(self, time_s: float) -> Status:
        """What the microscope says of itself."""
        x, y, z = self.stage.told_um
        return Status(
            time_s=time_s,
            tilt_deg=self.stage.read_deg,
            stage_um=(float(x), float(y), float(z)),
            image_shift_um=_pair(self.lenses.shift_set_um),
            defocus_um=self.lenses.focus_set_um,
            beam_tilt_mrad=_pair(self.lenses.beam_tilt_set_mrad),
        )

    def scene(self, preset: Preset, purpose: Purpose, dose: float, time_s: float) -> Scene:
        """What an exposure at this time sees."""
        kind = purpose.kind if purpose.kind in _AREAS else ""
        shift_um = self.lenses.shift_um
        return Scene(
            area=(kind, purpose.target, purpose.shot),
            purpose=purpose,
            preset=preset,
            dose=dose,
            tilt_deg=self.stage.true_deg,
            told_deg=self.stage.read_deg,
            middle=lambda: self.seen(shift_um, purpose.target, time_s)[:2],
            surface=lambda places: self.surface(places, purpose.target),
            appear=lambda points: self.appear(points, purpose.target, time_s),
            defocus_um=lambda points: self.defocus_um(points, purpose.target, time_s),
        )

    def placed(self, points_um: Array, area: int, time_s: float) -> Array:
        """``(..., 3)`` where points of an area are: across, along, height."""
        return self.stage.placed(points_um + self.grid.own_motion_um(area, time_s), time_s)

    def appear(self, points_um: Array, area: int, time_s: float) -> Array:
        """``(..., 2)`` where points ``(..., 3)`` of an area appear, µm from the picture's middle."""
        placed = self.placed(points_um, area, time_s)
        off = placed[..., :2] - self.lenses.shift_um
        beam_tilt = self.lenses.beam_tilt_mrad
        if beam_tilt.any():
            defocus = self.lenses.defocus_um + self._hand * placed[..., 2]
            off = off + _BEAM_TILT * defocus[..., None] * beam_tilt
        appear: Array = off @ self._camera.T
        return appear

    def defocus_um(self, points_um: Array, area: int, time_s: float) -> Array:
        """``(...)`` true defocus of points of an area; positive is underfocus."""
        defocus: Array = self.lenses.defocus_um + self._hand * self.placed(points_um, area, time_s)[..., 2]
        return defocus

    def surface(self, places_um: Array, area: int) -> Array:
        """``(..., 3)`` points of the grid's surface at places ``(..., 2)``, with the own height of an area's film."""
        height = self.grid.height_um(places_um) + self.grid.own_height_um(area)
        return np.concatenate([places_um, height[..., None]], axis=-1)

    def seen(self, shift_um: Array, area: int, time_s: float) -> Array:
        """``(3,)`` the point of an area's surface that a place across the beam shows."""
        point: Array = np.zeros(3)
        moved_um = self.grid.own_motion_um(area, time_s)
        # The line of sight meets the surface: slopes of the terrain are small, so this converges like 0.2ⁿ or faster.
        for _ in range(40):
            place = self.stage.grid_place(shift_um, float(point[2] + moved_um[2]), time_s) - moved_um[:2]
            found = self.surface(np.clip(place, -_FARTHEST_UM, _FARTHEST_UM), area)
            moved = float(np.abs(found - point).max())
            point = found
            if moved < 1e-12:
                break
        return point

    def neighbour_um(self) -> Array:
        """``(2,)`` where the next hole appears from a hole, across the beam."""
        step = self.grid.lattice_um()[0]
        return np.array([step[0] * np.cos(np.deg2rad(self.stage.true_deg)), step[1]])


def _pair(values: Array) -> tuple[float, float]:
    return float(values[0]), float(values[1])
