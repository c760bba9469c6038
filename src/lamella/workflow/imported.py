"""What another program made, kept as if a step had: the part of a record that belongs to one series."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lamella import __version__
from lamella.workflow import steps
from lamella.workflow.completion import Completion
from lamella.workflow.digests import FileDigests, digest
from lamella.workflow.ledger import now
from lamella.workflow.plan import ancestors
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.tables import Record, files_of, write_part

__all__ = ["clear_before", "keep_import"]


def clear_before(project: Project, target: RecordName, name: str) -> None:
    """Take away what a record had of one series, and the files that belonged to it."""
    folder = project.completion(target, name)
    before = Completion.read(folder)
    if before:
        before.remove(folder)
        for output in before.outputs:
            (project.root / output).unlink(missing_ok=True)


def keep_import(
    project: Project,
    target: RecordName,
    source: RecordName,
    record: Record,
    result: Record,
    parts: Mapping[str, str],
    path: Path,
    outputs: Mapping[str, int],
) -> Completion:
    """Keep one series' result.

    Parameters
    ----------
    project, target, source
        the record made, and the one whose views or tomograms were meant.
    record, result
        of the series, before and after.
    parts
        what makes the result what it is; the program's name among it, under ``import``.
    path
        that was imported.
    outputs
        files that were made with it, and their sizes.
    """
    folder = project.completion(target, result.name)
    files = FileDigests()
    inputs = {str(source): digest(record)}
    inputs |= {str(file): files.of(file) for file in files_of(record, project.root) if file.is_file()}
    done = Completion(
        fingerprint=digest(dict(parts)),
        made_from=ancestors(project, source),
        settings={},
        inputs=inputs,
        version=f"lamella {__version__}, {target.step} {steps.find_step(target.step).version}",
        origin="import",
        outputs=dict(outputs),
        quality={name: float(value) for name, value in result.quality.items()},
        messages=(f"imported from {parts['import']}: {path}",),
        started=now(),
    )
    write_part(folder, result, project.root)
    done.write(folder)
    return done
