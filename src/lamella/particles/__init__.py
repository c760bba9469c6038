"""From tomograms to averages: pick, extract, first models, refinement, classes, postprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.particles.classify_settings import ClassifySettings
    from lamella.particles.extract_settings import ExtractSettings
    from lamella.particles.model_settings import ModelSettings
    from lamella.particles.pick_settings import PickSettings
    from lamella.particles.placed_copies import place_copies
    from lamella.particles.postprocess import postprocess
    from lamella.particles.postprocess_settings import PostprocessSettings
    from lamella.particles.refine_settings import RefineSettings

__all__ = [
    "ClassifySettings",
    "ExtractSettings",
    "ModelSettings",
    "PickSettings",
    "PostprocessSettings",
    "RefineSettings",
    "place_copies",
    "postprocess",
]

open_room(
    __name__,
    {
        "ClassifySettings": "classify_settings",
        "ExtractSettings": "extract_settings",
        "ModelSettings": "model_settings",
        "PickSettings": "pick_settings",
        "PostprocessSettings": "postprocess_settings",
        "RefineSettings": "refine_settings",
        "place_copies": "placed_copies",
        "postprocess": "postprocess",
    },
)
