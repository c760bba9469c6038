"""What the report's part on particles is made from: picks of each tomogram, and each average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lamella.records import Particles, ParticleSet, VolumeSource
from lamella.records.map_fsc import MapFsc

__all__ = ["AverageReport", "ParticlesReport", "PickReport"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PickReport:
    """The picks of one tomogram.

    Attributes
    ----------
    record
        that they are of, such as ``pick``.
    particles, volume
        the picks, and the measured tomogram's voxels where they are there.
    peaks
        the histogram of all peaks of the score, picked or not (`read_pick_scores`); empty where it is not known.
    extracted
        how many of them were cut out; None before.
    numbers, said
        what `pick` measured, and what it and `extract` had to say.
    """

    record: str
    particles: Particles
    volume: VolumeSource | None = None
    peaks: Mapping[str, Array] = field(default_factory=dict)
    extracted: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    said: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class AverageReport:
    """One average: of a first model, a refinement, classes, or after postprocessing.

    Attributes
    ----------
    record
        such as ``refine.bin2``.
    particles
        that it was made of.
    volume, voxel_size_ang, classes
        the map's voxels and those of the classes' maps; None where files have gone.
    fsc, iterations
        agreement of its halves, and of those of every iteration.
    history
        numbers of every iteration by name; empty where there are none.
    mask, local_resolution
        of the same box, after postprocessing.
    guinier, guinier_line
        the table of Guinier's plot, and slope and value at 0 of its line.
    numbers, said
        what was measured, and what the step had to say.
    """

    record: str
    particles: ParticleSet
    voxel_size_ang: float
    volume: VolumeSource | None = None
    classes: tuple[VolumeSource, ...] = ()
    fsc: MapFsc | None = None
    iterations: tuple[MapFsc, ...] = ()
    history: Mapping[str, Array] = field(default_factory=dict)
    mask: VolumeSource | None = None
    local_resolution: VolumeSource | None = None
    guinier: Mapping[str, Array] = field(default_factory=dict)
    guinier_line: tuple[float, float] | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    said: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ParticlesReport:
    """Everything that is known of a project's particles."""

    picks: tuple[PickReport, ...] = ()
    averages: tuple[AverageReport, ...] = ()
