"""Settings of `postprocess`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["PostprocessSettings"]

Auto = Literal["auto"]
Number = float


class PostprocessSettings(StepSettings):
    """How an average is masked, sharpened and judged."""

    mask: str = setting("", "soft mask; left out, one is made from the map", file=True)
    mask_threshold: Annotated[float, Field(gt=0)] | Auto = setting(
        "auto", "density above which the automatic mask begins; auto follows the noise outside the particle"
    )
    mask_low_pass: float = setting(15.0, "low-pass before the mask is found", unit="Å", gt=0)
    mask_extend: float = setting(4.0, "by how much the mask is grown", unit="px", ge=0)
    mask_edge: float = setting(6.0, "width of its soft edge", unit="px", gt=0)
    b_factor: Number | Auto = setting("auto", "to sharpen with, negative sharpens; auto fits Guinier's line", unit="Å²")
    guinier_from: Annotated[float, Field(gt=0)] | Auto = setting(
        "auto", "begin of Guinier's line; auto: 10 Å for a map finer than 7 Å, else 20 Å", unit="Å"
    )
    low_pass: Annotated[float, Field(gt=0)] | Auto = setting(
        "auto", "finest detail of the sharpened map; auto is where the masked correlation falls below 0.143", unit="Å"
    )
    mtf: str = setting(
        "", "STAR file of the detector's modulation transfer (rlnResolutionInversePixel, rlnMtfValue)", file=True
    )
    mtf_pixel_size: Annotated[float, Field(gt=0)] | Auto = setting(
        "auto", "the detector's pixel that the file is for; auto takes the movies'", unit="Å"
    )
    local_resolution: bool = setting(True, "map of the local resolution, and the map filtered by it")
    directional: bool = setting(True, "correlation by direction (cones), and the sphericity")
    place_copies: bool = setting(True, "put copies of the map where the particles are, one volume per tomogram")
    phase_from: Annotated[float, Field(gt=0)] | Auto = setting(
        "auto", "where phases are randomised from; auto: where the unmasked correlation falls below 0.8", unit="Å"
    )
    seed: int = setting(1, "of the random phases", ge=0)
