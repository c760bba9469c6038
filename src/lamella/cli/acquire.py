"""`lamella acquire …`: record many tilt series at once, on a microscope, or on a simulated one to prove it."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.cli.options import Json, Option, given_settings, split_assignment, with_options

if TYPE_CHECKING:
    from lamella.acquire.plan import Plan
    from lamella.acquire.session.result import SessionResult

__all__ = ["feedback", "plan", "replay", "report", "resume", "run", "simulate"]

SessionPath = Annotated[Path, Option(help="the session's folder")]


def _plan(
    folder: SessionPath,
    /,
    *,
    targets: Annotated[
        str,
        Option(
            name="--targets",
            help="a table (CSV: name, x_um, y_um[, z_um][, group]), a SerialEM navigator (.nav: the points and maps "
            "marked for acquisition), PACEtomo's targets (_tgts.txt), a montage (.mrc: its good holes), or, on a "
            "simulated microscope, how many",
        ),
    ] = "25",
    hole_diameter: Annotated[
        float | None, Option(name="--hole-diameter", help="of the holes in a montage of targets, µm")
    ] = None,
    montage_pixel: Annotated[
        float | None, Option(name="--montage-pixel", help="pixel size of it, Å, where its header is silent")
    ] = None,
    microscope: Annotated[str, Option(name="--microscope", help="what records: simulated or serialem")] = "simulated",
    world: Annotated[
        str, Option(name="--world", help="of a simulated microscope: rigid, bisect, pace, faults, or a TOML file")
    ] = "bisect",
    seed: Annotated[int, Option(name="--seed", help="of a simulated microscope's random numbers")] = 1,
    pictures: Annotated[
        str, Option(name="--pictures", help="of a simulated microscope: landmarks, blobs, or full (images and movies)")
    ] = "landmarks",
    calibration: Annotated[
        Path | None, Option(name="--calibration", help="of a microscope that SerialEM controls: its microscope.toml")
    ] = None,
    address: Annotated[str, Option(name="--address", help="of SerialEM's computer; empty: this one")] = "",
    port: Annotated[int, Option(name="--port", help="of SerialEM's socket for Python")] = 48888,
    json: Json = False,
    given: dict[str, Any],
) -> int:
    from lamella.checked_settings import validate
    from lamella.workflow.acquisition import plan_folder
    from lamella.workflow.acquisition_settings import MicroscopeSettings
    from lamella.workflow.acquisition_targets import targets_of

    chosen = validate(
        MicroscopeSettings,
        {
            "microscope": microscope,
            "world": world,
            "seed": seed,
            "pictures": pictures,
            "calibration": str(calibration.resolve()) if calibration else "",
            "address": address,
            "port": port,
        },
        "acquire plan",
    )
    overrides = given_settings(AcquireSettings, given, "acquire plan")
    places = targets_of(targets, chosen, hole_um=hole_diameter, pixel_size_ang=montage_pixel)
    session = plan_folder(folder, chosen, overrides, places)
    _tell_plan(session.plan)
    print(f"next: lamella acquire run {folder}")
    if json:
        print(json_text.dumps({"folder": str(folder), **_plan_numbers(session.plan)}))
    return 0


plan = with_options(
    _plan,
    AcquireSettings,
    describe="Plan a session: check targets, limits, dose and calibrations, and tell its time, before any electron.\n\n"
    "Writes FOLDER/session.toml and FOLDER/targets.csv, which may be edited before `lamella acquire run`.",
)


def run(folder: SessionPath, /, *, json: Json = False) -> int:
    """Record the session that was planned in FOLDER.

    The log, events.jsonl, is written as the session goes; whatever stops it, `lamella acquire resume` goes on.
    """
    from lamella.cli.view import open_view
    from lamella.workflow.acquisition import read_folder, record

    session = read_folder(folder)
    _tell_plan(session.plan)
    with open_view() as view:
        result = record(session, view.work(f"session {folder}"))
    return _tell_end(result, json)


def resume(folder: SessionPath, /, *, json: Json = False) -> int:
    """Go on with a session that was stopped, wherever it was; what was recorded is not recorded again."""
    from lamella.acquire.session.run import read_session
    from lamella.cli.view import open_view
    from lamella.workflow.acquisition import go_on

    if read_session(folder).ended:
        print("this session is finished; nothing is left to record")
    with open_view() as view:
        result = go_on(folder, view.work(f"session {folder}"))
    return _tell_end(result, json)


def replay(
    folder: SessionPath,
    /,
    *,
    predictor: Annotated[
        str | None, Option(name="--predictor", help="shared, bisect, incremental or flat (default: the session's own)")
    ] = None,
    json: Json = False,
) -> int:
    """Run a recorded session again with another predictor, on the pictures that were taken: how far off would it be."""
    from lamella.acquire.session.run import replay_session
    from lamella.cli.view import open_view

    with open_view():
        result = replay_session(folder, predictor)
    return _tell_end(result, json)


def feedback(
    folder: SessionPath,
    project: Annotated[Path, Option(help="the project that processes the session's series")],
    /,
    *,
    input_: Annotated[str, Option(name="--input", help="record whose defoci, shifts and thickness are told")] = "ctf",
    json: Json = False,
) -> int:
    """Tell a running session what processing measured of its series; it takes that in before its next tilt.

    Of each view its defocus and how far alignment found it off; of each series its thickness; of all together where
    the tilt axis lies. `lamella watch PROJECT --session SESSION` does so by itself.
    """
    from lamella.workflow.acquisition_feedback import tell_session

    told = tell_session(folder, project, input_)
    print(f"told to the session in {folder} of {input_}: {told}")
    if json:
        print(json_text.dumps({"measurements": told.total, **told.counts}))
    return 0


def report(folder: SessionPath, /, *, json: Json = False) -> int:
    """Write FOLDER/report/index.html from the session's log: what was off, the stage, focus, time, what was left out.

    Of a simulated session the truth stands beside. The page opens without a network.
    """
    from lamella.cli.view import open_view
    from lamella.workflow.acquisition import report as write_report

    with open_view():
        path = write_report(folder)
    print(f"report: {path}")
    if json:
        print(json_text.dumps({"report": str(path)}, ensure_ascii=False))
    return 0


def _tell_plan(plan: Plan) -> None:
    for note in plan.notes:
        print(f"  {note}")
    numbers = _plan_numbers(plan)
    print(
        f"{numbers['targets']} targets, {numbers['tilts']} tilts: {numbers['views']} views in "
        f"{numbers['minutes']:.0f} min ({numbers['minutes_per_series']:.1f} per series), "
        f"up to {numbers['dose']:.0f} e/Å² on a target"
    )


def _plan_numbers(plan: Plan) -> dict[str, Any]:
    return {
        "targets": len(plan.targets),
        "tilts": len(plan.scheme),
        "views": int(plan.reachable.sum()),
        "minutes": plan.minutes,
        "minutes_per_series": plan.minutes / len(plan.targets),
        "dose": float(plan.doses.max()),
    }


def _tell_end(result: SessionResult, json: bool) -> int:
    numbers = {
        **result.counts,
        "views": len(result.views),
        "left_out": len(result.left_out),
        "minutes": result.minutes,
        "minutes_per_series": result.minutes_per_series,
        "displacement_um": result.displacement_um(),
        "axis_offset_um": None if result.axis is None else result.axis.axis_um,
    }
    print(
        f"{numbers['finished']} targets finished, {numbers['limit']} ended at the image shift's limit as planned, "
        f"{numbers['lost']} lost; {numbers['views']} views, {numbers['left_out']} left out"
    )
    if numbers["thick"]:
        print(f"{numbers['thick']} ended early, since they are thicker than max_thickness")
    if result.axis is not None:
        print(
            f"the tilt axis lies {result.axis.axis_um:.2f} ± {result.axis.sd_um:.2f} µm from the middle of the beam by "
            "what processing measured: axis_offset of the microscope's calibration for the next session"
        )
    print(
        f"views {numbers['displacement_um']:.3f} µm off as measured (median); {result.minutes:.0f} min, "
        f"{result.minutes_per_series:.2f} per series"
    )
    if json:
        print(json_text.dumps(numbers))
    return 0


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
    from lamella.workflow.acquisition import crashes_told
    from lamella.workflow.settings_file import written_value

    changes = dict(split_assignment(text, "stage.jump_rate=0") for text in set_ or [])
    chosen = load_world(world, {name: written_value(text) for name, text in changes.items()})
    overrides = given_settings(AcquireSettings, given, "acquire")
    with open_view() as view, crashes_told():
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
