"""What a session has recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lamella.acquire.plan import Plan
from lamella.acquire.session.events import (
    AxisMeasured,
    Event,
    HeightMeasured,
    SessionEnded,
    TargetEnded,
    TiltLeftOut,
    Tracked,
    ViewLeftOut,
    ViewRecorded,
)

__all__ = ["SessionResult"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SessionResult:
    """The end of a session.

    Attributes
    ----------
    plan
        what was meant to be done.
    events
        what happened, in order.
    started_s, ended_s
        by the microscope's clock.
    """

    plan: Plan
    events: tuple[Event, ...]
    started_s: float
    ended_s: float

    @property
    def ended(self) -> bool:
        """Whether every tilt was done; otherwise the session was stopped, or goes on."""
        return bool(self.events) and isinstance(self.events[-1], SessionEnded)

    @property
    def views(self) -> tuple[ViewRecorded, ...]:
        """Views in the order of recording."""
        return tuple(event for event in self.events if isinstance(event, ViewRecorded))

    @property
    def left_out(self) -> tuple[ViewLeftOut | TiltLeftOut, ...]:
        """Views and tilts that were not recorded."""
        return tuple(event for event in self.events if isinstance(event, ViewLeftOut | TiltLeftOut))

    @property
    def trackings(self) -> tuple[Tracked, ...]:
        """Every exposure of a tracking area."""
        return tuple(event for event in self.events if isinstance(event, Tracked))

    @property
    def heights(self) -> tuple[HeightMeasured, ...]:
        """Every focus measured."""
        return tuple(event for event in self.events if isinstance(event, HeightMeasured))

    @property
    def endings(self) -> dict[int, TargetEnded]:
        """How each target's series ended."""
        return {event.target: event for event in self.events if isinstance(event, TargetEnded)}

    @property
    def counts(self) -> dict[str, int]:
        """Targets that were finished, ended at the limit as planned, ended early as too thick, and lost."""
        counted = Counter(event.kind for event in self.endings.values())
        return {kind: counted[kind] for kind in ("finished", "limit", "thick", "lost")}

    @property
    def axis(self) -> AxisMeasured | None:
        """The tilt axis's offset, as processing measured it last."""
        return next((event for event in reversed(self.events) if isinstance(event, AxisMeasured)), None)

    @property
    def minutes(self) -> float:
        """Of the whole session, by the microscope's clock."""
        return (self.ended_s - self.started_s) / 60

    @property
    def minutes_per_series(self) -> float:
        """The session's time over the number of its targets."""
        return self.minutes / len(self.plan.targets)

    def displacement_um(self) -> float:
        """Median over views of how far off they were measured to be; NaN where none could be measured."""
        found = [view.displacement_um for view in self.views if view.displacement_um is not None]
        return float(np.median(np.hypot(*np.array(found).T))) if found else float("nan")

    def tracking_nm(self) -> float:
        """rms over the tilts of what was measured as left in the last exposure of the tracking area; NaN for none."""
        return tracking_left_nm(self.trackings)


def tracking_left_nm(trackings: Sequence[Tracked]) -> float:
    """rms over tilts of the displacement measured in each area's last exposure, nm; NaN where there is none."""
    last = {(one.target, one.tilt): one.left_nm for one in trackings}
    return float(np.sqrt(np.mean(np.square(list(last.values()))))) if last else float("nan")
