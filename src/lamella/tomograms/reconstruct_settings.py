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
    ctf: Literal["auto", "none", "phase-flip", "multiply", "wiener"] = setting(
        "auto",
        "correction of the contrast transfer: phase-flip turns the phases that it has inverted, multiply weights them "
        "by it too, wiener restores amplitudes as far as the noise allows; auto flips phases where a defocus is known; "
        "none leaves the images as they are",
    )
    ctf_depth: Literal["auto", "strips", "slabs"] = setting(
        "auto",
        "strips: each place of an image is corrected for the defocus of the specimen's mid-plane there; slabs: each "
        "slab of the tomogram for its own depth as well; auto takes slabs with wbp, strips with sirt",
    )
    ctf_tolerance: Positive | Auto = setting(
        "auto",
        "how far a depth may lie from one that is corrected for; auto lets the phase err by π/8 at the voxels' highest "
        "frequency",
        unit="Å",
    )
    deconvolve: bool = setting(
        False,
        "write NAME_deconvolved.mrc as well, amplitudes restored for the eye by the untilted view's contrast transfer",
    )
    snr_strength: float = setting(
        1.0, "wiener, deconvolve: the supposed ratio of signal to noise at low frequencies is 1000 to this power",
        ge=0, le=3,
    )  # fmt: skip
    snr_falloff: float = setting(
        1.0, "wiener, deconvolve: that ratio falls with frequency k as exp(-200 Å · falloff · k)", ge=0, le=10
    )
    snr_high_pass: float = setting(
        1000.0, "wiener, deconvolve: what is coarser than this is not enhanced", unit="Å", gt=0
    )
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
