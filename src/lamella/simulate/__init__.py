"""Raw data as a microscope would leave it, with the truth beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.simulate.gaussians import Gaussians, project_gaussians, render_volume
    from lamella.simulate.microscope import Microscope, expose, mean_counts
    from lamella.simulate.motion import true_motion
    from lamella.simulate.raw_data import RawData, mounted_specimen, simulate
    from lamella.simulate.settings import PRESETS, SimulateSettings
    from lamella.simulate.specimen import Bodies, Specimen, build_specimen
    from lamella.simulate.templates import Template
    from lamella.simulate.true_series import record_series

__all__ = [
    "PRESETS",
    "Bodies",
    "Gaussians",
    "Microscope",
    "RawData",
    "SimulateSettings",
    "Specimen",
    "Template",
    "build_specimen",
    "expose",
    "mean_counts",
    "mounted_specimen",
    "project_gaussians",
    "record_series",
    "render_volume",
    "simulate",
    "true_motion",
]

open_room(
    __name__,
    {
        "PRESETS": "settings",
        "Bodies": "specimen",
        "Gaussians": "gaussians",
        "Microscope": "microscope",
        "RawData": "raw_data",
        "SimulateSettings": "settings",
        "Specimen": "specimen",
        "Template": "templates",
        "build_specimen": "specimen",
        "expose": "microscope",
        "mean_counts": "microscope",
        "mounted_specimen": "raw_data",
        "project_gaussians": "gaussians",
        "record_series": "true_series",
        "render_volume": "gaussians",
        "simulate": "raw_data",
        "true_motion": "motion",
    },
)
