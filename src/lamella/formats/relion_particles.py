"""RELION-5's particles: an optimisation set that names the particles' table and that of their tomograms.

Coordinates are Å from the tomogram's centre voxel, as in `records.Particles`, so nothing is converted but the older
tables' pixels (`relion_particle_rows`). Tables say nothing of a map: ours stands beside them in ``map.star``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamella.errors import FormatError
from lamella.formats.relion_map import read_map, write_map
from lamella.formats.relion_particle_columns import MEMBERS, QUALITY, particle_tables
from lamella.formats.relion_particle_rows import OWN, ParticleTables
from lamella.formats.relion_tilt_series import NAME, relative_name
from lamella.formats.relion_tomograms import read_tomograms, write_tomograms
from lamella.formats.star import StarTable, read_star, write_star
from lamella.records import ParticleSet, Tomogram

__all__ = ["named_files", "read_particle_table", "read_particles", "relion_folder", "write_particles"]

SET = "optimisation_set"
PARTICLES_FILE, TOMOGRAMS_FILE = "rlnTomoParticlesFile", "rlnTomoTomogramsFile"


def read_particles(star: Path | str, root: Path | str, tomograms: Path | str | None = None) -> ParticleSet:
    """Read particles of RELION 5, or lamella's records of them.

    Parameters
    ----------
    star
        an optimisation set, or a table of particles.
    root
        where the names in the tables start from.
    tomograms
        the tomograms' table, where `star` is a table of particles, or its set names one that is not there any more;
        left out: the one that the set names, or ``tomograms.star`` beside the table.

    Returns
    -------
    ParticleSet
        an entry for every tomogram of the table, those without particles too.

    Raises
    ------
    FormatError
        if a table or column is missing, particles are in a tomogram that the tomograms' table does not hold, or in
        optics groups that do not fit their tomogram.
    """
    path, base = Path(star), Path(root)
    named = named_files(path, base, (PARTICLES_FILE,) if tomograms else (PARTICLES_FILE, TOMOGRAMS_FILE))
    if named is not None:
        path = named[PARTICLES_FILE]
        tomograms = tomograms or named[TOMOGRAMS_FILE]
    return read_particle_table(path, read_tomograms(tomograms or path.parent / "tomograms.star", base))


def read_particle_table(
    star: Path | str,
    tomograms: Sequence[Tomogram],
    voxel_size_ang: float | None = None,
    *,
    places_only: bool = False,
) -> ParticleSet:
    """Read a table of particles that are in tomograms known already.

    Parameters
    ----------
    star
        the table: RELION 5's, RELION 4's, Warp's, or picks of a tomogram.
    tomograms
        those that it may name; the particles take their tilt series from them.
    voxel_size_ang
        of the pixels that coordinates are counted in from the corner of the tomogram; None: as the format has it.
    places_only
        leave out pictures and visible views, which may be those of other views than the tomograms', and the map.

    Raises
    ------
    FormatError
        as `read_particles`.
    """
    path = Path(star)
    tables = read_star(path)
    of_set = tables.get(QUALITY)
    quality = {} if of_set is None else {label: float(of_set.numbers(label)[0]) for label in of_set.columns}
    of_each = _numbers_of_each(tables.get(MEMBERS))
    return ParticleSet(
        members=tuple(
            replace(one, quality=of_each.get(one.name, {}))
            for one in ParticleTables.of(tables, str(path), voxel_size_ang, places_only=places_only).members(tomograms)
        ),
        map=None if places_only else read_map(path.parent / "map.star"),
        quality={label.removeprefix(OWN): value for label, value in quality.items()},
    )


def write_particles(folder: Path | str, particles: ParticleSet, root: Path | str) -> tuple[Path, ...]:
    """Write particles as RELION-5 tables: tomograms.star, particles.star, map.star, optimisation_set.star.

    Returns
    -------
    paths
        the files written, the optimisation set last.
    """
    place = Path(folder)
    written = [*write_tomograms(place / "tomograms.star", [one.tomogram for one in particles.members], root)]
    star = place / "particles.star"
    write_star(star, particle_tables(particles))
    written.append(star)
    if particles.map is not None:
        write_map(place / "map.star", particles.map)
        written.append(place / "map.star")
    files = {PARTICLES_FILE: star, TOMOGRAMS_FILE: place / "tomograms.star"}
    last = place / f"{SET}.star"
    names = {label: (relative_name(path, Path(root)),) for label, path in files.items()}
    write_star(last, [StarTable(SET, names)])
    return (*written, last)


def named_files(
    star: Path, root: Path, wanted: Sequence[str] = (PARTICLES_FILE, TOMOGRAMS_FILE)
) -> dict[str, Path] | None:
    """The tables that an optimisation set names, by the labels wanted; None where the file is no such set.

    Raises
    ------
    FormatError
        if it does not name one of them, or one that is not there.
    """
    table = _set_of(read_star(star))
    if table is None:
        return None
    lacking = [label for label in wanted if label not in table]
    if lacking:
        raise FormatError(f"{star}: it names no table by {lacking[0]}", mend="give an optimisation set of both")
    return {label: _find(table.text(label)[0], star, root) for label in wanted}


def relion_folder(star: Path) -> Path:
    """The folder that names in an optimisation set start from: the nearest one above it where the particles are.

    The set's own folder, where it names nothing, is no such set, or the particles are nowhere.
    """
    table = _set_of(read_star(star))
    if table is not None and PARTICLES_FILE in table:
        name = table.text(PARTICLES_FILE)[0]
        for folder in star.resolve().parents:
            if (folder / name).is_file():
                return folder
    return star.resolve().parent


def _set_of(tables: Mapping[str, StarTable]) -> StarTable | None:
    for table in tables.values():
        if PARTICLES_FILE in table or (TOMOGRAMS_FILE in table and len(table) == 1):
            return table
    return None


def _find(name: str, star: Path, root: Path) -> Path:
    for place in (root, star.parent):
        if (place / name).is_file():
            return place / name
    raise FormatError(
        f"{star}: it names {name}, which is not there", mend="give the project's folder that it starts from"
    )


def _numbers_of_each(table: StarTable | None) -> dict[str, dict[str, float]]:
    """Numbers by tomogram and by the name of their column without ``lamella``."""
    if table is None:
        return {}
    columns = {label.removeprefix(OWN): table.numbers(label) for label in table.columns if label != NAME}
    return {
        name: {label: float(values[row]) for label, values in columns.items() if np.isfinite(values[row])}
        for row, name in enumerate(table.text(NAME))
    }
