"""Raw data as a microscope would leave it, with the truth beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.simulate.gaussians import Gaussians, project_gaussians, render_volume
    from lamella.simulate.microscope import expose, mean_counts, record_series
    from lamella.simulate.raw_data import RawData, simulate
    from lamella.simulate.settings import PRESETS, SimulateSettings
    from lamella.simulate.former_specimen import Specimen, build_specimen

__all__ = [
    "PRESETS",
    "Gaussians",
    "RawData",
    "SimulateSettings",
    "Specimen",
    "build_specimen",
    "expose",
    "mean_counts",
    "project_gaussians",
    "record_series",
    "render_volume",
    "simulate",
]

open_room(
    __name__,
    {
        "PRESETS": "settings",
        "mean_counts": "microscope",
        "Gaussians": "gaussians",
        "RawData": "raw_data",
        "SimulateSettings": "settings",
        "Specimen": "former_specimen",
        "build_specimen": "former_specimen",
        "expose": "microscope",
        "project_gaussians": "gaussians",
        "record_series": "microscope",
        "render_volume": "gaussians",
        "simulate": "raw_data",
    },
)
