"""The report of a project, put together from its records and its database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lamella.errors import FormatError, ImageError, InputError
from lamella.formats.ctf_profiles import CURVES, PICTURES, read_ctf_profiles
from lamella.formats.fsc import FSC, read_fsc
from lamella.formats.images import open_images, open_volume
from lamella.formats.relion import read_tilt_table
from lamella.formats.relion_motion import read_movie_motion
from lamella.formats.star import read_star
from lamella.formats.tracks import read_tracks
from lamella.records import CtfProfiles, ImageSource, MovieMotion, TiltSeries, Tomogram, VolumeSource
from lamella.records.half_fsc import HalfFsc
from lamella.records.tracks import Tracks
from lamella.report import RunRow, SeriesReport, write_report
from lamella.workflow.completion import Completion
from lamella.workflow.ledger import Ledger, TaskRow
from lamella.workflow.particles_reporting import particles_report
from lamella.workflow.project import Project
from lamella.workflow.record_name import COMBINE, RAW, RecordName
from lamella.workflow.steps.excluded import REASON
from lamella.workflow.tables import has_tables, read_record

__all__ = ["make_report"]

_MIB = 2**20
_RECONSTRUCT, _DENOISE = RecordName("reconstruct"), RecordName("denoise")
_HELD_OUT, _UNSUPPORTED = "_held_out.star", "_unsupported.star"
_PLACE = (*(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"), "lamellaDiameterAngst")


def make_report(project: Project) -> Path:
    """Write ``report/index.html`` and return its path."""
    with Ledger(project.ledger_path) as ledger:
        tasks, notes = ledger.last_tasks(), ledger.notes()
    moved, cleaned, aligned, defocused = (_tilt_series(project, name) for name in ("motion", "clean", "align", "ctf"))
    tomograms = _tomograms(project, _RECONSTRUCT) | _tomograms(project, _DENOISE)
    said = tuple(f"{kind}: {where}: {text}" for record, kind, where, text in notes if record in ("raw", "align"))
    raw = [record for record in read_record(project, RAW) if isinstance(record, TiltSeries)]
    series = [
        _series_report(
            project,
            one,
            moved.get(one.name) if one.images is None else None,
            cleaned.get(one.name),
            aligned.get(one.name),
            defocused.get(one.name),
            tomograms.get(one.name),
            _about(one, raw, said),
        )
        for one in raw
    ]
    series += _combined(project, {one.name for one in raw})
    runs = [_run_row(task) for task in tasks]
    write_report(project.report_path, project.root.name, series, runs, particles=particles_report(project))
    return project.report_path


def _series_report(
    project: Project,
    raw: TiltSeries,
    moved: TiltSeries | None,
    cleaned: TiltSeries | None,
    aligned: TiltSeries | None,
    defocused: TiltSeries | None,
    tomogram: Tomogram | None,
    notes: tuple[str, ...],
) -> SeriesReport:
    excluded, unfocused = (_excluded(project, step, raw.name) for step in ("clean", "ctf"))
    defocused = defocused if defocused is not None and defocused.defocus is not None else None
    aligned = aligned if aligned is not None and aligned.geometry is not None else None
    return SeriesReport(
        raw=raw,
        raw_images=_images(project, raw),
        moved=moved,
        moved_images=_images(project, moved) if moved is not None else None,
        motions=_motions(project, moved),
        cleaned=cleaned,
        excluded=excluded,
        excluded_reasons=excluded.other_columns.get(REASON, ()) if excluded else (),
        aligned=aligned,
        aligned_images=_images(project, aligned) if aligned else None,
        tracks=_tracks(project, aligned),
        defocused=defocused,
        ctf_profiles=_profiles(project, defocused),
        ctf_passed_on=_passed_on(project, "ctf", raw.name),
        ctf_excluded=unfocused,
        ctf_excluded_reasons=unfocused.other_columns.get(REASON, ()) if unfocused else (),
        tomogram=tomogram,
        volume=_volume(project, tomogram.volume) if tomogram else None,
        denoised=_volume(project, tomogram.denoised) if tomogram else None,
        support=_volume(project, tomogram.support) if tomogram else None,
        tomogram_numbers=_numbers(project, raw.name) if tomogram else {},
        half_fsc=_half_fsc(project, raw.name) if tomogram else None,
        held_out_errors=_held_out(project, raw.name) if tomogram else (),
        unsupported=_unsupported(project, raw.name) if tomogram and tomogram.support else (),
        denoise_said=_said(project, _DENOISE, raw.name) if tomogram and tomogram.denoised else (),
        notes=notes,
    )


def _combined(project: Project, known: set[str]) -> Iterator[SeriesReport]:
    """Tomograms of two tilt axes, of every record of such; they are of series that nobody recorded as one."""
    for source in (name for name in project.records() if name.step == COMBINE):
        for name, one in _tomograms(project, source).items():
            if name in known:
                continue
            record = _denoised_from(project, source, name)
            after = _tomograms(project, record)[name] if record is not None else None
            yield SeriesReport(
                raw=one.tilt_series,
                record=str(source),
                raw_images=_images(project, one.tilt_series),
                aligned=one.tilt_series,
                tomogram=one,
                volume=_volume(project, one.volume),
                denoised=_volume(project, after.denoised) if after else None,
                support=_volume(project, after.support) if after else None,
                tomogram_numbers=_numbers(project, name, source, record),
                half_fsc=_half_fsc(project, name, source),
                unsupported=_unsupported(project, name, record)
                if record is not None and after and after.support
                else (),
                denoise_said=_said(project, record, name) if record is not None else (),
                notes=_said(project, source, name),
            )


def _denoised_from(project: Project, source: RecordName, series: str) -> RecordName | None:
    """The record in which a tomogram of `source` was denoised, the unlabelled one if it is among several."""
    found = []
    for record in project.records():
        done = Completion.read(project.completion(record, series)) if record.step == _DENOISE.step else None
        if done is not None and done.made_from[:1] == (str(source),) and series in _tomograms(project, record):
            found.append(record)
    return min(found, key=lambda record: record.label or "") if found else None


def _about(one: TiltSeries, all_series: list[TiltSeries], notes: tuple[str, ...]) -> tuple[str, ...]:
    """The notes on one series: those that name it, and those that name no series at all."""
    others = [other.name for other in all_series if other.name != one.name]
    return tuple(note for note in notes if one.name in note or not any(other in note for other in others))


def _tilt_series(project: Project, step: str) -> dict[str, TiltSeries]:
    name = RecordName(step)
    if not has_tables(project, name):
        return {}
    return {record.name: record for record in read_record(project, name) if isinstance(record, TiltSeries)}


def _tomograms(project: Project, name: RecordName) -> dict[str, Tomogram]:
    if not has_tables(project, name):
        return {}
    return {record.name: record for record in read_record(project, name) if isinstance(record, Tomogram)}


def _images(project: Project, record: TiltSeries) -> ImageSource | None:
    """The pictures of a record; None where the files have gone, which must not keep the numbers from being shown."""
    try:
        return open_images(record.images, project.root) if record.images is not None else None
    except (FormatError, ImageError):
        return None


def _motions(project: Project, moved: TiltSeries | None) -> tuple[MovieMotion, ...] | None:
    """The motion of each movie; None where a table has gone."""
    if moved is None or moved.metadata is None:
        return None
    try:
        return tuple(read_movie_motion(project.root / name) for name in moved.metadata)
    except FormatError:
        return None


def _volume(project: Project, name: str | None) -> VolumeSource | None:
    try:
        return open_volume(name, project.root) if name is not None else None
    except (FormatError, ImageError):
        return None


def _numbers(
    project: Project, name: str, source: RecordName = _RECONSTRUCT, denoised: RecordName | None = _DENOISE
) -> dict[str, float]:
    """What was measured when the tomogram was made, and when it was denoised."""
    records = [record for record in (source, denoised) if record is not None]
    done = (Completion.read(project.completion(record, name)) for record in records)
    return {number: value for one in done if one is not None for number, value in one.quality.items()}


def _half_fsc(project: Project, name: str, source: RecordName = _RECONSTRUCT) -> HalfFsc | None:
    path = project.folder(source) / f"{name}{FSC}"
    try:
        return read_fsc(path) if path.is_file() else None
    except (FormatError, InputError):
        return None


def _held_out(project: Project, name: str) -> tuple[float, ...]:
    """Error of held-out views by round; nothing where no rounds were tried."""
    path = project.folder(_RECONSTRUCT) / f"{name}{_HELD_OUT}"
    try:
        table = read_star(path).get("rounds") if path.is_file() else None
        return tuple(float(error) for error in table.numbers("lamellaHeldOutError")) if table is not None else ()
    except FormatError:
        return ()


def _unsupported(
    project: Project, name: str, record: RecordName = _DENOISE
) -> tuple[tuple[float, float, float, float], ...]:
    """Places whose structure the data do not show; nothing where there are none."""
    path = project.folder(record) / f"{name}{_UNSUPPORTED}"
    try:
        table = read_star(path).get("unsupported") if path.is_file() else None
        columns = [table.numbers(label) for label in _PLACE] if table is not None else []
    except FormatError:
        return ()
    return tuple((float(x), float(y), float(z), float(size)) for x, y, z, size in zip(*columns, strict=True))


def _said(project: Project, record: RecordName, name: str) -> tuple[str, ...]:
    done = Completion.read(project.completion(record, name))
    return done.messages if done is not None else ()


def _excluded(project: Project, step: str, name: str) -> TiltSeries | None:
    path = project.folder(RecordName(step)) / "excluded" / f"{name}.star"
    return read_tilt_table(path, project.root) if path.is_file() else None


def _passed_on(project: Project, step: str, name: str) -> str:
    """Why a step passed a series on; empty where it did not."""
    done = Completion.read(project.completion(RecordName(step), name))
    return f"passed on: {done.passed_on}" if done is not None and done.passed_on else ""


def _profiles(project: Project, defocused: TiltSeries | None) -> CtfProfiles | None:
    """The profiles of a record's views; None where their files have gone."""
    if defocused is None or defocused.place is None:
        return None
    folder = project.folder(RecordName("ctf"))
    curves, pictures = (folder / f"{defocused.name}{ending}" for ending in (CURVES, PICTURES))
    try:
        return read_ctf_profiles(curves, pictures, defocused.place)
    except FormatError:
        return None


def _tracks(project: Project, aligned: TiltSeries | None) -> Tracks | None:
    if aligned is None:
        return None
    path = project.folder(RecordName("align")) / f"{aligned.name}_tracks.star"
    if not path.is_file():
        return None
    try:
        tracks = read_tracks(path, aligned.place)
    except FormatError:
        return None
    return tracks if tracks.views == len(aligned) else None


def _run_row(task: TaskRow) -> RunRow:
    name = RecordName.parse(task.record)
    message = " ".join(part for part in (task.passed_on, task.error, *task.messages) if part)
    return RunRow(
        step=name.step,
        label=name.label or "",
        series=task.series,
        seconds=task.wall_s or None,
        peak_bytes=round(task.peak_mib * _MIB) or None,
        status="passed on" if task.passed_on else task.state,
        message=message,
        quality=task.quality,
    )
