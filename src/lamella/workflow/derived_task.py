"""The work on one series of a record that no step of the line makes; what all such records have in common."""

from __future__ import annotations

from pathlib import Path

from lamella.errors import InputError, LamellaError
from lamella.progress import Progress, no_progress
from lamella.records import TiltSeries, Tomogram
from lamella.workflow.completion import Completion
from lamella.workflow.digests import FileDigests, digest
from lamella.workflow.ledger import Ledger, note_completion
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.tables import files_of, read_part, write_record
from lamella.workflow.tasks import Task, perform

__all__ = ["completions_of", "do_task", "inputs_of", "write_parts"]


def do_task(project: Project, task: Task, ledger: Ledger, run: int, progress: Progress = no_progress) -> Completion:
    """Do the work on one series and note it.

    Raises
    ------
    LamellaError
        what went wrong; an `InputError` where the input is at fault.
    """
    outcome = perform(task, progress)
    done = outcome.completion
    if done is None:
        failure = outcome.failure
        assert failure is not None
        kind = InputError if failure.exit_code == InputError.exit_code else LamellaError
        raise kind(failure.problem, mend=failure.mend)
    note_completion(ledger, run, task.target, task.series, done)
    return done


def completions_of(project: Project, target: RecordName) -> dict[str, Completion]:
    """What is known of each finished series of a record, by its name."""
    folder = project.completions(target)
    found = {place.name: Completion.read(place) for place in sorted(folder.iterdir())} if folder.is_dir() else {}
    return {name: done for name, done in found.items() if done is not None}


def write_parts(project: Project, target: RecordName) -> None:
    """Write a record's table of all its finished series."""
    names = completions_of(project, target)
    parts = [read_part(project.completion(target, name), project.root) for name in names]
    write_record(project, target, [part for part in parts if part is not None])


def inputs_of(
    project: Project, source: RecordName, records: tuple[TiltSeries | Tomogram, ...], files: FileDigests
) -> dict[str, str]:
    """Digests of records and of every file that they name."""
    out = {f"{source}: {one.name}": digest(one) for one in records}
    for one in records:
        gold = [project.root / one.gold] if isinstance(one, Tomogram) and one.gold else []
        for path in (*files_of(one, project.root), *gold):
            out[_short(path, project.root)] = files.of(path)
    return out


def _short(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
