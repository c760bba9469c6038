"""`lamella STEP PROJECT`: one step by its name, its settings as options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from lamella.cli.options import Json, Option, ProjectPath, given_settings, with_options
from lamella.cli.run import ExecutorName, How, SchedulerAddress, Series, Workers, finish, run_settings
from lamella.workflow.steps import Step

__all__ = ["do_step", "step_function"]


def step_function(step: Step) -> Callable[..., int]:
    """The command of a step."""

    def do(
        project: ProjectPath,
        /,
        *,
        as_: Annotated[
            str | None, Option(name="--as", help="label of a rerun: it has a folder and a table of its own")
        ] = None,
        input_: Annotated[
            str | None, Option(name="--input", help="record to start from, such as align or denoise.strong")
        ] = None,
        only: Series = None,
        executor: ExecutorName = None,
        workers: Workers = None,
        scheduler: SchedulerAddress = None,
        device: How = None,
        json: Json = False,
        given: dict[str, Any],
    ) -> int:
        return do_step(
            step, project, as_, input_, only, run_settings(executor, workers, scheduler, device), json, given
        )

    settings = step.settings_class()
    return with_options(
        do,
        settings,
        leave_out=("enabled",),
        describe=f"{step.name}: {step.summary}.\n\nSettings given are kept in "
        "lamella.toml; those not given are taken from there.",
    )


def do_step(
    step: Step,
    path: Any,
    label: str | None,
    source: str | None,
    only: list[str] | None,
    how: dict[str, Any],
    json: bool,
    given: dict[str, Any],
) -> int:
    """Do one step of the project in the folder `path`, with the settings that were `given` as texts: the exit code."""
    from lamella.cli.view import open_view
    from lamella.workflow.plan import plan_job
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName
    from lamella.workflow.runner import run_jobs

    values = given_settings(step.settings_class(), given, step.name)
    project = Project.open(path)
    target = RecordName.parse(step.name if label is None else f"{step.name}.{label}")
    settings = project.read_settings()
    origin = RecordName.parse(source) if source else None
    changed = settings.change(target, values, origin)
    job = plan_job(project, settings, target)
    with open_view() as view:
        if changed:
            with project.lock():
                settings.save()
            view.say("lamella.toml: " + ", ".join(changed))
        result = run_jobs(
            project,
            [job],
            only=only or (),
            how=settings.run_settings(how),
            command=f"lamella {target}",
            by_name=True,
            observer=view,
        )
    return finish(project, result, json)
