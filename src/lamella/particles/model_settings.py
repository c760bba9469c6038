"""Settings of `initial-model`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["MODEL_PROBABILITY", "ModelSettings"]

MODEL_PROBABILITY = "ModelProbability"
"""The score of particles that a first model gave orientations: of their class."""

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]


class ModelSettings(StepSettings):
    """How a first map is found from particles of unknown orientation."""

    enabled: bool | Auto = setting("auto", "auto: only where neither pick.template nor refine.reference is given")  # type: ignore[assignment]
    classes: int = setting(1, "number of maps", ge=1, le=20)
    symmetry: str = setting("C1", "point group that is imposed when the map is found, after its axes were looked for")
    diameter: Positive | Auto = setting("auto", "of the particle's mask; auto takes extract's", unit="Å")
    iterations: int = setting(100, "number of steps", ge=1, le=2000)
    resolution: Positive | Auto = setting("auto", "finest detail at the end; auto is 30 Å or three pixels", unit="Å")
    batch: int | Auto = setting("auto", "particles per step; auto rises from a tenth of all to all")
    random_angles: bool = setting(True, "begin from random orientations even where pick found some")
    seed: int = setting(1, "of every random number", ge=0)
