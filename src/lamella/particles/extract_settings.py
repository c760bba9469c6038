"""Settings of `extract`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["ExtractSettings"]

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]


class ExtractSettings(StepSettings):
    """How particles are cut out of the tilt images."""

    binning: float = setting(1.0, "pixel of the pictures over that of the tilt images", ge=1, le=64)
    box: int | Auto = setting(
        "auto", "edge of the pictures; auto follows the diameter and how far the defocus spreads a point", unit="px"
    )
    crop_from: int | Auto = setting(
        "auto",
        "edge of the larger picture in which the contrast transfer is multiplied before it is cropped",
        unit="px",
    )
    diameter: Positive | Auto = setting("auto", "of the particle; auto takes what pick used or measured", unit="Å")
    kind: Literal["stack", "volume"] = setting(
        "stack", "stack: one picture per view and particle; volume: a pseudo-subtomogram with its weights"
    )
    max_dose: float = setting(0.0, "leave out views that began after this exposure; 0: none", unit="e/Å²", ge=0)
    max_ctf_resolution: float = setting(
        0.0, "leave out views whose contrast transfer was fitted no further than this; 0: none", unit="Å", ge=0
    )
    min_visible: int = setting(1, "leave out particles that are in fewer views", ge=1)
    duplicate_distance: Positive | Auto = setting(
        "auto",
        "of two particles closer than this the lower score is left out; auto is a third of the diameter",
        unit="Å",
    )
    gold_distance: float = setting(
        0.0, "leave out particles whose edge comes closer than this to a gold bead's edge", unit="Å", ge=0
    )
    half_sets: Literal["random", "tomograms"] = setting(
        "random", "what the two half sets are made of: particles at random, or whole tomograms"
    )
    float16: bool = setting(False, "write 16-bit floats (MRC mode 12)")
    seed: int = setting(1, "of the random half sets", ge=0)
