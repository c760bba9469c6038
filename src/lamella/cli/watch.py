"""`lamella watch PROJECT`: process series as a microscope records them, and tell a running session what it measures."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated

from lamella.cli.options import Json, Option
from lamella.errors import InputError

__all__ = ["watch"]


def watch(
    project: Annotated[Path, Option(help="the project's folder; with --session it is made where it is not")],
    /,
    *,
    session: Annotated[
        Path | None,
        Option(
            name="--session", help="folder of a session that goes on (`lamella acquire`): it is told what is measured"
        ),
    ] = None,
    to: Annotated[str, Option(name="--to", help="the last step")] = "denoise",
    every: Annotated[float, Option(name="--every", help="pause between two looks, s")] = 20.0,
    quiet: Annotated[
        float, Option(name="--quiet", help="how long a series' files must be unchanged until it is complete, s")
    ] = 300.0,
    once: Annotated[bool, Option(name="--once", negative="", help="look once, and end")] = False,
    idle: Annotated[float, Option(name="--idle", help="end after so long without anything new, s (0: never)")] = 0.0,
    json: Json = False,
) -> int:
    """Work beside the microscope: take series in as they are complete, and do the enabled steps on each.

    Series come from where `lamella new --mdoc` was told (`--later` makes a project that has none yet). A series that
    fails is told of, and keeps no other back. With --session, series that still grow are measured from the session's
    own sums, and the session is told their defoci, shifts, and where the tilt axis lies. It ends when the session has
    ended and all is processed, after --idle, or with Ctrl-C.
    """
    from lamella.cli.view import open_view
    from lamella.workflow.watch import Watch, open_watched

    for name, value, least in (("--every", every, 0.0), ("--quiet", quiet, 0.0), ("--idle", idle, 0.0)):
        if not least <= value < float("inf"):
            raise InputError(f"{name} {value:g}", mend="give seconds, 0 or more")
    opened, source = open_watched(project, session)
    with open_view() as view:
        watcher = Watch(project=opened, source=source, session=session, to=to, quiet_s=quiet, observer=view)
        try:
            if once:
                watcher.round()
            else:
                watcher.run(every_s=every, idle_s=idle)
        except KeyboardInterrupt:
            view.say("stopped; what is done stays, and `lamella watch` goes on from there")
    result = watcher.result
    print(f"{len(result.processed)} series processed, {len(result.failed)} failed")
    if json:
        print(
            json_text.dumps(
                {
                    "project": str(opened.root),
                    "processed": result.processed,
                    "failed": result.failed,
                    "told": result.told,
                },
                ensure_ascii=False,
            )
        )
    return 1 if result.failed else 0
