"""Where the specimen lies in a tomogram that was just made, and a word about it where it matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lamella.tomograms as tomograms
from lamella.errors import ImageError
from lamella.formats.images import open_volume
from lamella.records import Tomogram, VolumeSource
from lamella.workflow.context import Context
from lamella.workflow.steps.reconstruct_gold import read_gold

__all__ = ["halves_of", "tell_position"]

_TILT_DEG = 1.0  # that is left and matters
_OFFSET = 0.1  # of the thickness, that matters


def halves_of(tomogram: Tomogram, root: Path) -> tuple[VolumeSource, VolumeSource] | None:
    """Both half tomograms, where there are two."""
    if tomogram.even_volume is None or tomogram.odd_volume is None:
        return None
    return open_volume(tomogram.even_volume, root), open_volume(tomogram.odd_volume, root)


def tell_position(tomogram: Tomogram, context: Context) -> None:
    """Measure where the specimen lies, keep the numbers, and say what `lamella level` would mend."""
    assert tomogram.volume is not None  # it was just written
    beads = read_gold(context.root / tomogram.gold) if tomogram.gold else None
    volume = open_volume(tomogram.volume, context.root)
    try:
        position = tomograms.measure_position(volume, tomogram.voxel_size_ang, beads, halves_of(tomogram, context.root))
    except ImageError as error:
        context.say(f"where the specimen lies is unknown: {error.problem}")
        return
    context.say(position.in_words())
    context.measure(**position.quality())
    tilt = np.hypot(position.x_tilt_deg, position.y_tilt_deg)
    spread = np.hypot(position.x_tilt_error_deg, position.y_tilt_error_deg)
    tilted = tilt > max(_TILT_DEG, spread)
    off = abs(position.offset_ang) > max(_OFFSET * position.thickness_ang, position.offset_error_ang)
    if tilted or off:
        what = " and ".join(text for text, is_so in (("not level", tilted), ("off the middle", off)) if is_so)
        context.say(f"the specimen is {what}: `lamella level` puts it in order")
