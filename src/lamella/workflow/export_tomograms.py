"""`lamella export --format zarr`: tomograms as the CryoET data portal lays them out, for viewers and for depositing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from lamella.errors import FormatError, ProjectError
from lamella.formats.atomic import atomic_path
from lamella.formats.denoised import DENOISED
from lamella.formats.images import open_volume
from lamella.formats.portal import tomogram_folder, write_tomogram_metadata
from lamella.formats.zarr import chunk_edge, write_zarr
from lamella.formats.zarr_metadata import plan_levels
from lamella.records import Note, Tomogram
from lamella.workflow.completion import Completion
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.runner import choose_series
from lamella.workflow.tables import has_tables, read_record

__all__ = ["PROGRAM", "export_tomograms"]

PROGRAM = "zarr"
"""The word for it after ``--format``."""

_CORRECTION, _METHOD = "lamellaCtfCorrection", "lamellaAlignMethod"
Processing = Literal["raw", "denoised"]


def export_tomograms(
    project: Project, folder: Path, *, source: RecordName | None = None, only: Sequence[str] = ()
) -> tuple[RecordName, tuple[Path, ...], tuple[Note, ...]]:
    """Write each tomogram as MRC, multiscale OME-Zarr and metadata; measured as number 100, denoised as 101.

    Returns
    -------
    source, paths, notes
        the record taken (where none is named, `denoise` where there is one, else `reconstruct`), what was written, and
        what the depositor has to add.

    Raises
    ------
    ProjectError
        if there is no such record of tomograms.
    """
    if source is None:
        source = next((name for name in map(RecordName, ("denoise", "reconstruct")) if has_tables(project, name)), None)
    if source is None or not has_tables(project, source):
        raise ProjectError(f"there is no record {source or 'of tomograms'} yet", mend="run reconstruct first")
    records = [record for record in read_record(project, source) if isinstance(record, Tomogram)]
    if not records:
        raise ProjectError(f"{source} holds no tomograms", mend="name another record with --input")
    names = choose_series([record.name for record in records], only)
    paths: list[Path] = []
    for record in records:
        if record.name in names:
            for number, (volume, processing) in enumerate(_volumes(record)):
                paths += _export(project, record, volume, processing, folder, number)
    text = "authors and dates are left for the depositor to add"
    return source, tuple(paths), (Note(kind="info", where=str(folder), text=text),)


def _volumes(record: Tomogram) -> Iterator[tuple[str, Processing]]:
    yield record.measured_volumes[0], "raw"
    if record.denoised is not None:
        yield record.denoised, "denoised"


def _export(
    project: Project, record: Tomogram, volume: str, processing: Processing, folder: Path, number: int
) -> list[Path]:
    source = open_volume(volume, project.root)
    place = folder / tomogram_folder(record.name, record.voxel_size_ang, number)
    mrc, store = place / f"{record.name}.mrc", place / f"{record.name}.zarr"
    with atomic_path(mrc) as temporary:
        shutil.copyfile(source.path, temporary)
    labels = (DENOISED,) if processing == "denoised" else ()
    write_zarr(store, source, record.voxel_size_ang, labels=labels)
    series = record.tilt_series
    metadata = write_tomogram_metadata(
        place,
        record,
        plan_levels(source.shape, chunk_edge(source.shape)),
        within=folder,
        processing=processing,
        method=_method(project, record),
        ctf_corrected=series.other.get(_CORRECTION, "none") != "none",
        by_beads=series.other.get(_METHOD) == "beads",
    )
    return [mrc, store, metadata]


def _method(project: Project, record: Tomogram) -> str:
    """How a tomogram was reconstructed, as the step that wrote its volume remembers; empty where it does not."""
    try:
        step = RecordName.parse(Path(record.measured_volumes[0]).parts[0])
        done = Completion.read(project.completion(step, record.name))
    except (ProjectError, FormatError):
        return ""
    return str(done.settings.get("method", "")) if done is not None else ""
