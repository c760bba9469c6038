"""The quality of a tomogram, measured from its files once they are written."""

from __future__ import annotations

from pathlib import Path

import lamella.tomograms as tomograms
from lamella.errors import ImageError
from lamella.formats.denoised import refuse_denoised
from lamella.formats.fsc import FSC, write_fsc
from lamella.progress import Progress, no_progress
from lamella.records import Tomogram
from lamella.workflow.context import Context

__all__ = ["measure_quality"]


def measure_quality(tomogram: Tomogram, context: Context, progress: Progress = no_progress) -> None:
    """Write ``NAME_fsc.star`` where there are halves, and keep the numbers; halves that cannot be compared are said.

    Where the specimen lies is taken from the context's numbers, where `tell_position` left them.
    """
    quality = None
    thickness, middle = context.quality.get("PositionThicknessAngst"), context.quality.get("PositionOffsetAngst", 0.0)
    if tomogram.has_halves:
        even, odd = (refuse_denoised(context.root / Path(name)) for name in tomogram.measured_halves)
        try:
            quality = tomograms.tomogram_quality(
                tomogram, even, odd, thickness_ang=thickness, middle_ang=middle, progress=progress
            )
        except ImageError as error:
            context.say(f"the halves were not compared: {error.problem}")
    if quality is None:
        quality = tomograms.tomogram_quality(tomogram)
    if quality.curve is not None:
        with context.new_file(FSC) as path:
            write_fsc(path, quality.curve)
    context.say(quality.in_words())
    context.measure(**quality.numbers())
