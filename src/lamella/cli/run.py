"""`lamella run PROJECT`: every enabled step that is not done yet."""

from __future__ import annotations

import json as json_text
import sys
from typing import TYPE_CHECKING, Annotated, Any

from lamella.cli.options import Json, Option, ProjectPath, split_assignment

if TYPE_CHECKING:
    from lamella.workflow.project import Project
    from lamella.workflow.runner import RunResult
    from lamella.workflow.settings_file import SettingsFile

__all__ = ["ExecutorName", "How", "SchedulerAddress", "Series", "Workers", "finish", "run", "run_settings"]

Series = Annotated[
    list[str] | None,
    Option(
        name="--only", help="names of the tilt series to work on (default: all)", consume_multiple=True, negative=""
    ),
]
ExecutorName = Annotated[str | None, Option(name="--executor", help="local (this machine) or dask")]
Workers = Annotated[str | None, Option(name="--workers", help="tilt series worked on side by side")]
SchedulerAddress = Annotated[
    str | None, Option(name="--scheduler", help="of a running dask scheduler, such as tcp://host:8786")
]
How = Annotated[str | None, Option(name="--device", help="auto, cpu or cuda")]


def run(
    project: ProjectPath,
    /,
    *,
    from_: Annotated[str | None, Option(name="--from", help="first step to do")] = None,
    to: Annotated[str | None, Option(name="--to", help="last step to do")] = None,
    only: Series = None,
    set_: Annotated[
        list[str] | None,
        Option(
            name="--set", help="STEP.FIELD=VALUE (or run.FIELD): change a setting in lamella.toml first", negative=""
        ),
    ] = None,
    executor: ExecutorName = None,
    workers: Workers = None,
    scheduler: SchedulerAddress = None,
    device: How = None,
    report: Annotated[
        bool | None, Option(name="--report", help="make the report anew at the end (default: as [run] says)")
    ] = None,
    json: Json = False,
) -> int:
    """Do every enabled step that is not done yet, for every tilt series.

    A series that is done, with the same input, settings and version, is left alone; a run that was stopped or killed
    goes on where it was. A series that fails does not stop the others.
    """
    from lamella.cli.view import open_view
    from lamella.workflow.plan import line_of_jobs
    from lamella.workflow.project import Project
    from lamella.workflow.runner import run_jobs

    opened = Project.open(project)
    settings = opened.read_settings()
    changed = change_settings(settings, set_ or [])
    values = run_settings(executor, workers, scheduler, device)
    if report is not None:
        values["report"] = report
    how = settings.run_settings(values)
    jobs = line_of_jobs(opened, settings, from_, to)
    with open_view() as view:
        if changed:
            with opened.lock():
                settings.save()
            view.say("lamella.toml: " + ", ".join(changed))

        def refresh() -> None:
            from lamella.workflow.reporting import make_report

            view.say(f"report: {make_report(opened)}")

        result = run_jobs(
            opened,
            jobs,
            only=only or (),
            how=how,
            command="lamella run",
            observer=view,
            at_end=refresh if how.report else None,
        )
    return finish(opened, result, json)


def run_settings(
    executor: str | None, workers: str | None, scheduler: str | None, device: str | None
) -> dict[str, Any]:
    """The run settings that were given; a scheduler means dask."""
    from lamella.workflow.run_settings import RunSettings
    from lamella.workflow.settings_file import parse_value

    if scheduler and executor is None:
        executor = "dask"
    texts = {"executor": executor, "workers": workers, "scheduler": scheduler, "device": device}
    return {name: parse_value(RunSettings, name, text, "--") for name, text in texts.items() if text is not None}


def change_settings(settings: SettingsFile, assignments: list[str]) -> list[str]:
    """Apply ``STEP.FIELD=VALUE`` or ``run.FIELD=VALUE`` to the settings; returns what changed.

    Raises
    ------
    InputError
        if the step or the setting does not exist, or the value is out of its bounds.
    """
    from lamella.errors import InputError
    from lamella.workflow.record_name import RecordName
    from lamella.workflow.run_settings import RunSettings
    from lamella.workflow.settings_file import parse_value
    from lamella.workflow.steps import find_step

    changed = []
    for text in assignments:
        name, value = split_assignment(text, "align.method=patches")
        record, dot, setting = name.rpartition(".")
        if not dot:
            raise InputError(f"--set {text} names no step", mend="write it as --set STEP.FIELD=VALUE")
        if record == "run":
            changed += settings.change_run({setting: parse_value(RunSettings, setting, value, "[run]")})
            continue
        find_step(record.partition(".")[0])
        target = RecordName.parse(record)
        if not settings.has(target):
            raise InputError(f"--set {text}: there is no table [{target}]", mend=f"make it with --as {target.label}")
        parsed = parse_value(find_step(target.step).settings_class(), setting, value, f"[{target}]")
        changed += settings.change(target, {setting: parsed})
    return changed


def finish(project: Project, result: RunResult, json: bool) -> int:
    """Tell what failed and end: the exit code."""
    for record, series, failure in result.failures:
        print(f"lamella: {record}: {_with_series(series, str(failure))}", file=sys.stderr)
    if json:
        print(json_text.dumps(_as_json(project, result), ensure_ascii=False))
    return result.exit_code


def _with_series(series: str, text: str) -> str:
    line = " ".join(text.split())
    return line if line.startswith(series) else f"{series}: {line}"


def _as_json(project: Project, result: RunResult) -> dict[str, Any]:
    return {
        "project": str(project.root),
        "exit_code": result.exit_code,
        "steps": [
            {
                "record": str(entry.job.target),
                "made_from": str(entry.job.source),
                "made": list(entry.made),
                "kept": list(entry.kept),
                "failed": {name: str(failure) for name, failure in entry.failed.items()},
                "quality": {
                    outcome.series: dict(outcome.completion.quality) for outcome in entry.outcomes if outcome.completion
                },
            }
            for entry in result.jobs
        ],
    }
