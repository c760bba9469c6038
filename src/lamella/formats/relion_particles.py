"""RELION-5's particles: an optimisation set that names the particles' table and that of their tomograms.

Coordinates are Å from the tomogram's centre voxel, as in `records.Particles`, so nothing is converted but the older
tables' pixels (rlnCoordinateX/Y/Z, counted from the corner of the unbinned tomogram). Tables say nothing of a map: ours
stands beside them in ``map.star``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.relion_map import read_map, write_map
from lamella.formats.relion_tilt_series import NAME, OPTICS, relative_name
from lamella.formats.relion_tomograms import read_tomograms, write_tomograms
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.records import ParticleImages, Particles, ParticleSet, Tomogram

__all__ = ["read_particles", "write_particles"]

Array = NDArray[np.float64]

SET = "optimisation_set"
PARTICLES_FILE, TOMOGRAMS_FILE = "rlnTomoParticlesFile", "rlnTomoTomogramsFile"
AXES = "XYZ"
CENTRED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in AXES)
CORNERED = tuple(f"rlnCoordinate{axis}" for axis in AXES)
ORIGIN = tuple(f"rlnOrigin{axis}Angst" for axis in AXES)
SUBTOMOGRAM = tuple(f"rlnTomoSubtomogram{angle}" for angle in ("Rot", "Tilt", "Psi"))
ANGLES = tuple(f"rlnAngle{angle}" for angle in ("Rot", "Tilt", "Psi"))
PRIORS = ("rlnAngleTiltPrior", "rlnAnglePsiPrior")
PARTICLE, CLASS, HALF = "rlnTomoParticleName", "rlnClassNumber", "rlnRandomSubset"
VISIBLE, IMAGE, WEIGHT = "rlnTomoVisibleFrames", "rlnImageName", "rlnCtfImage"
GROUP, GROUP_NAME = "rlnOpticsGroup", "rlnOpticsGroupName"
STACKS, PREMULTIPLIED, DIMENSIONS = (
    "rlnTomoSubTomosAre2DStacks",
    "rlnCtfDataAreCtfPremultiplied",
    "rlnImageDimensionality",
)
BINNING, PIXEL, SIZE = "rlnTomoSubtomogramBinning", "rlnImagePixelSize", "rlnImageSize"
SERIES_PIXEL = "rlnTomoTiltSeriesPixelSize"
KNOWN = {NAME, *CENTRED, *CORNERED, *ORIGIN, *SUBTOMOGRAM, *ANGLES, *PRIORS}
KNOWN |= {PARTICLE, CLASS, HALF, VISIBLE, IMAGE, WEIGHT, GROUP}
QUALITY = "lamella_particles"
_OWN = "lamella"
_ABSENT = {"None", "<NA>", ""}


def read_particles(star: Path | str, root: Path | str, tomograms: Path | str | None = None) -> ParticleSet:
    """Read particles of RELION 5, or lamella's records of them.

    Parameters
    ----------
    star
        an optimisation set, or a table of particles.
    root
        where the names in the tables start from.
    tomograms
        the tomograms' table, where `star` is a table of particles; left out: ``tomograms.star`` beside it.

    Returns
    -------
    ParticleSet
        an entry for every tomogram of the table, those without particles too.

    Raises
    ------
    FormatError
        if a table or column is missing, or particles are in a tomogram that the tomograms' table does not hold.
    """
    path, base = Path(star), Path(root)
    tables = read_star(path)
    named = _named_files(tables, path, base)
    if named is not None:
        path, tomograms = named[0], tomograms or named[1]
        tables = read_star(path)
    table = tables.get("particles") or _only(tables, path)
    records = read_tomograms(tomograms or path.parent / "tomograms.star", base)
    names = np.array(table.text(NAME))
    unknown = set(names) - {record.name for record in records}
    if unknown:
        raise FormatError(
            f"{path}: particles in {sorted(unknown)[0]}, which the table of tomograms does not hold",
            mend="give the tomograms.star that the particles were picked in",
        )
    optics, general = tables.get("optics"), tables.get("general")
    members = [_member(table, np.flatnonzero(names == one.name), one, optics, general, path) for one in records]
    of_set = tables.get(QUALITY)
    return ParticleSet(
        members=tuple(members),
        map=read_map(path.parent / "map.star"),
        quality={label.removeprefix(_OWN): float(of_set.numbers(label)[0]) for label in of_set.columns}
        if of_set
        else {},
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
    write_star(star, _tables(particles))
    written.append(star)
    if particles.map is not None:
        write_map(place / "map.star", particles.map)
        written.append(place / "map.star")
    files = {PARTICLES_FILE: star, TOMOGRAMS_FILE: place / "tomograms.star"}
    last = place / f"{SET}.star"
    names = {label: (relative_name(path, Path(root)),) for label, path in files.items()}
    write_star(last, [StarTable(SET, names)])
    return (*written, last)


def _named_files(tables: Mapping[str, StarTable], path: Path, root: Path) -> tuple[Path, Path] | None:
    """The two tables that an optimisation set names, or None where it is no such set."""
    for table in tables.values():
        if PARTICLES_FILE in table:
            if TOMOGRAMS_FILE not in table:
                raise FormatError(f"{path}: it names no table of tomograms", mend=f"give it {TOMOGRAMS_FILE}")
            particles, tomograms = (
                _find(table.text(label)[0], path, root) for label in (PARTICLES_FILE, TOMOGRAMS_FILE)
            )
            return particles, tomograms
    return None


def _find(name: str, star: Path, root: Path) -> Path:
    for place in (root, star.parent):
        if (place / name).is_file():
            return place / name
    raise FormatError(
        f"{star}: it names {name}, which is not there", mend="give the project's folder that it starts from"
    )


def _only(tables: Mapping[str, StarTable], path: Path) -> StarTable:
    for table in tables.values():
        if NAME in table and (CENTRED[0] in table or CORNERED[0] in table):
            return table
    raise FormatError(f"{path}: there is no table of particles", mend="give a particles.star or an optimisation set")


def _member(
    table: StarTable,
    rows: NDArray[np.int64],
    tomogram: Tomogram,
    optics: StarTable | None,
    general: StarTable | None,
    path: Path,
) -> Particles:
    def numbers(labels: Sequence[str]) -> Array | None:
        if any(label not in table for label in labels):
            return None
        columns: Array = np.stack([table.numbers(label)[rows] for label in labels], axis=-1).reshape(-1, len(labels))
        return columns

    def words(label: str) -> tuple[str, ...] | None:
        return tuple(table.text(label)[row] for row in rows) if label in table else None

    coordinates = numbers(CENTRED)
    if coordinates is None:
        corner = numbers(CORNERED)
        if corner is None:
            raise FormatError(f"{path}: no coordinates ({CENTRED[0]})", mend="write them with RELION 5 or lamella")
        coordinates = (corner - np.array(tomogram.size_px) / 2) * tomogram.tilt_series.pixel_size_ang
    classes, half = numbers((CLASS,)), numbers((HALF,))
    own = [label for label in table.columns if label.startswith(_OWN)]
    other = [label for label in table.columns if label not in KNOWN and label not in own]
    return Particles(
        tomogram=tomogram,
        coordinates_ang=coordinates,
        origin_ang=numbers(ORIGIN),
        subtomogram_deg=numbers(SUBTOMOGRAM),
        angles_deg=numbers(ANGLES),
        prior_deg=numbers(PRIORS),
        names=words(PARTICLE),
        classes=None if classes is None else np.maximum(classes[:, 0].astype(np.int64), 1),
        half_set=None if half is None or not np.isin(half, (1, 2)).all() else half[:, 0].astype(np.int64),
        visible=_visible(words(VISIBLE), len(tomogram.tilt_series), path),
        images=_images(words(IMAGE), words(WEIGHT), table, rows, optics, general),
        scores={label.removeprefix(_OWN): table.numbers(label)[rows] for label in own},
        other_columns={label: words(label) or () for label in other},
    )


def _visible(lists: tuple[str, ...] | None, views: int, path: Path) -> NDArray[np.bool_] | None:
    if lists is None:
        return None
    marks = [[entry.strip() == "1" for entry in text.strip("[] ").split(",")] for text in lists]
    if any(len(row) != views for row in marks):
        wrong = next(len(row) for row in marks if len(row) != views)
        raise FormatError(
            f"{path}: {wrong} entries of {VISIBLE} for {views} views", mend="give the tomograms.star of these particles"
        )
    return np.array(marks, dtype=bool).reshape(-1, views)


def _images(
    names: tuple[str, ...] | None,
    weights: tuple[str, ...] | None,
    table: StarTable,
    rows: NDArray[np.int64],
    optics: StarTable | None,
    general: StarTable | None,
) -> ParticleImages | None:
    if names is None or optics is None or _ABSENT & set(names):
        return None
    place = 0
    if GROUP in table and len(rows):
        groups = list(optics.integers(GROUP))
        place = groups.index(int(table.integers(GROUP)[rows[0]]))
    stacks = general is not None and STACKS in general and general.integers(STACKS)[0] == 1
    if DIMENSIONS in optics:
        stacks = int(optics.integers(DIMENSIONS)[place]) == 2
    return ParticleImages(
        names=names,
        kind="stack" if stacks else "volume",
        pixel_size_ang=float(optics.numbers(PIXEL)[place]),
        box_px=int(optics.integers(SIZE)[place]),
        premultiplied=PREMULTIPLIED in optics and int(optics.integers(PREMULTIPLIED)[place]) == 1,
        weights=weights,
    )


def _tables(particles: ParticleSet) -> list[StarTable]:
    groups = list(dict.fromkeys(_group(one) for one in particles.members))
    tables = []
    images = [one.images for one in particles.members if one.images is not None]
    if images:
        tables.append(StarTable("general", {STACKS: ("1" if images[0].kind == "stack" else "0",)}))
    tables += [_optics(particles, groups), _rows(particles, groups)]
    if particles.quality:
        numbers = {_OWN + label: (number_text(value),) for label, value in particles.quality.items()}
        tables.append(StarTable(QUALITY, numbers))
    return tables


def _group(particles: Particles) -> tuple[str, float]:
    return particles.tilt_series.optics_group, particles.tilt_series.pixel_size_ang


def _optics(particles: ParticleSet, groups: Sequence[tuple[str, float]]) -> StarTable:
    columns: dict[str, list[str]] = {}

    def put(label: str, value: Any) -> None:
        columns.setdefault(label, []).append(value if isinstance(value, str) else number_text(float(value)))

    for number, (name, pixel) in enumerate(groups, start=1):
        first = next(one for one in particles.members if _group(one) == (name, pixel))
        put(GROUP, str(number))
        put(GROUP_NAME, name)
        for label, entry in OPTICS.items():
            known = getattr(first.tilt_series.optics, entry)
            put(label, np.nan if known is None else known)
        put(SERIES_PIXEL, pixel)
        images = next((one.images for one in particles.members if _group(one) == (name, pixel) and one.images), None)
        if images is not None:
            put(PREMULTIPLIED, str(int(images.premultiplied)))
            put(DIMENSIONS, "2" if images.kind == "stack" else "3")
            put(BINNING, images.pixel_size_ang / pixel)
            put(PIXEL, images.pixel_size_ang)
            put(SIZE, str(images.box_px))
    return StarTable("optics", {label: tuple(values) for label, values in columns.items()})


def _rows(particles: ParticleSet, groups: Sequence[tuple[str, float]]) -> StarTable:
    members = particles.members
    columns: dict[str, list[str]] = {NAME: [one.name for one in members for _ in range(len(one))]}

    def put(labels: Sequence[str], values: Sequence[Array | None], missing: float = 0.0) -> None:
        if any(value is not None for value in values):
            filled = [
                np.full((len(one), len(labels)), missing) if value is None else np.reshape(value, (-1, len(labels)))
                for one, value in zip(members, values, strict=True)
            ]
            for place, label in enumerate(labels):
                columns[label] = [number_text(float(value)) for part in filled for value in part[:, place]]

    for labels, entry in (
        (CENTRED, "coordinates_ang"), (SUBTOMOGRAM, "subtomogram_deg"), (ANGLES, "angles_deg"), (ORIGIN, "origin_ang"),
        (PRIORS, "prior_deg"),
    ):  # fmt: skip
        put(labels, [getattr(one, entry) for one in members])
    columns[PARTICLE] = [name for one in members for name in one.names or ()]
    columns[GROUP] = [str(groups.index(_group(one)) + 1) for one in members for _ in range(len(one))]
    columns[CLASS] = [str(number) for one in members for number in (one.classes if one.classes is not None else ())]
    if all(one.half_set is not None for one in members if len(one)):
        columns[HALF] = [str(number) for one in members if one.half_set is not None for number in one.half_set]
    if all(one.visible is not None for one in members if len(one)):
        columns[VISIBLE] = [
            "[" + ",".join("1" if seen else "0" for seen in row) + "]"
            for one in members
            if one.visible is not None
            for row in one.visible
        ]
    if all(one.images is not None for one in members if len(one)):
        columns[IMAGE] = [name for one in members if one.images is not None for name in one.images.names]
        if any(one.images is not None and one.images.weights for one in members):
            columns[WEIGHT] = [name for one in members if one.images is not None for name in one.images.weights or ()]
    for label in dict.fromkeys(label for one in members for label in one.scores):
        put((_OWN + label,), [one.scores.get(label) for one in members], np.nan)
    for label in dict.fromkeys(label for one in members for label in one.other_columns):
        columns[label] = [value for one in members for value in one.other_columns.get(label, ("None",) * len(one))]
    return StarTable("particles", {label: tuple(values) for label, values in columns.items()})
