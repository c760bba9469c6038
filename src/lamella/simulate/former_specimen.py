"""The specimen of Gaussian clouds that the present microscope images; `specimen` takes its place."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lamella.errors import SettingsError
from lamella.geometry import euler_matrix
from lamella.simulate.gaussians import Gaussians, render_volume
from lamella.simulate.matter import bilayer_sphere, gold_bead, particle_from_map, two_lobed_particle
from lamella.simulate.settings import SimulateSettings

__all__ = ["Particles", "Specimen", "build_specimen", "field_of_view_ang"]

Array = NDArray[np.float64]

VESICLE_RADIUS_ANG = (260.0, 500.0)
CLEARANCE_ANG = 15.0
"""Least distance between two objects, and between an object and the ice's surface."""
ATTEMPTS = 4000
"""Random places tried for one object before the slab counts as full."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Particles:
    """Poses of the particles: x_specimen = A · r + place, with A of RELION's angles.

    Attributes
    ----------
    places_ang
        ``(n, 3)`` xyz, Å from the specimen's centre.
    angles_deg
        ``(n, 3)`` rot, tilt, psi.
    model
        ``(n,)`` which model each is, from 0.
    """

    places_ang: Array
    angles_deg: Array
    model: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.model)

    def rotations(self) -> Array:
        """``(n, 3, 3)`` matrices A."""
        return euler_matrix(*self.angles_deg.T)

    def select(self, chosen: NDArray[np.bool_]) -> Particles:
        """Some of them."""
        return Particles(
            places_ang=self.places_ang[chosen], angles_deg=self.angles_deg[chosen], model=self.model[chosen]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Specimen:
    """All matter in the slab, also what only tilted views see.

    Attributes
    ----------
    matter
        potential above that of ice, V·Å³: particles and membranes.
    gold
        potential of the beads, V·Å³.
    models
        the particles' reference clouds.
    particles
        their poses.
    beads_ang, vesicles_ang, vesicle_radii_ang
        centres ``(n, 3)`` and radii ``(n,)``.
    field_ang
        (x, y, z) of the part that the untilted view sees: the tomogram's box.
    """

    matter: Gaussians
    gold: Gaussians
    models: tuple[Gaussians, ...]
    particles: Particles
    beads_ang: Array
    vesicles_ang: Array
    vesicle_radii_ang: Array
    field_ang: tuple[float, float, float]

    def particles_in_view(self) -> Particles:
        """The particles whose centre lies in the untilted view."""
        half = np.array(self.field_ang) / 2
        inside: NDArray[np.bool_] = np.all(np.abs(self.particles.places_ang) <= half, axis=1)
        return self.particles.select(inside)

    def volume(self, voxel_size_ang: float, shape_px: tuple[int, int, int]) -> NDArray[np.float32]:
        """Noise-free potential in V on a grid ``(z, y, x)`` whose voxel ``n // 2`` is the specimen's centre."""
        return render_volume(Gaussians.joined([self.matter, self.gold]), voxel_size_ang, shape_px)


def field_of_view_ang(settings: SimulateSettings) -> tuple[float, float]:
    """(x, y) of the specimen that the untilted view sees; the specimen's y is the tilt axis."""
    along_rows = abs(np.cos(np.deg2rad(settings.axis))) >= np.sqrt(0.5)
    width, height = settings.width * settings.pixel_size, settings.height * settings.pixel_size
    return (width, height) if along_rows else (height, width)


def build_specimen(settings: SimulateSettings, index: int = 0) -> Specimen:
    """Make the specimen of one series; the same settings and index give the same one.

    Raises
    ------
    SettingsError
        if the slab has no room for all that it shall hold.
    """
    rng = np.random.default_rng([settings.seed, index, 1])
    models = tuple(particle_from_map(path, settings.pixel_size) for path in settings.models) or (two_lobed_particle(),)
    reach = max(float(np.linalg.norm(model.places_ang, axis=1).max()) for model in models) + 10.0
    slab = _Slab(settings, rng)
    largest = min(VESICLE_RADIUS_ANG[1], settings.thickness / 2 - 40)
    vesicles = slab.fill(settings.vesicles, "vesicle", (min(VESICLE_RADIUS_ANG[0], largest), largest), hollow=True)
    beads = slab.fill(settings.beads, "bead", (settings.bead_diameter / 2,) * 2)
    places = slab.fill(settings.particles, "particle", (reach, reach))[:, :3]

    n = len(places)
    angles = np.stack(
        [rng.uniform(-180, 180, n), np.rad2deg(np.arccos(rng.uniform(-1, 1, n))), rng.uniform(-180, 180, n)], axis=1
    )
    particles = Particles(places_ang=places, angles_deg=angles, model=rng.integers(len(models), size=n))
    clouds = [
        models[model].moved(rotation, place)
        for model, rotation, place in zip(particles.model, particles.rotations(), places, strict=True)
    ]
    clouds += [bilayer_sphere(radius).moved(np.eye(3), centre) for *centre, radius in vesicles]
    bead = gold_bead(settings.bead_diameter)
    return Specimen(
        matter=Gaussians.joined(clouds),
        gold=Gaussians.joined([bead.moved(np.eye(3), centre) for centre in beads[:, :3]]),
        models=models,
        particles=particles,
        beads_ang=beads[:, :3],
        vesicles_ang=vesicles[:, :3],
        vesicle_radii_ang=vesicles[:, 3],
        field_ang=(*slab.field, settings.thickness),
    )


@dataclass
class _Slab:
    """The ice while it is being filled."""

    settings: SimulateSettings
    rng: np.random.Generator
    balls: list[tuple[float, float, float, float]] = field(default_factory=list)
    shells: list[tuple[float, float, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.field = field_of_view_ang(self.settings)
        self.extent = _extent_ang(self.settings, self.field)

    def fill(self, in_view: int, what: str, radii: tuple[float, float], *, hollow: bool = False) -> Array:
        """Put objects into the field of view, and as many per area around it: ``(n, 4)`` of x, y, z, radius."""
        area = (self.extent[0] * self.extent[1]) / (self.field[0] * self.field[1])
        around = round(in_view * (area - 1))
        found = [
            self._place(what, self.rng.uniform(*radii), hollow, in_view=number < in_view)
            for number in range(in_view + around)
        ]
        return np.array(found).reshape(-1, 4)

    def _place(self, what: str, radius: float, hollow: bool, *, in_view: bool) -> tuple[float, float, float, float]:
        half_z = self.settings.thickness / 2 - radius - CLEARANCE_ANG
        half = np.array([*(self.field if in_view else self.extent), 2 * half_z]) / 2
        if half_z >= 0 and radius > 0:
            for _ in range(ATTEMPTS):
                centre = self.rng.uniform(-half, half)
                outside = (np.abs(centre[:2]) > np.array(self.field) / 2).any()
                if outside != in_view and self._is_free(centre, radius, hollow):
                    x, y, z = (float(value) for value in centre)
                    (self.shells if hollow else self.balls).append((x, y, z, radius))
                    return x, y, z, radius
        raise SettingsError(
            f"no room for another {what} of radius {radius:.0f} Å in {self.settings.thickness:.0f} Å of ice",
            mend="ask for fewer, or for a thicker slab",
        )

    def _is_free(self, centre: Array, radius: float, hollow: bool) -> bool:
        if self.balls:
            balls = np.array(self.balls)
            distance = np.linalg.norm(balls[:, :3] - centre, axis=1)
            apart = np.abs(distance - radius) - balls[:, 3] if hollow else distance - radius - balls[:, 3]
            if apart.min() < CLEARANCE_ANG + (25.0 if hollow else 0.0):
                return False
        if self.shells:
            shells = np.array(self.shells)
            distance = np.linalg.norm(shells[:, :3] - centre, axis=1)
            # A ball may float inside a vesicle; a vesicle inside another may not.
            apart = distance - radius - shells[:, 3] if hollow else np.abs(distance - shells[:, 3]) - radius - 25.0
            if apart.min() < CLEARANCE_ANG:
                return False
        return True


def _extent_ang(settings: SimulateSettings, field_ang: tuple[float, float]) -> tuple[float, float]:
    """(x, y) of all ice that any view sees."""
    steepest = np.deg2rad(min(85.0, settings.tilt_range + abs(settings.tilt_offset)))
    slanted = abs(np.sin(2 * np.deg2rad(settings.axis))) / 2  # corners of a turned image reach further
    margin = 3 * settings.shift
    x, y = (side + slanted * max(field_ang) + 2 * margin for side in field_ang)
    x = (x + settings.thickness * np.sin(steepest)) / np.cos(steepest)
    return float(max(x, field_ang[0])), float(max(y, field_ang[1]))
