"""Where a project stands: every record, every series, and what is still to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lamella.errors import InputError, ProjectError
from lamella.records import ParticleSet
from lamella.workflow.completion import Completion
from lamella.workflow.derived import is_derived, is_outdated
from lamella.workflow.digests import FileDigests
from lamella.workflow.enabling import is_enabled
from lamella.workflow.ledger import Ledger, TaskRow
from lamella.workflow.plan import plan_job, read_source, series_states
from lamella.workflow.project import Project
from lamella.workflow.record_name import COMBINE, RAW, SELECT, RecordName
from lamella.workflow.selection import excluded_from
from lamella.workflow.settings_file import SettingsFile
from lamella.workflow.steps import find_step
from lamella.workflow.tables import has_tables, read_record

__all__ = ["StatusRow", "project_status"]


@dataclass(frozen=True, kw_only=True)
class StatusRow:
    """One series in one record.

    Attributes
    ----------
    record, series
        names.
    state
        ``done``, ``imported``, ``passed on``, ``to do``, ``outdated``, ``failed``, ``stopped``, ``running``, ``off`` or
        ``left out`` (by `lamella select`).
    why
        what changed, or what went wrong.
    made_from
        the record that it was or would be made from.
    wall_s, peak_mib, quality
        of the work that was done.
    """

    record: str
    series: str
    state: str
    why: str = ""
    made_from: str = ""
    wall_s: float = 0.0
    peak_mib: float = 0.0
    quality: Mapping[str, float] = field(default_factory=dict)


def project_status(project: Project) -> list[StatusRow]:
    """A row for every series in every record that is enabled or exists, in the order of the line."""
    settings = project.read_settings()
    names = [record.name for record in read_record(project, RAW)]
    files = FileDigests()
    with Ledger(project.ledger_path) as ledger:
        ledger.load_digests(files)
        last = {(row.record, row.series): row for row in ledger.last_tasks()}
    rows: list[StatusRow] = []
    fresh: dict[str, set[str]] = {str(RAW): set(names)}
    out: dict[str, set[str]] = {}
    for derived in (name for name in project.records() if is_derived(name)):
        found = _derived_rows(project, derived, names)
        fresh[str(derived)] = {row.series for row in found if row.state == "done"}
        out[str(derived)] = {row.series for row in found if row.state == "left out"}
        rows += found
    for target in settings.records():
        enabled = target.label is None and is_enabled(project, settings, target)
        if not enabled and not has_tables(project, target):
            if target.label is None:
                off = [ParticleSet(members=()).name] if find_step(target.step).whole else names
                rows += [StatusRow(record=str(target), series=name, state="off") for name in off]
            continue
        found = _rows(project, settings, target, names, files, last, fresh, out)
        fresh[str(target)] = {row.series for row in found if row.state in ("done", "passed on", "imported")}
        out[str(target)] = {row.series for row in found if row.state == "left out"}
        rows += found
    return rows


def _derived_rows(project: Project, target: RecordName, names: list[str]) -> list[StatusRow]:
    """A row for every series of a record that no step makes, and for those that a selection left out."""
    out = excluded_from(project, target) if target.step == SELECT else {}
    folder = project.completions(target)
    own = sorted(place.name for place in folder.iterdir() if place.name not in names) if folder.is_dir() else []
    outdated = is_outdated(project, target)
    rows = []
    for name in (*names, *own):
        done = Completion.read(project.completion(target, name))
        if done is None and name not in out:
            continue
        state, why = ("left out", out.get(name, "")) if done is None else ("done", "")
        if outdated:
            what = "chosen" if target.step == SELECT else "made"
            state, why = "outdated", f"what it was {what} from has changed"
        made_from = done.made_from[0] if done is not None else ""
        quality = dict(done.quality) if done is not None else {}
        rows.append(
            StatusRow(
                record=str(target),
                series=name,
                state=state,
                why=why,
                made_from=made_from,
                wall_s=done.wall_s if done is not None else 0.0,
                peak_mib=done.peak_mib if done is not None else 0.0,
                quality=quality,
            )
        )
    return rows


def _brought(project: Project, target: RecordName, known: list[str]) -> list[str]:
    """Series that came with an import, and that the project's raw data do not know."""
    folder = project.completions(target)
    own = sorted(place.name for place in folder.iterdir() if place.name not in known) if folder.is_dir() else []
    found = {name: Completion.read(project.completion(target, name)) for name in own}
    return [name for name, done in found.items() if done is not None and done.origin == "import"]


def _rows(
    project: Project,
    settings: SettingsFile,
    target: RecordName,
    names: list[str],
    files: FileDigests,
    last: Mapping[tuple[str, str], TaskRow],
    fresh: Mapping[str, set[str]],
    out: Mapping[str, set[str]],
) -> list[StatusRow]:
    try:
        job = plan_job(project, settings, target)
        states = {state.record.name: state for state in series_states(project, job, read_source(project, job), files)}
        source = str(job.source)
    except (ProjectError, InputError):
        states, source = {}, ""
    rows = []
    whole = find_step(target.step).whole
    if whole:
        names = list(states) or [ParticleSet(members=()).name]
    elif source and RecordName.parse(source).step == COMBINE:
        names = list(states)  # series of its own, which the project's raw data do not know
    else:
        names = [*names, *_brought(project, target, names)]
    for name in names:
        known, state = last.get((str(target), name)), states.get(name)
        done = state.completion if state else None
        if target.label is not None and done is None and known is None:
            continue  # a labelled record need not hold every series
        if state is None:  # what it would be made from is not there
            brought = Completion.read(project.completion(target, name))
            done = brought if brought is not None and brought.origin == "import" else None
        word: str = state.state if state else "to do" if done is None else "imported"
        why = state.why if state else ""
        if word == "done" and done and done.passed_on:
            word, why = "passed on", done.passed_on
        stale = source in fresh and (not fresh[source] if whole else name not in fresh[source])
        if word in ("done", "passed on") and stale:
            word, why = "outdated", f"{source} is to be made again"
        if word == "to do" and state is None and name in out.get(source, ()):
            word, why = "left out", f"not in {source}"
        elif word == "to do" and known and known.state in ("failed", "killed", "stopped", "running"):
            word, why = ("stopped" if known.state == "killed" else known.state), known.error
        rows.append(
            StatusRow(
                record=str(target),
                series=name,
                state=word,
                why=why,
                made_from=source,
                wall_s=done.wall_s if done else 0.0,
                peak_mib=done.peak_mib if done else 0.0,
                quality=dict(done.quality) if done else {},
            )
        )
    return rows
