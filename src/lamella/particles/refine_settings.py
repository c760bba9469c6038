"""Settings of `refine`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["RefineSettings"]

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]


class RefineSettings(StepSettings):
    """How orientations and places are refined to a gold-standard average."""

    reference: str = setting(
        "", "first reference (MRC, mass positive); left out: the initial model, else the average of the picked poses "
        "low-passed", file=True,
    )  # fmt: skip
    low_pass: float = setting(40.0, "finest detail of the first reference", unit="Å", gt=0)
    symmetry: str = setting("C1", "point group")
    diameter: Positive | Auto = setting("auto", "of the spherical mask; auto takes extract's", unit="Å")
    mask: str = setting("", "soft mask of the reference (solvent mask); left out, a sphere", file=True)
    classes: str = setting("", "use only particles of these classes, such as 1,3; left out: all")
    search: Literal["auto", "global", "local"] = setting(
        "auto", "global: every orientation at first; local: about those given; auto: local where pick or initial-model "
        "found them",
    )  # fmt: skip
    angle_range: Positive | Auto = setting("auto", "local: how far from the given orientation", unit="deg")
    angle_step: Positive | Auto = setting(
        "auto", "first angle between orientations; auto follows the reference's resolution", unit="deg"
    )
    shift_range: Positive | Auto = setting(
        "auto", "how far from the given place; auto: a sixth of the diameter", unit="Å"
    )
    prior_tilt_psi: float = setting(
        0.0, "width of the prior about rlnAngleTiltPrior and rlnAnglePsiPrior; 0: none", unit="deg", ge=0
    )
    iterations: int = setting(25, "most iterations", ge=1, le=200)
    keep_iterations: bool = setting(True, "keep every iteration's maps, correlation and angular changes")
