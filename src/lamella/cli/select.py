"""`lamella select PROJECT`: a record of the series that are good enough."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from lamella.cli.options import Json, Option, ProjectPath

if TYPE_CHECKING:
    from lamella.workflow.selection import Judged

__all__ = ["select"]


def select(
    project: ProjectPath,
    /,
    *,
    max_ctf_resolution: Annotated[
        float | None, Option(name="--max-ctf-resolution", help="coarsest median fit resolution of the CTF, in Å")
    ] = None,
    max_residual: Annotated[
        float | None, Option(name="--max-residual", help="largest rms residual of the alignment, in Å")
    ] = None,
    keep: Annotated[
        int | None,
        Option(name="--keep", help="how many of the best to keep, by CTF resolution where all have one, else residual"),
    ] = None,
    input_: Annotated[
        str | None, Option(name="--input", help="record to choose from (default: the last one of tilt series)")
    ] = None,
    as_: Annotated[str | None, Option(name="--as", help="label: makes select.LABEL instead of select")] = None,
    json: Json = False,
) -> int:
    """Choose the series that go on, and say why the others do not.

    Later steps take them with --input select, or with `input = "select"` in their table of lamella.toml. Where the
    record that they were chosen from has changed, `lamella run` chooses again by the same criteria.
    """
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName
    from lamella.workflow.selection import Criteria, select_series

    criteria = Criteria(max_ctf_resolution=max_ctf_resolution, max_residual=max_residual, keep=keep)
    source = RecordName.parse(input_) if input_ else None
    selection = select_series(Project.open(project), criteria, source=source, label=as_)
    for one in selection.judged:
        print(f"{one.series}: {f'left out: {one.why}' if one.why else 'chosen'}{_numbers(one)}")
    chosen = len(selection.chosen)
    print(
        f"{selection.target}: {chosen} of {len(selection.judged)} series of {selection.source}; "
        f"steps take them with --input {selection.target}"
    )
    if json:
        told = {"record": str(selection.target), "source": str(selection.source)}
        print(json_text.dumps(told | {"series": [asdict(one) for one in selection.judged]}, ensure_ascii=False))
    return 0


def _numbers(one: Judged) -> str:
    values = (("CTF to", one.ctf_resolution_ang), ("residual", one.residual_ang))
    parts = [f"{name} {value:.1f} Å" for name, value in values if value is not None]
    return f" ({', '.join(parts)})" if parts else ""
