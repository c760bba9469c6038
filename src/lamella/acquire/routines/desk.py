"""What every routine works with: the microscope, the predictor, the pictures of each area so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.comparing import AlignedSeries
from lamella.acquire.microscope.answers import nonsense_in
from lamella.acquire.microscope.port import Picture, Purpose
from lamella.acquire.predictor.interface import Observation, Prediction, Predictor, View
from lamella.acquire.session.events import Event, FaultSurvived
from lamella.acquire.session.steady import SteadyMicroscope
from lamella.errors import PassingFault

__all__ = ["FOCUS_AREA", "TRACKING_AREA", "DarkPicture", "Desk", "FocusScales", "Moment"]

Array = NDArray[np.float64]

TRACKING_AREA = -1
FOCUS_AREA = -2

_LOOKED_BACK = 15  # pictures that say how bright one of a preset usually is
_NEEDED = ("eucentric", "reference")  # kinds of pictures without which no session begins
_VIEW_S = 3.0  # from setting a shift to the middle of an exposure, before any was timed


class DarkPicture(PassingFault):
    """A picture without a beam: a grid bar, a closed valve, a shutter that failed."""


@dataclass(frozen=True, kw_only=True)
class FocusScales:
    """By how much more the beam tilt and the lens do than they say, 1: as they say; and how well that is known.

    `lens_sd` is None where the lens's was not measured.
    """

    beam: float = 1.0
    beam_sd: float = 0.02
    lens: float = 1.0
    lens_sd: float | None = None


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where in the scheme the session is: see `View`."""

    tilt: int
    asked_deg: float
    tilt_deg: float
    stood_s: float
    branch: int


@dataclass(kw_only=True, eq=False)
class Desk:
    """The state of a session that its routines share.

    Attributes
    ----------
    scope
        the microscope.
    predictor
        is asked and told in the areas' and targets' numbers.
    settings
        of the session.
    tell
        takes events.
    moment
        the tilt that the session is at.
    series
        aligned pictures of each area, by the number that the microscope knows it by, with each preset.
    brightness
        counts per dose of the last pictures of each preset.
    focus_scales
        of what focus is measured and set with.
    areas
        under which number the microscope knows an area, where that is not the predictor's: each target's own tracking
        place, of those that are recorded one after the other.
    """

    scope: SteadyMicroscope
    predictor: Predictor
    settings: AcquireSettings
    tell: Callable[[Event], None]
    moment: Moment
    series: dict[tuple[int, str], AlignedSeries] = field(default_factory=dict)
    brightness: dict[str, list[float]] = field(default_factory=dict)
    focus_scales: FocusScales = FocusScales()
    areas: Mapping[int, int] = field(default_factory=dict)

    @property
    def hand(self) -> int:
        """Sign by which the defocus grows with height."""
        return self.scope.calibrations.hand

    @property
    def focus_area(self) -> int:
        """Number of the area whose focus is measured: the one that the predictor asks for, or that is set."""
        on_tracking = self.predictor.focuses_on == "tracking-area"
        if self.settings.focus_on != "auto":
            on_tracking = self.settings.focus_on == "tracking-area"
        return TRACKING_AREA if on_tracking else FOCUS_AREA

    def series_of(self, area: int, preset: str) -> AlignedSeries:
        """The aligned pictures of an area; a new, empty series where there is none."""
        key = (self.areas.get(area, area), preset)
        return self.series.setdefault(key, AlignedSeries(self.scope.calibrations.tilt_axis_deg))

    def against_start(self, tilt_deg: float) -> float:
        """An angle of the stage as predictors know it: the targets' places are those at the start tilt."""
        return tilt_deg - self.settings.start_tilt

    def view(self, target: int, time_s: float | None = None) -> View:
        """A view of a target or an area at this tilt, at a time of the microscope's clock (now, where left out)."""
        time_s = self.scope.time_s if time_s is None else time_s
        return View(
            target=target,
            tilt=self.moment.tilt,
            tilt_deg=self.against_start(self.moment.tilt_deg),
            time_s=time_s,
            since_tilt_s=time_s - self.moment.stood_s,
            branch=self.moment.branch,
        )

    def predict(self, target: int) -> Prediction:
        """Where the target will be when a picture that is prepared now is taken."""
        return self.predictor.predict(self.view(target, self.scope.time_s + _VIEW_S))

    def observe_place(self, view: View, place_um: Array, sd_um: float) -> None:
        """Tell the predictor which image shift would have centred an area."""
        self.predictor.observe(Observation(view=view, kind="place", value_um=np.array(place_um, float), sd_um=sd_um))

    def observe_height(self, view: View, height_um: float, sd_um: float, at_height_um: float) -> None:
        """Tell the predictor an area's height, and the one that the lens was set for."""
        self.predictor.observe(
            Observation(
                view=view, kind="height", value_um=np.array([height_um]), sd_um=sd_um, at_height_um=at_height_um
            )
        )

    def observe_lens(self, scale: float, sd: float) -> None:
        """Tell the predictor by how much more a change of focus does than it says (1: as much)."""
        view = self.view(TRACKING_AREA)
        self.predictor.observe(Observation(view=view, kind="lens", value_um=np.array([scale - 1.0]), sd_um=sd))

    def expose(
        self, preset: str, purpose: Purpose, *, shift_um: Array, defocus_um: float, exposure_s: float | None = None
    ) -> Picture:
        """Set shift and focus, and take a picture; a dark one is taken again, and one that shows nothing at all.

        Pictures that a session cannot begin without are taken again as often as a call that fails.

        Raises
        ------
        DarkPicture
            if it stays dark.
        LimitError, MicroscopeError
            if the microscope cannot do it.
        """
        self.scope.shift_image(float(shift_um[0]), float(shift_um[1]))
        self.scope.focus(float(defocus_um))
        retries = self.settings.retries if purpose.kind in _NEEDED else self.settings.dark_retries
        for attempt in range(retries + 1):
            picture = self.scope.expose(
                preset,
                replace(
                    purpose,
                    target=self.areas.get(purpose.target, purpose.target),
                    attempt=purpose.attempt + attempt,
                ),
                exposure_s=exposure_s,
            )
            fault = self._fault_of(picture, preset)
            if fault is None:
                return picture
            if attempt == retries:
                raise fault
            time_s = self.scope.time_s
            self.tell(FaultSurvived(verb="expose", problem=str(fault), attempt=attempt, waited_s=0.0, time_s=time_s))
        raise AssertionError("the last attempt returns or raises")

    def _fault_of(self, picture: Picture, preset: str) -> PassingFault | None:
        """What is wrong with a picture; None where nothing is, and its brightness is remembered."""
        if problem := nonsense_in(picture):
            return PassingFault(problem, mend="look at the camera")
        usual = self._usual(preset)
        bright = picture.mean_counts / max(picture.dose, 1e-9) if picture.dose > 0 else picture.mean_counts
        if bright > 0 and (usual is None or bright > self.settings.dark * usual):
            self.brightness.setdefault(preset, []).append(bright)
            return None
        return DarkPicture(
            f"a dark picture ({picture.mean_counts:.3g} counts)", mend="look for a grid bar or a closed valve"
        )

    def _usual(self, preset: str) -> float | None:
        last = self.brightness.get(preset, [])[-_LOOKED_BACK:]
        return float(np.median(last)) if last else None
