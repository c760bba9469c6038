"""The truth beside the raw data: geometry, contrast transfer, motion, poses, beads, and the noise-free volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from lamella.formats.mrc import write_mrc
from lamella.formats.relion import write_tilt_series
from lamella.formats.relion_motion import write_movie_motion
from lamella.formats.star import StarTable, number_text, write_star
from lamella.records import MovieMotion, TiltSeries
from lamella.simulate.frames import eer_fraction
from lamella.simulate.mount import MountedSpecimen
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.specimen import Specimen

__all__ = ["TruthOfSeries", "truth_shape", "write_motion", "write_tables", "write_volume"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class TruthOfSeries:
    """One series' record and the specimen in its frame."""

    series: TiltSeries
    mounted: MountedSpecimen


def truth_shape(specimen: Specimen, voxel_size_ang: float) -> tuple[int, int, int]:
    """(z, y, x) of the noise-free volume: the field of view with half as much again in height, each side even."""
    x, y, z = specimen.field_ang
    nz, ny, nx = (2 * max(1, round(length / voxel_size_ang / 2)) for length in (1.5 * z, y, x))
    return nz, ny, nx


def write_volume(path: Path, specimen: Specimen, settings: SimulateSettings) -> None:
    """Write the noise-free potential in V."""
    voxel = settings.pixel_size * settings.truth_binning
    write_mrc(path, specimen.volume(voxel, truth_shape(specimen, voxel)), voxel)


def write_motion(
    folder: Path,
    series: TiltSeries,
    motion: Sequence[MovieMotion],
    names: Sequence[str],
    settings: SimulateSettings,
    gain: str | None,
) -> tuple[Path, ...]:
    """Write ``MOVIE.star`` of each movie into a folder; MOVIE is the frame file's name without its last suffix."""
    paths = []
    for movie, name in zip(motion, names, strict=True):
        paths.append(folder / f"{PurePath(name).stem}.star")
        write_movie_motion(
            paths[-1],
            movie,
            movie_name=f"raw/{name}",
            frames=len(movie),
            voltage_kv=settings.voltage,
            gain_name=None if gain is None else f"raw/{gain}",
            eer=(1, eer_fraction(settings)) if settings.frame_format == "eer" else None,
        )
    return tuple(paths)


def write_tables(folder: Path, truths: Sequence[TruthOfSeries], root: Path) -> None:
    """Write the tables of all series: geometry and defocus, particles, beads, and how each specimen was mounted."""
    write_tilt_series(folder / "tilt_series.star", [one.series for one in truths], root)
    write_star(folder / "particles.star", [_particles(truths)])
    write_star(folder / "beads.star", [_beads(truths)])
    if any(one.mounted.turn_deg for one in truths):
        write_star(folder / "mounting.star", [_mounting(truths)])


def _particles(truths: Sequence[TruthOfSeries]) -> StarTable:
    names = (
        *("rlnTomoName", *(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")),
        *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", *(f"rlnOrigin{axis}Angst" for axis in "XYZ")),
        *("rlnClassNumber", "lamellaTemplate"),
    )
    rows: list[tuple[str, ...]] = []
    for one in truths:
        specimen = one.mounted.specimen
        kinds = [number for number, template in enumerate(specimen.templates) if template.particle]
        particles = specimen.particles_in_view()
        poses = zip(particles.places_ang, particles.angles_deg, particles.template, strict=True)
        for place, angles, template in poses:
            numbers = [number_text(round(float(value), 6)) for value in (*place, *angles, 0.0, 0.0, 0.0)]
            kind = (str(kinds.index(int(template)) + 1), specimen.templates[int(template)].name)
            rows.append((one.series.name, *numbers, *kind))
    return _table("particles", names, rows)


def _beads(truths: Sequence[TruthOfSeries]) -> StarTable:
    """Every bead, also those outside the untilted view."""
    names = ("rlnTomoName", *(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"), "lamellaBeadDiameterAngst")
    rows = [
        (one.series.name, *(number_text(round(float(value), 6)) for value in (*place, diameter)))
        for one in truths
        for place, diameter in zip(one.mounted.specimen.beads_ang, one.mounted.specimen.bead_diameter_ang, strict=True)
    ]
    return _table("beads", names, rows)


def _mounting(truths: Sequence[TruthOfSeries]) -> StarTable:
    """x_series = Rz(turn) · x_specimen + shift: how the two axes' tomograms fit together."""
    names = ("rlnTomoName", "lamellaTurnZ", *(f"lamellaShift{axis}Angst" for axis in "XYZ"))
    rows = [
        (one.series.name, *(number_text(float(value)) for value in (one.mounted.turn_deg, *one.mounted.shift_ang)))
        for one in truths
    ]
    return _table("mounting", names, rows)


def _table(name: str, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> StarTable:
    return StarTable(name, {label: tuple(row[place] for row in rows) for place, label in enumerate(columns)})
