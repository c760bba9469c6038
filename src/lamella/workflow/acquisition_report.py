"""The pages of a recording session: the one that follows it while it goes, and its report."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lamella.acquire.beams import tilted
from lamella.acquire.microscope.port import Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope, score_session
from lamella.acquire.plan import Plan
from lamella.acquire.plan_record import record_of_plan
from lamella.acquire.session.events import Event, SessionBegun, SessionEnded, TiltBegun
from lamella.acquire.session.log import read_log
from lamella.acquire.session.result import SessionResult
from lamella.acquire.session.run import read_session
from lamella.acquire.session.summary import summarise, with_truth
from lamella.errors import MicroscopeError
from lamella.records.acquisition import AcquisitionTruth

__all__ = ["LIVE_PAGE", "PLAN_PICTURE", "LivePage", "draw_plan", "make_session_report"]

LIVE_PAGE, PLAN_PICTURE = "live.html", "plan.png"
_DOTS_PER_INCH = 100  # of the picture of a plan
_LEAST_S = 3.0  # between two live pages: a simulated session must not spend its time on drawing
_OF_DRAWING = 10.0  # times as long as the last page took to draw


def draw_plan(folder: Path, plan: Plan) -> None:
    """Draw where targets, areas and beams will lie, into ``plan.png`` in the session's folder.

    Raises
    ------
    OutputError
        if it cannot be written.
    """
    from lamella.report.pictures import write_png
    from lamella.report.plots import plot_session_plan

    write_png(folder / PLAN_PICTURE, plot_session_plan(record_of_plan(plan)), dots_per_inch=_DOTS_PER_INCH)


class LivePage:
    """Takes a session's events, and writes its live page at the start, after each tilt and at the end.

    A page that cannot be written does not stop the session.

    Parameters
    ----------
    folder
        of the session.
    plan
        of it.
    least_s
        between two pages, by the computer's time, or ten times as long as a page takes to draw; the first and the last
        one are always written.
    """

    def __init__(self, folder: Path, plan: Plan, *, least_s: float = _LEAST_S) -> None:
        self._folder = folder
        self._plan = plan
        self._wait_s = self._least_s = least_s
        self._events: list[Event] = []
        self._written = time.monotonic()

    def watch(self, event: Event) -> None:
        """Take an event."""
        self._events.append(event)
        due = isinstance(event, TiltBegun) and time.monotonic() - self._written >= self._wait_s
        if due or isinstance(event, SessionBegun | SessionEnded):
            self.write()

    def write(self) -> None:
        """Write the page as things stand."""
        from lamella.report.session_page import write_live_page

        began = time.monotonic()
        # A session's pictures matter more than the page about it, whatever is wrong there; the next tilt tries again.
        with suppress(Exception):
            write_live_page(self._folder / LIVE_PAGE, summarise(self._folder.name, self._plan, self._events))
        self._written = time.monotonic()
        self._wait_s = max(self._least_s, _OF_DRAWING * (self._written - began))


def make_session_report(folder: Path | str, truth: Callable[[], SimulatedMicroscope] | None = None) -> Path:
    """Write the report of a session, whether it is over or not.

    Parameters
    ----------
    folder
        of the session.
    truth
        makes its simulated microscope anew, whose truth is shown beside; None on a real one.

    Returns
    -------
    page
        ``report/index.html`` in the folder.

    Raises
    ------
    ProjectError, FormatError
        if there is no session, or its log cannot be read.
    """
    from lamella.report.session_page import write_session_page

    folder = Path(folder)
    result = read_session(folder)
    session = summarise(folder.resolve().name, result.plan, result.events)
    if truth is not None:
        session = with_truth(session, _truth(result, truth(), folder))
    page = folder / "report" / "index.html"
    write_session_page(page, session)
    return page


def _truth(result: SessionResult, scope: SimulatedMicroscope, folder: Path) -> AcquisitionTruth:
    """Ask a simulated microscope once more what the session asked, and see what was true."""
    for line in read_log(folder)[1]:
        if "call" in line and hasattr(scope, line["call"]):
            _ask(scope, line["call"], line["with"])
    plan = result.plan
    score = score_session(scope, tilts=len(plan.scheme), defocus_um=plan.settings.defocus)
    targeting = np.full((len(plan.targets), len(plan.scheme)), np.nan)
    defocus = targeting.copy()
    targeting[score.target, score.tilt], defocus[score.target, score.tilt] = score.targeting, score.defocus
    places = np.array([scope.truth.places_um[number] for number in range(len(plan.targets))])
    heights = tilted(places, plan.settings.start_tilt)[:, 2]
    return AcquisitionTruth(
        targeting_um=targeting,
        defocus_error_um=defocus,
        own_dose=scope.truth.dose.own,
        other_dose=scope.truth.dose.others,
        height_um=heights - heights.mean(),
        axis_um=scope.true_axis_um,
    )


def _ask(scope: SimulatedMicroscope, verb: str, given: list[Any]) -> None:
    try:
        if verb == "expose":
            preset, purpose, exposure_s = given
            scope.expose(preset, Purpose(**purpose), exposure_s=exposure_s)
        else:
            getattr(scope, verb)(*given)
    except MicroscopeError:
        # It failed in the session too.
        return
