"""Raw data as a microscope would leave it, with the truth beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.simulate.film import Film
    from lamella.simulate.gaussians import Gaussians, project_gaussians, render_volume
    from lamella.simulate.library import file_template, named_template
    from lamella.simulate.microscope import Microscope, expose, mean_counts
    from lamella.simulate.motion import true_motion
    from lamella.simulate.packaged import PackagedModel, models
    from lamella.simulate.presets import PRESETS, preset_settings
    from lamella.simulate.raw_data import RawData, mounted_specimen, simulate
    from lamella.simulate.settings import SimulateSettings
    from lamella.simulate.specimen import Bodies, Specimen, build_specimen
    from lamella.simulate.specimen_settings import SpecimenSettings
    from lamella.simulate.templates import Template
    from lamella.simulate.true_series import record_series

__all__ = [
    "PRESETS",
    "Bodies",
    "Film",
    "Gaussians",
    "Microscope",
    "PackagedModel",
    "RawData",
    "SimulateSettings",
    "Specimen",
    "SpecimenSettings",
    "Template",
    "build_specimen",
    "expose",
    "file_template",
    "mean_counts",
    "models",
    "mounted_specimen",
    "named_template",
    "preset_settings",
    "project_gaussians",
    "record_series",
    "render_volume",
    "simulate",
    "true_motion",
]

open_room(
    __name__,
    {
        "PRESETS": "presets",
        "Bodies": "specimen",
        "Film": "film",
        "Gaussians": "gaussians",
        "Microscope": "microscope",
        "PackagedModel": "packaged",
        "RawData": "raw_data",
        "SimulateSettings": "settings",
        "Specimen": "specimen",
        "SpecimenSettings": "specimen_settings",
        "Template": "templates",
        "build_specimen": "specimen",
        "expose": "microscope",
        "file_template": "library",
        "mean_counts": "microscope",
        "models": "packaged",
        "mounted_specimen": "raw_data",
        "named_template": "library",
        "preset_settings": "presets",
        "project_gaussians": "gaussians",
        "record_series": "true_series",
        "render_volume": "gaussians",
        "simulate": "raw_data",
        "true_motion": "motion",
    },
)
