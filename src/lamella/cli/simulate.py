"""`lamella simulate DIR`: raw data as a microscope would leave it, with the truth beside it."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

from lamella.cli.options import Json, Option, split_assignment
from lamella.errors import InputError

__all__ = ["simulate"]


def simulate(
    folder: Annotated[Path, Option(help="the folder to write into")],
    /,
    *,
    preset: Annotated[str, Option(name="--preset", help="quick: one small series, made in seconds")] = "quick",
    seed: Annotated[str | None, Option(name="--seed", help="of every random number")] = None,
    model: Annotated[
        list[Path] | None,
        Option(
            name="--model", help="maps to use as particles (MRC, mass positive)", consume_multiple=True, negative=""
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, Option(name="--set", help="FIELD=VALUE: any other setting of the simulation", negative="")
    ] = None,
    json: Json = False,
) -> int:
    """Simulate tilt series.

    FOLDER/raw gets a stack and an mdoc for each, FOLDER/truth the true geometry, poses and volume.
    """
    from difflib import get_close_matches

    import lamella.simulate as room
    from lamella.cli.view import open_view
    from lamella.workflow.settings_file import parse_value, validate

    if preset not in room.PRESETS:
        near = get_close_matches(preset, list(room.PRESETS), n=1)
        raise InputError(
            f"there is no preset {preset!r}",
            mend=f"did you mean {near[0]}?" if near else f"choose one of {', '.join(room.PRESETS)}",
        )
    values: dict[str, Any] = room.PRESETS[preset].model_dump()
    if seed is not None:
        values["seed"] = parse_value(room.SimulateSettings, "seed", seed, "simulate")
    if model:
        values["models"] = tuple(str(path) for path in model)
    for text in set_ or []:
        name, value = split_assignment(text, "pixel_size=8")
        values[name] = parse_value(room.SimulateSettings, name, value, "simulate")
    settings = validate(room.SimulateSettings, values, "simulate")
    with open_view() as view:
        files = room.simulate(folder, settings, progress=view.work(f"simulate {folder}"))
    for stack, mdoc in zip(files.stacks, files.mdocs, strict=True):
        print(f"{stack}, {mdoc.name}")
    print(f"truth: {files.tilt_series.parent}; next: lamella new PROJECT --mdoc '{files.mdocs[0].parent}/*.mdoc'")
    if json:
        values = {"stacks": files.stacks, "mdocs": files.mdocs, "volumes": files.volumes}
        print(json_text.dumps({name: [str(path) for path in paths] for name, paths in values.items()}))
    return 0
