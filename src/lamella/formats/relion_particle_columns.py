"""The tables of a set of particles as RELION 5 reads them, made of the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.formats.relion_particle_rows import (
    ANGLES,
    BINNING,
    CENTRED,
    CLASS,
    DIMENSIONS,
    GROUP,
    GROUP_NAME,
    HALF,
    IMAGE,
    ORIGIN,
    OWN,
    PARTICLE,
    PIXEL,
    PREMULTIPLIED,
    PRIORS,
    SERIES_PIXEL,
    SIZE,
    STACKS,
    SUBTOMOGRAM,
    VISIBLE,
    WEIGHT,
)
from lamella.formats.relion_tilt_series import NAME, OPTICS
from lamella.formats.star import StarTable, number_text
from lamella.records import Particles, ParticleSet

__all__ = ["MEMBERS", "QUALITY", "particle_tables"]

Array = NDArray[np.float64]
Group = tuple[Any, ...]

QUALITY, MEMBERS = "lamella_particles", "lamella_tomograms"
"""Blocks of the numbers of the whole set, and of each tomogram's particles."""


def particle_tables(particles: ParticleSet) -> list[StarTable]:
    """The blocks general, optics and particles, and one with the numbers of the whole set where there are any.

    Columns that only some tomograms' particles have are filled with 0 (angles, origins), nan (scores) or None (text);
    half sets, visible views and pictures are written where all have them.
    """
    tables = []
    images = [one.images for one in particles.members if one.images is not None and len(one)]
    if images:
        tables.append(StarTable("general", {STACKS: ("1" if images[0].kind == "stack" else "0",)}, True))
    groups = list(dict.fromkeys(_group(one) for one in particles.members))
    tables += [_optics(particles, groups), _rows(particles, groups)]
    if particles.quality:
        numbers = {OWN + label: (number_text(value),) for label, value in particles.quality.items()}
        tables.append(StarTable(QUALITY, numbers))
    return [*tables, *_numbers_of_each(particles.members)]


def _numbers_of_each(members: Sequence[Particles]) -> list[StarTable]:
    """What was measured in each tomogram, a row each; nan where it was not."""
    labels = dict.fromkeys(label for one in members for label in one.quality)
    if not labels:
        return []
    columns = {NAME: tuple(one.name for one in members)}
    columns |= {OWN + label: tuple(number_text(one.quality.get(label, np.nan)) for one in members) for label in labels}
    return [StarTable(MEMBERS, columns)]


def _group(one: Particles) -> Group:
    """What particles of one optics group have in common."""
    images, series = one.images, one.tilt_series
    pictures = None if images is None else (images.pixel_size_ang, images.box_px, images.kind, images.premultiplied)
    further = tuple(one.optics_columns.items())
    return series.optics_group, series.pixel_size_ang, series.optics, pictures, further


def _optics(particles: ParticleSet, groups: Sequence[Group]) -> StarTable:
    rows: list[dict[str, str]] = []
    for number, group in enumerate(groups, start=1):
        first = next(one for one in particles.members if _group(one) == group)
        row = {GROUP: str(number), GROUP_NAME: first.tilt_series.optics_group}
        for label, entry in OPTICS.items():
            if (known := getattr(first.tilt_series.optics, entry)) is not None:
                row[label] = number_text(known)
        row[SERIES_PIXEL] = number_text(first.tilt_series.pixel_size_ang)
        if first.images is not None:
            row[PREMULTIPLIED] = str(int(first.images.premultiplied))
            row[DIMENSIONS] = "2" if first.images.kind == "stack" else "3"
            row[BINNING] = number_text(first.images.pixel_size_ang / first.tilt_series.pixel_size_ang)
            row[PIXEL] = number_text(first.images.pixel_size_ang)
            row[SIZE] = str(first.images.box_px)
        rows.append(row | dict(first.optics_columns))
    labels = list(dict.fromkeys(label for row in rows for label in row))
    return StarTable("optics", {label: tuple(row.get(label, "nan") for row in rows) for label in labels})


def _rows(particles: ParticleSet, groups: Sequence[Group]) -> StarTable:
    members = [one for one in particles.members if len(one)]
    columns: dict[str, list[str]] = {NAME: [one.name for one in members for _ in range(len(one))]}

    def put(labels: Sequence[str], values: Sequence[Array | None], missing: float = 0.0) -> None:
        if any(value is not None for value in values):
            filled = [
                np.full((len(one), len(labels)), missing) if value is None else np.reshape(value, (-1, len(labels)))
                for one, value in zip(members, values, strict=True)
            ]
            for place, label in enumerate(labels):
                columns[label] = [number_text(float(value)) for part in filled for value in part[:, place]]

    def put_where_all(label: str, column: Callable[[Particles], Sequence[str] | None]) -> None:
        parts = [column(one) for one in members]
        if not members or all(part is not None for part in parts):
            columns[label] = [text for part in parts for text in part or ()]

    for labels, entry in (
        (CENTRED, "coordinates_ang"), (SUBTOMOGRAM, "subtomogram_deg"), (ANGLES, "angles_deg"), (ORIGIN, "origin_ang"),
        (PRIORS, "prior_deg"),
    ):  # fmt: skip
        put(labels, [getattr(one, entry) for one in members])
    if not members:
        columns |= {label: [] for label in (*CENTRED, *SUBTOMOGRAM, *ANGLES, *ORIGIN)}
    columns[PARTICLE] = [name for one in members for name in one.names or ()]
    columns[GROUP] = [str(groups.index(_group(one)) + 1) for one in members for _ in range(len(one))]
    columns[CLASS] = [str(number) for one in members for number in (one.classes if one.classes is not None else ())]
    if members:
        put_where_all(HALF, lambda one: None if one.half_set is None else [str(half) for half in one.half_set])
        put_where_all(VISIBLE, lambda one: None if one.visible is None else [_marks(row) for row in one.visible])
        put_where_all(IMAGE, lambda one: None if one.images is None else one.images.names)
        put_where_all(WEIGHT, lambda one: None if one.images is None else one.images.weights)
    for label in dict.fromkeys(label for one in members for label in one.scores):
        put((OWN + label,), [one.scores.get(label) for one in members], np.nan)
    for label in dict.fromkeys(label for one in members for label in one.other_columns):
        columns[label] = [value for one in members for value in one.other_columns.get(label, ("None",) * len(one))]
    return StarTable("particles", {label: tuple(values) for label, values in columns.items()})


def _marks(visible: NDArray[np.bool_]) -> str:
    return "[" + ",".join("1" if seen else "0" for seen in visible) + "]"
