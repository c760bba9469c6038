"""What `reconstruct` paints over before it begins, what it says of it, and the table of the beads' places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lamella.formats.images import open_images
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.progress import Progress
from lamella.records import TiltSeries
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.workflow.context import Context

if TYPE_CHECKING:
    from lamella.tomograms.gold import GoldPlan  # torch comes with it
    from lamella.tomograms.gold_find import GoldBeads

__all__ = ["BEAD_DIAMETER", "find_gold_of", "read_gold"]

BEAD_DIAMETER = "lamellaBeadDiameterAngst"
"""Column of a table of beads."""

_PLACE = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")


def find_gold_of(
    record: TiltSeries, images: tuple[str, ...], settings: ReconstructSettings, context: Context, progress: Progress
) -> tuple[GoldPlan, str | None]:
    """Find what of a series is to be painted over; the plan, and the name of the table of its beads, if there are any.

    Raises
    ------
    OutputError
        if the table cannot be written.
    """
    from lamella.tomograms.gold import plan_gold

    plan = plan_gold(record, open_images(images, context.root), settings, progress)
    for text in plan.messages:
        context.say(text)
    if plan.beads is None:
        return plan, None
    context.measure(GoldBeads=len(plan.beads), GoldPaintedFraction=plan.painted_fraction)
    if not len(plan.beads):
        return plan, None
    with context.new_file("_gold.star") as path:
        write_star(path, [_table(record.name, plan.beads)])
    return plan, context.name(path)


def read_gold(path: Path) -> NDArray[np.float64] | None:
    """Places ``(g, 3)`` of the beads, xyz in Å from the tomogram's centre voxel; None where there are none in the file.

    Raises
    ------
    FormatError
        if the file is missing or no table.
    """
    tables = [table for table in read_star(path).values() if set(_PLACE) <= set(table.columns)]
    return np.stack([tables[0].numbers(label) for label in _PLACE], axis=-1) if tables else None


def _table(name: str, beads: GoldBeads) -> StarTable:
    """Places of the beads, Å from the tomogram's centre voxel, and how many views say so."""
    columns = {"rlnTomoName": (name,) * len(beads)}
    columns |= {
        label: tuple(number_text(round(float(value), 3)) for value in beads.points_ang[:, axis])
        for axis, label in enumerate(_PLACE)
    }
    columns[BEAD_DIAMETER] = (number_text(round(beads.diameter_ang, 3)),) * len(beads)
    columns["lamellaBeadViewsSeen"] = tuple(str(int(count)) for count in beads.views_seen)
    return StarTable("gold", columns)
