"""How well a session on a simulated microscope hit its targets: from what was true, when the session is over."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.acquire.microscope.port import TRACK
from lamella.acquire.microscope.simulated.microscope import SimulatedMicroscope
from lamella.acquire.microscope.simulated.truth import TRACKING_AREA, TrueView

__all__ = ["SessionScore", "Spread", "score_session"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median and interquartile range of absolute errors; None where nothing was recorded."""

    median: float | None
    iqr: float | None

    @classmethod
    def of(cls, errors: ArrayLike) -> Spread:
        """Of errors of any sign."""
        sizes = np.abs(np.asarray(errors, np.float64))
        if not sizes.size:
            return cls(median=None, iqr=None)
        low, middle, high = np.percentile(sizes, [25, 50, 75])
        return cls(median=float(middle), iqr=float(high - low))


@dataclass(frozen=True, kw_only=True, eq=False)
class SessionScore:
    """The truth about a session.

    Attributes
    ----------
    targeting_um, defocus_um
        over all targets and tilts: of the distance from the image's middle to where the target's true place appeared,
        and of its defocus against the one wanted.
    tracking_nm
        rms of the tracking area's displacement in the last tracking exposure of each tilt; where no area was tracked,
        of the first target's in its views. None where there is neither.
    targets_finished, targets_lost
        that the session calls finished (nine views of ten that it planned, or more), and the others; together all.
    minutes_per_series
        of the whole session, by the targets finished.
    tilt, targeting, defocus
        ``(views,)`` number of the tilt, targeting error and signed defocus error of each view, µm.
    target
        ``(views,)`` its number.
    """

    targeting_um: Spread
    defocus_um: Spread
    tracking_nm: float | None
    targets_finished: int
    targets_lost: int
    minutes_per_series: float
    target: NDArray[np.int64]
    tilt: NDArray[np.int64]
    targeting: Array
    defocus: Array

    def as_dict(self) -> dict[str, Any]:
        """The numbers that `lamella acquire simulate --json` states; None for what is no number, as JSON knows none."""
        return {
            "targeting_um": {"median": _number(self.targeting_um.median), "iqr": _number(self.targeting_um.iqr)},
            "defocus_um": {"median": _number(self.defocus_um.median), "iqr": _number(self.defocus_um.iqr)},
            "tracking_nm": _number(self.tracking_nm),
            "targets_finished": self.targets_finished,
            "targets_lost": self.targets_lost,
            "minutes_per_series": _number(self.minutes_per_series),
        }


def score_session(
    microscope: SimulatedMicroscope,
    *,
    tilts: int,
    defocus_um: float,
    finished: Collection[int] | None = None,
) -> SessionScore:
    """Judge a session by the truth.

    Parameters
    ----------
    microscope
        that it ran on.
    tilts
        of each series.
    defocus_um
        that was wanted of every view.
    finished
        targets that the session calls finished; without it, those that have a view of every tilt.
    """
    views = _last(view for view in microscope.truth.views if view.purpose.kind == "record" and view.purpose.target >= 0)
    target = np.array([view.purpose.target for view in views], np.int64)
    tilt = np.array([view.purpose.tilt for view in views], np.int64)
    targeting = np.array([float(np.hypot(*view.offset_um)) for view in views])
    defocus = np.array([view.defocus_um - defocus_um for view in views])
    number = len(microscope.targets_um)
    if finished is None:
        finished = [one for one in range(number) if len(set(tilt[target == one])) >= tilts]
    return SessionScore(
        targeting_um=Spread.of(targeting),
        defocus_um=Spread.of(defocus),
        tracking_nm=_tracking_nm(microscope.truth.views, views),
        targets_finished=len(finished),
        targets_lost=number - len(finished),
        minutes_per_series=microscope.time_s / 60 / max(len(finished), 1),
        target=target,
        tilt=tilt,
        targeting=targeting,
        defocus=defocus,
    )


def _number(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _last(views: Any) -> list[TrueView]:
    """The last of each target, shot and tilt: an exposure that was taken again counts as it was in the end."""
    kept = {(view.purpose.target, view.purpose.shot, view.purpose.tilt): view for view in views}
    return list(kept.values())


def _tracking_nm(views: Collection[TrueView], records: list[TrueView]) -> float | None:
    tracked = _last(
        view
        for view in views
        if view.purpose.kind == "track" and view.purpose.target == TRACKING_AREA and view.preset == TRACK
    )
    tracked = tracked or [view for view in records if view.purpose.target == 0]
    if not tracked:
        return None
    offsets = np.array([view.offset_um for view in tracked])
    return float(1e3 * np.sqrt(np.mean((offsets**2).sum(axis=1))))
