"""What a session did when, from its events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamella.acquire.session.events import (
    Doubted,
    Event,
    FaultSurvived,
    HeightMeasured,
    SessionBegun,
    SessionEnded,
    TiltBegun,
    Tracked,
    ViewRecorded,
)
from lamella.records.acquisition import SPENT_ON, Timeline

__all__ = ["timeline_of"]

_KINDS = {
    TiltBegun: "turning",
    Tracked: "tracking",
    HeightMeasured: "focus",
    ViewRecorded: "views",
    SessionEnded: "views",
}


def timeline_of(events: Sequence[Event], settle_s: float) -> Timeline:
    """Spans from one event to the next, for what the later one tells of; waits that were told come first in them.

    Parameters
    ----------
    events
        in their order.
    settle_s
        wait after every tilt.
    """
    spans: list[list[float]] = []
    before: float | None = None
    begun, tilt, waits = False, -1, {"faults": 0.0, "waiting": 0.0}
    for event in events:
        if isinstance(event, SessionBegun):
            before = event.time_s
        elif isinstance(event, FaultSurvived):
            waits["faults"] += event.waited_s
        elif isinstance(event, Doubted):
            waits["waiting"] += event.waited_s
        kind = _KINDS.get(type(event))
        if kind is None:
            continue
        tilt = int(getattr(event, "tilt", tilt))
        now = event.ended_s if isinstance(event, SessionEnded) else float(getattr(event, "time_s", 0.0))
        for name in waits:
            if before is not None and waits[name] > 0:
                _add(spans, name, tilt, before, min(before + waits[name], now))
                before = min(before + waits[name], now)
            waits[name] = 0.0
        if before is not None:
            _add(spans, kind if begun else "start", tilt if begun else -1, before, now)
        before = now
        if isinstance(event, TiltBegun):
            begun = True
            waits["waiting"] = settle_s
    kinds, tilts, starts, ends = np.array(spans, np.float64).reshape(-1, 4).T
    return Timeline(kind=kinds.astype(np.int64), tilt=tilts.astype(np.int64), start_s=starts, end_s=ends)


def _add(spans: list[list[float]], name: str, tilt: int, start_s: float, end_s: float) -> None:
    """Add a span, or prolong the last one where it is of the same."""
    kind = SPENT_ON.index(name)
    if spans and spans[-1][:2] == [kind, tilt]:
        spans[-1][3] = max(end_s, start_s)
    elif end_s > start_s:
        spans.append([kind, tilt, start_s, end_s])
