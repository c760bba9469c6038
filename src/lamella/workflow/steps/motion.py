"""`motion`: movies to tilt images. Stacks pass through; movies are refused, since this release cannot correct them."""

from __future__ import annotations

from lamella.errors import InputError
from lamella.movies.motion_settings import MotionSettings
from lamella.records import TiltSeries
from lamella.workflow.context import Context

__all__ = ["problems", "run"]


def problems(record: TiltSeries) -> list[str]:
    """What `lamella check` says of a series before anything is done."""
    if record.images is None:
        return [f"{record.name}: its raw data are movies, and this release of lamella corrects none"]
    return []


def run(record: TiltSeries, settings: MotionSettings, context: Context) -> TiltSeries:
    """Pass a series of tilt images on.

    Raises
    ------
    InputError
        if the series consists of movies.
    """
    found = problems(record)
    if found:
        raise InputError(
            found[0],
            mend="correct them with another program, and make a project from its stack (`lamella new --stack`)",
        )
    context.pass_on("its tilt images are there already")
    return record
