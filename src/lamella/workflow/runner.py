"""Do what there is to do: step by step, series by series, leaving alone what is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from lamella import __version__
from lamella.errors import InputError, LamellaError
from lamella.formats.atomic import atomic_text, output_errors, remove_leftovers
from lamella.progress import Progress, no_progress
from lamella.workflow.completion import Completion
from lamella.workflow.derived import is_derived, make_again
from lamella.workflow.digests import FileDigests
from lamella.workflow.executors import Executor, open_executor
from lamella.workflow.ledger import Ledger, note_completion, now
from lamella.workflow.plan import Job, SeriesState, read_source, series_states, task_of
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.run_settings import RunSettings
from lamella.workflow.tables import Record, has_tables, read_part, remove_record, write_record
from lamella.workflow.tasks import Failure, Outcome, Task

__all__ = ["JobResult", "Observer", "RunResult", "Silent", "choose_series", "run_jobs", "write_tables"]


class Observer(Protocol):
    """Told what happens during a run; the command line draws bars from it, or writes lines."""

    def job_begins(self, job: Job, to_do: int, done: int) -> None:
        """A step begins, with so many series to do and so many done before."""

    def progress(self, task: Task) -> Progress:
        """The progress of one series, where the executor can tell it."""

    def series_ends(self, job: Job, outcome: Outcome) -> None:
        """A series is done, or has failed."""

    def job_ends(self, result: JobResult) -> None:
        """A step is done with every series."""

    def say(self, text: str) -> None:
        """Something else worth a line."""


class Silent:
    """An observer that tells nobody."""

    def job_begins(self, job: Job, to_do: int, done: int) -> None:
        """Say nothing."""

    def progress(self, task: Task) -> Progress:
        """Say nothing."""
        return no_progress

    def series_ends(self, job: Job, outcome: Outcome) -> None:
        """Say nothing."""

    def job_ends(self, result: JobResult) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What became of one job: names of series that were made now, were done before, or failed."""

    job: Job
    made: tuple[str, ...]
    kept: tuple[str, ...]
    failed: dict[str, Failure]
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class RunResult:
    """What became of a run."""

    jobs: tuple[JobResult, ...] = field(default_factory=tuple)

    @property
    def failures(self) -> list[tuple[RecordName, str, Failure]]:
        """(record, series, failure) of everything that failed."""
        return [(entry.job.target, name, failure) for entry in self.jobs for name, failure in entry.failed.items()]

    @property
    def exit_code(self) -> int:
        """0 where nothing failed; 2 where the input is at fault each time; else 1."""
        codes = {failure.exit_code for _, _, failure in self.failures}
        return 0 if not codes else 2 if codes == {2} else 1


def choose_series(names: Sequence[str], only: Sequence[str]) -> tuple[str, ...]:
    """The series that are asked for, all where none is named.

    Raises
    ------
    InputError
        if one does not exist; the nearest is offered.
    """
    for name in only:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            listed = ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
            raise InputError(
                f"there is no tilt series {name!r}", mend=f"did you mean {near[0]}?" if near else f"there are {listed}"
            )
    return tuple(only) or tuple(names)


def run_jobs(
    project: Project,
    jobs: Sequence[Job],
    *,
    only: Sequence[str] = (),
    how: RunSettings | None = None,
    command: str = "",
    by_name: bool = False,
    observer: Observer | None = None,
    at_end: Callable[[], None] | None = None,
) -> RunResult:
    """Do jobs one after the other; within each, every series that needs it.

    Parameters
    ----------
    project
        where; it is locked meanwhile.
    jobs
        in order.
    only
        names of the series to work on; empty: all.
    how
        executor, workers and device.
    command
        for the record of runs.
    by_name
        whether the user called the step itself: it then makes anew what was imported from another program or passed on,
        and what it lacks is an error rather than a reason to pass on.
    observer
        told what happens.
    at_end
        called before the lock is given back, whatever failed: the report.

    Returns
    -------
    RunResult
        failures of single series are in it, and are not raised.
    """
    how = how or RunSettings()
    observer = observer or Silent()
    with project.lock(), Ledger(project.ledger_path) as ledger, open_executor(how) as executor:
        run = ledger.start_run(
            command=command, version=__version__, executor=f"{executor.name} × {how.workers}", device=how.device
        )
        state = "stopped"
        results: list[JobResult] = []
        try:
            runner = _Runner(project, ledger, executor, run, how, observer, by_name)
            for job in jobs:
                results.append(runner.do(job, only))
                left = [name for name in only if name not in results[-1].failed]
                if (not results[-1].made and not results[-1].kept) or (only and not left):
                    break  # nothing is left for the steps that follow
                only = left
            state = "failed" if any(result.failed for result in results) else "done"
        except LamellaError:
            state = "failed"
            raise
        finally:
            ledger.finish_run(run, state)
        if at_end is not None:
            at_end()
    return RunResult(tuple(results))


@dataclass
class _Runner:
    project: Project
    ledger: Ledger
    executor: Executor
    run: int
    how: RunSettings
    observer: Observer
    by_name: bool

    def do(self, job: Job, only: Sequence[str]) -> JobResult:
        """Do one job."""
        if is_derived(job.source) and (again := make_again(self.project, job.source, self.ledger, self.run)):
            self.observer.say(again)
        records = read_source(self.project, job)
        chosen = {record.name for record in records}
        if not job.step.whole:
            chosen = set(choose_series([record.name for record in records], only))
        elif only:
            self.observer.say(f"{job.target}: works on the particles of every series, whatever --only names")
        files = FileDigests()
        self.ledger.load_digests(files)
        states = series_states(self.project, job, records, files)
        self.ledger.save_digests(files)
        todo = [
            state
            for state in states
            if state.record.name in chosen and (state.needs_work or (self.by_name and _not_its_own(state)))
        ]
        kept = [state for state in states if state not in todo and not state.needs_work]
        self._note_kept(job, kept)
        self.observer.job_begins(job, len(todo), len(kept))
        for state in kept:
            if state.why:
                self.observer.say(f"{job.target}: {state.record.name} was imported {state.why}")
        for state in todo:
            if state.why:
                self.observer.say(f"{job.target}: {state.record.name} is made again, since {state.why}")
        if todo:
            self._clear_leftovers(job)
        outcomes = self._perform(job, todo)
        failed = {name: outcome.failure for name, outcome in outcomes.items() if outcome.failure}
        write_tables(self.project, job.target, [record.name for record in records], force=bool(todo))
        result = JobResult(
            job=job,
            made=tuple(name for name, outcome in outcomes.items() if outcome.completion),
            kept=tuple(state.record.name for state in kept),
            failed=failed,
            outcomes=tuple(outcomes.values()),
        )
        self.observer.job_ends(result)
        return result

    def _clear_leftovers(self, job: Job) -> None:
        folder = self.project.folder(job.target)
        if folder.is_dir():
            with output_errors(folder, every=True):
                for place in (folder, *(entry for entry in folder.rglob("*") if entry.is_dir())):
                    remove_leftovers(place)

    def _perform(self, job: Job, todo: Sequence[SeriesState]) -> dict[str, Outcome]:
        rows = {}
        for state in todo:
            rows[state.record.name] = self.ledger.start_task(
                self.run,
                record=str(job.target),
                step=job.step.name,
                series=state.record.name,
                fingerprint=state.fingerprint,
            )
        tasks = [task_of(self.project, job, state, self.how.device, by_name=self.by_name) for state in todo]
        outcomes = {}
        for task, outcome in self.executor.run(tasks, self.observer.progress):
            outcomes[outcome.series] = outcome
            self._note(rows[outcome.series], task, outcome)
            self.observer.series_ends(job, outcome)
        return {state.record.name: outcomes[state.record.name] for state in todo}

    def _note(self, row: int, task: Task, outcome: Outcome) -> None:
        values: dict[str, object] = {
            "state": "done" if outcome.completion else "failed",
            "finished": now(),
            "version": task.version,
            "made_from": task.made_from,
            "settings": task.settings.model_dump(mode="json"),
            "inputs": task.inputs,
            "wall_s": outcome.wall_s,
            "cpu_s": outcome.cpu_s,
            "peak_mib": outcome.peak_mib,
        }
        if outcome.failure:
            values |= {
                "error_kind": outcome.failure.kind,
                "error": str(outcome.failure),
                "trace": outcome.failure.trace,
            }
        if outcome.completion:
            values |= {"outputs": outcome.completion.outputs, "passed_on": outcome.completion.passed_on}
        quality = outcome.completion.quality if outcome.completion else {}
        self.ledger.finish_task(row, values, quality, outcome.messages)

    def _note_kept(self, job: Job, kept: Sequence[SeriesState]) -> None:
        """Bring into the database what is done and what it does not know: its writer was killed, or it was lost."""
        for state in kept:
            done = state.completion
            known = self.ledger.last_fingerprint(str(job.target), state.record.name)
            if done is None or known == ("done", done.fingerprint):
                continue
            note_completion(self.ledger, self.run, job.target, state.record.name, done)


def _not_its_own(state: SeriesState) -> bool:
    """Whether what stands was imported or passed on, so that a step that is asked for by its name has work to do."""
    return state.state == "imported" or (state.completion is not None and bool(state.completion.passed_on))


def write_tables(project: Project, target: RecordName, names: Sequence[str], *, force: bool) -> None:
    """Write a record's global table from its finished series; leave it alone where it says the same already.

    Where nothing was made since, a table that was changed by hand stays as it is, and the steps after it see that.
    """
    finished: dict[str, str] = {}
    records: list[Record] = []
    for name in names:
        folder = project.completion(target, name)
        done = Completion.read(folder)
        record = read_part(folder, project.root) if done else None
        if done and record is not None:
            finished[name] = f"{done.fingerprint} {done.started}"
            records.append(record)
    stamp = project.completions(target) / "tables.json"
    if not force and has_tables(project, target) and _read_stamp(stamp) == finished:
        return
    stamp.unlink(missing_ok=True)
    if not records:
        remove_record(project, target)
        return
    write_record(project, target, records)
    atomic_text(stamp, json.dumps(finished, indent=1) + "\n")


def _read_stamp(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}
