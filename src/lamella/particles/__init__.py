"""From tomograms to averages: pick, extract, first models, refinement, classes, postprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.particles.classify_settings import ClassifySettings
    from lamella.particles.extract_settings import ExtractSettings
    from lamella.particles.model_settings import ModelSettings
    from lamella.particles.pick import PickResult, pick
    from lamella.particles.pick_settings import PickSettings
    from lamella.particles.placed_copies import place_copies
    from lamella.particles.postprocess import postprocess
    from lamella.particles.postprocess_settings import PostprocessSettings
    from lamella.particles.refine_settings import RefineSettings
    from lamella.particles.shapes import pick_shape
    from lamella.particles.template import Template, prepare_template

__all__ = [
    "ClassifySettings",
    "ExtractSettings",
    "ModelSettings",
    "PickResult",
    "PickSettings",
    "PostprocessSettings",
    "RefineSettings",
    "Template",
    "pick",
    "pick_shape",
    "place_copies",
    "postprocess",
    "prepare_template",
]

open_room(
    __name__,
    {
        "ClassifySettings": "classify_settings",
        "ExtractSettings": "extract_settings",
        "ModelSettings": "model_settings",
        "PickResult": "pick",
        "PickSettings": "pick_settings",
        "PostprocessSettings": "postprocess_settings",
        "RefineSettings": "refine_settings",
        "Template": "template",
        "pick": "pick",
        "pick_shape": "shapes",
        "place_copies": "placed_copies",
        "postprocess": "postprocess",
        "prepare_template": "template",
    },
)
