"""`lamella simulate DIR`: raw data as a microscope would leave it, with the truth beside it."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

from lamella.cli.options import Json, Option, split_assignment
from lamella.simulate.preset_table import PRESET_TABLE

__all__ = ["simulate"]

_PRESETS = "\n".join(f"{name}: {preset.summary}" for name, preset in PRESET_TABLE.items())


def simulate(
    folder: Annotated[Path, Option(help="the folder to write into")],
    /,
    *,
    preset: Annotated[
        str,
        Option(name="--preset", help=f"what to begin with; its numbers of bodies follow the field\n{_PRESETS}"),
    ] = "quick",
    seed: Annotated[str | None, Option(name="--seed", help="of every random number")] = None,
    model: Annotated[
        list[Path] | None,
        Option(
            name="--model",
            help="atoms (PDB, mmCIF) or maps (MRC, mass positive) to use as particles",
            consume_multiple=True,
            negative="",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, Option(name="--set", help="FIELD=VALUE: any other setting of the simulation", negative="")
    ] = None,
    json: Json = False,
) -> int:
    """Simulate tilt series.

    FOLDER/raw gets movies (or a stack) and an mdoc for each, FOLDER/truth the true geometry, motion, poses and volume.
    """
    import lamella.simulate as room
    from lamella.checked_settings import validate
    from lamella.cli.view import open_view
    from lamella.simulate.presets import preset_values
    from lamella.workflow.settings_file import parse_value

    values: dict[str, Any] = {}
    if seed is not None:
        values["seed"] = parse_value(room.SimulateSettings, "seed", seed, "simulate")
    if model:
        values["models"] = tuple(str(path) for path in model)
    for text in set_ or []:
        name, value = split_assignment(text, "pixel_size=8")
        values[name] = parse_value(room.SimulateSettings, name, value, "simulate")
    settings = validate(room.SimulateSettings, preset_values(preset, values), "simulate")
    with open_view() as view:
        files = room.simulate(folder, settings, progress=view.work(f"simulate {folder}"))
    for mdoc in files.mdocs:
        print(mdoc)
    many = len(files.movies)
    print(f"{many} movies beside them" if many else f"{len(files.stacks)} stack(s) beside them")
    gain = f" --gain {files.gain}" if files.gain is not None else ""
    print(f"truth: {files.tilt_series.parent}; next: lamella new PROJECT --mdoc '{files.mdocs[0].parent}/*.mdoc'{gain}")
    if json:
        lists = {name: getattr(files, name) for name in ("mdocs", "movies", "stacks", "volumes", "motion")}
        told: dict[str, Any] = {name: [str(path) for path in paths] for name, paths in lists.items()}
        told |= {"gain": None if files.gain is None else str(files.gain), "truth": str(files.tilt_series.parent)}
        print(json_text.dumps(told))
    return 0
