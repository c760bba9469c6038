"""`lamella convert SOURCE TARGET`: filter, resample, bin, crop, pad or rescale a stack or volume."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import Annotated, Any

from lamella.cli.options import Json, Option, given_settings, with_options
from lamella.workflow.convert_settings import ConvertSettings

__all__ = ["convert"]


def _convert(
    source: Annotated[Path, Option(help="a stack or volume: MRC, TIFF, or an OME-Zarr folder")],
    target: Annotated[Path, Option(help="the file to write; its suffix names its format: .mrc, .mrcs, .tif or .zarr")],
    /,
    *,
    json: Json = False,
    given: dict[str, Any],
) -> int:
    from lamella.checked_settings import validate
    from lamella.cli.view import open_view
    from lamella.workflow.convert import convert_volume

    settings = validate(ConvertSettings, given_settings(ConvertSettings, given, "convert"), "convert")
    with open_view() as view:
        result = convert_volume(source, target, settings, view.work(f"convert {source.name}"))
    for note in result.notes:
        print(f"  {note}")
    size = " × ".join(str(number) for number in reversed(result.shape))
    pixel = f" at {result.pixel_size_ang:g} Å" if result.pixel_size_ang else ""
    clipped = f", {result.clipped} grey values clipped" if result.clipped else ""
    print(f"{target}: {size} px{pixel}{clipped}")
    if json:
        values = {"target": str(target), "shape_zyx": result.shape, "pixel_size_ang": result.pixel_size_ang}
        print(json_text.dumps(values | {"clipped": result.clipped, "notes": [str(note) for note in result.notes]}))
    return 0


convert = with_options(
    _convert,
    ConvertSettings,
    describe="Filter, resample, bin, crop, pad or rescale a stack or volume; in the order of the options.",
)
