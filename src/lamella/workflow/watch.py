"""`lamella watch`: process beside the microscope, series by series as they are recorded, and tell a running session."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lamella.acquire.session.log import LOG_NAME
from lamella.errors import LamellaError, ProjectError
from lamella.formats.overrides import Imported
from lamella.workflow.new import create_project
from lamella.workflow.plan import line_of_jobs
from lamella.workflow.project import Project
from lamella.workflow.runner import Observer, run_jobs
from lamella.workflow.watch_intake import Intake
from lamella.workflow.watch_session import GrowingSession
from lamella.workflow.watch_source import RawSource

__all__ = ["LAST_STEP", "Watch", "WatchResult", "open_watched"]

LAST_STEP = "denoise"
"""The last step of the line that works on one series at a time: what follows is made of all of them together."""


@dataclass(kw_only=True, eq=False)
class WatchResult:
    """What was done.

    Attributes
    ----------
    processed, failed
        names of series, and of those that failed why.
    told
        how many measurements of each kind the session was told.
    """

    processed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)


def open_watched(project: Path | str, session: Path | str | None = None) -> tuple[Project, RawSource]:
    """A project and where its series come from; with a session, a project that is not there yet is made.

    Raises
    ------
    ProjectError
        if there is neither, or the project does not know where its series came from.
    """
    if session is not None and not (Path(session) / LOG_NAME).is_file():
        raise ProjectError(
            f"{session}: no session is recorded here", mend="name its folder, once `lamella acquire run` has begun"
        )
    if session is not None and not Path(project).exists():
        made = create_project(Path(project), Imported(series=(), notes=()), empty=True)
        RawSource.of([f"{session}/*.mdoc"]).write(made)
    opened = Project.open(project)
    source = RawSource.read(opened)
    if source is None and session is not None:
        source = RawSource.of([f"{session}/*.mdoc"])
    if source is None:
        raise ProjectError(
            f"{project}: it does not say which mdoc files its series came from",
            mend="make it with `lamella new PROJECT --mdoc 'GLOB' --later`, or name a session with --session",
        )
    return opened, source


@dataclass(kw_only=True, eq=False)
class Watch:
    """Rounds of looking: what grows is measured for the session, what is complete is processed.

    Attributes
    ----------
    project, source
        as `open_watched` gives them.
    session
        that is told; None: nobody.
    to
        the last step.
    quiet_s
        how long a series' files must be unchanged until it counts as complete.
    observer
        told what happens.
    now, clock, sleep
        the time by which files are dated; one that only goes on; and a pause.
    result
        what was done up to now.

    Raises
    ------
    InputError
        if there is no such step, or every step up to it is off.
    """

    project: Project
    source: RawSource
    session: Path | None
    to: str = LAST_STEP
    quiet_s: float
    observer: Observer
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    result: WatchResult = field(default_factory=WatchResult, init=False)

    def __post_init__(self) -> None:
        # A step that does not exist is told before anything is waited for.
        line_of_jobs(self.project, self.project.read_settings(), None, self.to)
        self._intake = Intake(
            project=self.project, source=self.source, quiet_s=self.quiet_s, now=self.now, say=self.observer.say
        )
        self._growing = None
        if self.session is not None:
            self._growing = GrowingSession(folder=self.session, clock=self.clock, say=self.observer.say)
        self._pending: list[str] = []

    def run(self, *, every_s: float, idle_s: float = 0.0) -> WatchResult:
        """Go on until the session has ended and everything is processed, or nothing has come for a while.

        Parameters
        ----------
        every_s
            pause between rounds.
        idle_s
            end after so long without anything new; 0: never.
        """
        self._say_what_is_watched()
        latest = self.clock()
        while True:
            if self.round():
                latest = self.clock()
            elif self.over:
                self.observer.say("the session has ended, and all its series are processed")
                return self.result
            elif idle_s and self.clock() - latest >= idle_s:
                self.observer.say(f"nothing new for {idle_s:g} s")
                return self.result
            self.sleep(every_s)

    @property
    def over(self) -> bool:
        """Whether nothing will come any more: the session has ended, and nothing is left to do."""
        return self._growing is not None and self._growing.whole and not self._pending

    def round(self) -> bool:
        """Look once; whether there was anything new."""
        told = self._tell()
        try:
            with self.project.lock():
                taken = self._intake.look()
        except ProjectError as error:
            self.observer.say(f"{error}; it is tried again")
            return told
        self._pending += [name for name in taken if name not in self._pending]
        if taken:
            self.observer.say(f"new: {', '.join(taken)}")
        return bool(self._process() or taken or told)

    def _tell(self) -> bool:
        """Measure what grows, and tell the session."""
        if self._growing is None or self._growing.whole:
            return False
        told = self._growing.look()
        for kind, count in told.counts.items():
            self.result.told[kind] = self.result.told.get(kind, 0) + count
        if told.total:
            self.observer.say(f"told the session: {told}")
        return bool(told.total)

    def _process(self) -> bool:
        """Run the line on what was taken in; a project that somebody else works on is waited for."""
        if not self._pending:
            return False
        names = list(self._pending)
        settings = self.project.read_settings()
        how = settings.run_settings({})
        try:
            jobs = line_of_jobs(self.project, settings, None, self.to)
            result = run_jobs(
                self.project,
                jobs,
                only=names,
                how=how,
                command="lamella watch",
                observer=self.observer,
                at_end=self._report if how.report else None,
            )
        except ProjectError as error:
            self.observer.say(f"{error}; it is tried again")
            return False
        self._pending = []
        failures = {name: f"{record}: {failure}" for record, name, failure in result.failures}
        for name in names:
            self.result.failed.pop(name, None)
            if name in failures:
                self.result.failed[name] = failures[name]
            elif name not in self.result.processed:
                self.result.processed.append(name)
        for name, why in failures.items():
            self.observer.say(f"{name} failed, the others go on: {why}")
        return True

    def _report(self) -> None:
        from lamella.workflow.reporting import make_report

        try:
            self.observer.say(f"report: {make_report(self.project)}")
        except LamellaError as error:
            self.observer.say(f"no report this time: {error}")

    def _say_what_is_watched(self) -> None:
        self.observer.say(f"watching {', '.join(self.source.patterns)}; Ctrl-C ends it, and what is done stays")
