"""The pages of a recording session: the one that follows it while it goes, and its report."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lamella.acquire.microscope.port import Purpose
from lamella.acquire.microscope.simulated import SimulatedMicroscope, score_session
from lamella.acquire.plan import Plan
from lamella.acquire.session.events import Event, SessionEnded, TiltBegun
from lamella.acquire.session.log import read_log
from lamella.acquire.session.result import SessionResult
from lamella.acquire.session.run import read_session
from lamella.acquire.session.summary import summarise, with_truth
from lamella.errors import LamellaError, MicroscopeError
from lamella.records.acquisition import Acquisition

__all__ = ["LIVE_PAGE", "LivePage", "make_session_report"]

LIVE_PAGE = "live.html"
_LEAST_S = 3.0  # between two live pages: a simulated session must not spend its time on drawing


class LivePage:
    """Takes a session's events, and writes its live page after each tilt.

    A page that cannot be written does not stop the session.

    Parameters
    ----------
    folder
        of the session.
    plan
        of it.
    least_s
        between two pages, by the computer's time; the last one is always written.
    """

    def __init__(self, folder: Path, plan: Plan, *, least_s: float = _LEAST_S) -> None:
        self._folder = folder
        self._plan = plan
        self._least_s = least_s
        self._events: list[Event] = []
        self._written = time.monotonic()

    def watch(self, event: Event) -> None:
        """Take an event."""
        self._events.append(event)
        over = isinstance(event, SessionEnded)
        due = isinstance(event, TiltBegun) and time.monotonic() - self._written >= self._least_s
        if over or due:
            self.write()

    def write(self) -> None:
        """Write the page as things stand."""
        from lamella.report.session_page import write_live_page

        # The pictures of a session matter more than the page about it; the next tilt tries again.
        with suppress(LamellaError, OSError):
            write_live_page(self._folder / LIVE_PAGE, summarise(self._folder.name, self._plan, self._events))
        self._written = time.monotonic()


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
        session = _with_truth(session, result, truth(), folder)
    page = folder / "report" / "index.html"
    write_session_page(page, session)
    return page


def _with_truth(session: Acquisition, result: SessionResult, scope: SimulatedMicroscope, folder: Path) -> Acquisition:
    """Ask a simulated microscope once more what the session asked, and score it."""
    for line in read_log(folder)[1]:
        if "call" in line and hasattr(scope, line["call"]):
            _ask(scope, line["call"], line["with"])
    score = score_session(scope, tilts=len(result.plan.scheme), defocus_um=result.plan.settings.defocus)
    return with_truth(session, score.target, score.tilt, score.targeting, score.defocus)


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
