"""`lamella combine PROJECT A B`: the tomograms of two tilt axes of one specimen become one."""

from __future__ import annotations

import json as json_text
from typing import Annotated, Any

from lamella.cli.options import Json, Option, ProjectPath, given_settings, with_options
from lamella.tomograms.combine_settings import CombineSettings

__all__ = ["combine"]


def _combine(
    project: ProjectPath,
    first: Annotated[str, Option(help="the series that was recorded first: its frame and box are kept")],
    second: Annotated[str, Option(help="the series that was recorded after the specimen was turned")],
    /,
    *,
    input_: Annotated[
        str | None, Option(name="--input", help="record of the two tomograms (default: reconstruct)")
    ] = None,
    as_: Annotated[str | None, Option(name="--as", help="label: makes combine.LABEL instead of combine")] = None,
    name: Annotated[
        str | None, Option(name="--name", help="of the combined series (default: what both names begin with)")
    ] = None,
    json: Json = False,
    given: dict[str, Any],
) -> int:
    from lamella.cli.view import open_view
    from lamella.workflow.combining import combine_series
    from lamella.workflow.project import Project
    from lamella.workflow.record_name import RecordName

    settings = CombineSettings(**given_settings(CombineSettings, given, "combine"))
    source = RecordName.parse(input_) if input_ else None
    with open_view() as view:
        made = combine_series(
            Project.open(project),
            first,
            second,
            settings,
            source=source,
            label=as_,
            name=name,
            progress=view.work(f"{first} + {second}"),
        )
    for text in made.messages:
        print(f"{made.series}: {text}")
    print(f"{made.target}/{made.series}.mrc; steps take the views of both with --input {made.target}")
    if json:
        told = {"record": str(made.target), "source": str(made.source), "series": made.series}
        print(json_text.dumps(told | {"quality": made.quality, "messages": made.messages}, ensure_ascii=False))
    return 0


combine = with_options(
    _combine,
    CombineSettings,
    leave_out=("enabled",),
    describe="Combine the tomograms of two tilt axes of one specimen in Fourier space.\n\nThe second is laid onto the "
    "first by gold beads or by the volumes themselves; each frequency comes from the series that measures it. The "
    "record holds the views of both in one frame, for `lamella reconstruct --input combine` and particles.",
)
