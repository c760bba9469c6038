"""`lamella report PROJECT`: the page with pictures and numbers."""

from __future__ import annotations

import json as json_text

from lamella.cli.options import Json, ProjectPath

__all__ = ["report"]


def report(project: ProjectPath, /, *, json: Json = False) -> int:
    """Write report/index.html from what stands in the project; it opens without a network."""
    from lamella.workflow.project import Project
    from lamella.workflow.reporting import make_report

    opened = Project.open(project)
    with opened.lock():
        path = make_report(opened)
    print(f"report: {path}")
    if json:
        print(json_text.dumps({"report": str(path)}, ensure_ascii=False))
    return 0
