"""`lamella check PROJECT`: everything that can be known wrong before hours are spent."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import Annotated

from lamella.cli.options import Json, Option, ProjectPath
from lamella.cli.run import ExecutorName, How, SchedulerAddress, Workers, run_settings

__all__ = ["check"]


def check(
    project: ProjectPath,
    /,
    *,
    to: Annotated[str | None, Option(name="--to", help="the last step that is meant to run (default: all)")] = None,
    pixels: Annotated[
        bool, Option(name="--pixels", negative="", help="read every image, not only three of each series")
    ] = False,
    executor: ExecutorName = None,
    workers: Workers = None,
    scheduler: SchedulerAddress = None,
    device: How = None,
    json: Json = False,
) -> int:
    """Look for what would make work fail or be in vain: files, images, settings, disk, memory, executor.

    Ends with exit code 2 where there is a problem; warnings alone end with 0.
    """
    from lamella.errors import SettingsError
    from lamella.workflow.checks import check_project
    from lamella.workflow.project import Project

    opened = Project.open(project)
    try:
        how = opened.read_settings().run_settings(run_settings(executor, workers, scheduler, device))
    except SettingsError:
        how = None  # the check says so itself
    findings = check_project(opened, last=to, how=how, every_pixel=pixels)
    for finding in findings:
        print(f"{finding.kind}: {finding.where}: {' '.join(finding.text.split())}")
    problems = sum(finding.kind == "problem" for finding in findings)
    warnings = sum(finding.kind == "warning" for finding in findings)
    print(f"{problems} problem{'' if problems == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}")
    if json:
        print(json_text.dumps({"findings": [asdict(finding) for finding in findings]}, ensure_ascii=False))
    return 2 if problems else 0
