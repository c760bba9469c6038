"""Settings of `classify`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["ClassifySettings"]

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]


class ClassifySettings(StepSettings):
    """How particles are sorted into classes of different maps."""

    enabled: bool = setting(False, "whether `lamella run` does this step")
    classes: int = setting(3, "number of classes", ge=1, le=50)
    align: bool = setting(False, "search orientations too, near those given; else only the class is found")
    mask: str = setting("", "where the classes may differ, in the reference's frame; left out, a sphere", file=True)
    diameter: Positive | Auto = setting("auto", "of the spherical mask; auto takes extract's", unit="Å")
    symmetry: str = setting("C1", "point group")
    regularisation: float = setting(
        1.0, "weight of the data against smooth maps (RELION's T); 1 believes what is more than the noise", gt=0
    )
    resolution: Positive | Auto = setting("auto", "finest detail that is compared; auto follows the maps", unit="Å")
    iterations: int = setting(25, "most iterations", ge=1, le=200)
    angle_range: float = setting(10.0, "align: how far from the given orientation", unit="deg", gt=0)
    seed: int = setting(1, "of every random number", ge=0)
