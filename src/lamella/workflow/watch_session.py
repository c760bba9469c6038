"""Look at the series of a session while they grow, and tell the session what is seen.

The session's own stacks of sums are enough: whole views are aligned and the defoci of the newest are fitted, in memory.
Nothing of it goes into a project: the series is processed whole when it is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import lamella.tilts as tilts
from lamella.acquire.microscope.port import RECORD
from lamella.acquire.session.events import TiltBegun, ViewRecorded
from lamella.acquire.session.files import LEFT_OUT_NAME
from lamella.acquire.session.model import session_series
from lamella.acquire.session.result import SessionResult
from lamella.acquire.session.run import SessionHead, read_head, read_session
from lamella.errors import LamellaError
from lamella.formats.images import open_images
from lamella.formats.mrc_header import read_header
from lamella.records import SESSION_DEFOCUS, SESSION_SHIFTS, TiltSeries
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.ctf_settings import CtfSettings
from lamella.workflow.acquisition_feedback import Told, tell_series

__all__ = ["GrowingSession"]

_FEWEST_VIEWS = 5
_CTF_VIEWS = 12  # the newest, of which the defocus is fitted at a time
_DEFOCUS_RANGE_ANG = 15000.0  # about the one wanted
_LEAST_DEFOCUS_ANG = 3000.0
# Without the session's shifts as a start: it shall not be told what it said itself.
_ALIGN = AlignSettings(method="coarse", session_start=False)
_LEVEL_RANGE_DEG = 24.0  # of tilts, from which on depth is told apart: the specimen's mid-plane and thickness
_BUDGET_S = 60.0  # of a round, while no two tilts are there that would tell


@dataclass(kw_only=True, eq=False)
class GrowingSession:
    """A session that is watched.

    Attributes
    ----------
    folder
        of the session.
    clock
        seconds, by which a round ends in time.
    say
        takes a sentence.
    """

    folder: Path
    clock: Callable[[], float]
    say: Callable[[str], None]
    _seen: dict[str, int] = field(default_factory=dict, init=False)
    _told: set[tuple[str, str]] = field(default_factory=set, init=False)

    @property
    def whole(self) -> bool:
        """Whether the session has ended, and its files are whole."""
        return (self.folder / LEFT_OUT_NAME).is_file() and read_session(self.folder).ended

    def look(self) -> Told:
        """Measure the series that have new views, the newest first, for as long as the session takes for a tilt.

        One series at least is looked at. The session is told at once; what fails is said and left.
        """
        head, result = read_head(self.folder), read_session(self.folder)
        begun = self.clock()
        counts: dict[str, int] = {}
        for name, views in self._with_news(result):
            if sum(counts.values()) and self.clock() - begun > _seconds_of_a_tilt(result):
                break
            self._seen[name] = len(views)
            try:
                measured = self._measured(name, views, head)
                told = Told(counts={}) if measured is None else tell_series(self.folder, [measured])
            except LamellaError as error:
                self._complain(name, error)
                continue
            for kind, count in told.counts.items():
                counts[kind] = counts.get(kind, 0) + count
        return Told(counts=counts)

    def _with_news(self, result: SessionResult) -> list[tuple[str, tuple[ViewRecorded, ...]]]:
        """Series that go on and have views which were not looked at yet."""
        found = []
        for number, target in enumerate(result.plan.targets):
            views = tuple(view for view in result.views if view.target == number)
            new = len(views) > self._seen.get(target.name, 0)
            if new and len(views) >= _FEWEST_VIEWS and number not in result.endings:
                found.append((target.name, views))
        return sorted(found, key=lambda one: -one[1][-1].time_s)

    def _measured(self, name: str, views: tuple[ViewRecorded, ...], head: SessionHead) -> TiltSeries | None:
        """A series aligned by whole views, with the newest views' defoci; None where there is no stack of it."""
        stack = self.folder / f"{name}.mrc"
        if not stack.is_file():
            return None
        preset = head.calibrations.presets[RECORD]
        views = views[: read_header(stack).shape[0]]
        images = [f"{number:06d}@{stack.name}" for number in range(1, len(views) + 1)]
        known = session_series(
            name,
            views,
            head.settings,
            head.calibrations,
            pixel_size_ang=preset.pixel_size_ang,
            image_shape_px=preset.shape_px,
            images=images,
        )
        deep = bool(np.ptp(known.nominal_tilt_deg) >= _LEVEL_RANGE_DEG)
        settings = _ALIGN.model_copy(update={"level": deep})
        aligned = tilts.align(_begun(known), open_images(known.images or (), self.folder), settings).series
        newest = np.sort(np.argsort(-np.asarray(aligned.pre_exposure))[:_CTF_VIEWS])
        part = aligned.select([int(view) for view in newest])
        wanted = 1e4 * head.settings.defocus
        rings = CtfSettings(
            min_defocus=max(wanted - _DEFOCUS_RANGE_ANG, _LEAST_DEFOCUS_ANG),
            max_defocus=max(wanted, _LEAST_DEFOCUS_ANG) + _DEFOCUS_RANGE_ANG,
            hand="+1" if head.calibrations.hand > 0 else "-1",
        )
        found = tilts.estimate_ctf(part, open_images(part.images or (), self.folder), rings).series
        return _with_defoci(aligned, found, newest)

    def _complain(self, name: str, error: LamellaError) -> None:
        """Tell once what is wrong with a series."""
        if (name, error.problem) not in self._told:
            self._told.add((name, error.problem))
            self.say(f"{name}, while it grows: {error}; the others go on")


def _begun(known: TiltSeries) -> TiltSeries:
    """A series with what its session knows as a start, and no result."""
    assert known.geometry is not None
    assert known.defocus is not None
    shifts = known.geometry.shifts_ang()
    return known.with_changes(
        geometry=None,
        defocus=None,
        scores={
            SESSION_SHIFTS[0]: shifts[:, 0],
            SESSION_SHIFTS[1]: shifts[:, 1],
            SESSION_DEFOCUS: known.defocus.mean_ang,
        },
    )


def _with_defoci(
    aligned: TiltSeries, found: TiltSeries, rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> TiltSeries:
    """The whole series with the defoci of some views; the others' have no error, and nobody takes them for measured."""
    if found.defocus is None:
        return aligned
    errors = found.scores.get("CtfDefocusErrorAngst")
    if errors is None:
        return aligned
    borrowed = found.scores.get("CtfBorrowed", np.zeros(len(found)))
    u, v, angle = (np.zeros(len(aligned)) for _ in range(3))
    error, own = np.full(len(aligned), np.nan), np.zeros(len(aligned))
    for values, part in (
        (u, found.defocus.u_ang),
        (v, found.defocus.v_ang),
        (angle, found.defocus.angle_deg),
        (error, errors),
        (own, borrowed),
    ):
        values[rows] = part
    return aligned.with_changes(
        defocus=type(found.defocus)(u_ang=u, v_ang=v, angle_deg=angle),
        scores={"CtfDefocusErrorAngst": error, "CtfBorrowed": own},
    )


def _seconds_of_a_tilt(result: SessionResult) -> float:
    """Median time from one tilt to the next."""
    stood = [event.time_s for event in result.events if isinstance(event, TiltBegun)]
    return float(np.median(np.diff(stood))) if len(stood) > 2 else _BUDGET_S
