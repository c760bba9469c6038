"""Particles of RELION or Warp with their own pictures, views and tomograms: an `extract` record as they stand."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lamella import __version__
from lamella.errors import InputError
from lamella.formats.overrides import Imported
from lamella.formats.relion_particles import read_particles, relion_folder
from lamella.formats.warnings import FormatWarning
from lamella.particles.half_sets import with_half_sets
from lamella.records import Note, Particles
from lamella.workflow.digests import digest
from lamella.workflow.imported import clear_before, keep_import
from lamella.workflow.ledger import Ledger, note_completion
from lamella.workflow.new import create_project
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName
from lamella.workflow.runner import choose_series, write_tables

__all__ = ["import_pictures"]

_SEED = 1


def import_pictures(
    folder: Path, star: Path, *, label: str | None = None, only: Sequence[str] = ()
) -> tuple[RecordName, tuple[str, ...], tuple[Note, ...]]:
    """Make an `extract` record of particles that another program cut out, which `average` and `refine` take.

    Parameters
    ----------
    folder
        of the project; one without tilt series is made where there is none.
    star
        RELION 5's or Warp's optimisation set, or its table of particles with a ``tomograms.star`` beside it.
    label
        of the record; None: ``extract`` itself.
    only
        names of the tomograms; empty: all.

    Returns
    -------
    target, names, notes
        the record made, the names of the tomograms, and what was assumed.

    Raises
    ------
    InputError
        if the particles have no pictures, or those are not there.
    """
    target = RecordName("extract") if label is None else RecordName.parse(f"extract.{label}")
    found, notes = _read(star)
    chosen = choose_series([one.name for one in found], only)
    names = [one.name for one in found if one.name in chosen and len(one)]
    if not names:
        raise InputError(f"{star}: there are no particles in {', '.join(chosen)}", mend="check the file and --only")
    project = Project.open(folder) if folder.exists() else create_project(folder, Imported((), ()), empty=True)
    with project.lock(), Ledger(project.ledger_path) as ledger:
        if target.label is not None:
            settings = project.read_settings()
            settings.change(target, {}, RAW)
            settings.save()
        run = ledger.start_run(
            command="lamella import --format relion5 --pictures", version=__version__, executor="local", device="cpu"
        )
        for one in found:
            if one.name in names:
                clear_before(project, target, one.name)
                parts = {"import": "relion5", "result": digest(one)}
                done = keep_import(project, target, RAW, one.tomogram, one, parts, star, {})
                note_completion(ledger, run, target, one.name, done)
        write_tables(project, target, names, force=True)
        ledger.add_notes(str(target), notes)
        ledger.finish_run(run, "done")
    return target, tuple(names), tuple(notes)


def _read(star: Path) -> tuple[list[Particles], list[Note]]:
    """Particles whose files are named from anywhere, with half sets; and what was assumed."""
    base = relion_folder(star)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FormatWarning)
        given = read_particles(star, base)
    said = dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, FormatWarning))
    notes = [Note(kind="warning", where=str(star), text=text.removeprefix(f"{star}: ")) for text in said]
    members = []
    for one in given.members:
        if len(one) and one.images is None:
            raise InputError(
                f"{star}: the particles of {one.name} have no pictures (rlnImageName)",
                mend="leave out --pictures: they become picks, and extract cuts them out of the project's tilt images",
            )
        members.append(_anchored(with_half_sets(one, "random", _SEED), base, star))
    if any(one.half_set is None for one in given.members if len(one)):
        text = "no half sets (rlnRandomSubset): each tomogram's particles were split at random"
        notes.append(Note(kind="assumed", where=str(star), text=text))
    return members, notes


def _anchored(one: Particles, base: Path, star: Path) -> Particles:
    """With pictures and tilt images that are named from the root of the file system."""
    images, series = one.images, one.tilt_series
    if images is not None:
        names = _absolute(images.names, base)
        lost = next((name for name in names if not Path(name).is_file()), None)
        if lost is not None:
            raise InputError(f"{star}: its pictures are not there ({lost})", mend="bring them where the table says")
        weights = None if images.weights is None else _absolute(images.weights, base)
        images = replace(images, names=names, weights=weights)
    pictures = None if series.images is None else tuple(_anchored_image(name, base) for name in series.images)
    tomogram = replace(one.tomogram, tilt_series=replace(series, images=pictures))
    return one.with_changes(images=images, tomogram=tomogram)


def _absolute(names: Sequence[str], base: Path) -> tuple[str, ...]:
    return tuple(str(base / name) for name in names)


def _anchored_image(name: str, base: Path) -> str:
    """``000001@stack`` whose stack is named from the root."""
    section, at, file = name.rpartition("@")
    return f"{section}{at}{base / file}"
