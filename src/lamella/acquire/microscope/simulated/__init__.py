"""A simulated microscope: a true stage, lenses, grid and camera behind the port, on a clock of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.acquire.microscope.simulated.faults import SimulatedCrash
    from lamella.acquire.microscope.simulated.microscope import SimulatedMicroscope
    from lamella.acquire.microscope.simulated.score import SessionScore, score_session
    from lamella.acquire.microscope.simulated.truth import TrueView

__all__ = ["SessionScore", "SimulatedCrash", "SimulatedMicroscope", "TrueView", "score_session"]

open_room(
    __name__,
    {
        "SessionScore": "score",
        "SimulatedCrash": "faults",
        "SimulatedMicroscope": "microscope",
        "TrueView": "truth",
        "score_session": "score",
    },
)
