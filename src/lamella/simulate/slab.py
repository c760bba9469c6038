"""The slab while it is being filled: where there is room, how much is needed, and what is in it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lamella.errors import SettingsError
from lamella.simulate.field_of_view import extent_ang, field_of_view_ang
from lamella.simulate.gaussians import Gaussians
from lamella.simulate.library import named_template
from lamella.simulate.membranes import Surface
from lamella.simulate.packing import Shape, Space, shape_of, uniform_angles
from lamella.simulate.specimen import Bodies, midplane_z
from lamella.simulate.specimen_settings import SpecimenSettings
from lamella.simulate.templates import Template

__all__ = ["Slab"]

Array = NDArray[np.float64]

BATCH = 4096
TRIALS = 400_000
"""Random poses tried without one that fits before the slab counts as full."""
BESIDE_ANG = 200.0
"""How far beyond what any view sees space is kept account of: bodies at its border reach out so far."""


@dataclass
class Slab:
    """The slab while it is being filled.

    Attributes
    ----------
    settings, index
        what it shall hold, and the number of its series.
    templates, bodies
        kinds of bodies, and the poses of those that are in it so far.
    packaged, shapes
        number of each packaged model's template, and what each template's bodies take up.
    surfaces, clouds
        membranes: their middles, and their head groups.
    vesicles
        centre and radius of each closed one.
    """

    settings: SpecimenSettings
    index: int
    templates: list[Template] = field(default_factory=list)
    packaged: dict[str, int] = field(default_factory=dict)
    shapes: dict[int, Shape] = field(default_factory=dict)
    bodies: list[Bodies] = field(default_factory=list)
    surfaces: list[Surface] = field(default_factory=list)
    clouds: list[Gaussians] = field(default_factory=list)
    vesicles: list[tuple[Array, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.settings.seed, self.index, 1])
        self.field = field_of_view_ang(self.settings)
        self.extent = extent_ang(self.settings)
        corner = np.array([[self.extent[0] / 2 + BESIDE_ANG, 0.0], [0.0, 0.0]])
        heights = self.midplane(corner)
        half = self.settings.thickness / 2
        kept = (self.extent[0] + 2 * BESIDE_ANG, self.extent[1] + 2 * BESIDE_ANG)
        self.space = Space(kept, (float(heights.min()) - half, float(heights.max()) + half))
        columns = self.space.column_places_ang()
        self.space.close_outside(self.midplane(columns), half)

    def places(
        self,
        shape: Shape,
        count: int,
        in_view: bool,
        what: str,
        *,
        upright: bool = False,
        sides: tuple[float, ...] | None = None,
    ) -> tuple[Array, Array]:
        """Find places ``(count, 3)`` and angles ``(count, 3)`` for a body, and take their space.

        Around the field of view, where nobody counts, they may be fewer: as many as have room.

        Raises
        ------
        SettingsError
            if `TRIALS` poses in succession do not fit into the field of view.
        """
        places, angles, failed = [np.empty((0, 3))], [np.empty((0, 3))], 0
        missing = count
        while missing:
            xy = self.spots(BATCH, in_view)
            depth = self.rng.uniform(-0.5, 0.5, BATCH) if sides is None else self.rng.choice(sides, BATCH) / 2
            tried = np.column_stack([xy, self.midplane(xy) + depth * self.settings.thickness])
            turned, matrices = (np.zeros((BATCH, 3)), None) if upright else uniform_angles(self.rng, BATCH)
            kept = self.space.fit(shape, tried, matrices, missing)
            places.append(tried[kept])
            angles.append(turned[kept])
            missing -= len(kept)
            failed = 0 if len(kept) else failed + BATCH
            if failed > TRIALS and in_view:
                raise self.full(what, shape.length_ang, f"after {count - missing} of {count}")
            if failed > TRIALS:
                break
        return np.concatenate(places), np.concatenate(angles)

    def spots(self, count: int, in_view: bool) -> Array:
        """``(count, 2)`` random xy inside the field of view, or around it."""
        half, whole = np.array(self.field) / 2, np.array(self.extent) / 2
        if in_view:
            return self.rng.uniform(-half, half, (count, 2))
        found = np.empty((0, 2))
        while len(found) < count:
            more = self.rng.uniform(-whole, whole, (2 * count + 16, 2))
            found = np.concatenate([found, more[(np.abs(more) > half).any(axis=1)]])
        return found[:count]

    def counts(self, in_view: int) -> tuple[tuple[bool, int], tuple[bool, int]]:
        """How many to put into the field of view, and how many around it at the same density."""
        area = np.prod(self.extent) / np.prod(self.field)
        return (True, in_view), (False, round(in_view * (area - 1)))

    def midplane(self, xy: Array) -> Array:
        """``(...)`` height of the slab's middle at points ``(..., 2)``, Å."""
        return midplane_z(xy, self.settings.bend, self.field[0])

    def named(self, name: str) -> int:
        """Number of a packaged model's template, which is made when first asked for."""
        if name not in self.packaged:
            made = named_template(name, self.settings.pixel_size, self.settings.b_factor)
            self.packaged[name] = self.add(made)
        return self.packaged[name]

    def add(self, template: Template) -> int:
        """One more template; its number."""
        self.templates.append(template)
        return len(self.templates) - 1

    def shape(self, kind: int) -> Shape:
        """What a template's bodies take up."""
        if kind not in self.shapes:
            self.shapes[kind] = shape_of(self.templates[kind], self.space.step_ang)
        return self.shapes[kind]

    def keep(self, kind: int, places: Array, angles: Array) -> None:
        """Add bodies of one template to the specimen."""
        template = np.full(len(places), kind, dtype=np.int64)
        self.bodies.append(Bodies(places_ang=places, angles_deg=angles, template=template))

    def full(self, what: str, length_ang: float, after: str = "") -> SettingsError:
        """The error that says what there is no room for, how long it is, and how many found theirs before."""
        thickness = self.settings.thickness
        words = f"no room for another {what} ({length_ang:.0f} Å long) in {thickness:.0f} Å of ice"
        return SettingsError(f"{words} {after}".strip(), mend="ask for fewer, or for a thicker slab")
