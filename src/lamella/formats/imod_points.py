"""Points of IMOD models (``.mod``): where particles are, without orientations.

A model's x and y have the first pixel's centre at 0.5, its z is whole on a section (`imod_model`). Points are those of
the volume as it is in the file, so of lamella's own tomograms; IMOD's, which `tilt -PERPENDICULAR` makes, count z the
other way and must be turned about x first (`trimvol -rx`), as must models drawn on them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.formats.imod_model import ImodModel, read_model, write_model
from lamella.formats.point_lists import CONTOUR, PointColumns, stated_voxel_ang, tomogram_of_file
from lamella.formats.voxels import to_voxels
from lamella.formats.warnings import FormatWarning
from lamella.records import Note, Particles, ParticleSet, Tomogram

__all__ = ["model_index", "model_of", "read_imod_points", "write_imod_points"]

Array = NDArray[np.float64]

_FIRST_CENTRE = np.array([0.5, 0.5, 0.0])


def read_imod_points(path: Path | str, tomograms: Sequence[Tomogram]) -> ParticleSet:
    """Read the points of a model, or of every model of a folder; `scores` number the contour that each belongs to.

    Raises
    ------
    FormatError
        if a file is no model, or the tomogram that it belongs to cannot be told.
    """
    files = sorted(Path(path).glob("*.mod")) if Path(path).is_dir() else [Path(path)]
    owner, index, contour, voxel = [], [], [], []
    for file in files:
        place = tomogram_of_file(file, tomograms)
        model = read_model(file)
        size = stated_voxel_ang(model.pixel_ang, tomograms[place], str(file))
        for number, points in enumerate(model.contours, start=1):
            owner += [place] * len(points)
            index.append(model_index(points))
            contour += [float(number)] * len(points)
            voxel += [size] * len(points)
        shape = tomograms[place].shape[::-1]
        if np.isnan(size) and model.size_px != shape and model.size_px not in ((0, 0, 0), (1, 1, 1)):
            sizes = (" × ".join(map(str, one)) for one in (model.size_px, shape))
            text = f"{file}: drawn on a volume of {next(sizes)} voxels; {tomograms[place].name} has {next(sizes)}"
            warnings.warn(text, FormatWarning, stacklevel=2)
    return PointColumns(
        owner=np.array(owner, dtype=np.int64),
        index=np.concatenate(index) if index else np.zeros((0, 3)),
        voxel_ang=np.array(voxel, dtype=np.float64),
        scores={CONTOUR: np.array(contour)},
    ).particles(tomograms)


def write_imod_points(particles: ParticleSet, folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``NAME.mod`` of each tomogram that has particles: a contour for each that they came with, else one."""
    files = []
    for one in particles.members:
        if len(one):
            files.append(folder / f"{one.name}.mod")
            write_model(files[-1], model_of(one))
    notes: tuple[Note, ...] = ()
    if len(particles) and not np.allclose(particles.matrices(), np.eye(3)):
        notes = (Note(kind="dropped", where=str(folder), text="a model has no orientations; PEET's motive list has"),)
    return tuple(files), notes


def model_index(points: Array) -> Array:
    """Voxels from 0 of a model's points."""
    index: Array = points - _FIRST_CENTRE
    return index


def model_of(one: Particles, index: Array | None = None) -> ImodModel:
    """The model of a tomogram's particles, at voxels ``(n, 3)`` from 0 where they are not where the particles are."""
    places = (to_voxels(one.tomogram, one.positions_ang()) if index is None else index) + _FIRST_CENTRE
    contours = [places]
    if index is None and CONTOUR in one.scores:
        numbers = one.scores[CONTOUR]
        contours = [places[numbers == number] for number in np.unique(numbers[np.isfinite(numbers)])] or contours
    nx, ny, nz = one.tomogram.shape[::-1]
    return ImodModel(contours=tuple(contours), size_px=(nx, ny, nz), pixel_ang=one.tomogram.voxel_size_ang)
