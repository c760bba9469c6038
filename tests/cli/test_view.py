"""What is seen while work goes on: bars that come and go on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress

from lamella.cli import view
from lamella.workflow.completion import Completion
from lamella.workflow.tasks import Failure, Outcome

JOB = SimpleNamespace(target="clean", source="motion", step=SimpleNamespace(whole=False))
DONE = Completion(
    fingerprint="x",
    made_from=("motion",),
    settings={},
    inputs={},
    version="1",
    quality={"Factor": 2.0},
    messages=("scaled",),
    wall_s=1.25,
    peak_mib=100.0,
)


def test_lines_tell_times_numbers_messages_and_failures():
    lines = view.summary_lines(JOB, Outcome(series="A", completion=DONE))
    assert lines == ["clean: A done in 1.2 s, 100 MiB; Factor 2", "clean: A: scaled"]
    failed = Outcome(series="B", failure=Failure(kind="ImageError", problem="B: bad", mend="mend it"))
    assert view.summary_lines(JOB, failed) == ["clean: B failed: B: bad; mend it"]


def test_lines_in_a_log_come_now_and_then(capsys, monkeypatch):
    clock = iter(range(0, 4000, 4))
    monkeypatch.setattr(view.time, "monotonic", lambda: next(clock))
    tell = view.LineView().work("clean: A")
    for step in range(100):
        tell(step / 100, "views")
    lines = capsys.readouterr().out.splitlines()
    assert 3 <= len(lines) <= 8  # 400 s: the pauses between lines grow
    assert lines[0].startswith("clean: A: ")


def test_bars_go_when_their_work_is_done():
    screen = io.StringIO()
    with Progress(console=Console(file=screen, force_terminal=True, width=100), transient=True) as bars:
        seen = view.BarView(bars)
        seen.job_begins(JOB, 2, 1)
        for name in "AB":
            tell = seen.progress(SimpleNamespace(target="clean", series=name))
            tell(0.5, "half")
            assert bars.tasks[-1].completed == pytest.approx(0.5)
            seen.series_ends(JOB, Outcome(series=name, completion=DONE))
        assert [task.description for task in bars.tasks] == ["clean"]
        assert bars.tasks[0].finished
        seen.job_ends(SimpleNamespace(job=JOB, failed={}))
        assert bars.tasks == []
    assert "clean: A done" in screen.getvalue()
