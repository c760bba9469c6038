"""What stays the same through a refinement: particles, half sets, masks, priors and limits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lamella.errors import InputError, SettingsError
from lamella.fourier import soft_mask
from lamella.geometry.rotations import angles_from_matrix
from lamella.geometry.symmetry import point_group
from lamella.particles.half_sets import check_half_sets
from lamella.particles.likelihood import Prior
from lamella.particles.particle_size import stated_diameter_ang
from lamella.particles.refine_data import ParticleReader
from lamella.particles.refine_settings import RefineSettings
from lamella.records import ParticleSet, ParticleSource

__all__ = ["RefineSetup", "chosen_particles", "prepare_refinement"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_EDGE = 0.08  # of the diameter, over which the spherical mask falls
_SHIFT_SHARE = 6.0


@dataclass(frozen=True, kw_only=True, eq=False)
class RefineSetup:
    """What stays the same through a refinement.

    Attributes
    ----------
    reader
        of the pictures.
    half, tomogram
        ``(n,)`` half set, 0 or 1, and the number of the tomogram.
    matrices, positions_ang
        ``(n, 3, 3)`` and ``(n, 3)``: the poses that were given.
    cut_out_ang
        ``(n, 3)`` where the pictures were cut out.
    diameter_ang
        of the particle.
    sphere, solvent
        ``(b, b, b)`` soft sphere of that diameter, and what the references are multiplied with.
    group
        ``(g, 3, 3)`` of the symmetry.
    everywhere
        whether the given orientations are not used.
    shift_range_px
        of the first search of places.
    residuals
        of each particle's prior orientation, or None.
    """

    reader: ParticleReader
    settings: RefineSettings
    half: Integers
    tomogram: Integers
    matrices: Array
    positions_ang: Array
    cut_out_ang: Array
    diameter_ang: float
    sphere: Tensor
    solvent: Tensor
    group: Array
    everywhere: bool
    shift_range_px: float
    residuals: Callable[[int], Callable[[Array], Array]] | None

    @property
    def diameter_px(self) -> float:
        """Of the particle, in the pictures' pixels."""
        return self.diameter_ang / self.reader.pixel_size_ang

    @property
    def most_angle_deg(self) -> float:
        """How far an orientation may go from the one given."""
        limit = self.settings.angle_range
        return 180.0 if limit == "auto" or self.everywhere else float(limit)

    def place_px(self, positions_ang: Array, index: int) -> Array:
        """``(3,)`` place of one particle from where it was cut out, in the pictures' pixels."""
        place: Array = (positions_ang[index] - self.cut_out_ang[index]) / self.reader.pixel_size_ang
        return place

    def prior(self, index: int) -> Prior:
        """What is known of one particle's pose."""
        return Prior(
            place_px=self.place_px(self.positions_ang, index),
            place_width_px=self.shift_range_px / 2,
            residuals=None if self.residuals is None else self.residuals(index),
        )


def chosen_particles(
    particles: ParticleSet, source: ParticleSource, classes: str
) -> tuple[ParticleSet, ParticleSource]:
    """The particles of some classes (such as ``1,3``), with their pictures; all where none are named.

    Raises
    ------
    SettingsError
        if the classes are no numbers, or hold no particle.
    """
    if not classes.strip():
        return particles, source
    if not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", classes):
        raise SettingsError(f"classes = {classes!r}", mend="give numbers of classes, such as 1,3")
    wanted = [int(number) for number in classes.split(",")]
    kept = [np.isin(np.asarray(member.classes), wanted) for member in particles.members]
    if not any(one.any() for one in kept):
        raise SettingsError(f"no particle is in the classes {classes}", mend="name classes that classify found")
    members = tuple(member.select(one) for member, one in zip(particles.members, kept, strict=True))
    return replace(particles, members=members), _SomeParticles(source, np.flatnonzero(np.concatenate(kept)))


@dataclass(frozen=True)
class _SomeParticles:
    """Some particles of a source."""

    source: ParticleSource
    chosen: Integers

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, index: int) -> NDArray[np.float32]:
        return self.source.read(int(self.chosen[index]))

    def weights(self, index: int) -> NDArray[np.float32]:
        weights: NDArray[np.float32] = self.source.weights(int(self.chosen[index]))  # type: ignore[attr-defined]
        return weights


def prepare_refinement(
    particles: ParticleSet, source: ParticleSource, settings: RefineSettings, mask: ArrayLike | None
) -> RefineSetup:
    """Check what was given, and bring it into the form that iterations use.

    Raises
    ------
    InputError
        if the particles have no pictures or no two half sets, or the mask does not fit.
    SettingsError
        if the diameter is not known, or larger than the pictures.
    """
    check_half_sets(particles)
    reader = ParticleReader(particles, source)
    members = [member for member in particles.members if len(member)]
    halves = [member.half_set for member in members if member.half_set is not None]
    diameter = stated_diameter_ang(particles, settings.diameter, "refine")
    box, pixel = reader.box_px, reader.pixel_size_ang
    if diameter > box * pixel:
        raise SettingsError(
            f"a particle of {diameter:g} Å in pictures of {box * pixel:g} Å", mend="extract with a larger box"
        )
    radius, edge = diameter / pixel / 2, max(_EDGE * diameter / pixel, 3.0)
    sphere = soft_mask((box,) * 3, min(radius, box / 2 - edge), edge)
    angles = np.concatenate([np.hypot(m.subtomogram_deg, m.angles_deg).ravel() for m in members])  # type: ignore[arg-type]
    shift = diameter / _SHIFT_SHARE if settings.shift_range == "auto" else float(settings.shift_range)
    return RefineSetup(
        reader=reader,
        settings=settings,
        half=np.concatenate(halves) - 1,
        tomogram=reader.group,
        matrices=particles.matrices(),
        positions_ang=particles.positions_ang(),
        cut_out_ang=reader.cut_out_ang(),
        diameter_ang=diameter,
        sphere=sphere,
        solvent=sphere if mask is None else _solvent(mask, box),
        group=point_group(settings.symmetry),
        everywhere=settings.search == "global" or (settings.search == "auto" and not angles.any()),
        shift_range_px=shift / pixel,
        residuals=_orientation_priors(particles, settings.prior_tilt_psi),
    )


def _solvent(mask: ArrayLike, box: int) -> Tensor:
    values = np.asarray(mask, dtype=np.float32)
    if values.shape != (box,) * 3:
        raise InputError(
            f"a mask of {values.shape} voxels for maps of {box} voxels",
            mend="bring it to the pictures' pixel and box with `lamella convert`",
        )
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1 or not values.any():
        raise InputError("a mask with values that are not within 0 … 1, or nothing but 0", mend="give a soft mask")
    return torch.from_numpy(values)


def _orientation_priors(particles: ParticleSet, width_deg: float) -> Callable[[int], Callable[[Array], Array]] | None:
    """Residuals of tilt and psi from their priors, over the prior's width."""
    members = [member for member in particles.members if len(member)]
    if width_deg <= 0:
        return None
    if any(member.prior_deg is None for member in members):
        raise InputError(
            "prior_tilt_psi is set, but particles have no prior angles (rlnAngleTiltPrior, rlnAnglePsiPrior)",
            mend="pick on a surface or filament, or set refine.prior_tilt_psi 0",
        )
    wanted = np.concatenate([member.prior_deg for member in members if member.prior_deg is not None])
    frames = np.concatenate([member.subtomogram_matrices() for member in members])

    def of(index: int) -> Callable[[Array], Array]:
        def residuals(matrix: Array) -> Array:
            _, tilt, psi = angles_from_matrix(frames[index].T @ matrix)
            # psi turns less of the particle where the tilt is small, and not at all at the pole
            turn = (psi - wanted[index, 1] + 180) % 360 - 180
            away: Array = np.array([tilt - wanted[index, 0], turn * np.sin(np.deg2rad(wanted[index, 0]))])
            return away / width_deg

        return residuals

    return of
