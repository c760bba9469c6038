"""`lamella status PROJECT`: which steps are done, for which tilt series."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import TYPE_CHECKING

from lamella.cli.options import Json, ProjectPath

if TYPE_CHECKING:
    from lamella.workflow.status import StatusRow

__all__ = ["status"]

_WIDEST = 44


def status(project: ProjectPath, /, *, json: Json = False) -> int:
    """Show every record and series: done, outdated (and why), failed or to do, with time, memory and quality."""
    from lamella.workflow.project import Project
    from lamella.workflow.status import project_status

    rows = project_status(Project.open(project))
    table = [["record", "series", "state", "from", "time", "memory", "quality"]]
    table += [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if json:
        print(json_text.dumps({"rows": [asdict(row) for row in rows]}, ensure_ascii=False, default=dict))
    return 0


def _cells(row: StatusRow) -> list[str]:
    why = f" ({row.why if len(row.why) <= _WIDEST else row.why[: _WIDEST - 1] + '…'})" if row.why else ""
    quality = ", ".join(f"{name} {value:.4g}" for name, value in list(row.quality.items())[:4])
    return [
        row.record,
        row.series,
        row.state + why,
        row.made_from,
        f"{row.wall_s:.1f} s" if row.wall_s else "",
        f"{row.peak_mib:.0f} MiB" if row.peak_mib else "",
        quality,
    ]
