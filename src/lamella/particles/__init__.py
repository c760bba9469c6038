"""From tomograms to averages: pick, extract, first models, refinement, classes, postprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.particles.average import Average, average
    from lamella.particles.average_accumulator import Accumulator
    from lamella.particles.classify import Classification, classify
    from lamella.particles.classify_settings import ClassifySettings
    from lamella.particles.extract import Gold, extract
    from lamella.particles.extract_box import PictureBox, choose_box
    from lamella.particles.extract_settings import ExtractSettings
    from lamella.particles.initial_model import InitialModel, initial_model
    from lamella.particles.model_settings import ModelSettings
    from lamella.particles.pick import PickResult, pick
    from lamella.particles.pick_settings import PickSettings
    from lamella.particles.placed_copies import place_copies
    from lamella.particles.postprocess import postprocess
    from lamella.particles.postprocess_settings import PostprocessSettings
    from lamella.particles.refine import RefineResult, refine
    from lamella.particles.refine_settings import RefineSettings
    from lamella.particles.refine_state import RefineState
    from lamella.particles.shapes import pick_shape
    from lamella.particles.symmetry_axes import SymmetryFrame, find_symmetry_axes
    from lamella.particles.template import Template, prepare_template

__all__ = [
    "Accumulator",
    "Average",
    "Classification",
    "ClassifySettings",
    "ExtractSettings",
    "Gold",
    "InitialModel",
    "ModelSettings",
    "PickResult",
    "PickSettings",
    "PictureBox",
    "PostprocessSettings",
    "RefineResult",
    "RefineSettings",
    "RefineState",
    "SymmetryFrame",
    "Template",
    "average",
    "choose_box",
    "classify",
    "extract",
    "find_symmetry_axes",
    "initial_model",
    "pick",
    "pick_shape",
    "place_copies",
    "postprocess",
    "prepare_template",
    "refine",
]

open_room(
    __name__,
    {
        "Accumulator": "average_accumulator",
        "Average": "average",
        "Classification": "classify",
        "ClassifySettings": "classify_settings",
        "ExtractSettings": "extract_settings",
        "Gold": "extract",
        "InitialModel": "initial_model",
        "ModelSettings": "model_settings",
        "PickResult": "pick",
        "PickSettings": "pick_settings",
        "PictureBox": "extract_box",
        "PostprocessSettings": "postprocess_settings",
        "RefineResult": "refine",
        "RefineSettings": "refine_settings",
        "RefineState": "refine_state",
        "SymmetryFrame": "symmetry_axes",
        "Template": "template",
        "average": "average",
        "choose_box": "extract_box",
        "classify": "classify",
        "extract": "extract",
        "find_symmetry_axes": "symmetry_axes",
        "initial_model": "initial_model",
        "pick": "pick",
        "pick_shape": "shapes",
        "place_copies": "placed_copies",
        "postprocess": "postprocess",
        "prepare_template": "template",
        "refine": "refine",
    },
)
