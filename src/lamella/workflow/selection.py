"""`lamella select`: a record of the series that are good enough, which later steps take with ``--input select``.

It is no step, since it looks at all series at once: whether one is among the best N depends on the others. The record
keeps the criteria, so that it is chosen again where the record that it was chosen from has changed. Those left out
stand in ``select/excluded.star`` with the reason for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from operator import attrgetter
from typing import Any

import numpy as np

from lamella import __version__
from lamella.errors import InputError, ProjectError
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.records import TiltSeries
from lamella.workflow import steps
from lamella.workflow.completion import Completion
from lamella.workflow.digests import digest
from lamella.workflow.ledger import Ledger, note_completion, now
from lamella.workflow.plan import ancestors
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, SELECT, RecordName
from lamella.workflow.steps.excluded import REASON
from lamella.workflow.tables import Record, has_tables, read_record, remove_record, series_of, write_part, write_record

__all__ = [
    "Criteria",
    "Judged",
    "Selection",
    "choose_again",
    "excluded_from",
    "is_outdated",
    "make_again",
    "select_series",
]

_NAME, _RESOLUTION, _RESIDUAL = "rlnTomoName", "lamellaCtfResolutionAngst", "lamellaAlignResidualAngst"


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """What a series must meet.

    Attributes
    ----------
    max_ctf_resolution
        coarsest median resolution, Å, to which the fits of its contrast transfer reach; None: any.
    max_residual
        largest rms residual of its alignment, Å; None: any.
    keep
        how many of the best to keep; None: all. Best is the finest CTF resolution where every series has one, else the
        smallest residual.
    """

    max_ctf_resolution: float | None = None
    max_residual: float | None = None
    keep: int | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, entry.name) is None for entry in fields(self)):
            raise InputError(
                "nothing says what to select by", mend="give --max-ctf-resolution, --max-residual or --keep"
            )
        for name in ("max_ctf_resolution", "max_residual", "keep"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise InputError(f"--{name.replace('_', '-')} {value:g}", mend="give a positive number")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One series: its numbers, None where they are unknown, and why it was left out; empty where it was chosen."""

    series: str
    ctf_resolution_ang: float | None
    residual_ang: float | None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The record that was made, the record that it was chosen from, and what was thought of each series."""

    target: RecordName
    source: RecordName
    judged: tuple[Judged, ...]

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the series that were chosen."""
        return tuple(one.series for one in self.judged if not one.why)


def select_series(
    project: Project, criteria: Criteria, *, source: RecordName | None = None, label: str | None = None
) -> Selection:
    """Make the record ``select`` (or ``select.LABEL``) of the series that meet the criteria.

    Parameters
    ----------
    project
        where; it is locked meanwhile.
    criteria
        what a series must meet.
    source
        the record to choose from; None: the last one of tilt series that exists and whose step is on.
    label
        of the record that is made.

    Raises
    ------
    ProjectError
        if the source does not exist.
    InputError
        if no series is left; what each lacks is said.
    """
    target = RecordName.parse(SELECT if label is None else f"{SELECT}.{label}")
    source = source or _latest(project)
    if source == target:
        raise ProjectError(f"{target} cannot be chosen from itself", mend="name another --input, or a label with --as")
    with project.lock(), Ledger(project.ledger_path) as ledger:
        run = ledger.start_run(command=f"lamella {target}", version=__version__, executor="local", device="cpu")
        state = "failed"
        try:
            selection = _make(project, target, source, criteria, ledger, run)
            state = "done"
        finally:
            ledger.finish_run(run, state)
    return selection


def is_outdated(project: Project, target: RecordName) -> bool:
    """Whether the record that a selection was chosen from has changed since."""
    done = _completions(project, target)
    if not done:
        return False
    criteria, source = _how(done[0])
    if not has_tables(project, source):
        return True
    return done[0].fingerprint != _fingerprint(criteria, source, read_record(project, source))


def choose_again(project: Project, target: RecordName, ledger: Ledger, run: int) -> Selection | None:
    """Choose again by the record's own criteria, where what it was chosen from has changed; else None."""
    if not is_outdated(project, target):
        return None
    criteria, source = _how(_completions(project, target)[0])
    return _make(project, target, source, criteria, ledger, run)


def make_again(project: Project, target: RecordName, ledger: Ledger, run: int) -> str:
    """`choose_again` in words, empty where nothing has changed."""
    again = choose_again(project, target, ledger, run)
    return f"{target}: chosen again, since {again.source} changed: {', '.join(again.chosen)}" if again else ""


def excluded_from(project: Project, target: RecordName) -> dict[str, str]:
    """Series that a selection left out, and why."""
    path = project.folder(target) / "excluded.star"
    if not path.is_file():
        return {}
    table = next(iter(read_star(path).values()))
    return dict(zip(table.text(_NAME), table.text(REASON), strict=True))


def _latest(project: Project) -> RecordName:
    settings = project.read_settings()
    for step in reversed(steps.LINE):
        name = RecordName(step.name)
        if step.gives == "series" and settings.settings(name).enabled and has_tables(project, name):
            return name
    return RAW


def _make(
    project: Project, target: RecordName, source: RecordName, criteria: Criteria, ledger: Ledger, run: int
) -> Selection:
    records = read_record(project, source)
    judged = _judge([series_of(record) for record in records], criteria)
    selection = Selection(target=target, source=source, judged=judged)
    if not selection.chosen:
        listed = "; ".join(f"{one.series}: {one.why}" for one in judged[:5]) + ("; …" if len(judged) > 5 else "")
        raise InputError(f"no series of {source} is left ({listed})", mend="state less strict criteria")
    chosen = [record for record in records if record.name in selection.chosen]
    made_from = ancestors(project, source)
    _forget(project, target, selection.chosen)
    for record in chosen:
        done = Completion(
            fingerprint=_fingerprint(criteria, source, records),
            made_from=made_from,
            settings=asdict(criteria),
            inputs={str(source): digest(record)},
            version=f"lamella {__version__}, {SELECT} 1",
            quality=_numbers(next(one for one in judged if one.series == record.name)),
            messages=(f"chosen from {source}",),
            started=now(),
        )
        folder = project.completion(target, record.name)
        write_part(folder, record, project.root)
        done.write(folder)
        note_completion(ledger, run, target, record.name, done)
    remove_record(project, target)  # its table may be of the other kind
    write_record(project, target, chosen)
    _write_excluded(project, selection)
    return selection


def _judge(records: Sequence[TiltSeries], criteria: Criteria) -> tuple[Judged, ...]:
    known = [
        Judged(series=one.name, ctf_resolution_ang=_resolution_ang(one), residual_ang=_residual_ang(one))
        for one in records
    ]
    judged = [_against_limits(one, criteria) for one in known]
    if criteria.keep is None:
        return tuple(judged)
    left = [one for one in judged if not one.why]
    number, what = _rank_by(left)
    best = {one.series for one in sorted(left, key=attrgetter(number))[: criteria.keep]}
    return tuple(
        one if one.why or one.series in best else replace(one, why=f"not among the best {criteria.keep} by {what}")
        for one in judged
    )


def _against_limits(one: Judged, criteria: Criteria) -> Judged:
    limits = (
        (one.ctf_resolution_ang, criteria.max_ctf_resolution, "CTF resolution", "no CTF was estimated"),
        (one.residual_ang, criteria.max_residual, "alignment residual", "no residual of its alignment is known"),
    )
    for value, limit, what, unknown in limits:
        if limit is not None and value is None:
            return replace(one, why=unknown)
        if limit is not None and value is not None and value > limit:
            return replace(one, why=f"{what} of {value:.1f} Å, above {limit:g} Å")
    return one


def _rank_by(judged: Sequence[Judged]) -> tuple[str, str]:
    """The number that the best are told by, and what it is."""
    for name, what in (("ctf_resolution_ang", "CTF resolution"), ("residual_ang", "alignment residual")):
        if all(getattr(one, name) is not None for one in judged):
            return name, what
    raise InputError(
        "some series have neither a CTF resolution nor an alignment residual, so the best cannot be told",
        mend="name a record that has them with --input, or leave --keep out",
    )


def _resolution_ang(series: TiltSeries) -> float | None:
    """Median resolution to which the views' fits reach."""
    if series.defocus is None or series.defocus.max_resolution_ang is None:
        return None
    return float(np.median(series.defocus.max_resolution_ang))


def _residual_ang(series: TiltSeries) -> float | None:
    """Rms residual of the alignment."""
    if (value := series.quality.get("AlignResidualAngst")) is not None:
        return float(value)
    views = series.scores.get("AlignResidualAngst")
    return float(np.sqrt(np.nanmean(views**2))) if views is not None and np.isfinite(views).any() else None


def _numbers(one: Judged) -> dict[str, float]:
    values = {"CtfResolutionAngst": one.ctf_resolution_ang, "AlignResidualAngst": one.residual_ang}
    return {name: value for name, value in values.items() if value is not None}


def _write_excluded(project: Project, selection: Selection) -> None:
    path = project.folder(selection.target) / "excluded.star"
    out = [one for one in selection.judged if one.why]
    if not out:
        path.unlink(missing_ok=True)
        return
    columns = {
        _NAME: tuple(one.series for one in out),
        _RESOLUTION: tuple(_text(one.ctf_resolution_ang) for one in out),
        _RESIDUAL: tuple(_text(one.residual_ang) for one in out),
        REASON: tuple(one.why for one in out),
    }
    write_star(path, [StarTable("excluded", columns)])


def _text(value: float | None) -> str:
    return "nan" if value is None else number_text(value)


def _forget(project: Project, target: RecordName, kept: Sequence[str]) -> None:
    """Take away what stands of series that are no longer chosen."""
    folder = project.completions(target)
    for place in folder.iterdir() if folder.is_dir() else ():
        done = Completion.read(place)
        if done is not None and place.name not in kept:
            done.remove(place)
            (project.folder(target) / "tilt_series" / f"{place.name}.star").unlink(missing_ok=True)


def _completions(project: Project, target: RecordName) -> list[Completion]:
    folder = project.completions(target)
    found = [Completion.read(place) for place in sorted(folder.iterdir())] if folder.is_dir() else []
    return [entry for entry in found if entry is not None]


def _how(done: Completion) -> tuple[Criteria, RecordName]:
    settings: Mapping[str, Any] = done.settings
    return Criteria(**settings), RecordName.parse(done.made_from[0])


def _fingerprint(criteria: Criteria, source: RecordName, records: Sequence[Record]) -> str:
    return digest({"select": asdict(criteria), "from": str(source), "records": [digest(record) for record in records]})
