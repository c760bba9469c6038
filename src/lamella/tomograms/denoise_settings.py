"""Settings of `denoise`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lamella.settings import StepSettings, setting

__all__ = ["TRAINING_SETTINGS", "DenoiseSettings"]

TRAINING_SETTINGS = ("method", "epochs", "minutes", "patch", "batch", "depth", "channels", "learning_rate", "seed")
"""Settings that the training of a network depends on."""

Auto = Literal["auto"]
Positive = Annotated[float, Field(gt=0)]


class DenoiseSettings(StepSettings):
    """How a tomogram is denoised. Denoised volumes are for looking, picking and segmenting, never for averaging."""

    method: Literal["nad", "bilateral", "median", "gaussian", "nlm", "tv", "n2n", "n2v", "wedge"] = setting(
        "nad",
        "nad: nonlinear anisotropic diffusion; bilateral: mean over near and alike voxels; median: median of a cube; "
        "gaussian: low-pass; nlm: non-local means; tv: total variation; n2n: a network trained on the two halves; "
        "n2v: a network trained on the whole alone; wedge: a network that also fills the missing wedge",
    )
    mode: Literal["eed", "ced", "hybrid"] = setting(
        "hybrid",
        "nad: eed keeps edges, ced joins what is coherent along membranes and filaments, hybrid does both",
    )
    iterations: int = setting(20, "nad: number of steps; more of them remove more noise, then detail", ge=1, le=1000)
    time_step: float = setting(
        0.15, "nad: length of a step; the scheme is stable up to 1/6", unit="px²", gt=0, le=1.0 / 6.0
    )
    sigma: float = setting(1.0, "nad: Gaussian width before gradients are taken", unit="px", ge=0, le=10)
    rho: float = setting(1.0, "nad: Gaussian width over which gradients are compared", unit="px", ge=0, le=20)
    contrast: Positive | Auto = setting(
        "auto",
        "nad: gradient above which an edge is kept, in grey values per voxel; auto follows the noise step by step",
    )
    coherence: Positive | Auto = setting(
        "auto",
        "nad: difference of the structure tensor's eigenvalues at which structure counts as coherent, "
        "in squared grey values per voxel; auto follows the noise step by step",
    )
    spatial: float = setting(1.2, "bilateral: Gaussian width in space", unit="px", ge=0.5, le=5)
    value_range: float = setting(3.0, "bilateral: Gaussian width in grey value", unit="noise SD", gt=0, le=100)
    size: Literal[3, 5] = setting(3, "median: edge of the cube", unit="px")
    memory: Positive | Auto = setting(
        "auto", "most memory that the work may take; auto takes half of what is free", unit="GiB"
    )
    width: Positive | Auto = setting(
        "auto", "gaussian: standard deviation; auto follows from the measured noise", unit="px"
    )
    strength: float = setting(1.0, "nlm, tv: strength, in multiples of what the measured noise asks for", gt=0, le=20)
    model: str = setting(
        "", "n2n, n2v, wedge: a trained network to apply (model.pt of `lamella train`), instead of training one here",
        file=True,
    )  # fmt: skip
    epochs: int = setting(30, "n2n, n2v, wedge: most rounds of training", ge=1, le=10000)
    minutes: Positive | Auto = setting(
        "auto", "n2n, n2v, wedge: longest time for training; auto: as long as the epochs take", unit="min"
    )
    patch: int = setting(64, "n2n, n2v, wedge: edge of the cubes that are trained on", unit="px", ge=32, le=256)
    batch: int = setting(4, "n2n, n2v, wedge: cubes per step of training", ge=1, le=256)
    depth: int = setting(3, "n2n, n2v, wedge: levels of the network, each half as fine as the one before", ge=1, le=5)
    channels: int = setting(
        16, "n2n, n2v, wedge: features of the network's finest level, twice as many on each coarser one", ge=4, le=128
    )
    learning_rate: float = setting(4e-4, "n2n, n2v, wedge: step length of the training", gt=0, le=0.1)
    support: bool = setting(
        True, "write NAME_support.mrc, which says where the data agree with the denoised structure; wants both halves"
    )
    seed: int = setting(1, "n2n, n2v, wedge: of every random number", ge=0)
