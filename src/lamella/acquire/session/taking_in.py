"""Take in what processing measured: tell the predictor, the log, and end targets that are too thick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lamella.acquire.predictor.interface import Observation
from lamella.acquire.routines.desk import TRACKING_AREA, Desk
from lamella.acquire.session.events import AxisMeasured, FeedbackTaken, ThicknessMeasured
from lamella.acquire.session.feedback import SAME_TILT_DEG, Measurement
from lamella.acquire.session.recording import RecordedView, TargetState

__all__ = ["TakingIn"]

_SETTLED_S = 1e4
_SURE = 2.0  # standard deviations by which a thickness must lie above the limit
_SINCE_UM = 0.05  # rms by which lens and stage differ in height from one tilt to another
_SINCE_TILT_UM = 0.02  # and by how much the stage wanders in height with each tilt between


@dataclass(kw_only=True, eq=False)
class TakingIn:
    """Takes in measurements of one pass over the scheme; each view's defocus and shift once.

    Attributes
    ----------
    desk
        of the session.
    states
        of the targets, by number; a target that is too thick is marked there.
    names
        of all targets, in the order of their numbers.
    spared
        a target that is not ended whatever its thickness: the one that the others follow.
    """

    desk: Desk
    states: Mapping[int, TargetState]
    names: Sequence[str]
    spared: int | None = None
    _known: set[tuple[str, int, int]] = field(default_factory=set, init=False)

    def take(self, measurements: Sequence[Measurement]) -> None:
        """Take in what is new; what is of other targets, or of angles that were not recorded, is left out.

        Defoci become heights: a view's true height was ``hand · (defocus − lens)``, told as if the stage stood at that
        angle now, with an error by which it and the lens may differ since. A predictor that knows one focus for all
        targets would take one's own height for an error of all, so it is told none; of defoci it gets the axis offset
        that follows from them, which is no news for one that learned the heights. A shift is told where the session's
        own comparison was not believed, since the picture can be counted once only.
        """
        if not measurements:
            return
        told = {"defocus": 0, "shift": 0}
        for one in measurements:
            if one.kind == "axis_offset":
                self._axis(one)
            elif one.kind == "thickness":
                self._thickness(one)
            elif (found := self._view(one)) is not None:
                number, view = found
                self._known.add((one.kind, number, view.view.tilt))
                told[one.kind] += self._defocus(one, number, view) if one.kind == "defocus" else self._shift(one, view)
        numbers = [one for one in measurements if one.kind in ("defocus", "shift")]
        desk = self.desk
        desk.tell(
            FeedbackTaken(
                tilt=desk.moment.tilt,
                defoci=told["defocus"],
                shifts=told["shift"],
                left_out=len(numbers) - sum(told.values()),
                time_s=desk.scope.time_s,
            )
        )

    @property
    def _learns_heights(self) -> bool:
        """Whether the predictor learns each target's height, the plane and the axis from heights."""
        return self.desk.predictor.focuses_on == "tracking-area"

    def _number(self, name: str) -> int | None:
        number = self.names.index(name) if name in self.names else None
        return number if number in self.states else None

    def _view(self, one: Measurement) -> tuple[int, RecordedView] | None:
        """The view that a measurement is of, unless it was measured before."""
        number = self._number(one.target)
        taken = [] if number is None else self.states[number].taken
        nearest = min(taken, key=lambda view: abs(view.tilt_deg - one.tilt_deg), default=None)
        if number is None or nearest is None or abs(nearest.tilt_deg - one.tilt_deg) > SAME_TILT_DEG:
            return None
        return None if (one.kind, number, nearest.view.tilt) in self._known else (number, nearest)

    def _defocus(self, one: Measurement, number: int, taken: RecordedView) -> int:
        """A view's defocus, as a height, for a predictor that learns from heights; how many were told."""
        desk = self.desk
        if not self._learns_heights:
            return 0
        tilts = max(desk.moment.tilt - taken.view.tilt, 0)
        sd_um = float(np.sqrt(one.sd_um**2 + _SINCE_UM**2 + tilts * _SINCE_TILT_UM**2))
        tilt_deg = desk.against_start(taken.tilt_deg)
        # As if it had settled: what this tilt's settling is like is nothing that an earlier tilt tells.
        view = replace(desk.view(number), tilt_deg=tilt_deg, branch=taken.view.branch, since_tilt_s=_SETTLED_S)
        height_um = desk.hand * (one.value_um - taken.lens_um)
        desk.observe_height(view, height_um, sd_um, desk.hand * (desk.settings.defocus - taken.lens_um))
        return 1

    def _shift(self, one: Measurement, taken: RecordedView) -> int:
        if taken.learned:
            return 0
        self.desk.observe_place(taken.view, taken.shift_um + np.array([one.value_um, one.along_um]), one.sd_um)
        return 1

    def _axis(self, one: Measurement) -> None:
        desk = self.desk
        desk.tell(AxisMeasured(tilt=desk.moment.tilt, axis_um=one.value_um, sd_um=one.sd_um, time_s=desk.scope.time_s))
        if one.derived and self._learns_heights:
            return
        value = np.array([one.value_um])
        desk.predictor.observe(Observation(view=desk.view(TRACKING_AREA), kind="axis", value_um=value, sd_um=one.sd_um))

    def _thickness(self, one: Measurement) -> None:
        """Tell the log, and end a target that is thicker than is wanted, by more than twice the measurement's error."""
        number = self._number(one.target)
        if number is None:
            return
        desk, state = self.desk, self.states[number]
        desk.tell(
            ThicknessMeasured(
                target=number,
                tilt=desk.moment.tilt,
                thickness_um=one.value_um,
                sd_um=one.sd_um,
                time_s=desk.scope.time_s,
            )
        )
        most = desk.settings.max_thickness
        if most and one.value_um - _SURE * one.sd_um > most and number != self.spared and not state.lost:
            state.thick = f"{one.value_um:.2f} ± {one.sd_um:.2f} µm thick, where max_thickness is {most:g} µm"
