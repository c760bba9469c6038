"""Settings of `clean`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from lamella.settings import StepSettings, setting

__all__ = ["CleanSettings"]

Place = Annotated[int, Field(ge=1)]


class CleanSettings(StepSettings):
    """Which views are left out, and which pixels are replaced."""

    exclude: tuple[Place, ...] = setting(
        (), "views to leave out, by their 1-based place in the user's stack (or motion's)"
    )
    include: tuple[Place, ...] = setting(
        (), "views to keep whatever is wrong with them, by their 1-based place in the user's stack (or motion's)"
    )
    bad_views: bool = setting(True, "find dark, blocked, blank and shifted-out views, and leave them out")
    min_brightness: float = setting(
        0.35,
        "a view is dark if its brightness, against the smooth course over the tilt angle, is below this fraction",
        ge=0,
        lt=1,
    )
    max_blocked: float = setting(
        0.5, "a view is blocked if this much more of its area is black or behind a film than in most views", gt=0, le=1
    )
    min_contrast: float = setting(
        0.25,
        "a view is blank if its noise and its structure, against those of the other views, are below this fraction",
        ge=0,
        lt=1,
    )
    max_shift: float = setting(
        0.5,
        "a view is shifted out if its field lies this much of the field's width beside its neighbours', or if it "
        "shares nothing with them",
        gt=0,
        le=1,
    )
    outliers: bool = setting(True, "replace X-rays, hot and dead pixels")
    peak: float = setting(10.0, "peak criterion: height of an outlier above its surroundings", unit="SD", gt=0)
    difference: float = setting(
        8.0, "difference criterion: step from an outlier to its neighbours", unit="SD of such steps", gt=0
    )
    grow: float = setting(4.0, "neighbours of an outlier this far off its surroundings belong to it", unit="SD", gt=0)
    radius: float = setting(2.1, "an outlier reaches this far from its peak", unit="px", ge=1, le=6)
    giant: float = setting(
        12.0, "extended criterion: height of a large outlier above its surroundings", unit="SD", gt=0
    )
    giant_difference: float = setting(
        19.0, "extended criterion: step at the edge of a large outlier", unit="SD of such steps", gt=0
    )
    giant_radius: float = setting(
        3.6, "a large outlier reaches this far from its peak; what reaches farther is specimen", unit="px", ge=1, le=12
    )
    hot: float = setting(
        4.0, "a pixel that is this far off its surroundings, with one sign, in most views is a hot one", unit="SD", gt=0
    )
    fill_noise: bool = setting(False, "add noise like that of the surroundings to replaced pixels")
    max_fraction: float = setting(0.01, "most of a view's pixels that may be replaced; more is an error", gt=0, le=0.2)

    @model_validator(mode="after")
    def _agree(self) -> CleanSettings:
        if both := sorted(set(self.exclude) & set(self.include)):
            raise ValueError(
                f"view {', '.join(map(str, both))} stands in exclude and in include: name it in one of them"
            )
        return self
