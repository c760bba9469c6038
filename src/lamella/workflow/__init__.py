"""Steps, projects and runs: what stands between the stage functions and whoever calls them.

The command line is one face over this room; a notebook may be another: open a `Project`, plan jobs, run them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.workflow.checks import check_project
    from lamella.workflow.exchange import export_alignment, import_alignment
    from lamella.workflow.new import create_project
    from lamella.workflow.plan import line_of_jobs, plan_job
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName
    from lamella.workflow.reporting import make_report
    from lamella.workflow.runner import RunResult, run_jobs
    from lamella.workflow.status import project_status

__all__ = [
    "Project",
    "RecordName",
    "RunResult",
    "check_project",
    "create_project",
    "export_alignment",
    "import_alignment",
    "line_of_jobs",
    "make_report",
    "plan_job",
    "project_status",
    "run_jobs",
]

open_room(
    __name__,
    {
        "Project": "project",
        "RecordName": "record_name",
        "RunResult": "runner",
        "check_project": "checks",
        "create_project": "new",
        "export_alignment": "exchange",
        "import_alignment": "exchange",
        "line_of_jobs": "plan",
        "make_report": "reporting",
        "plan_job": "plan",
        "project_status": "status",
        "run_jobs": "runner",
    },
)
