"""The pictures of particles as the terms that refinement, classification and first models compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.particles.likelihood import ParticleTerms, PictureIndex
from lamella.particles.views import SeriesTransfer, noise_after_crop, view_rotations, visible_views
from lamella.records import Particles, ParticleSet, ParticleSource

__all__ = ["ParticleReader", "ParticleSpectra"]

Array = NDArray[np.float64]


class _WeightedSource(Protocol):
    def weights(self, index: int) -> NDArray[np.float32]:
        """``(box, box, box // 2 + 1)`` weights of one particle's volume."""
        ...


@dataclass(frozen=True, eq=False)
class ParticleSpectra:
    """Whole transforms of one particle's pictures.

    Attributes
    ----------
    data, squares
        ``(v, samples)`` flattened rffts of T · picture, origin at index 0, and T²; both times T² over the noise's power
        (`noise_after_crop`).
    frames
        ``(v, 3, 3)`` of `ParticleTerms`.
    """

    data: NDArray[np.complex64]
    squares: NDArray[np.float32]
    frames: Array

    def at(self, chosen: PictureIndex) -> ParticleTerms:
        """Some of the terms."""
        data, squares = np.take(self.data, chosen.flat, axis=1), np.take(self.squares, chosen.flat, axis=1)
        return ParticleTerms(chosen, data, squares, self.frames)


class ParticleReader:
    """Reads the particles of a set, one at a time; it may be asked by several threads.

    Parameters
    ----------
    particles
        with pictures, all of one box and pixel.
    source
        of their pictures.

    Raises
    ------
    InputError
        if particles have no pictures, or pictures of different size, pixel or kind, or such as were not multiplied by
        their transfer.
    """

    def __init__(self, particles: ParticleSet, source: ParticleSource) -> None:
        members = [member for member in particles.members if len(member)]
        _check(members, len(particles), len(source))
        images = members[0].images
        assert images is not None
        self.box_px, self.pixel_size_ang, self.volume = images.box_px, images.pixel_size_ang, images.kind == "volume"
        self._source = source
        self._members = members
        self._owner = np.repeat(np.arange(len(members)), [len(member) for member in members])
        self._place = np.concatenate([np.arange(len(member)) for member in members])
        self._transfers: dict[int, SeriesTransfer] = {}
        if not self.volume:
            for number, member in enumerate(members):
                self._transfers[number] = SeriesTransfer(member.tilt_series, self.box_px, self.pixel_size_ang)
        self._frames = [_frames(member, self.volume) for member in members]

    def __len__(self) -> int:
        return len(self._owner)

    @property
    def group(self) -> NDArray[np.int64]:
        """``(n,)`` the tomogram of each particle, counted from 0 over those that hold particles."""
        return self._owner

    def cut_out_ang(self) -> Array:
        """``(n, 3)`` places that the pictures were cut out at."""
        return np.concatenate([member.coordinates_ang for member in self._members])

    def read(self, index: int) -> ParticleSpectra:
        """Transforms of one particle's pictures.

        Raises
        ------
        InputError
            if the pictures have another size than their record says, or hold a number that is not finite.
        """
        member, place = self._members[self._owner[index]], int(self._place[index])
        pictures = self._source.read(index)
        views = visible_views(member, place)
        n = self.box_px
        name = (member.names or ())[place]
        if pictures.shape != ((n if self.volume else len(views)), n, n):
            raise InputError(
                f"{name}: pictures of {pictures.shape} for {len(views)} views of {n} px", mend="extract again"
            )
        if not np.isfinite(pictures).all():
            raise InputError(f"{name}: its pictures hold numbers that are not finite", mend="extract again")
        values = torch.from_numpy(np.ascontiguousarray(pictures))
        axes = (0, 1, 2) if self.volume else (1, 2)
        terms = torch.fft.rfftn(values.roll([-(n // 2)] * len(axes), axes), dim=axes)
        if self.volume:
            squares = torch.from_numpy(cast(_WeightedSource, self._source).weights(index))
            frames = self._frames[self._owner[index]][place][None]
            return ParticleSpectra(terms.numpy().reshape(1, -1), squares.numpy().reshape(1, -1), frames)
        squares = self._transfers[int(self._owner[index])].at(member.coordinates_ang[place], views) ** 2
        share = squares / noise_after_crop(squares)
        count = len(views)
        data, weights = (terms * share).reshape(count, -1), (squares * share).reshape(count, -1)
        return ParticleSpectra(data.numpy(), weights.numpy(), self._frames[self._owner[index]][views])


def _frames(member: Particles, volume: bool) -> Array:
    """Frames of each view, or of each particle's volume."""
    if volume:
        return np.swapaxes(member.subtomogram_matrices(), 1, 2)
    geometry = member.tilt_series.geometry
    rotations = view_rotations(member.tilt_series)
    assert geometry is not None  # or view_rotations had refused
    frames: Array = geometry.magnification[:, None, None] * rotations
    return frames


def _check(members: list[Particles], count: int, pictures: int) -> None:
    if not members:
        raise InputError("there are no particles", mend="pick some, or name another --input")
    if pictures != count:
        raise InputError(f"pictures of {pictures} particles for {count}", mend="extract again")
    kinds = set()
    for member in members:
        images = member.images
        if images is None:
            raise InputError(f"{member.name}: its particles have no pictures", mend="run extract")
        if not images.premultiplied:
            raise InputError(
                f"{member.name}: its pictures were not multiplied by their transfer", mend="extract them with lamella"
            )
        kinds.add((images.kind, round(images.pixel_size_ang, 5), images.box_px))
    if len(kinds) > 1:
        listed = ", ".join(f"{kind} of {box} px of {pixel:g} Å" for kind, pixel, box in sorted(kinds))
        raise InputError(f"pictures of several sizes ({listed})", mend="extract all particles with the same settings")
