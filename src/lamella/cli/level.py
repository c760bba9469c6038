"""`lamella level PROJECT`: the series behind the tomograms in a frame in which their specimens are level."""

from __future__ import annotations

import json as json_text
from dataclasses import asdict
from typing import Annotated, Any

from lamella.cli.options import Json, Option, ProjectPath, given_settings, with_options
from lamella.cli.run import Series
from lamella.tomograms.level_settings import LevelSettings

__all__ = ["level"]


def _level(
    project: ProjectPath,
    /,
    *,
    input_: Annotated[
        str | None, Option(name="--input", help="record of the tomograms that are measured (default: reconstruct)")
    ] = None,
    as_: Annotated[str | None, Option(name="--as", help="label: makes level.LABEL instead of level")] = None,
    only: Series = None,
    json: Json = False,
    given: dict[str, Any],
) -> int:
    from lamella.cli.view import open_view
    from lamella.workflow.levelling import level_series
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName

    settings = LevelSettings(**given_settings(LevelSettings, given, "level"))
    source = RecordName.parse(input_) if input_ else None
    with open_view() as view:
        made = level_series(
            Project.open(project), settings, source=source, label=as_, only=only or (), progress=view.work("level")
        )
    for one in made.levelled:
        for text in one.messages:
            print(f"{one.series}: {text}")
    label = (as_ or "level") if made.source.label is None else f"{made.source.label}-level"
    print(f"{made.target}; tomograms in the new frame: lamella reconstruct PROJECT --input {made.target} --as {label}")
    if json:
        told = {"record": str(made.target), "source": str(made.source)}
        print(json_text.dumps(told | {"series": [asdict(one) for one in made.levelled]}, ensure_ascii=False))
    return 0


level = with_options(
    _level,
    LevelSettings,
    leave_out=("enabled",),
    describe="Turn and shift the frame of tomograms so that their specimens are level and in the middle.\n\nWhere a "
    "specimen lies is measured in its tomogram. No picture changes and nothing that was written before: geometry and "
    "defocus of the new frame are a record of tilt series that later steps take with --input level.",
)
