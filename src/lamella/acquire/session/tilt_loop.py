"""The loop over tilts and targets: tilt, wait, track, focus, then each target in its turn."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import RECORD, TRACK
from lamella.acquire.plan import Plan
from lamella.acquire.routines.autofocus import measure_focus
from lamella.acquire.routines.desk import TRACKING_AREA, Desk, Moment
from lamella.acquire.routines.tracking import Sighting, track
from lamella.acquire.session.events import (
    Doubted,
    SeriesBegun,
    TargetEnded,
    TiltBegun,
    TiltLeftOut,
    ViewLeftOut,
)
from lamella.acquire.session.feedback import Feedback, no_feedback
from lamella.acquire.session.recording import FirstView, TargetState, predicted_sd_um, record_view
from lamella.acquire.session.taking_in import TakingIn
from lamella.errors import ImageError, Interruption, LimitError, MicroscopeError
from lamella.progress import Progress, no_progress

__all__ = ["TiltLoop"]

Array = NDArray[np.float64]

_EXTRA_TRACKINGS = 2  # at one tilt, of a predictor that stays unsure
_SEEN = 0.5  # of the field: the largest standard deviation with which an area is looked for in it first
_LOST_TILTS = 3  # one after the other, after which the microscope is not what it should be
_LONG_S = 60.0  # between two views, in which a stage that was disturbed drifts out of a picture's field
_UNEVEN = 0.1  # of what the tracking area moved between two looks: the error of where it was at a time between
_FINISHED = 0.9  # of the views planned, that make a series


@dataclass(kw_only=True, eq=False)
class TiltLoop:
    """One pass over the scheme, for some of the plan's targets.

    Attributes
    ----------
    desk
        of the session, its predictor knowing these targets.
    plan
        of the session.
    targets
        numbers of the targets that are recorded in this pass.
    follow_area
        whether a tracking area is followed.
    progress
        told the fraction of the tilts that is done.
    feedback
        what processing measured meanwhile.
    """

    desk: Desk
    plan: Plan
    targets: Sequence[int]
    follow_area: bool
    progress: Progress = no_progress
    feedback: Feedback = no_feedback
    states: dict[int, TargetState] = field(init=False)

    def __post_init__(self) -> None:
        self.states = {number: TargetState() for number in self.targets}
        self._ended: set[int] = set()
        self._lost_tilts = 0
        self._looked_s = 0.0
        self._sightings: list[Sighting] = []
        self._extra = 0
        self._focused = False
        self._seen_here = False

    def run(self) -> None:
        """Record every tilt, and tell how each target's series ended.

        Raises
        ------
        MicroscopeError
            if the stage does not tilt any more.
        """
        names = [target.name for target in self.plan.targets]
        taking_in = TakingIn(desk=self.desk, states=self.states, names=names, spared=self._leader)
        for number in range(len(self.plan.scheme)):
            if self._stand(number):
                self._prepare()
                taking_in.take(self.feedback(number))
                self._end_thick()
                self._record_targets()
                if self._focuses(after=True):
                    self._focus()
            self.progress((number + 1) / len(self.plan.scheme), f"tilt {self.plan.scheme.tilt_deg[number]:g}°")
        for target in self.targets:
            if not self.states[target].thick:
                self.desk.tell(self._ending(target))

    def _end_thick(self) -> None:
        """End targets that processing found too thick, once each: their time goes to the others."""
        for target, state in self.states.items():
            if state.thick and target not in self._ended:
                self._ended.add(target)
                self.desk.tell(TargetEnded(target=target, kind="thick", views=state.views, reason=state.thick))

    def _stand(self, number: int) -> bool:
        """Turn the stage to a tilt and let it settle; False where it does not go there."""
        desk, scheme = self.desk, self.plan.scheme
        asked = float(scheme.tilt_deg[number])
        try:
            status = desk.scope.tilt(asked)
        except MicroscopeError as error:
            desk.tell(TiltLeftOut(tilt=number, asked_deg=asked, reason=str(error)))
            self._lost_tilts += 0 if isinstance(error, LimitError) else 1
            if self._lost_tilts >= _LOST_TILTS:
                raise MicroscopeError(
                    f"{self._lost_tilts} tilts failed one after the other, the last: {error.problem}",
                    mend="look at the stage, then resume the session",
                ) from error
            return False
        self._lost_tilts = 0
        desk.moment = Moment(
            tilt=number,
            asked_deg=asked,
            tilt_deg=status.tilt_deg,
            stood_s=status.time_s,
            branch=int(scheme.branch[number]),
        )
        desk.tell(TiltBegun(tilt=number, asked_deg=asked, tilt_deg=status.tilt_deg, time_s=status.time_s))
        desk.scope.wait(desk.settings.settle)
        return True

    def _prepare(self) -> None:
        """Track and focus, as often as is set or the predictor is unsure."""
        desk, settings = self.desk, self.desk.settings
        self._sightings, self._extra, self._focused, self._seen_here = [], 0, False, False
        self._looked_s = desk.scope.time_s
        if self.follow_area:
            known = predicted_sd_um(desk.predict(TRACKING_AREA))
            place_sd = known[0]
            if settings.mode == "slow" or self.desk.moment.tilt == 0:
                self._track(low=True)
            elif place_sd > settings.fast_unsure:
                self._doubt(TRACKING_AREA, known, "track")
                self._track(low=place_sd > _SEEN * min(desk.scope.calibrations.presets[TRACK].field_um))
                if not self._sightings:
                    self._track(low=True)
        if self._focuses(after=False):
            self._focus()

    def _focuses(self, *, after: bool) -> bool:
        """Whether it is time to measure focus, before or after a tilt's targets.

        A predictor that learns how the stage settles along the beam has it measured after them every second time:
        always measured as soon after a tilt, the settling would pass for a height of all targets.
        """
        every, number = self.desk.settings.autofocus_every, self.desk.moment.tilt
        if not every or not number or number % every:
            return False
        if self.desk.settings.mode == "fast":
            _, height_sd = predicted_sd_um(self.desk.predict(TRACKING_AREA if self.follow_area else self.targets[0]))
            if height_sd <= self.desk.settings.fast_unsure_focus:
                return False
        in_turn = self.desk.predictor.focuses_on == "tracking-area"
        return after == (in_turn and number // every % 2 == 0)

    def _record_targets(self) -> None:
        number = self.desk.moment.tilt
        firsts: list[FirstView] = []
        order = [target for target in self.plan.visits[number] if target in self.states]
        if self._leader is not None:
            order.sort(key=lambda target: target != self._leader)
        every = self.desk.settings.first_tilt_tracking if number == 0 else self.desk.settings.track_every
        for count, target in enumerate(order):
            if every and count and count % every == 0 and self.follow_area:
                self._track(low=False)
            first = self._record(target)
            if first is not None:
                firsts.append(first)
        if firsts and self.follow_area and every:
            self._track(low=False)
        for first in firsts:
            self._begin_series(first)

    def _record(self, target: int) -> FirstView | None:
        state, number = self.states[target], self.desk.moment.tilt
        if state.lost or state.thick:
            return None
        if not self.plan.reachable[target, number]:
            reason = "the image shift does not reach it here, as planned"
            self.desk.tell(ViewLeftOut(target=target, tilt=number, kind="limit", reason=reason))
            return None
        dose = float(self.plan.scheme.dose[number])
        self._wait_out(dose)
        if not self._sure(target):
            return None
        for _ in range(2):
            self._look_again()
            self._seen_here = True
            try:
                return record_view(
                    self.desk,
                    target,
                    self.plan.targets[target].shot,
                    dose,
                    state,
                    follow_area=self.follow_area,
                    leads=target == self._leader,
                )
            except Interruption:
                # It may have been exposed as the session was stopped.
                state.dose += dose
        return None

    def _wait_out(self, dose: float) -> None:
        """Wait until the microscope is ready; after a long pause (a refill, faults) look where the area went."""
        scope = self.desk.scope
        # What stays wrong is told with the view itself.
        with suppress(MicroscopeError):
            scope.until_ready()
        preset = scope.calibrations.presets[RECORD]
        if self.follow_area and scope.time_s - self._looked_s > _LONG_S + preset.exposure_s * dose / preset.dose:
            self._track(low=True)
        self._looked_s = scope.time_s

    def _look_again(self) -> None:
        """After the session was stopped: where the area went meanwhile."""
        while self.desk.scope.interrupted:
            self.desk.scope.interrupted = False
            if self.follow_area:
                self._track(low=True)

    @property
    def _leader(self) -> int | None:
        """The target that the others follow, where there is no tracking area."""
        if self.follow_area or self.desk.settings.tracking == "none":
            return None
        return self.targets[0]

    def _sure(self, target: int) -> bool:
        """Look again where the predictor is unsure of a target; False where that does not help."""
        settings = self.desk.settings
        known = place_sd, height_sd = predicted_sd_um(self.desk.predict(target))
        if height_sd > settings.unsure_focus and not self._focused:
            self._doubt(target, known, "focus")
            self._focus()
        # In fast mode the first picture of a tilt shows what the stage did: it may be off by more than the others.
        bearable = settings.fast_unsure if settings.mode == "fast" and not self._seen_here else settings.unsure
        if place_sd > bearable and self.follow_area and self._extra < _EXTRA_TRACKINGS:
            self._extra += 1
            waited_s = settings.wait_step if self._extra > 1 else 0.0
            self._doubt(target, known, "track", waited_s)
            self.desk.scope.wait(waited_s)
            self._track(low=False)
            place_sd, _ = predicted_sd_um(self.desk.predict(target))
        # A first view is taken however unsure its place is: nothing can be learned of a target without one.
        if place_sd <= settings.lost or not self.states[target].views:
            return True
        reason = f"its place is known to {place_sd:.2f} µm only"
        self.desk.tell(ViewLeftOut(target=target, tilt=self.desk.moment.tilt, kind="unsure", reason=reason))
        return False

    def _doubt(self, target: int, known_um: tuple[float, float], done: str, waited_s: float = 0.0) -> None:
        self.desk.tell(
            Doubted(
                target=target,
                tilt=self.desk.moment.tilt,
                predicted_sd_um=known_um,
                done=done,
                waited_s=waited_s,
                time_s=self.desk.scope.time_s,
            )
        )

    def _track(self, *, low: bool) -> None:
        self._seen_here = True
        seen = track(self.desk, low=low)
        self._looked_s = self.desk.scope.time_s
        if seen is not None:
            self._sightings.append(seen)

    def _focus(self) -> None:
        self._focused = True
        measure_focus(self.desk, self.desk.focus_area)

    def _begin_series(self, first: FirstView) -> None:
        """Add a target's first picture to its series, its origin where tracking before and after says it was."""
        origin, sd_um = np.zeros(2), 0.0
        if first.area_um is not None and len(self._sightings) > 1:
            times = [one.view.time_s for one in self._sightings]
            places = np.array([one.place_um for one in self._sightings])
            time_s = first.picture.status.time_s
            seen = np.array([np.interp(time_s, times, places[:, axis]) for axis in (0, 1)])
            origin = seen - first.area_um
            # Between two looks an area does not move evenly: it settles.
            sd_um = max(one.sd_um for one in self._sightings) + _UNEVEN * float(np.ptp(places, axis=0).max())
        try:
            self.desk.series_of(first.target, RECORD).add(first.picture, origin)
        except ImageError as error:
            # The next view becomes the series' first picture.
            self.desk.tell(
                ViewLeftOut(target=first.target, tilt=self.desk.moment.tilt, kind="fault", reason=str(error))
            )
            return
        if sd_um > 0:
            off_um = (float(origin[0]), float(origin[1]))
            self.desk.tell(
                SeriesBegun(target=first.target, tilt=self.desk.moment.tilt, displacement_um=off_um, sd_um=sd_um)
            )

    def _ending(self, target: int) -> TargetEnded:
        state = self.states[target]
        planned = int(self.plan.reachable[target].sum())
        if state.lost or state.views < _FINISHED * planned:
            reason = state.lost or f"{state.views} of {planned} views"
            return TargetEnded(target=target, kind="lost", views=state.views, reason=reason)
        kind = "finished" if planned == len(self.plan.scheme) else "limit"
        return TargetEnded(target=target, kind=kind, views=state.views)
