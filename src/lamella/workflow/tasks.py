"""One task: one step on one series. It shares nothing with any other but files, so it may run on any machine."""

from __future__ import annotations

import os
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lamella.errors import LamellaError, OutputError, ProjectError
from lamella.formats.atomic import output_errors
from lamella.formats.warnings import FormatWarning
from lamella.progress import Progress, no_progress
from lamella.runtime import prepare
from lamella.settings import StepSettings
from lamella.workflow.completion import Completion
from lamella.workflow.context import Context
from lamella.workflow.ledger import now
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.steps import Step
from lamella.workflow.tables import Record, write_part

__all__ = ["Failure", "Outcome", "Task", "perform"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that a worker needs to know; it pickles, and nothing in it is open.

    Attributes
    ----------
    root
        the project's folder, under the same path on every machine.
    step, target, settings
        what is done, the record it makes, and how.
    record
        of the series, as the step before left it.
    fingerprint, inputs, made_from, version
        kept with the result, see `Completion`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    threads
        for this task; None: what the process has.
    by_name
        whether the user called this step by its name.
    """

    root: Path
    step: Step
    target: RecordName
    settings: StepSettings
    record: Record
    fingerprint: str
    inputs: dict[str, str]
    made_from: tuple[str, ...]
    version: str
    device: str = "auto"
    threads: int | None = None
    by_name: bool = False

    @property
    def series(self) -> str:
        """Name of the series."""
        return self.record.name


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a task failed.

    Attributes
    ----------
    kind
        name of the error's class.
    problem, mend
        in words.
    exit_code
        2 where the input is at fault, else 1.
    trace
        the traceback of an error that nobody foresaw, else empty.
    """

    kind: str
    problem: str
    mend: str = ""
    exit_code: int = 1
    trace: str = ""

    def __str__(self) -> str:
        return f"{self.problem}; {self.mend}" if self.mend else self.problem

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure that an error means."""
        if isinstance(error, LamellaError):
            return cls(kind=type(error).__name__, problem=error.problem, mend=error.mend, exit_code=error.exit_code)
        if isinstance(error, MemoryError):
            return cls(kind="MemoryError", problem="not enough memory", mend="work on fewer series side by side")
        trace = "".join(traceback.format_exception(error))
        words = str(error).strip().splitlines()
        return cls(
            kind=type(error).__name__,
            problem=f"unforeseen {type(error).__name__}: {words[0] if words else 'no words'}",
            mend="report this with the traceback that lamella.db keeps",
            trace=trace,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended: with a completion, or with a failure."""

    series: str
    completion: Completion | None = None
    failure: Failure | None = None
    messages: tuple[str, ...] = field(default=())
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mib: float = 0.0


def perform(task: Task, progress: Progress = no_progress) -> Outcome:
    """Do one step on one series, and leave its files, its table and last its completion.

    It may be interrupted anywhere and repeated: until the completion stands, nothing counts as done.

    Returns
    -------
    Outcome
        errors come back in it, and are not raised.
    """
    if task.threads:
        os.environ["LAMELLA_THREADS"] = str(task.threads)
    clock = _Clock()
    context = Context(
        root=task.root,
        folder=task.root / str(task.target),
        series=task.series,
        device_name=task.device,
        progress=progress,
        by_name=task.by_name,
        source=next(iter(task.made_from), ""),
        fingerprint=task.fingerprint,
        whole=task.step.whole,
    )
    try:
        prepare()
        with _warnings_told(context):
            result = _work(task, context)
        completion = _finish(task, context, result, clock)
    except Exception as error:
        return Outcome(
            series=task.series, failure=Failure.of(error), messages=tuple(context.messages), **clock.measures()
        )
    return Outcome(series=task.series, completion=completion, messages=completion.messages, **_measures_of(completion))


def _work(task: Task, context: Context) -> Record:
    if not (task.root / "lamella.toml").is_file():
        raise ProjectError(
            f"{os.uname().nodename} does not see the project {task.root}",
            mend="keep the project on a file system that every worker mounts under the same path",
        )
    try:
        context.folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{context.folder}: {error.strerror}", mend="give yourself permission to write") from error
    folder = Project(task.root).completion(task.target, task.series)
    before = Completion.read(folder)
    if before:
        before.remove(folder)
    result: Record = task.step.load_run()(task.record, task.settings, context)
    if before:
        _remove_stale(task.root, context, before)
    return result


def _remove_stale(root: Path, context: Context, before: Completion) -> None:
    """Delete files that an earlier run of this step made and this one did not, such as halves that are now off."""
    written = {context.name(path) for path in context.outputs}
    for name in before.outputs:
        path = (root / name).resolve()
        if name not in written and path.is_relative_to(context.folder.resolve()):
            path.unlink(missing_ok=True)


def _finish(task: Task, context: Context, result: Record, clock: _Clock) -> Completion:
    before = task.record.quality
    numbers = {name: float(value) for name, value in result.quality.items() if before.get(name) != value}
    numbers |= context.quality
    completion = Completion(
        fingerprint=task.fingerprint,
        made_from=task.made_from,
        settings=task.settings.model_dump(mode="json", exclude={"enabled"}),
        inputs=task.inputs,
        version=task.version,
        passed_on=context.passed_on,
        outputs={context.name(path): path.stat().st_size for path in context.outputs},
        quality=numbers,
        messages=tuple(context.messages),
        started=clock.started,
        **clock.measures(),
    )
    folder = Project(task.root).completion(task.target, task.series)
    with output_errors(folder, every=True):
        write_part(folder, result, task.root)
    completion.write(folder)
    return completion


def _measures_of(completion: Completion) -> dict[str, Any]:
    return {"wall_s": completion.wall_s, "cpu_s": completion.cpu_s, "peak_mib": completion.peak_mib}


@contextmanager
def _warnings_told(context: Context) -> Iterator[None]:
    """Keep Python's warnings as messages; what a file's format lacks was told when it was imported."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", FormatWarning)
        yield
    for text in dict.fromkeys(f"{entry.category.__name__}: {entry.message}" for entry in caught):
        context.say(text)


class _Clock:
    """Time and memory that a piece of work takes."""

    def __init__(self) -> None:
        self.started = now()
        self._wall = time.perf_counter()
        self._cpu = time.process_time()
        # Linux forgets the largest memory so far when it is told to; elsewhere the process's own largest is stated.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def measures(self) -> dict[str, Any]:
        """Seconds and MiB since the start."""
        return {
            "wall_s": round(time.perf_counter() - self._wall, 3),
            "cpu_s": round(time.process_time() - self._cpu, 3),
            "peak_mib": round(_peak_mib(), 1),
        }


def _peak_mib() -> float:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return float(psutil.Process().memory_info().rss) / 2**20
