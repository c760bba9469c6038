"""What classification holds in memory: pictures in their poses, over the noise that the average leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import SettingsError
from lamella.fourier import soft_mask
from lamella.geometry.symmetry import point_group
from lamella.kernels.central_slices import padded_transform
from lamella.parallel import each
from lamella.particles.classify_settings import ClassifySettings
from lamella.particles.initial_model_data import Pictures, coarse_box, read_pictures
from lamella.particles.initial_model_maps import believed_map, shell_ssnr
from lamella.particles.noise import noise_of, power_of_noise
from lamella.particles.particle_size import stated_diameter_ang
from lamella.particles.refine_data import ParticleReader
from lamella.particles.refine_maps import MapSums
from lamella.progress import Progress, no_progress
from lamella.records import ParticleSet
from lamella.runtime import free_memory_bytes

__all__ = ["Sample", "prepare_sample", "sums_over"]

Array = NDArray[np.float64]

_EDGE = 0.08  # of the diameter, over which the sphere falls
_BEYOND = 2  # shells beyond the average's resolution that are compared
_SHARE_OF_FREE = 0.3
_BYTES_OF_TERM = 24
_LEAST_SHELL = 4


@dataclass(frozen=True, eq=False)
class Sample:
    """Everything that iterations compare.

    Attributes
    ----------
    pictures
        of all particles, tomogram by tomogram, over the noise.
    matrices, places
        ``(n, 3, 3)`` M and ``(n, 3)`` u of `Pictures`, by the particles' numbers.
    energy, weight
        ``(n, b // 2 + 1)`` |x|² and T² over half the noise of each particle's terms, summed over those of a shell.
    box_px, shell
        of the pictures, and their finest detail.
    radius_px
        of the particle.
    sphere
        ``(b, b, b)`` soft mask of the particle.
    group
        ``(g, 3, 3)`` of the symmetry.
    """

    pictures: Sequence[Pictures]
    matrices: Array
    places: Array
    energy: Array
    weight: Array
    box_px: int
    shell: int
    radius_px: float
    sphere: Tensor
    group: Array

    def __len__(self) -> int:
        return len(self.matrices)


def prepare_sample(
    particles: ParticleSet, reader: ParticleReader, settings: ClassifySettings, progress: Progress = no_progress
) -> Sample:
    """Read the pictures, as fine as the average of all has signal, and weigh them by the noise that it leaves.

    Raises
    ------
    SettingsError
        if the diameter is not known or larger than the pictures, or the detail finer than they hold.
    """
    width = reader.box_px * reader.pixel_size_ang
    diameter = stated_diameter_ang(particles, settings.diameter, "classify")
    if diameter > width:
        raise SettingsError(f"a particle of {diameter:g} Å in smaller pictures", mend="extract with a larger box")
    finest = 2 * reader.pixel_size_ang if settings.resolution == "auto" else float(settings.resolution)
    if finest < 2 * reader.pixel_size_ang:
        raise SettingsError(
            f"classify.resolution of {finest:g} Å in pixels of {reader.pixel_size_ang:g} Å",
            mend=f"give {2 * reader.pixel_size_ang:g} Å or more",
        )
    box, shell = coarse_box(reader.box_px, reader.pixel_size_ang, finest)
    shell = min(shell, _affordable_shell(particles, reader.volume))
    pictures = read_pictures(particles, reader, np.arange(len(reader)), box, shell, progress)
    pixel = width / box
    sample = _sample(particles, reader, pictures, box, shell, diameter / pixel / 2, settings)
    if settings.resolution == "auto":
        ssnr = shell_ssnr(sums_over(sample, np.ones(len(sample))), sample.sphere)
        below = np.flatnonzero(ssnr[1 : shell + 1] < 1)
        resolved = int(below[0]) if len(below) else shell
        shell = int(np.clip(resolved + _BEYOND, min(_LEAST_SHELL, shell), shell))
        sample = replace(sample, shell=shell, pictures=[part.up_to(shell) for part in pictures])
    return _over_noise(sample)


def sums_over(sample: Sample, weights: Array) -> MapSums:
    """Sums of all particles in their poses, each by its weight ``(n,)``; those of no weight are left out."""
    sums = MapSums(sample.box_px, sample.group)
    for part in sample.pictures:
        for index, number in enumerate(part.numbers):
            if weights[number] > 0:
                pose = sample.matrices[number][None], sample.places[number][None]
                sums.add(part.terms(index), *pose, weights[number : number + 1])
    return sums


def _sample(
    particles: ParticleSet,
    reader: ParticleReader,
    pictures: Sequence[Pictures],
    box: int,
    shell: int,
    radius_px: float,
    settings: ClassifySettings,
) -> Sample:
    pixel = reader.box_px * reader.pixel_size_ang / box
    places = (particles.positions_ang() - reader.cut_out_ang()) / pixel
    matrices = particles.matrices()
    for part in pictures:
        back = np.swapaxes(part.turns, 1, 2)
        matrices[part.numbers] = back @ matrices[part.numbers]
        places[part.numbers] = np.einsum("pij,pj->pi", back, places[part.numbers])
    edge = max(2 * _EDGE * radius_px, 2.5)
    sphere = soft_mask((box,) * 3, min(radius_px, box / 2 - edge - 0.5), edge)
    unknown = np.zeros((len(places), box // 2 + 1))
    return Sample(
        pictures, matrices, places, unknown, unknown, box, shell, radius_px, sphere, point_group(settings.symmetry)
    )


def _over_noise(sample: Sample) -> Sample:
    """The sample over the noise of each tomogram that the average of all leaves unexplained."""
    average = believed_map(sums_over(sample, np.ones(len(sample))), sample.sphere, highest_shell=sample.shell)
    transform = padded_transform(average.to(torch.float32)).numpy()
    weighed, sums = [], np.zeros((2, *sample.energy.shape))
    for part in sample.pictures:

        def left(index: int, part: Pictures = part) -> tuple[Array, Array]:
            number = part.numbers[index]
            found = noise_of(part.terms(index), transform, sample.matrices[number], sample.places[number])
            return found.power, found.squares

        noise = np.sum(each(left, range(len(part))), axis=0)
        # the terms are over half a noise already: what is left has twice its power where that was right
        gain = (2 / power_of_noise(noise[0], noise[1])[part.at.shell]).astype(np.float32)
        weighed.append(replace(part, data=part.data * gain, squares=part.squares * gain))
        for terms, found in zip((np.abs(weighed[-1].data) ** 2, weighed[-1].squares), sums, strict=True):
            for number, row in zip(part.numbers, terms.sum(axis=1), strict=True):
                found[number] = np.bincount(part.at.shell, row, minlength=found.shape[1])
    return replace(sample, pictures=weighed, energy=sums[0], weight=sums[1])


def _affordable_shell(particles: ParticleSet, volume: bool) -> int:
    """The finest shell whose terms of all particles fit into a part of the free memory."""
    pictures = sum(len(member) * (1 if volume else len(member.tilt_series)) for member in particles.members)
    terms = _SHARE_OF_FREE * free_memory_bytes() / (_BYTES_OF_TERM * max(pictures, 1))
    # half of a disc, or of a ball
    shell = (3 * terms / (2 * np.pi)) ** (1 / 3) if volume else (2 * terms / np.pi) ** 0.5
    return max(_LEAST_SHELL, int(shell))
