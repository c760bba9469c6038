"""Where the targets will be after the next tilt, and how far out of focus: one interface, four ways of knowing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.acquire.predictor.bisect import BisectPredictor
    from lamella.acquire.predictor.factory import PREDICTORS, make_predictor
    from lamella.acquire.predictor.flat import FlatPredictor
    from lamella.acquire.predictor.incremental import IncrementalPredictor, plane_height
    from lamella.acquire.predictor.interface import Observation, Prediction, Predictor, TargetPlace, View
    from lamella.acquire.predictor.shared import SharedPredictor
    from lamella.acquire.predictor.shared_state import SharedPriors

__all__ = [
    "PREDICTORS",
    "BisectPredictor",
    "FlatPredictor",
    "IncrementalPredictor",
    "Observation",
    "Prediction",
    "Predictor",
    "SharedPredictor",
    "SharedPriors",
    "TargetPlace",
    "View",
    "make_predictor",
    "plane_height",
]

open_room(
    __name__,
    {
        "BisectPredictor": "bisect",
        "FlatPredictor": "flat",
        "IncrementalPredictor": "incremental",
        "Observation": "interface",
        "PREDICTORS": "factory",
        "Prediction": "interface",
        "Predictor": "interface",
        "SharedPredictor": "shared",
        "SharedPriors": "shared_state",
        "TargetPlace": "interface",
        "View": "interface",
        "make_predictor": "factory",
        "plane_height": "incremental",
    },
)
