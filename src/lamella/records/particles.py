"""The records of particles: where they are in a tomogram, how they are turned, and what was cut out of the views."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import InputError
from lamella.geometry import angles_from_matrix, euler_matrix
from lamella.records.map import Map
from lamella.records.tilt_series import TiltSeries
from lamella.records.tomogram import Tomogram

__all__ = ["PARTICLE_DIAMETER", "ParticleImages", "ParticleSet", "Particles"]

PARTICLE_DIAMETER = "ParticleDiameterAngst"
"""Name, among the quality numbers of particles, of their diameter as it was stated or measured."""

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Names = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ParticleImages:
    """What `extract` cut out: one file per particle, mass positive.

    Attributes
    ----------
    names
        one file per particle, relative to the project's folder or absolute: ``(visible views, box, box)`` pictures, in
        the order of the tilt series' table, or a ``(box, box, box)`` volume.
    kind
        ``stack`` of two-dimensional pictures or ``volume``.
    pixel_size_ang, box_px
        of the pictures.
    premultiplied
        whether they were multiplied by the contrast transfer (and weighted by dose). Volumes divided by their weights
        (RELION-3's subtomograms) are not.
    weights
        the volumes of weights, one file per particle: multiplicity and squared transfer for volumes, else None.
    """

    names: Names
    kind: Literal["stack", "volume"] = "stack"
    pixel_size_ang: float = 1.0
    box_px: int = 0
    premultiplied: bool = True
    weights: Names | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Particles:
    """The particles of one tomogram, a row each. They may be none.

    A particle's place in the tomogram is coordinates − A_sub · origin (Å from the centre voxel), and its orientation
    A = A_sub · A_ang takes the reference's frame to the tomogram's: x = A · r + place.

    Attributes
    ----------
    tomogram
        that they are in, with its tilt series.
    coordinates_ang
        ``(n, 3)`` x, y, z: rlnCenteredCoordinate…Angst.
    origin_ang
        ``(n, 3)`` rlnOrigin…Angst, in the frame of A_sub; zero where left out.
    subtomogram_deg, angles_deg
        ``(n, 3)`` rot, tilt, psi of A_sub (rlnTomoSubtomogram…) and of A_ang (rlnAngle…); zero where left out.
    prior_deg
        ``(n, 2)`` what tilt and psi of A_ang are held to (rlnAngleTiltPrior, rlnAnglePsiPrior), or None.
    names
        of the particles, unlike each other in the whole project: rlnTomoParticleName, ``TOMOGRAM/NUMBER``.
    classes
        ``(n,)`` from 1.
    half_set
        ``(n,)`` 1 or 2 (rlnRandomSubset): the half set, which a particle keeps for ever; None before they were split.
    visible
        ``(n, views)`` the views in which it can be seen and is used, or None where that is not known yet: all.
    images
        what was cut out of the views, or None.
    scores
        further numbers ``(n,)`` by the name of their column without ``lamella``: ``PickScore``.
    quality
        numbers of the whole, by the same rule.
    other_columns, optics_columns
        columns that lamella has no use for, as text, by their full name: of the particles, and of their optics group.
    """

    tomogram: Tomogram
    coordinates_ang: Array
    origin_ang: Array | None = None
    subtomogram_deg: Array | None = None
    angles_deg: Array | None = None
    prior_deg: Array | None = None
    names: Names | None = None
    classes: Integers | None = None
    half_set: Integers | None = None
    visible: NDArray[np.bool_] | None = None
    images: ParticleImages | None = None
    scores: Mapping[str, Array] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    other_columns: Mapping[str, Names] = field(default_factory=dict)
    optics_columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = np.asarray(self.coordinates_ang, dtype=np.float64).reshape(-1, 3)
        n = len(places)
        put = object.__setattr__
        put(self, "coordinates_ang", places)
        for name in ("origin_ang", "subtomogram_deg", "angles_deg"):
            given = getattr(self, name)
            put(self, name, np.zeros((n, 3)) if given is None else np.asarray(given, np.float64).reshape(-1, 3))
        if self.names is None:
            put(self, "names", tuple(f"{self.name}/{number}" for number in range(1, n + 1)))
        if self.classes is None:
            put(self, "classes", np.ones(n, dtype=np.int64))
        for name in _MAPPINGS:
            put(self, name, MappingProxyType(dict(getattr(self, name))))
        self._check(n)

    def _check(self, n: int) -> None:
        columns: dict[str, Sized | None] = {name: getattr(self, name) for name in _PER_PARTICLE}
        if self.images is not None:
            columns |= {"images": self.images.names, "weights": self.images.weights}
        for name, column in {**columns, **self.scores, **self.other_columns}.items():
            if column is not None and len(column) != n:
                raise InputError(
                    f"{self.name}: {len(column)} entries of {name} for {n} particles", mend="give one per particle"
                )
        for name in ("coordinates_ang", "origin_ang", "subtomogram_deg", "angles_deg"):
            bad = np.flatnonzero(~np.isfinite(getattr(self, name)).all(axis=1))
            if len(bad):
                raise InputError(
                    f"{self.name}: {name} of particle {int(bad[0]) + 1} is not a number", mend="mend or remove its row"
                )
        if self.visible is not None and self.visible.shape != (n, len(self.tilt_series)):
            raise InputError(
                f"{self.name}: visible views {self.visible.shape} for {n} particles in {len(self.tilt_series)} views",
                mend="give one mark per particle and view",
            )
        if self.half_set is not None and not np.isin(self.half_set, (1, 2)).all():
            raise InputError(f"{self.name}: a half set that is neither 1 nor 2", mend="give rlnRandomSubset 1 or 2")

    def __len__(self) -> int:
        return len(self.coordinates_ang)

    def __getstate__(self) -> dict[str, Any]:
        # Read-only mappings do not pickle; a worker gets plain ones.
        return {**self.__dict__, **{name: dict(getattr(self, name)) for name in _MAPPINGS}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {name: MappingProxyType(state[name]) for name in _MAPPINGS})

    @property
    def name(self) -> str:
        """The tilt series' name."""
        return self.tomogram.name

    @property
    def tilt_series(self) -> TiltSeries:
        """Of the tomogram."""
        return self.tomogram.tilt_series

    def matrices(self) -> Array:
        """``(n, 3, 3)`` orientations A = A_sub · A_ang."""
        matrices: Array = self.subtomogram_matrices() @ euler_matrix(*_columns(self.angles_deg))
        return matrices

    def positions_ang(self) -> Array:
        """``(n, 3)`` places in the tomogram, Å from its centre voxel."""
        moved = np.einsum("nij,nj->ni", self.subtomogram_matrices(), _known(self.origin_ang))
        places: Array = self.coordinates_ang - moved
        return places

    def with_poses(self, matrices: ArrayLike | None = None, positions_ang: ArrayLike | None = None) -> Particles:
        """The same particles, turned and placed anew; coordinates and A_sub stay, A_ang and origins say the rest.

        Parameters
        ----------
        matrices
            ``(n, 3, 3)`` orientations A; None: as they are.
        positions_ang
            ``(n, 3)``; None: as they are.
        """
        back = np.swapaxes(self.subtomogram_matrices(), 1, 2)
        changes: dict[str, Any] = {}
        if matrices is not None:
            turned = back @ np.asarray(matrices, dtype=np.float64)
            changes["angles_deg"] = np.stack(angles_from_matrix(turned), axis=-1).reshape(-1, 3)
        if positions_ang is not None:
            away = self.coordinates_ang - np.asarray(positions_ang, dtype=np.float64)
            changes["origin_ang"] = np.einsum("nij,nj->ni", back, away)
        return replace(self, **changes)

    def with_changes(self, **changes: Any) -> Particles:
        """A copy with some fields replaced; mappings given are added to those that are there."""
        for name in _MAPPINGS:
            if name in changes:
                changes[name] = {**getattr(self, name), **changes[name]}
        return replace(self, **changes)

    def select(self, chosen: ArrayLike) -> Particles:
        """Some of the particles (indices or a mask), in the order given."""
        index = np.atleast_1d(np.asarray(chosen))
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        changes: dict[str, Any] = {name: _pick(getattr(self, name), index) for name in _PER_PARTICLE}
        for mapping in ("scores", "other_columns"):
            changes[mapping] = {name: _pick(column, index) for name, column in getattr(self, mapping).items()}
        if self.images is not None:
            changes["images"] = replace(
                self.images, names=_pick(self.images.names, index), weights=_pick(self.images.weights, index)
            )
        return replace(self, **changes)

    def subtomogram_matrices(self) -> Array:
        """``(n, 3, 3)`` A_sub: the frames that subtomograms are cut out in."""
        return euler_matrix(*_columns(self.subtomogram_deg))


@dataclass(frozen=True, kw_only=True, eq=False)
class ParticleSet:
    """The particles of all tomograms together, and the map that was made of them: what is averaged.

    Attributes
    ----------
    members
        one entry per tomogram, in the order of the tables; some may hold no particles.
    map
        the average with its halves, once there is one.
    quality
        numbers of the whole set by the name of their column without ``lamella``.
    name
        of the whole, where steps work on all of them at once.
    """

    members: tuple[Particles, ...]
    map: Map | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    name: str = "particles"

    def __len__(self) -> int:
        return sum(len(member) for member in self.members)

    def matrices(self) -> Array:
        """``(n, 3, 3)`` orientations, member after member."""
        return np.concatenate([member.matrices() for member in self.members])

    def positions_ang(self) -> Array:
        """``(n, 3)`` places, member after member, each in its own tomogram."""
        return np.concatenate([member.positions_ang() for member in self.members])

    def split(self, values: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Cut ``(n, ...)`` numbers of all particles into those of each member."""
        ends = np.cumsum([len(member) for member in self.members])
        if len(values) != len(self):
            raise InputError(f"{len(values)} values for {len(self)} particles", mend="give one per particle")
        return tuple(np.split(values, ends[:-1]))


def _pick(values: Any, index: Integers) -> Any:
    if values is None:
        return None
    return tuple(values[i] for i in index) if isinstance(values, tuple) else values[index]


def _known(values: Array | None) -> Array:
    assert values is not None  # filled in when the record was made
    return values


def _columns(angles_deg: Array | None) -> tuple[Array, Array, Array]:
    angles = _known(angles_deg)
    return angles[:, 0], angles[:, 1], angles[:, 2]


_MAPPINGS = ("scores", "quality", "other_columns", "optics_columns")

_PER_PARTICLE = (
    "coordinates_ang",
    "origin_ang",
    "subtomogram_deg",
    "angles_deg",
    "prior_deg",
    "names",
    "classes",
    "half_set",
    "visible",
)
