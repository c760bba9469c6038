"""Plots of records, and the offline page that shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.report.entries import RunRow, Section, SeriesReport
    from lamella.report.particle_entries import AverageReport, ParticlesReport, PickReport
    from lamella.report.write import write_report

__all__ = [
    "AverageReport",
    "ParticlesReport",
    "PickReport",
    "RunRow",
    "Section",
    "SeriesReport",
    "write_report",
]

open_room(
    __name__,
    {
        "AverageReport": "particle_entries",
        "ParticlesReport": "particle_entries",
        "PickReport": "particle_entries",
        "RunRow": "entries",
        "Section": "entries",
        "SeriesReport": "entries",
        "write_report": "write",
    },
)
