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

    method: Literal["wbp", "sirt", "sart", "fourier"] = setting(
        "wbp",
        "wbp: weighted back-projection, each image filtered once; sirt: simultaneous iterative reconstruction, "
        "smoother and slower; sart: the same with a correction after every few views, which takes fewer rounds; "
        "fourier: direct inversion, each image a slice of the volume's transform",
    )
    pixel_size: float = setting(
        10.0, "edge of a voxel; the images' own pixel size where that is coarser; need not be a multiple of it",
        unit="Å", gt=0,
    )  # fmt: skip
    thickness: Positive | Auto = setting(
        "auto", "size along z; auto takes the specimen's measured thickness and a margin, or 3000 Å", unit="Å"
    )
    size_x: Positive | Auto = setting(
        "auto", "size along x; auto covers the field of the least tilted image and of half of all views", unit="Å"
    )
    size_y: Positive | Auto = setting(
        "auto", "size along y; auto covers the field of the least tilted image and of half of all views", unit="Å"
    )
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
    weighting: Literal["auto", "ramp", "exact"] = setting(
        "auto",
        "wbp: how views share the frequencies that several of them measure; ramp: by distance from the axis and the "
        "views' angular spacing; exact: by how many views see each frequency, for any angles; auto takes exact where "
        "the angles are uneven",
    )
    filter: Literal["ramp", "hamming", "hann", "sirt-like"] = setting(
        "ramp",
        "wbp: window over the weighting; ramp: none but cutoff and falloff; hamming and hann lower the highest "
        "frequencies too; sirt-like weights them as so many rounds of sirt would",
    )
    filter_iterations: int = setting(10, "wbp: rounds of sirt that the sirt-like filter stands for", ge=1, le=1000)
    cutoff: float = setting(
        0.45, "wbp: frequency from which the filter falls off as a Gaussian", unit="cycles/voxel", gt=0, le=0.5
    )
    falloff: float = setting(
        0.05, "wbp: standard deviation of that Gaussian; 0 cuts sharply", unit="cycles/voxel", ge=0, le=0.5
    )
    supersampling: Literal[1, 2, 3, 4] = setting(
        1, "wbp: back-project onto voxels so many times finer along each axis, and average them"
    )
    iterations: Annotated[int, Field(ge=1, le=1000)] | Auto = setting(
        15, "sirt, sart: number of rounds; auto stops where views that are held out are predicted best"
    )
    relaxation: Positive | Auto = setting(
        "auto", "sirt, sart: part of each correction that is applied, below 2; auto takes 1 with sirt"
    )
    subsets: Annotated[int, Field(ge=1)] | Auto = setting(
        "auto", "sart: number of groups of views that are corrected for one after the other; auto: one view each"
    )
    mask: str = setting("", "sirt, sart: volume (MRC) of the tomogram's shape; where it is 0 voxels stay 0", file=True)
    non_negative: bool = setting(
        False,
        "sirt, sart: let no voxel have less mass than the background (dark in bright field, bright in dark field), "
        "which is the images' emptiest hundredth",
    )
    gold: Literal["auto", "erase", "keep"] = setting(
        "auto",
        "erase paints gold beads over in the images, before anything is reconstructed, with noise like that around "
        "them; auto does so where beads are found; keep leaves them",
    )
    gold_diameter: Positive | Auto = setting(
        "auto", "diameter of the beads; auto takes that of the alignment, or measures it", unit="Å"
    )
    gold_mask: Literal["beads", "dense"] = setting(
        "beads", "what is painted over: beads; dense: lumps of ice and whatever else is as dense, too"
    )
    memory: Positive | Auto = setting("auto", "most memory that the work may take; auto takes what is free", unit="GiB")
