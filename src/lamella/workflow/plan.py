"""What there is to do: which record each step reads, and which of its series are done already."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lamella import __version__
from lamella.errors import InputError, ProjectError
from lamella.records import Particles, TiltSeries, Tomogram
from lamella.settings import StepSettings
from lamella.workflow import steps
from lamella.workflow.completion import Completion
from lamella.workflow.digests import FileDigests, digest
from lamella.workflow.enabling import is_enabled, why_no_particles
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName
from lamella.workflow.settings_file import SettingsFile
from lamella.workflow.steps import Step
from lamella.workflow.tables import Record, files_of, has_tables, read_particle_set, read_record
from lamella.workflow.tasks import Task

__all__ = ["Job", "SeriesState", "line_of_jobs", "plan_job", "read_source", "series_states", "source_of", "task_of"]

State = Literal["done", "imported", "to do", "outdated"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One step that is to make one record from another."""

    step: Step
    target: RecordName
    source: RecordName
    settings: StepSettings


@dataclass(frozen=True, kw_only=True)
class SeriesState:
    """Where one series stands in one job.

    Attributes
    ----------
    record
        what would go in.
    settings
        of the job, with what they left open chosen for all its records alike.
    state
        ``done`` and ``imported`` need no work; ``outdated`` was done with other input, settings or code.
    why
        what changed, where it is outdated.
    fingerprint, inputs
        of the work as it would be done now.
    completion
        of the work that was done, if any.
    """

    record: Record
    settings: StepSettings
    state: State
    why: str
    fingerprint: str
    inputs: dict[str, str]
    completion: Completion | None

    @property
    def needs_work(self) -> bool:
        """Whether `lamella run` would do it."""
        return self.state in ("to do", "outdated")


def source_of(project: Project, settings: SettingsFile, target: RecordName) -> RecordName:
    """The record that a step reads: the one that its table names, else that of the last enabled step before it.

    Raises
    ------
    InputError
        if every step that could make what this one takes is off.
    """
    named = settings.input_of(target)
    if named is not None:
        return named
    step = steps.find_step(target.step)
    place = steps.LINE.index(step) if step in steps.LINE else len(steps.LINE)
    first = [steps.find_step(step.reads)] if step.reads else []
    for before in (*first, *reversed(steps.LINE[:place])):
        name = RecordName(before.name)
        if before.gives != step.takes or not is_enabled(project, settings, name):
            continue
        if step in steps.LINE or has_tables(project, name):
            return name  # what is done by its name alone takes what there is
    if step.takes == "series":
        return RAW
    makers = [before.name for before in steps.LINE[:place] if before.gives == step.takes]
    if step.takes == "particles":
        raise _nothing_to_pick_by(project, settings)
    raise InputError(
        f"{step.name} takes {step.takes}, and {' and '.join(makers)} is off",
        mend=f"set enabled = true in [{makers[-1]}], or enabled = false in [{step.name}]",
    )


def plan_job(project: Project, settings: SettingsFile, target: RecordName, source: RecordName | None = None) -> Job:
    """The job that makes a record.

    Raises
    ------
    ProjectError
        if a record would be made from itself.
    """
    step = steps.find_step(target.step)
    source = source or source_of(project, settings, target)
    if source == target:
        raise ProjectError(f"{target} cannot be made from itself", mend="name another --input, or a label with --as")
    return Job(step=step, target=target, source=source, settings=settings.settings(target))


def line_of_jobs(
    project: Project, settings: SettingsFile, first: str | None = None, last: str | None = None
) -> tuple[Job, ...]:
    """The jobs of the enabled steps from one step to another.

    Raises
    ------
    InputError
        if a step does not exist, the two are in the wrong order, or nothing between them is enabled.
    """
    begin = steps.LINE.index(steps.find_step(first, steps.LINE)) if first else 0
    end = steps.LINE.index(steps.find_step(last, steps.LINE)) if last else len(steps.LINE) - 1
    if end < begin:
        raise InputError(f"{last} comes before {first}", mend="exchange --from and --to")
    jobs = tuple(
        plan_job(project, settings, RecordName(step.name))
        for step in steps.LINE[begin : end + 1]
        if is_enabled(project, settings, RecordName(step.name))
    )
    wanted = [steps.find_step(name) for name in (first, last) if name]
    if any("particles" in (step.takes, step.gives) for step in wanted) and why_no_particles(project, settings):
        raise _nothing_to_pick_by(project, settings)
    if not jobs:
        raise InputError("every step of this range is off", mend="set enabled = true in lamella.toml")
    return jobs


def _nothing_to_pick_by(project: Project, settings: SettingsFile) -> InputError:
    return InputError(
        why_no_particles(project, settings) or "every step that makes particles is off",
        mend="give pick.template=FILE (and pick.method=template), or pick.method=import with pick.coordinates=FILE",
    )


def read_source(project: Project, job: Job) -> tuple[Record, ...]:
    """The record that a job starts from.

    Raises
    ------
    ProjectError
        if it does not exist yet, or is of a kind that the step does not take.
    """
    if not has_tables(project, job.source):
        raise ProjectError(
            f"{job.step.name} needs the record {job.source}, which does not exist yet",
            mend=f"make it first with `{job.source.maker}`",
        )
    if job.step.whole:
        return (read_particle_set(project, job.source),)
    return tuple(_as_taken(record, job) for record in read_record(project, job.source))


def _as_taken(record: Record, job: Job) -> Record:
    """What a step takes of a record: particles hold their tomogram, and a tomogram holds its tilt series."""
    if job.step.takes != "particles" and isinstance(record, Particles):
        record = record.tomogram
    if job.step.takes == "series" and isinstance(record, Tomogram):
        record = record.tilt_series
    kind = {"series": TiltSeries, "tomograms": Tomogram, "particles": Particles}[job.step.takes]
    if not isinstance(record, kind):
        raise ProjectError(
            f"{job.step.name} takes {job.step.takes}, and {job.source} holds none", mend="name another --input"
        )
    return record


def series_states(project: Project, job: Job, records: Sequence[Record], files: FileDigests) -> tuple[SeriesState, ...]:
    """Where each series stands in a job, in the order of the records."""
    job = replace(job, settings=job.step.settle(records, job.settings))
    return tuple(_state(project, job, record, files) for record in records)


def _state(project: Project, job: Job, record: Record, files: FileDigests) -> SeriesState:
    inputs = {str(job.source): digest(record)}
    for path in (*files_of(record, project.root), *job.step.inputs(record, job.settings, project.root)):
        inputs[_short(path, project.root)] = files.of(path)
    settings = job.settings.model_dump(mode="json", exclude={"enabled"})
    version = version_of(job.step)
    fingerprint = digest(
        {"step": job.step.name, "version": version, "settings": settings, "inputs": sorted(inputs.values())}
    )
    completion = Completion.read(project.completion(job.target, record.name))
    state: State = "to do"
    why = ""
    if completion is not None:
        missing = completion.missing_outputs(project.root)
        if missing:
            state, why = "outdated", f"{missing[0]} is missing or was changed"
        elif completion.origin == "import":
            state = "imported"
            if completion.inputs.get(str(job.source)) != inputs[str(job.source)]:
                why = f"for another {job.source}: import it again if its views changed"
        elif completion.fingerprint == fingerprint:
            state = "done"
        else:
            state, why = "outdated", _what_changed(completion, settings, version)
    return SeriesState(
        record=record,
        settings=job.settings,
        state=state,
        why=why,
        fingerprint=fingerprint,
        inputs=inputs,
        completion=completion,
    )


def _what_changed(completion: Completion, settings: dict[str, object], version: str) -> str:
    if completion.version != version:
        return f"made by {completion.version}"
    old = json.loads(json.dumps(completion.settings))
    changed = [name for name, value in settings.items() if old.get(name) != value]
    if changed:
        return f"{', '.join(changed)} changed"
    return "its input changed"


def version_of(step: Step) -> str:
    """The version that results of a step carry: lamella's, and the step's own counter."""
    return f"lamella {__version__}, {step.name} {step.version}"


def task_of(project: Project, job: Job, state: SeriesState, device: str, *, by_name: bool = False) -> Task:
    """The task that does one series of a job; `by_name` where the user called the step itself."""
    return Task(
        root=project.root,
        step=job.step,
        target=job.target,
        settings=state.settings,
        record=state.record,
        fingerprint=state.fingerprint,
        inputs=state.inputs,
        made_from=ancestors(project, job.source),
        version=version_of(job.step),
        device=device,
        by_name=by_name,
    )


def ancestors(project: Project, source: RecordName) -> tuple[str, ...]:
    """The records that something made from `source` was made from, the nearest first.

    Tomograms may be made anew from the level record that was measured in them: its own ancestors follow then.
    """
    chain = [str(source)]
    while source != RAW:
        folder = project.completions(source)
        completions = [Completion.read(entry) for entry in sorted(folder.iterdir())] if folder.is_dir() else []
        found = next((entry for entry in completions if entry), None)
        before = next((name for name in found.made_from if name not in chain), None) if found else None
        if before is None:
            break
        source = RecordName.parse(before)
        chain.append(before)
    return tuple(chain)


def _short(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
