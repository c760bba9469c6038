"""Take in what processing measured: tell the predictor, the log, and end targets that are too thick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lamella.acquire.predictor.interface import Observation, View
from lamella.acquire.routines.desk import TRACKING_AREA, Desk
from lamella.acquire.session.events import AxisMeasured, FeedbackTaken, ThicknessMeasured
from lamella.acquire.session.feedback import SAME_TILT_DEG, Measurement
from lamella.acquire.session.recording import RecordedView, TargetState

__all__ = ["TakingIn"]

_SETTLED_S = 1e4
_SINCE_UM = 0.05  # rms by which lens and stage differ in height from one tilt to another
_SINCE_TILT_UM = 0.02  # and by how much the stage wanders in height with each tilt between


@dataclass(frozen=True, kw_only=True, eq=False)
class _Height:
    """A target's height as a defocus tells it: what `Desk.observe_height` takes."""

    view: View
    height_um: float
    sd_um: float
    at_height_um: float


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
        targets is told the middle one of what they say; it would take the last one's own height for an error of the
        focus. A shift is told where the session's own comparison was not believed, since the picture can be counted
        once only. An axis offset that follows from defoci is news for those that do not learn heights from them.
        """
        if not measurements:
            return
        heights: list[_Height] = []
        shifts = 0
        for one in measurements:
            if one.kind == "axis_offset":
                self._axis(one)
            elif one.kind == "thickness":
                self._thickness(one)
            elif (found := self._view(one)) is not None:
                number, view = found
                self._known.add((one.kind, number, view.view.tilt))
                if one.kind == "defocus":
                    heights.append(self._height(one, view))
                elif not view.learned:
                    self._shift(one, view)
                    shifts += 1
        defoci = self._tell_heights(heights)
        numbers = [one for one in measurements if one.kind in ("defocus", "shift")]
        desk = self.desk
        desk.tell(
            FeedbackTaken(
                tilt=desk.moment.tilt,
                defoci=defoci,
                shifts=shifts,
                left_out=len(numbers) - defoci - shifts,
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

    def _height(self, one: Measurement, taken: RecordedView) -> _Height:
        desk = self.desk
        tilts = max(desk.moment.tilt - taken.view.tilt, 0)
        # As if it had settled: what this tilt's settling is like is nothing that an earlier tilt tells.
        view = replace(
            desk.view(taken.view.target),
            tilt_deg=desk.against_start(taken.tilt_deg),
            branch=taken.view.branch,
            since_tilt_s=_SETTLED_S,
        )
        return _Height(
            view=view,
            height_um=desk.hand * (one.value_um - taken.lens_um),
            sd_um=float(np.sqrt(one.sd_um**2 + _SINCE_UM**2 + tilts * _SINCE_TILT_UM**2)),
            at_height_um=desk.hand * (desk.settings.defocus - taken.lens_um),
        )

    def _tell_heights(self, heights: Sequence[_Height]) -> int:
        """Tell the predictor; how many it was told or were put together."""
        desk = self.desk
        if self._learns_heights:
            for one in heights:
                desk.observe_height(one.view, one.height_um, one.sd_um, one.at_height_um)
            return len(heights)
        if not heights:
            return 0
        off = [one.height_um - desk.predictor.predict(one.view).height_um for one in heights]
        middle = heights[int(np.argsort(off)[(len(off) - 1) // 2])]
        desk.observe_height(middle.view, middle.height_um, middle.sd_um, middle.at_height_um)
        return len(heights)

    def _shift(self, one: Measurement, taken: RecordedView) -> None:
        self.desk.observe_place(taken.view, taken.shift_um + np.array([one.value_um, one.along_um]), one.sd_um)

    def _axis(self, one: Measurement) -> None:
        desk = self.desk
        desk.tell(AxisMeasured(tilt=desk.moment.tilt, axis_um=one.value_um, sd_um=one.sd_um, time_s=desk.scope.time_s))
        if one.derived and self._learns_heights:
            return
        value = np.array([one.value_um])
        desk.predictor.observe(Observation(view=desk.view(TRACKING_AREA), kind="axis", value_um=value, sd_um=one.sd_um))

    def _thickness(self, one: Measurement) -> None:
        """Tell the log, and end a target that is thicker than is wanted, by more than the measurement's error."""
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
        if most and one.value_um - one.sd_um > most and number != self.spared and not state.lost:
            state.thick = f"{one.value_um:.2f} ± {one.sd_um:.2f} µm thick, where max_thickness is {most:g} µm"
