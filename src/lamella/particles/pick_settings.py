"""Settings of `pick`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["PickSettings"]

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]


class PickSettings(StepSettings):
    """How particles are found in a tomogram."""

    method: Literal["template", "import", "sphere", "filament", "surface"] = setting(
        "template",
        "template: correlation with a turned reference; import: coordinates from a file; sphere, filament, surface: "
        "points laid over a shape that a file of points describes, with orientations to search about",
    )
    template: str = setting("", "template: a map (MRC), or an atomic model (PDB, mmCIF), mass positive", file=True)
    coordinates: str = setting(
        "", "import, sphere, filament, surface: file of points (particles.star, Dynamo .tbl, STOPGAP or PEET motive "
        "list, IMOD .mod, copick JSON or folder, CSV)", file=True,
    )  # fmt: skip
    diameter: Positive | Auto = setting(
        "auto", "of the particle; auto measures the template; particles stand no closer than about half of it", unit="Å"
    )
    volume: Literal["measured", "denoised"] = setting(
        "measured", "template: the tomogram that is searched; denoised has grey values that scores are not made for"
    )
    symmetry: str = setting("C1", "point group of the template: orientations that repeat are not searched")
    angle_step: Positive | Auto = setting(
        "auto", "template: angle between orientations; auto follows the diameter and the resolution", unit="deg"
    )
    resolution: Positive | Auto = setting(
        "auto", "template: finest detail that is compared; auto takes three voxels, or what the angle step "
        "can follow", unit="Å",
    )  # fmt: skip
    tilt_range: float = setting(
        180.0, "template: most that an orientation may lean away from its prior, where there is one", unit="deg",
        ge=0, le=180,
    )  # fmt: skip
    mask: str = setting(
        "", "template: mask in the template's frame; left out, a soft sphere of the diameter", file=True
    )
    whiten: bool = setting(True, "template: let each frequency of the tomogram count alike")
    background: bool = setting(
        True, "template: subtract the score of a template with the same spectrum and random phases"
    )
    score: Positive | Auto = setting(
        "auto", "least score of a particle; auto sets it where false_positives are expected"
    )
    false_positives: float = setting(
        1.0, "number of false particles per tomogram that the automatic threshold lets pass", gt=0
    )
    top_hat: bool = setting(True, "keep only peaks of the score that are as narrow as the template makes them")
    maximum: int = setting(0, "most particles per tomogram; 0: no limit", ge=0)
    gold_distance: float = setting(
        0.0, "leave out particles whose edge comes closer than this to a gold bead's edge", unit="Å", ge=0
    )
    slab_margin: float = setting(
        100.0, "how far from the measured specimen's faces a particle's centre may lie outside it", unit="Å", ge=0
    )
    exclusion_mask: str = setting(
        "", "folder with NAME.mrc masks in the tomograms' frame: nothing is picked where they are positive", file=True
    )
    spacing: Positive | Auto = setting(
        "auto", "sphere, filament, surface: distance of points; auto is half the diameter", unit="Å"
    )
    memory: Positive | Auto = setting(
        "auto", "most memory that the work may take; auto takes half of what is free", unit="GiB"
    )
    seed: int = setting(1, "of every random number", ge=0)
