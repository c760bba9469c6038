"""The coarse terms of many particles in memory, tomogram by tomogram, ready for products of matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.parallel import each
from lamella.particles.likelihood import ParticleTerms, PictureIndex, picture_index
from lamella.particles.noise import noise_of, power_of_noise
from lamella.particles.refine_data import ParticleReader
from lamella.particles.views import visible_views
from lamella.progress import Progress, no_progress
from lamella.records import ParticleSet

__all__ = ["Pictures", "coarse_box", "coarse_index", "read_pictures"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_LEAST_BOX = 16


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of particles that share their frames, over the noise.

    A pose (M, u) of them is the orientation A = turn · M and the place t = turn · u of the particle, u in pixels of
    the coarse box.

    Attributes
    ----------
    at
        which terms they are, by rising shell.
    numbers
        ``(p,)`` of the particles in their set.
    data, squares
        ``(p, v, t)`` x and T² over half the noise, complex64 and float32; both 0 in views that a particle is not in.
    frames
        ``(v, 3, 3)``.
    turns
        ``(p, 3, 3)``: the frames that volumes were cut out in, the identity for pictures.
    places
        ``(p, 3)`` where each is believed to be, u.
    """

    at: PictureIndex
    numbers: Integers
    data: NDArray[np.complex64]
    squares: NDArray[np.float32]
    frames: Array
    turns: Array
    places: Array

    def __len__(self) -> int:
        return len(self.numbers)

    def up_to(self, shell: int) -> Pictures:
        """The terms of the shells up to one."""
        count = int(np.searchsorted(self.at.shell, shell, side="right"))
        at = replace(self.at, index=self.at.index[:count], flat=self.at.flat[:count], shell=self.at.shell[:count])
        return replace(self, at=at, data=self.data[..., :count], squares=self.squares[..., :count])

    def take(self, chosen: NDArray[np.bool_] | Integers) -> Pictures:
        """Some of the particles."""
        return replace(
            self, numbers=self.numbers[chosen], data=np.ascontiguousarray(self.data[chosen]),
            squares=np.ascontiguousarray(self.squares[chosen]), turns=self.turns[chosen], places=self.places[chosen],
        )  # fmt: skip

    def terms(self, index: int) -> ParticleTerms:
        """Of one particle."""
        data, squares = (np.ascontiguousarray(part[index]) for part in (self.data, self.squares))
        return ParticleTerms(self.at, data, squares, self.frames)

    def batches(self, bytes_of_one: float, most_bytes: float) -> Iterator[Pictures]:
        """The same in parts that are small enough."""
        size = max(1, int(most_bytes // max(bytes_of_one, 1)))
        for first in range(0, len(self), size):
            yield self.take(np.arange(first, min(first + size, len(self))))


def coarse_box(box_px: int, pixel_size_ang: float, finest_ang: float) -> tuple[int, int]:
    """Edge of a smaller box over the same field of view, and its shell of the finest detail."""
    shell = max(2, min(int(np.floor(box_px * pixel_size_ang / finest_ang)), box_px // 2 - 1))
    return min(box_px, max(_LEAST_BOX, 2 * shell + 4)), shell


def coarse_index(box_px: int, coarse_px: int, shell: int, *, volume: bool) -> tuple[PictureIndex, PictureIndex]:
    """The terms up to a shell by rising shell: for reading from the pictures, and for use in the smaller box."""
    whole = picture_index(box_px, shell, volume=volume)
    order = np.argsort(whole.shell, kind="stable")
    fine = PictureIndex(box_px, whole.index[order], whole.flat[order], whole.shell[order])
    return fine, replace(fine, box_px=coarse_px)


def read_pictures(
    particles: ParticleSet,
    reader: ParticleReader,
    chosen: Integers,
    coarse_px: int,
    shell: int,
    progress: Progress = no_progress,
) -> list[Pictures]:
    """Read particles, and weigh them by the noise of their tomogram.

    Parameters
    ----------
    particles, reader
        of the set.
    chosen
        numbers of those that are read, rising.
    coarse_px, shell
        of `coarse_box`.

    Notes
    -----
    All that the pictures hold counts as noise: in the lowest shells of strong particles that overstates it, which does
    no more than to make poses less certain there.
    """
    fine, coarse = coarse_index(reader.box_px, coarse_px, shell, volume=reader.volume)
    views = _views(particles, reader)
    found = each(lambda index: reader.read(int(index)).at(fine), list(chosen), progress, "read pictures")
    parts = []
    for tomogram in np.unique(reader.group[chosen]):
        here = np.flatnonzero(reader.group[chosen] == tomogram)
        sums = [noise_of(found[i], None, np.eye(3), np.zeros(3)) for i in here]
        noise = power_of_noise(
            np.sum([one.power for one in sums], axis=0), np.sum([one.squares for one in sums], axis=0)
        )
        count = 1 if reader.volume else int(max(views[chosen[i]].max() for i in here)) + 1
        data = np.zeros((len(here), count, len(fine.index)), np.complex64)
        squares = np.zeros(data.shape, np.float32)
        frames = np.tile(np.eye(3), (count, 1, 1))
        turns = np.tile(np.eye(3), (len(here), 1, 1))
        for row, i in enumerate(here):
            terms, seen = found[i].over_noise(noise), views[chosen[i]]
            data[row, seen], squares[row, seen] = terms.data, terms.squares
            if reader.volume:
                turns[row] = terms.frames[0].T
            else:
                frames[seen] = terms.frames
        parts.append(Pictures(coarse, chosen[here], data, squares, frames, turns, np.zeros((len(here), 3))))
    return parts


def _views(particles: ParticleSet, reader: ParticleReader) -> list[Integers]:
    """The views of each particle; a volume is the only one of its own."""
    if reader.volume:
        return [np.zeros(1, np.int64)] * len(reader)
    return [visible_views(member, place) for member in particles.members for place in range(len(member))]
