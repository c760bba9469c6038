"""A specimen: all matter in a slab of ice, none inside another, known to the last digit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.geometry import euler_matrix
from lamella.simulate.film import Film
from lamella.simulate.gaussians import Gaussians
from lamella.simulate.specimen_settings import SpecimenSettings
from lamella.simulate.templates import Template

__all__ = ["Bodies", "Film", "Specimen", "build_specimen"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bodies:
    """Poses of rigid bodies: x_specimen = A · r + place, with A of RELION's angles.

    Attributes
    ----------
    places_ang
        ``(n, 3)`` xyz, Å from the specimen's centre.
    angles_deg
        ``(n, 3)`` rot, tilt, psi.
    template
        ``(n,)`` which of the specimen's templates each is.
    """

    places_ang: Array
    angles_deg: Array
    template: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.template)

    @classmethod
    def none(cls) -> Bodies:
        """No bodies."""
        return cls(places_ang=np.empty((0, 3)), angles_deg=np.empty((0, 3)), template=np.empty(0, dtype=np.int64))

    @classmethod
    def joined(cls, parts: list[Bodies]) -> Bodies:
        """All bodies of several lists, in their order."""
        parts = [cls.none(), *parts]
        return cls(
            places_ang=np.concatenate([part.places_ang for part in parts]),
            angles_deg=np.concatenate([part.angles_deg for part in parts]),
            template=np.concatenate([part.template for part in parts]),
        )

    def rotations(self) -> Array:
        """``(n, 3, 3)`` matrices A."""
        return euler_matrix(*self.angles_deg.T)

    def select(self, chosen: NDArray[np.bool_]) -> Bodies:
        """Some of them."""
        return Bodies(
            places_ang=self.places_ang[chosen], angles_deg=self.angles_deg[chosen], template=self.template[chosen]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Specimen:
    """All matter in and on the slab, also what only tilted or shifted views see.

    Attributes
    ----------
    templates
        the kinds of rigid bodies.
    bodies
        every rigid body: particles, gold beads, segments of filaments, crystals of ice on the surfaces.
    cloud
        what has no fixed shape, as Gaussians of potential above that of ice, V·Å³: membranes.
    beads_ang, bead_diameter_ang
        ``(n, 3)`` and ``(n,)``: where the gold beads among the bodies are.
    vesicles_ang, vesicle_radii_ang
        ``(n, 3)`` and ``(n,)``: middle of the bilayer of each closed membrane.
    film
        a supporting film that covers part of the field, or None.
    field_ang
        (x, y, z) of the part that the untilted view sees: the tomogram's box.
    thickness_ang
        of the slab.
    bend_ang
        how far its middle plane sags between the specimen's centre and half the field's width.
    """

    templates: tuple[Template, ...]
    bodies: Bodies
    cloud: Gaussians
    beads_ang: Array
    bead_diameter_ang: Array
    vesicles_ang: Array
    vesicle_radii_ang: Array
    film: Film | None
    field_ang: tuple[float, float, float]
    thickness_ang: float
    bend_ang: float = 0.0

    def thickness_at(self, xy_ang: ArrayLike) -> Array:
        """Thickness of the ice along z at points ``(..., 2)``, Å."""
        return np.full(np.asarray(xy_ang).shape[:-1], self.thickness_ang)

    def midplane_z_at(self, xy_ang: ArrayLike) -> Array:
        """Height of the slab's middle plane at points ``(..., 2)``, Å."""
        return midplane_z(xy_ang, self.bend_ang, self.field_ang[0])

    def particles(self) -> Bodies:
        """The bodies that belong into the table of truth."""
        counts = np.array([template.particle for template in self.templates], dtype=bool)
        return self.bodies.select(counts[self.bodies.template] if len(counts) else np.zeros(0, dtype=bool))

    def particles_in_view(self) -> Bodies:
        """The particles whose centre lies in the untilted view."""
        particles = self.particles()
        half = np.array(self.field_ang[:2]) / 2
        inside: NDArray[np.bool_] = np.all(np.abs(particles.places_ang[:, :2]) <= half, axis=1)
        return particles.select(inside)

    def volume(self, voxel_size_ang: float, shape_px: tuple[int, int, int]) -> NDArray[np.float32]:
        """Noise-free potential in V on a grid ``(z, y, x)`` whose voxel ``n // 2`` is the specimen's centre.

        Holds all bodies and membranes; the film, which no tomogram resolves, is left out.
        """
        from lamella.simulate.paint import paint_specimen

        return paint_specimen(self, voxel_size_ang, shape_px)


def midplane_z(xy_ang: ArrayLike, bend_ang: float, width_ang: float) -> Array:
    """Height of a slab's middle plane: a parabola across x to half the field's width, straight on beyond it."""
    along = np.abs(np.asarray(xy_ang, dtype=np.float64)[..., 0]) / (width_ang / 2)
    sag = np.where(along < 1, along**2, 2 * along - 1)
    return np.asarray(-bend_ang * (sag - 1 / 3))


def build_specimen(settings: SpecimenSettings, index: int = 0) -> Specimen:
    """Make the specimen of one series; the same settings and index give the same one.

    Parameters
    ----------
    settings
        of the specimen; those of a whole simulation do as well.
    index
        number of the series, from 0.

    Raises
    ------
    SettingsError
        if the slab has no room for all that it shall hold, or a complex is unknown.
    FormatError, ImageError
        if a model's file cannot be used.
    """
    from lamella.simulate.fill import fill_specimen

    return fill_specimen(settings, index)
