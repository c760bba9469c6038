"""Settings of `reconstruct`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["ReconstructSettings"]

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]


class ReconstructSettings(StepSettings):
    """How a tomogram is made from aligned tilt images."""

    method: Literal["wbp", "sirt"] = setting(
        "wbp",
        "wbp: weighted back-projection, each image filtered once; sirt: simultaneous iterative reconstruction, "
        "smoother and slower",
    )
    pixel_size: float = setting(
        10.0, "edge of a voxel; the images' own pixel size where that is coarser; need not be a multiple of it",
        unit="Å", gt=0,
    )  # fmt: skip
    thickness: Positive | Auto = setting(
        "auto", "size along z; auto takes the specimen's measured thickness and a margin, or 3000 Å", unit="Å"
    )
    size_x: Positive | Auto = setting("auto", "size along x; auto covers the least tilted image's field", unit="Å")
    size_y: Positive | Auto = setting("auto", "size along y; auto covers the least tilted image's field", unit="Å")
    halves: Literal["auto", "frames", "tilts", "off"] = setting(
        "auto",
        "what the two half tomograms are made from: even and odd frames, even and odd tilts, or none; auto takes "
        "frames where such images exist, else tilts",
    )
    dose_weighting: bool = setting(
        True, "let each frequency of a view count by what the dose left of it, where dose and voltage are known"
    )
    ctf: Literal["none"] = setting("none", "correction of the contrast transfer; none leaves the images as they are")
    filter: Literal["ramp", "hamming", "hann", "sirt-like"] = setting(
        "ramp",
        "wbp: ramp weights frequencies by their distance from the axis; hamming and hann lower the highest of them "
        "too; sirt-like weights them as so many rounds of sirt would",
    )
    filter_iterations: int = setting(10, "wbp: rounds of sirt that the sirt-like filter stands for", ge=1, le=1000)
    cutoff: float = setting(
        0.45, "wbp: frequency from which the filter falls off as a Gaussian", unit="cycles/voxel", gt=0, le=0.5
    )
    falloff: float = setting(
        0.05, "wbp: standard deviation of that Gaussian; 0 cuts sharply", unit="cycles/voxel", ge=0, le=0.5
    )
    iterations: int = setting(15, "sirt: number of rounds", ge=1, le=1000)
    relaxation: float = setting(1.0, "sirt: part of each correction that is applied", gt=0, lt=2)
    non_negative: bool = setting(
        False,
        "sirt: let no voxel have less mass than the background (dark in bright field, bright in dark field), "
        "which is the images' emptiest hundredth",
    )
