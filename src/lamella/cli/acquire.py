"""`lamella acquire …`: record many tilt series at once, on a microscope, or on a simulated one to prove it."""

from __future__ import annotations

import json as json_text
from typing import Annotated, Any

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.cli.options import Json, Option, given_settings, split_assignment, with_options

__all__ = ["simulate"]


def _simulate(
    *,
    world: Annotated[
        str,
        Option(
            name="--world",
            help="what stage, lenses, grid and faults are like: rigid, bisect, pace, faults, or a TOML file of them",
        ),
    ] = "bisect",
    targets: Annotated[int, Option(name="--targets", help="how many")] = 25,
    seed: Annotated[int, Option(name="--seed", help="of every random number")] = 1,
    set_: Annotated[
        list[str] | None,
        Option(name="--set", help="TABLE.FIELD=VALUE: any parameter of the world, as in its TOML file", negative=""),
    ] = None,
    json: Json = False,
    given: dict[str, Any],
) -> int:
    from lamella.acquire.simulated_session import simulate_session
    from lamella.acquire.world import load_world
    from lamella.cli.view import open_view
    from lamella.workflow.settings_file import written_value

    changes = dict(split_assignment(text, "stage.jump_rate=0") for text in set_ or [])
    chosen = load_world(world, {name: written_value(text) for name, text in changes.items()})
    overrides = given_settings(AcquireSettings, given, "acquire")
    with open_view() as view:
        session = simulate_session(
            chosen, seed, targets=targets, overrides=overrides, progress=view.work(f"session in world {world}")
        )
    score, result = session.score, session.result
    print(
        f"targeting {_spread(session.score.targeting_um)} µm, defocus {_spread(score.defocus_um)} µm off (median ± IQR)"
    )
    tracking = "nothing tracked" if score.tracking_nm is None else f"tracking area left {score.tracking_nm:.1f} nm off"
    print(f"{tracking}; {score.targets_finished} targets finished, {score.targets_lost} lost")
    print(f"{score.minutes_per_series:.2f} min per series, {len(result.left_out)} views left out")
    if json:
        print(json_text.dumps(score.as_dict()))
    return 0


def _spread(spread: Any) -> str:
    return "nothing" if spread.median is None else f"{spread.median:.3f} ± {spread.iqr:.3f}"


simulate = with_options(
    _simulate,
    AcquireSettings,
    describe="Record one session on the simulated microscope and tell how far its views were off the truth.\n\n"
    "Settings of the session that are not given are the world's, or else the defaults told here.",
)
