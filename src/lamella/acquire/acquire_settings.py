"""What a session is told: scheme, dose, focus, tracking, waiting, and what to do where things go wrong."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from lamella.errors import SettingsError
from lamella.records import TiltScheme
from lamella.settings import setting

__all__ = ["AcquireSettings"]

_LEVEL = 5  # targets whose heights tell the plane well enough
_FOCUS_SCALES_DEG = 30.0  # where heights 6 µm to both sides of the axis differ by 6 µm
_FAR_DEG = 20.0  # from the start tilt, where a slope of 10° takes a target 8 µm away off by 0.5 µm


class AcquireSettings(BaseModel):
    """Settings of one run of many tilt series."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    scheme: Literal["dose-symmetric", "bidirectional", "unidirectional"] = setting(
        "dose-symmetric", "order of the tilts"
    )
    start_tilt: float = setting(
        0.0, "angle in the middle of the range: a lamella's pre-tilt", unit="deg", ge=-60, le=60
    )
    tilt_range: float = setting(60.0, "to both sides of the start tilt", unit="deg", ge=0, le=80)
    tilt_step: float = setting(3.0, "between views", unit="deg", gt=0, le=30)
    group: int = setting(1, "tilts on one side before the other side's turn, of dose-symmetric", ge=1, le=100)
    tilts: tuple[float, ...] = setting((), "angles in the order of recording, in place of a scheme", unit="deg")
    dose: float = setting(3.0, "of each view (of the one at the start tilt where it grows)", unit="e/Å²", gt=0)
    dose_by_tilt: Literal["uniform", "cosine"] = setting(
        "uniform", "the same for every view, or divided by the cosine of the tilt against the start tilt"
    )
    dose_budget: float = setting(200.0, "that no target may have more of in the whole session", unit="e/Å²", gt=0)

    defocus: float = setting(3.0, "wanted of every target; positive is underfocus", unit="µm", ge=-20, le=20)
    shots: int = setting(1, "in each hole, one in its middle or all on a ring", ge=1, le=20)
    shot_radius: float = setting(0.0, "of the ring of shots; 0: no more than one shot", unit="µm", ge=0, le=10)

    predictor: Literal["shared", "bisect", "incremental", "flat"] = setting(
        "shared", "what tells where the targets will be after a tilt"
    )
    mode: Literal["slow", "fast"] = setting(
        "slow",
        "slow: tracked in both magnifications at every tilt, and focused as often as is set; fast: only where the "
        "predictor is less sure than `fast_unsure` and `fast_unsure_focus`: the first target shows what the stage did",
    )
    visiting: Literal["auto", "given", "nearest", "alternating"] = setting(
        "auto",
        "order of the targets: as given, by a short way, or by a short way and back in turn (a drift then cannot pass "
        "for a height); auto: alternating for `shared`, else given",
    )

    tracking: Literal["auto", "area", "first-target", "position", "none"] = setting(
        "auto",
        "what is followed: an area of its own, the first target's own views, a place along the axis from each target "
        "(one target after the other, as in single series), or nothing; auto: what the predictor is made for",
    )
    tracking_place: tuple[float, float] | None = setting(
        None, "of the tracking area, across and along the axis; left out: on the axis, clear of the targets", unit="µm"
    )
    tracking_low_threshold: float = setting(
        100.0, "displacement to which the low magnification corrects", unit="nm", gt=0
    )
    tracking_threshold: float = setting(8.0, "displacement of the tracking area that is let be", unit="nm", gt=0)
    tracking_attempts: int = setting(8, "exposures at most in each magnification", ge=1, le=50)
    tracking_pause: float = setting(0.0, "before the tracking area is exposed again", unit="s", ge=0, le=120)
    first_tilt_tracking: int = setting(
        5, "at the first tilt the tracking area is looked at after so many targets; 0: never", ge=0
    )
    track_every: int = setting(0, "the same at the other tilts", ge=0)

    autofocus_every: int = setting(2, "tilts; 0: at the start alone", ge=0)
    focus_on: Literal["auto", "focus-area", "tracking-area"] = setting(
        "auto", "where focus is measured; auto: where the predictor asks"
    )
    focus_scale_step: float = setting(
        3.0,
        "to both sides of focus, by which the lens is set at the start to learn how far it goes, of a predictor that "
        "learns it, where its scale was not measured (`focus_scales_reach`); 0: not",
        unit="µm",
        ge=0,
        le=10,
    )
    focus_scales_reach: float | None = setting(
        None,
        "to both sides of the start tilt, where two places far across the axis are focused at the start to learn the "
        "scales of beam tilt and lens; 0: not; left out: 30 for `shared`, else 0",
        unit="deg",
        ge=0,
        le=60,
    )
    focus_place: tuple[float, float] | None = setting(
        None,
        "of the focus area, where focus is measured there (see focus_on), across and along the axis; left out: on the "
        "axis, clear of the targets",
        unit="µm",
    )
    focus_tilt: float = setting(10.0, "by which the beam is tilted to measure focus", unit="mrad", gt=0, le=40)
    position_distance: float = setting(
        4.0, "along the axis from each target to its own tracking and focus place", unit="µm", gt=0, le=20
    )

    eucentric: bool = setting(True, "bring the stage to eucentric height at the start")
    eucentric_tilt: float = setting(10.0, "to both sides, to measure height", unit="deg", gt=0, le=30)
    eucentric_threshold: float = setting(0.3, "height that is let be", unit="µm", gt=0)
    level: int | None = setting(
        None,
        "targets near which the height is measured by focus at the start, to know the plane; 0: none; left out: 5 "
        "for `shared`, and where the first tilt is far from the start tilt and no plane is given, else none",
        ge=0,
    )
    pre_tilt: float = setting(
        0.0,
        "of the targets' plane as it lies at the start tilt, where it is not measured",
        unit="deg",
        ge=-60,
        le=60,
    )
    plane_rotation: float = setting(
        0.0, "direction, from the axis's x towards y, in which the plane rises", unit="deg", ge=-360, le=360
    )

    settle: float = setting(0.0, "wait after every tilt before anything is exposed", unit="s", ge=0, le=600)
    wait_step: float = setting(
        10.0, "wait where the predictor is unsure, before tracking again", unit="s", ge=0, le=300
    )
    unsure: float = setting(
        0.1, "standard deviation of a predicted place above which the tracking area is looked at again", unit="µm", gt=0
    )
    unsure_focus: float = setting(
        0.5, "standard deviation of a predicted height above which focus is measured again", unit="µm", gt=0
    )
    fast_unsure: float = setting(
        0.25, "the same of the area and the first target at a tilt in fast mode", unit="µm", gt=0
    )
    fast_unsure_focus: float = setting(
        0.1, "standard deviation of a predicted height below which focus is not measured in fast mode", unit="µm", gt=0
    )
    lost: float = setting(
        1.0, "standard deviation of a predicted place above which the view is left out", unit="µm", gt=0
    )
    max_displacement: float = setting(
        0.5, "of a target's view; a larger one is taken for a wrong peak and not learned from", unit="µm", gt=0
    )

    retries: int = setting(5, "of a call that the microscope fails for a passing reason", ge=0, le=50)
    back_off: float = setting(5.0, "wait before the first retry, doubled for each further one", unit="s", ge=0, le=600)
    patience: float = setting(3600.0, "how long a refill or another pause is waited for", unit="s", ge=0)
    dark: float = setting(0.2, "of the usual brightness, below which a picture is dark and taken again", gt=0, lt=1)
    dark_retries: int = setting(2, "of a dark picture before the view is left out", ge=0, le=10)
    max_thickness: float = setting(
        0.0,
        "of a specimen, as processing measures it; a thicker target is ended early; 0: none is",
        unit="µm",
        ge=0,
        le=5,
    )
    give_up: int = setting(4, "views of a target that fail one after the other before it is left alone", ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> AcquireSettings:
        if self.shots > 1 and not self.shot_radius:
            raise ValueError(f"{self.shots} shots in each hole need a shot_radius")
        if not self.tilts and self.tilt_step > 2 * self.tilt_range > 0:
            raise ValueError(f"a tilt step of {self.tilt_step:g}° is larger than the whole range ±{self.tilt_range:g}°")
        if self.tracking_threshold > self.tracking_low_threshold:
            raise ValueError("tracking_threshold is above tracking_low_threshold")
        try:
            self.tilt_scheme()
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def levelled(self) -> int:
        """Targets near which the height is measured at the start."""
        if self.level is not None:
            return self.level
        if self.predictor == "shared":
            return _LEVEL
        away = abs(float(self.tilt_scheme().tilt_deg[0]) - self.start_tilt)
        return _LEVEL if away > _FAR_DEG and not self.pre_tilt else 0

    @property
    def focus_scales_deg(self) -> float:
        """Tilt to both sides at which the scales of beam tilt and lens are measured; 0: they aren't."""
        if self.focus_scales_reach is not None:
            return self.focus_scales_reach
        return _FOCUS_SCALES_DEG if self.predictor == "shared" else 0.0

    @property
    def tracks_area(self) -> bool:
        """Whether a tracking area of its own is followed, of all targets."""
        return self.tracking == "area" or (self.tracking == "auto" and self.predictor != "incremental")

    @property
    def focuses_on_tracking(self) -> bool:
        """Whether focus is measured where the tracking area lies."""
        return self.focus_on == "tracking-area" or (self.focus_on == "auto" and self.predictor == "shared")

    def tilt_scheme(self) -> TiltScheme:
        """The tilts in the order of recording, with their doses.

        Raises
        ------
        SettingsError
            if an angle comes twice or none is left.
        """
        if self.tilts:
            return TiltScheme.of_list(
                self.tilts, start_tilt=self.start_tilt, dose=self.dose, dose_by_tilt=self.dose_by_tilt
            )
        return TiltScheme.of_range(
            self.scheme,
            tilt_range=self.tilt_range,
            tilt_step=self.tilt_step,
            start_tilt=self.start_tilt,
            group=self.group,
            dose=self.dose,
            dose_by_tilt=self.dose_by_tilt,
        )
