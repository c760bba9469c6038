"""What a user sees while work goes on: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lamella.progress import Progress

if TYPE_CHECKING:
    from lamella.workflow.plan import Job
    from lamella.workflow.runner import JobResult
    from lamella.workflow.tasks import Outcome, Task

__all__ = ["BarView", "LineView", "open_view", "summary_lines"]

_LINE_EVERY_S = 10.0
_LINE_AT_MOST_S = 300.0


@contextmanager
def open_view() -> Iterator[LineView]:
    """Bars where standard error is a terminal, else lines."""
    if not sys.stderr.isatty():
        yield LineView()
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield BarView(bars)


class LineView:
    """Writes plain lines to standard output: one when a step begins, one per series, and one now and then between."""

    def say(self, text: str) -> None:
        """One line."""
        print(" ".join(text.split()), flush=True)

    def job_begins(self, job: Job, to_do: int, done: int) -> None:
        """A step begins."""
        source = f" from {job.source}"
        if to_do == 0:
            self.say(f"{job.target}: nothing to do, {_count(job, done)} done before")
        elif done:
            self.say(f"{job.target}{source}: {_count(job, to_do)} to do, {done} done before")
        else:
            self.say(f"{job.target}{source}: {_count(job, to_do)} to do")

    def progress(self, task: Task) -> Progress:
        """A line every ten seconds."""
        return self.work(f"{task.target}: {task.series}")

    def work(self, title: str) -> Progress:
        """The progress of work that is no step's."""
        last, every = time.monotonic(), _LINE_EVERY_S

        def tell(fraction: float, text: str = "") -> None:
            nonlocal last, every
            if time.monotonic() - last >= every:
                last, every = time.monotonic(), min(2 * every, _LINE_AT_MOST_S)
                self.say(f"{title}: {100 * fraction:.0f} % {text}")

        return tell

    def series_ends(self, job: Job, outcome: Outcome) -> None:
        """What became of a series."""
        for line in summary_lines(job, outcome):
            self.say(line)

    def job_ends(self, result: JobResult) -> None:
        """A step is over; only failures are worth a line here."""
        if result.failed:
            others = ", the others go on" if result.made or result.kept else ""
            self.say(f"{result.job.target}: {_count(result.job, len(result.failed))} failed{others}")


class BarView(LineView):
    """Bars on a terminal; what is finished scrolls up as lines."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._rows: dict[str, Any] = {}
        self._whole: Any = None

    def say(self, text: str) -> None:
        """One line above the bars."""
        self._bars.console.print(" ".join(text.split()), markup=False, highlight=False, soft_wrap=True)

    def job_begins(self, job: Job, to_do: int, done: int) -> None:
        """A bar for the step."""
        super().job_begins(job, to_do, done)
        self._whole = self._bars.add_task(str(job.target), total=max(to_do, 1), now="") if to_do > 1 else None

    def progress(self, task: Task) -> Progress:
        """A bar for the series."""
        return self._bar(f"{task.target} {task.series}", task.series)

    def work(self, title: str) -> Progress:
        """A bar for work that is no step's."""
        return self._bar(title, "")

    def _bar(self, title: str, name: str) -> Progress:
        row = self._bars.add_task(title, total=1.0, now="")
        self._rows[name] = row

        def tell(fraction: float, text: str = "") -> None:
            self._bars.update(row, completed=min(max(fraction, 0.0), 1.0), now=text)

        return tell

    def series_ends(self, job: Job, outcome: Outcome) -> None:
        """Take the series' bar away and count it."""
        if outcome.series in self._rows:
            self._bars.remove_task(self._rows.pop(outcome.series))
        if self._whole is not None:
            self._bars.advance(self._whole)
        super().series_ends(job, outcome)

    def job_ends(self, result: JobResult) -> None:
        """Take the step's bar away."""
        if self._whole is not None:
            self._bars.remove_task(self._whole)
            self._whole = None
        super().job_ends(result)


def summary_lines(job: Job, outcome: Outcome) -> list[str]:
    """One line for a finished series, and one for each thing that the step had to say."""
    head = f"{job.target}: {outcome.series}"
    done = outcome.completion
    if done is None:
        return [f"{head} failed: {outcome.failure}"]
    if done.passed_on:
        return [f"{head} passed on: {done.passed_on}", *(f"{head}: {text}" for text in done.messages)]
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in done.quality.items())
    taken = f"{done.wall_s:.1f} s, {done.peak_mib:.0f} MiB"
    first = f"{head} done in {taken}" + (f"; {numbers}" if numbers else "")
    return [first, *(f"{head}: {text}" for text in done.messages)]


def _count(job: Job, number: int) -> str:
    return "all particles" if job.step.whole else f"{number} tilt series"
