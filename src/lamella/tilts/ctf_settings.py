"""Settings of the step `ctf`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lamella.settings import StepSettings, setting

__all__ = ["CtfSettings"]

Place = Annotated[int, Field(ge=1)]
Degrees = Annotated[float, Field(ge=0, le=180)]


class CtfSettings(StepSettings):
    """Defocus, astigmatism and hand of a tilt series."""

    min_defocus: float = setting(3000.0, "least defocus that is sought", unit="Å", ge=500, le=200000)
    max_defocus: float = setting(200000.0, "largest defocus that is sought", unit="Å", ge=1000, le=500000)
    min_resolution: float = setting(
        40.0, "coarsest detail that is fitted; where the first ring lies inside, the fit begins there", unit="Å", gt=4
    )
    max_resolution: float = setting(4.0, "finest detail that is fitted", unit="Å", gt=0.5, le=50)
    joint: bool = setting(
        True, "views share what they have in common (astigmatism, how rings fade, hand); off: each view by itself"
    )
    astigmatism: Literal["auto", "none", "common", "smooth", "free"] = setting(
        "auto",
        "none; alike in all views; changing slowly over the tilts; in each view by itself; auto: alike, or slowly "
        "changing where the data show it",
    )
    amplitude_contrast: Literal["recorded", "fit"] = setting(
        "recorded", "recorded: as the optics state it; fit: one number for the series, from its rings"
    )
    phase_shift: Degrees | Literal["common", "free"] = setting(
        0.0,
        "additional phase of a phase plate; a number keeps it, common fits one for the series, free one for each view",
        unit="deg",
    )
    hand: Literal["auto", "-1", "+1"] = setting(
        "auto",
        "sign by which defocus grows with depth (rlnTomoHand); auto: what the data say; -1 and +1 keep it and only "
        "warn where the data say otherwise",
    )
    fix: Literal["none", "axis", "mirror"] = setting(
        "none",
        "what to do where the data say +1: nothing; axis: turn the tilt axis by 180°, where its sense or the sign of "
        "the tilts is wrong; mirror: mirror the images back",
    )
    surface: Literal["auto", "flat", "bent"] = setting(
        "auto", "whether the specimen is a plane or bends (second order); auto: bent where the data show it"
    )
    spectra: Literal["sums", "frames"] = setting(
        "sums", "power spectra of the tilt images, or the mean of those of the even and odd frames' sums"
    )
    tile: float = setting(
        0.0, "edge of the tiles of which spectra are taken; 0: 1024 Å, and more beyond 5 µm of defocus", unit="Å",
        ge=0, le=5000,
    )  # fmt: skip
    mask: bool = setting(
        True, "leave out of the spectra what is not the specimen: beads, opaque film, grid bars, borders without signal"
    )
    exclude: tuple[Place, ...] = setting(
        (), "views to leave out, by their 1-based place in the user's stack (or motion's)"
    )
    include: tuple[Place, ...] = setting(
        (), "views to keep whatever their fit resolution, by their 1-based place in the user's stack (or motion's)"
    )
    max_fit_resolution: float = setting(
        0.0, "leave out views whose fit does not reach this resolution; 0: keep all", unit="Å", ge=0, le=1000
    )

    @model_validator(mode="after")
    def _agree(self) -> CtfSettings:
        if self.min_defocus >= self.max_defocus:
            raise ValueError(
                f"min_defocus of {self.min_defocus} Å is not below max_defocus of {self.max_defocus} Å: widen the range"
            )
        if self.min_resolution <= self.max_resolution:
            raise ValueError(
                f"min_resolution of {self.min_resolution} Å is not coarser than max_resolution of "
                f"{self.max_resolution} Å: state a larger number"
            )
        if both := sorted(set(self.exclude) & set(self.include)):
            raise ValueError(
                f"view {', '.join(map(str, both))} stands in exclude and in include: name it in one of them"
            )
        return self
