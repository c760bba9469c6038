"""The two half sets: split once, before anything is averaged, and kept for ever."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np

from lamella.errors import InputError
from lamella.records import Particles, ParticleSet

__all__ = ["check_half_sets", "with_half_sets"]


def with_half_sets(
    particles: Particles, how: Literal["random", "tomograms"], seed: int, tomogram_number: int = 0
) -> Particles:
    """Particles of one tomogram with their half sets; those that have them keep them.

    Parameters
    ----------
    particles
        of one tomogram.
    how
        ``random``: half of the particles at random. ``tomograms``: all of this tomogram's particles go to one half
        set, by its number: for particles that share what their tomogram got wrong (a lattice, touching neighbours).
    seed
        of the random half sets; each tomogram has its own by its name, whatever others there are.
    tomogram_number
        place of the tomogram among all, counted from 0.
    """
    if particles.half_set is not None:
        return particles
    n = len(particles)
    if how == "tomograms":
        halves = np.full(n, tomogram_number % 2 + 1, dtype=np.int64)
    else:
        rng = np.random.default_rng([seed, zlib.crc32(particles.name.encode())])
        halves = (rng.permutation(n) + rng.integers(2)) % 2 + 1  # of an odd number, chance says which gets one more
    return particles.with_changes(half_set=halves.astype(np.int64))


def check_half_sets(particles: ParticleSet) -> None:
    """Refuse a set that has no two half sets.

    Raises
    ------
    InputError
        if particles have no half set, or all of them have the same.
    """
    halves = [one.half_set for one in particles.members if len(one)]
    if not halves:
        raise InputError(f"{particles.name}: there are no particles", mend="pick some, or name another --input")
    if any(half is None for half in halves):
        raise InputError(f"{particles.name}: not all particles have a half set", mend="run extract, which splits them")
    counts = [sum(int((half == number).sum()) for half in halves if half is not None) for number in (1, 2)]
    if 0 in counts:
        raise InputError(
            f"{particles.name}: all {sum(counts)} particles are in one half set",
            mend="two are wanted: give more particles, or extract with half_sets = random",
        )
