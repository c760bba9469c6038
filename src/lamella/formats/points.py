"""Lists of points and particles of all programs: which file is whose, read into records and written from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lamella.errors import FormatError, InputError
from lamella.formats.star import read_star
from lamella.records import Note, ParticleSet, Tomogram

__all__ = ["POINT_PROGRAMS", "point_format", "read_points", "write_points"]

Written = tuple[tuple[Path, ...], tuple[Note, ...]]

POINT_PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "relion5": "RELION: particles.star, optimisation_set.star, picks",
        "dynamo": "Dynamo: .tbl",
        "stopgap": "STOPGAP: motive list .star",
        "peet": "PEET: motive list .csv and its .mod",
        "imod": "IMOD: points of a model .mod",
        "copick": "copick: picks .json",
        "csv": "plain .csv with a header",
    }
)
"""Formats of points by the word for them after ``--format``."""

_BEGIN_OF_MODEL = b"IMOD"


def read_points(
    path: Path | str, tomograms: Sequence[Tomogram], root: Path | str, *, voxel_size_ang: float | None = None
) -> ParticleSet:
    """Read particles or mere points that stand in a file of any of the formats.

    Parameters
    ----------
    path
        the file, or a folder with a file for each tomogram (`POINT_PROGRAMS`).
    tomograms
        that the points may be in: an entry for each comes back.
    root
        the folder that names in RELION's optimisation sets start from; where they do not, the folders above the set are
        tried.
    voxel_size_ang
        of the tomograms that the points were picked in, where these are not the record's and the format does not say.

    Returns
    -------
    ParticleSet
        numbers of single points stand in `scores`: PickScore, PickContour (contour of a model, object of copick),
        SphereRadiusAngst. Pictures and visible views, which RELION's tables may have, are left out.

    Raises
    ------
    InputError
        if the file is of no known format, or cannot be read as what it is.
    """
    file, form = Path(path), point_format(path)
    places = tomograms if voxel_size_ang is None else [_with_voxel(one, voxel_size_ang) for one in tomograms]
    found = _read_relion(file, places, Path(root)) if form == "relion5" else _call(form, "read")(file, places)
    members = zip(found.members, tomograms, strict=True)
    return replace(found, members=tuple(member.with_changes(tomogram=one) for member, one in members))


def write_points(form: str, particles: ParticleSet, folder: Path | str, root: Path | str) -> Written:
    """Write particles for another program.

    Parameters
    ----------
    form
        one of `POINT_PROGRAMS`.
    particles
        with their tomograms, in whose voxels most formats count.
    folder
        to write into; it is made where it is missing.
    root
        the project's folder, which names of volumes start from.

    Returns
    -------
    files, notes
        what was written, and what the format cannot say.
    """
    target = Path(folder)
    if form == "relion5":
        from lamella.formats.relion_particles import write_particles

        return write_particles(target, particles, root), ()
    if form not in POINT_PROGRAMS:
        raise InputError(f"no format of points is called {form}", mend=f"choose one of {', '.join(POINT_PROGRAMS)}")
    files, notes = _call(form, "write")(particles, target, Path(root))
    return files, notes


def point_format(path: Path | str) -> str:
    """Which format a file or folder of points is in.

    Raises
    ------
    FormatError
        if it is none of those known, or a folder of several.
    """
    file = Path(path)
    if not file.exists():
        raise FormatError(f"{file}: there is no such file or folder", mend="check the path")
    if file.is_dir():
        return _format_of_folder(file)
    suffix = file.suffix.lower()
    with file.open("rb") as opened:
        begin = opened.read(64).lstrip(b"\xef\xbb\xbf \r\n\t")
    if begin.startswith(_BEGIN_OF_MODEL):
        return "imod"
    if begin.startswith(b"CCC,"):
        return "peet"
    if suffix == ".star":
        return "stopgap" if _stopgap(file) else "relion5"
    known = {".tbl": "dynamo", ".json": "copick", ".csv": "csv", ".mod": "imod"}
    if suffix not in known:
        raise FormatError(
            f"{file}: no list of points that is known", mend="give a .star, .tbl, .csv, .mod or .json of a program"
        )
    return known[suffix]


def _format_of_folder(folder: Path) -> str:
    if any(folder.rglob("Picks/*.json")) or any(folder.glob("*.json")):
        return "copick"
    lists, models = sorted(folder.glob("*.csv")), sorted(folder.glob("*.mod"))
    if lists:
        return point_format(lists[0])
    if models:
        return "imod"
    raise FormatError(
        f"{folder}: no list of points for each tomogram (.csv, .mod, .json) in this folder",
        mend="name the file itself",
    )


def _stopgap(file: Path) -> bool:
    from lamella.formats.stopgap import BLOCK

    return BLOCK in read_star(file)


def _read_relion(file: Path, tomograms: Sequence[Tomogram], root: Path) -> ParticleSet:
    from lamella.formats.relion_particles import named_files, read_particle_table, relion_folder

    wanted = ("rlnTomoParticlesFile",)
    try:
        named = named_files(file, root, wanted)
    except FormatError:
        named = named_files(file, relion_folder(file), wanted)
    return read_particle_table(file if named is None else named[wanted[0]], tomograms, places_only=True)


def _with_voxel(tomogram: Tomogram, voxel_size_ang: float) -> Tomogram:
    """The tomogram as if its volume had these voxels."""
    return replace(tomogram, binning=voxel_size_ang / tomogram.tilt_series.pixel_size_ang)


def _call(form: str, verb: str) -> Callable[..., Any]:
    module = {"imod": "imod_points", "csv": "point_csv"}.get(form, form)
    name = {"imod": "imod_points"}.get(form, form)
    call: Callable[..., Any] = getattr(import_module(f"lamella.formats.{module}"), f"{verb}_{name}")
    return call
