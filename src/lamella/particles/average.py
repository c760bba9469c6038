"""The average of particles from given orientations and places: the whole, and each half set by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from lamella.errors import InputError, PostconditionError
from lamella.fourier import frequency_axes, shell_correlation
from lamella.particles.average_accumulator import THEREABOUTS, Accumulator, thereabouts
from lamella.particles.half_sets import with_half_sets
from lamella.particles.views import SeriesTransfer, noise_after_crop, view_rotations, visible_views
from lamella.particles.volumes import centred_terms
from lamella.progress import Progress, no_progress
from lamella.records import Particles, ParticleSet, ParticleSource

__all__ = ["Average", "average", "half_map_power", "sums_of_halves"]

Pixels = NDArray[np.float32]
Array = NDArray[np.float64]

_PADDING = 2
"""Of the map's transform, and of the pictures: where the contrast transfer passes 0 it changes within one of their
terms, and terms half as far apart tell what lies on either side (correlation with the truth there 0.89 for 0.59)."""
_PICTURES_AT_ONCE = 128
_HALVES = (1, 2)
_FILLED = 1 / 8  # of the box, by the particle
_LEAST_RATIO = 0.1  # of the map's power to its noise's, with which a shell is still shown


@dataclass(frozen=True, kw_only=True, eq=False)
class Average:
    """The maps of a set of particles.

    Attributes
    ----------
    whole
        ``(box, box, box)`` float32, mass positive, of all particles; damped where the halves do not agree.
    half1, half2
        of each half set, not filtered by anything that both know; None where one of them is empty.
    voxel_size_ang
        of all of them.
    correlation
        ``(shells,)`` the halves' Fourier shell correlation without a mask, which the whole is damped by; empty without
        halves. How far they agree is what `half_map_fsc` says.
    particles
        numbers of particles in half 1 and 2.
    """

    whole: Pixels
    half1: Pixels | None
    half2: Pixels | None
    voxel_size_ang: float
    correlation: Array
    particles: tuple[int, int]


def average(
    particles: ParticleSet,
    source: ParticleSource,
    *,
    symmetry: str = "C1",
    seed: int = 1,
    progress: Progress = no_progress,
) -> Average:
    """Average particles as their record says that they lie.

    Parameters
    ----------
    particles
        with pictures (`ParticleImages` of kind ``stack``, multiplied by the transfer), of one size.
    source
        their pictures, in their order.
    symmetry
        point group that is imposed.
    seed
        of random half sets, for particles that have none.
    progress
        told how far the work is.

    Raises
    ------
    InputError
        if there are no particles, or their pictures differ in size or kind.
    PostconditionError
        if the map is not finite.

    Notes
    -----
    The least-squares map, held where little was measured (`Accumulator.map`), each term of a picture counted by what
    its noise leaves of it. The whole is Wiener's: with the halves' correlation F, the map's power over its noise's is
    2 F / (1 − F) (Scheres 2012, J Struct Biol 180:519, from Rosenthal & Henderson 2003, J Mol Biol 333:721).
    """
    halves, counts = sums_of_halves(particles, source, seed=seed, progress=progress)
    _, pixel = _one_size(particles)
    maps = [half.map(symmetry=symmetry) if count else None for half, count in zip(halves, counts, strict=True)]
    whole = halves[0]
    whole.merge(halves[1])
    correlation, power = np.zeros(0), None
    if maps[0] is not None and maps[1] is not None:
        correlation = shell_correlation(torch.from_numpy(maps[0]), torch.from_numpy(maps[1]))[1].numpy()
        power = half_map_power(correlation, whole.shell_weights().numpy())
    final = whole.map(power, symmetry)
    if not np.isfinite(final).all():
        raise PostconditionError("the average is not finite", mend="look for pictures with NaN, and extract them again")
    return Average(
        whole=final,
        half1=maps[0],
        half2=maps[1],
        voxel_size_ang=pixel,
        correlation=correlation,
        particles=counts,
    )


def half_map_power(correlation: Array, weights: Array) -> Array:
    """1/τ² of the whole map in each shell, from the halves' correlation F and the mean weight W of all particles.

    τ² W = 8 · 2 F / (1 − F), both smoothed over some shells: at a zero of the transfer the halves agree on nothing,
    which says nothing of the map. The halves' noise fills their boxes, the particle about an eighth, within which its
    power over the noise's is 8 times as high. 2 F / (1 − F) is at least 0.1, so that no shell vanishes.
    """
    agreed = np.clip(correlation, 0, 0.9999)
    ratio = gaussian_filter1d(2 * agreed / (1 - agreed), THEREABOUTS, mode="nearest")
    power: Array = _FILLED * thereabouts(weights) / np.maximum(ratio, _LEAST_RATIO)
    return power


def sums_of_halves(
    particles: ParticleSet, source: ParticleSource, *, seed: int = 1, progress: Progress = no_progress
) -> tuple[tuple[Accumulator, Accumulator], tuple[int, int]]:
    """What the pictures of each half set say of the map, and how many particles each has."""
    box, pixel = _one_size(particles)
    if len(source) != len(particles):
        raise InputError(f"pictures of {len(source)} for {len(particles)} particles", mend="give one entry for each")
    halves = Accumulator(box, padding=_PADDING), Accumulator(box, padding=_PADDING)
    counts = [0, 0]
    first = done = 0
    for member in particles.members:
        if not len(member):
            continue
        split = with_half_sets(member, "random", seed)
        which = split.half_set
        assert which is not None
        views = _MemberViews(member, _PADDING * box, pixel)
        for number in _HALVES:
            rows = np.flatnonzero(which == number)
            counts[number - 1] += len(rows)
            for pictures, weights, matrices, some in views.batches(source, first, rows):
                halves[number - 1].add(pictures, weights, matrices)
                done += some
                progress(done / len(particles), f"averaging {member.name}")
        first += len(member)
    return halves, (counts[0], counts[1])


class _MemberViews:
    """The pictures of one tomogram's particles as terms, with their weights and orientations."""

    def __init__(self, particles: Particles, size_px: int, pixel_size_ang: float) -> None:
        series = particles.tilt_series
        self._particles, self._size, self._pixel = particles, size_px, pixel_size_ang
        self._rotations = view_rotations(series)
        self._matrices = particles.matrices()
        self._positions = particles.positions_ang()
        assert series.geometry is not None  # view_rotations refused it
        # how far the particle went in the picture since it was cut out at its coordinates, Å
        moved = self._positions - particles.coordinates_ang
        self._moved = np.einsum("vij,nj->nvi", series.geometry.matrices(), moved)
        self._transfer = SeriesTransfer(series, size_px, pixel_size_ang)

    def batches(
        self, source: ParticleSource, first: int, rows: NDArray[np.int64]
    ) -> Iterator[tuple[Tensor, Tensor, Array, int]]:
        """Terms, squared transfers and orientations of some particles' pictures, and how many particles they are of."""
        views = max(1, len(self._particles.tilt_series))
        at_once = max(1, _PICTURES_AT_ONCE // views)
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            made = [self._of(source, first, int(index)) for index in part]
            terms, weights, matrices = (list(parts) for parts in zip(*made, strict=True))
            yield torch.cat(terms), torch.cat(weights), np.concatenate(matrices), len(part)

    def _of(self, source: ParticleSource, first: int, index: int) -> tuple[Tensor, Tensor, Array]:
        views = visible_views(self._particles, index)
        pictures = torch.from_numpy(np.ascontiguousarray(source.read(first + index), dtype=np.float32))
        if pictures.ndim != 3 or len(pictures) != len(views):
            raise InputError(
                f"{(self._particles.names or ())[index]}: {len(pictures)} pictures for {len(views)} visible views",
                mend="extract the particles again",
            )
        terms = centred_terms(pictures, self._size)
        if np.abs(self._moved[index]).max(initial=0) > 0:
            terms = terms * self._back(self._moved[index, views])
        squares = self._transfer.at(self._positions[index], views) ** 2
        share = squares / noise_after_crop(squares, _PADDING)
        return terms * share, squares * share, self._rotations[views] @ self._matrices[index]

    def _back(self, moved_ang: Array) -> Tensor:
        """Factors that bring what moved by ``(v, 2)`` x, y back to the picture's origin."""
        ky, kx = frequency_axes((self._size, self._size))
        moved = torch.from_numpy(moved_ang / self._pixel)[:, :, None, None]
        turns = kx * moved[:, 0] + ky * moved[:, 1]
        return torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).to(torch.complex64)


def _one_size(particles: ParticleSet) -> tuple[int, float]:
    """Box and pixel that all pictures share."""
    images = [one.images for one in particles.members if len(one) and one.images is not None]
    if not images or any(one.images is None for one in particles.members if len(one)):
        raise InputError(f"{particles.name}: there are no pictures of all particles", mend="run extract first")
    sizes = {(one.box_px, round(one.pixel_size_ang, 4)) for one in images}
    if len(sizes) != 1:
        listed = ", ".join(f"{box} px of {pixel:g} Å" for box, pixel in sorted(sizes))
        raise InputError(
            f"{particles.name}: pictures of different sizes ({listed})",
            mend="extract all of them with one extract.box and binning, tilt series of one pixel size",
        )
    if any(one.kind != "stack" or not one.premultiplied for one in images):
        raise InputError(
            f"{particles.name}: volumes, or pictures that were not multiplied by their transfer, are not averaged here",
            mend="extract with kind = stack",
        )
    return images[0].box_px, images[0].pixel_size_ang
