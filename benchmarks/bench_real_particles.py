"""Forty real particles: do their given poses make the given map, and what does refinement make of them?

The pictures are WarpTools' (12 Å, 37 views, multiplied by their transfer), read as any RELION optimisation set is. They
are averaged under each convention that the files leave open. Two numbers judge an average, both mean shell correlations
from 100 to 30 Å within a sphere: of its half maps, which no reference enters, and with the map that came with the
particles, as it is and mirrored (z reversed). What chance gives is measured with random orientations. Then the
particles are refined about the poses given, with and without that map as the first reference.

    REAL_PARTICLES=DIR python -m benchmarks real_particles    # with NAME_optimisation_set.star and NAME_reconstruct.mrc
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lamella.formats.mrc import read_mrc
from lamella.formats.particle_images import open_particles
from lamella.formats.relion_particles import read_particles
from lamella.formats.warnings import FormatWarning
from lamella.fourier import shell_correlation, soft_mask
from lamella.geometry.angular_grid import rotation_angle_deg
from lamella.particles.average import average
from lamella.particles.half_sets import with_half_sets
from lamella.particles.refine import refine
from lamella.particles.refine_settings import RefineSettings
from lamella.records import ArrayParticles, Particles, ParticleSet
from lamella.runtime import prepare

Floats = NDArray[np.float32]

DIAMETER_ANG, COARSEST_ANG, FINEST_ANG = 300.0, 100.0, 30.0
RANDOM = 30  # sets of random orientations
Picture = Callable[[Floats], Floats]
Turn = Callable[[Particles], Particles]


@dataclass(frozen=True, eq=False)
class Given:
    """What came with the particles."""

    particles: ParticleSet
    source: ArrayParticles
    reference: Floats
    pixel_ang: float

    def mask(self) -> torch.Tensor:
        """A soft sphere."""
        radius = DIAMETER_ANG / 2 / self.pixel_ang
        return soft_mask((len(self.reference),) * 3, min(radius, len(self.reference) / 2 - 3), 3)

    def alike(self, one: Floats, other: Floats) -> float:
        """Mean correlation of the shells from 100 to 30 Å."""
        parts = [torch.from_numpy(np.ascontiguousarray(part)) * self.mask() for part in (one, other)]
        frequency, correlation, _ = shell_correlation(*parts)
        shells = (frequency >= self.pixel_ang / COARSEST_ANG) & (frequency <= self.pixel_ang / FINEST_ANG)
        return float(correlation[shells].mean())

    def judged(self, whole: Floats, half1: Floats | None, half2: Floats | None) -> tuple[float, float, float]:
        """Likeness of the half maps, with the reference, and with its mirror image."""
        assert half1 is not None
        assert half2 is not None
        return self.alike(half1, half2), self.alike(whole, self.reference), self.alike(whole, mirrored(self.reference))

    def averaged(self, turned: Turn, picture: Picture = lambda one: one) -> tuple[float, float, float]:
        """`judged` of the average under another convention."""
        source = ArrayParticles([picture(one) for one in self.source.arrays])
        made = average(_all(self.particles, turned), source)
        return self.judged(made.whole, made.half1, made.half2)


def mirrored(volume: Floats) -> Floats:
    """Reversed along z, about voxel n // 2."""
    return np.ascontiguousarray(np.roll(volume[::-1], 1 - len(volume) % 2, axis=0))


def main() -> None:
    """Print likenesses, their chance, and what refinement gives."""
    folder = Path(os.environ.get("REAL_PARTICLES", "real_particles"))
    stars = sorted(folder.glob("*_optimisation_set.star")) if folder.is_dir() else []
    if not stars:
        print("no real particles: set REAL_PARTICLES to their folder")
        return
    prepare(torch=True)
    given = _read(stars[0], next(folder.glob("*_reconstruct.mrc")))
    chance = np.array([given.averaged(_random(seed)) for seed in range(RANDOM)])
    middle, spread = chance.mean(axis=0), chance.std(axis=0)
    for number, name in enumerate(("half maps", "reference", "its mirror image")):
        print(f"random orientations, {name}: {middle[number]:.3f} ± {spread[number]:.3f}")
    for name, (turned, picture) in CONVENTIONS.items():
        found = given.averaged(turned, picture)
        words = (f"{one:.3f} ({(one - m) / s:+.1f} sd)" for one, m, s in zip(found, middle, spread, strict=True))
        print(f"{name}: half maps {next(words)}, reference {next(words)}, mirrored {next(words)}")
    _refined(given, "the poses given, from their average", given.particles, None)
    _refined(given, "the poses given, from the mirrored reference", given.particles, mirrored(given.reference))
    _refined(given, "random poses, from it", _all(given.particles, _random(1)), mirrored(given.reference))


def _read(star: Path, reference: Path) -> Given:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FormatWarning)  # the tilt images are not there
        found = read_particles(star, star.parent)
    members = tuple(with_half_sets(one, "random", 1) for one in found.members)
    particles = replace(found, members=members)
    files = open_particles(particles, star.parent)
    values, voxel_ang = read_mrc(reference)
    print(f"{len(particles)} particles, {sum(int(one.visible.sum()) for one in members if one.visible is not None)} "
          f"pictures of {values.shape[0]} px; reference of {voxel_ang:.3f} Å")  # fmt: skip
    images = members[0].images
    assert images is not None
    return Given(particles, ArrayParticles([files.read(i) for i in range(len(files))]), values, images.pixel_size_ang)


def _as_given(one: Particles) -> Particles:
    return one


def _inverse(one: Particles) -> Particles:
    return one.with_poses(np.swapaxes(one.matrices(), 1, 2))


def _other_hand(one: Particles) -> Particles:
    """Defocus that rises with depth the other way."""
    series = one.tilt_series
    return replace(one, tomogram=replace(one.tomogram, tilt_series=replace(series, hand=-series.hand)))


def _other_tilt(one: Particles) -> Particles:
    """Tilted the other way: the specimen that the same pictures show mirrored."""
    series = one.tilt_series
    assert series.geometry is not None
    geometry = replace(series.geometry, x_tilt_deg=-series.geometry.x_tilt_deg, y_tilt_deg=-series.geometry.y_tilt_deg)
    return replace(one, tomogram=replace(one.tomogram, tilt_series=replace(series, geometry=geometry)))


def _random(seed: int) -> Turn:
    def turned(one: Particles) -> Particles:
        state = np.random.default_rng([seed, *one.name.encode()])
        return one.with_poses(Rotation.random(len(one), random_state=state).as_matrix())

    return turned


def _all(particles: ParticleSet, turned: Turn) -> ParticleSet:
    return replace(particles, members=tuple(turned(one) for one in particles.members))


def _rows_reversed(one: Floats) -> Floats:
    """About pixel n // 2."""
    return np.ascontiguousarray(np.roll(one[:, ::-1], 1, axis=1))


CONVENTIONS: dict[str, tuple[Turn, Picture]] = {
    "as RELION reads them": (_as_given, lambda one: one),
    "the other hand of the defocus": (_other_hand, lambda one: one),
    "orientations inverted": (_inverse, lambda one: one),
    "orientations inverted, the other hand": (lambda one: _inverse(_other_hand(one)), lambda one: one),
    "tilted the other way": (_other_tilt, lambda one: one),
    "rows from the top": (_as_given, _rows_reversed),
    "rows from the top, orientations inverted": (_inverse, _rows_reversed),
    "columns and rows exchanged": (_as_given, lambda one: np.ascontiguousarray(np.swapaxes(one, 1, 2))),
    "views in the reverse order": (_as_given, lambda one: np.ascontiguousarray(one[::-1])),
    "dark mass": (_as_given, lambda one: -one),
}


def _refined(given: Given, name: str, start: ParticleSet, reference: Floats | None) -> None:
    settings = RefineSettings(diameter=DIAMETER_ANG, low_pass=60.0, search="local", iterations=6)
    result = refine(start, given.source, reference, settings)
    half, as_it_is, other = given.judged(result.whole, result.half1, result.half2)
    turned = rotation_angle_deg(result.particles.matrices(), given.particles.matrices())
    print(
        f"refined about {name}: half maps {half:.3f} (0.143 at {result.resolution_ang:.0f} Å), reference "
        f"{as_it_is:.3f}, mirrored {other:.3f}; {np.median(turned):.0f}° (median) from the poses given, "
        f"{100 * (turned < 20).mean():.0f}% within 20°; certainty {result.history[-1].certainty:.2f}"
    )


if __name__ == "__main__":
    main()
