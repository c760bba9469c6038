"""A project beside a folder that a microscope fills: what is complete is processed once, whatever else fails."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.errors import InputError, ProjectError
from lamella.formats.mrc import write_mrc
from lamella.formats.overrides import Overrides
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW
from lamella.workflow.runner import Silent
from lamella.workflow.tables import read_record
from lamella.workflow.watch import Watch, open_watched
from lamella.workflow.watch_source import RawSource

QUIET_S = 100.0


class Sayings(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, text: str) -> None:
        self.texts.append(text)


class Clock:
    """Time that goes on where it is told to."""

    def __init__(self) -> None:
        self.time = 1e9

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(seconds, 1.0)


def record(folder: Path, name: str, views: int, clock: Clock, *, shift_um: float = 0.0) -> None:
    """A stack and its mdoc as SerialEM leaves them after so many views."""
    path = folder / f"{name}.mrc"
    rng = np.random.default_rng(len(name) + views)
    write_mrc(path, rng.normal(100, 5, (views, 12, 16)).astype(np.float32), 4.0)
    lines = ["PixelSpacing = 4", f"ImageFile = {path.name}", "ImageSize = 16 12", "DataMode = 2", "Voltage = 300", ""]
    lines += ["[T = SerialEM: on a microscope]", "", "[T = Tilt axis angle = 85.0, binning = 1  spot = 5  camera = 0]"]
    for view in range(views):
        lines += ["", f"[ZValue = {view}]", f"TiltAngle = {3.0 * view - 9:g}", "ExposureDose = 3", "PixelSpacing = 4"]
        lines += [f"ImageShift = {shift_um:g} 0"]
    mdoc = folder / f"{name}.mrc.mdoc"
    mdoc.write_text("\n".join(lines) + "\n")
    for one in (path, mdoc):
        os.utime(one, (clock.time, clock.time))


def runs(folder: Path, name: str) -> int:
    """How often the first step worked on a series."""
    count = folder / f"{name}.count"
    return int(count.read_text()) if count.exists() else 0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(tmp_path: Path, toy_line, clock) -> Watch:
    (tmp_path / "data").mkdir()
    assert main(["new", str(tmp_path / "P"), "--mdoc", str(tmp_path / "data" / "*.mdoc"), "--later"]) == 0
    project, source = open_watched(tmp_path / "P")
    settings = project.settings_path.read_text()
    assert "report = true" in settings
    project.settings_path.write_text(settings.replace("report = true", "report = false"))
    return Watch(
        project=project, source=source, session=None, quiet_s=QUIET_S, observer=Sayings(), now=clock,
        clock=clock, sleep=clock.sleep,
    )  # fmt: skip


def raw(watch: Watch) -> dict[str, int]:
    return {one.name: len(one) for one in read_record(watch.project, RAW)}


def test_series_are_processed_as_they_are_complete_and_once(tmp_path, watched, clock) -> None:
    data = tmp_path / "data"
    assert not watched.round()
    record(data, "A", 5, clock)
    assert not watched.round()  # it may grow
    clock.time += QUIET_S
    record(data, "B", 3, clock)
    assert watched.round()
    assert raw(watched) == {"A": 5}
    assert not watched.round()
    record(data, "B", 6, clock)
    clock.time += QUIET_S
    assert watched.round()
    assert raw(watched) == {"A": 5, "B": 6}
    assert [runs(tmp_path, name) for name in "AB"] == [1, 1]
    assert (watched.project.root / "denoise" / "B.mrc").is_file()
    assert watched.result.processed == ["A", "B"]


def test_a_series_that_goes_on_is_made_again(tmp_path, watched, clock) -> None:
    record(tmp_path / "data", "A", 4, clock)
    clock.time += QUIET_S
    assert watched.round()
    record(tmp_path / "data", "A", 7, clock)
    assert not watched.round()
    clock.time += QUIET_S
    assert watched.round()
    assert raw(watched) == {"A": 7}
    assert runs(tmp_path, "A") == 2


def test_one_that_watches_anew_does_nothing_again(tmp_path, watched, clock) -> None:
    record(tmp_path / "data", "A", 4, clock)
    record(tmp_path / "data", "B", 4, clock, shift_um=5.0)
    clock.time += QUIET_S
    assert watched.round()
    table = (watched.project.root / "raw.star").read_bytes()
    again = Watch(
        project=watched.project, source=watched.source, session=None, quiet_s=QUIET_S,
        observer=Sayings(), now=clock, clock=clock, sleep=clock.sleep,
    )  # fmt: skip
    assert not again.round()
    assert (watched.project.root / "raw.star").read_bytes() == table
    assert [runs(tmp_path, name) for name in "AB"] == [1, 1]


def test_each_image_shift_keeps_its_optics_group(tmp_path, watched, clock) -> None:
    for name, shift_um in (("C", 5.0), ("A", 0.0), ("B", 5.2), ("D", -5.0)):
        record(tmp_path / "data", name, 4, clock, shift_um=shift_um)
        clock.time += QUIET_S
        assert watched.round()
    groups = {one.name: one.optics_group for one in read_record(watched.project, RAW)}
    assert groups == {"C": "optics1", "A": "optics2", "B": "optics1", "D": "optics3"}
    assert [runs(tmp_path, name) for name in "ABCD"] == [1, 1, 1, 1]


def test_what_fails_is_told_once_and_keeps_no_other_back(tmp_path, watched, clock) -> None:
    data = tmp_path / "data"
    settings = watched.project.settings_path
    settings.write_text(settings.read_text().replace('refuse = ""', 'refuse = "B"'))
    for name in "ABD":
        record(data, name, 4, clock)
    (data / "broken.mdoc").write_bytes(b"\xff\xfe nothing")
    (data / "D.mrc").unlink()
    record(data, "short", 2, clock)
    clock.time += QUIET_S
    os.utime(data / "broken.mdoc", (1.0, 1.0))
    for _ in range(3):
        watched.round()
    assert [runs(tmp_path, name) for name in "ABD"] == [1, 0, 0]
    assert (watched.project.root / "denoise" / "A.mrc").is_file()
    assert list(watched.result.failed) == ["B"]
    said = watched.observer.texts
    assert sum("refused" in text for text in said) == 1
    assert sum("broken" in text and "go on" in text for text in said) == 1
    assert sum(text.startswith("D") and "go on" in text for text in said) == 1


def test_a_project_in_use_is_waited_for(tmp_path, watched, clock) -> None:
    record(tmp_path / "data", "A", 4, clock)
    clock.time += QUIET_S
    with watched.project.lock():
        assert not watched.round()
    assert any("is being worked on" in text and "tried again" in text for text in watched.observer.texts)
    assert watched.round()
    assert runs(tmp_path, "A") == 1


def test_it_ends_where_nothing_comes(tmp_path, watched, clock) -> None:
    record(tmp_path / "data", "A", 4, clock)
    begun = clock.time
    result = watched.run(every_s=10.0, idle_s=300.0)
    assert result.processed == ["A"]
    assert 400 <= clock.time - begun < 450


def test_ctrl_c_ends_it_in_order(tmp_path, watched, clock, capsys, monkeypatch) -> None:
    record(tmp_path / "data", "A", 4, clock)

    def stopped(_: Watch) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "round", stopped)
    capsys.readouterr()
    assert main(["watch", str(watched.project.root), "--json"]) == 0
    out = capsys.readouterr().out
    assert "what is done stays" in out
    assert json.loads(out.splitlines()[-1])["processed"] == []


def test_where_series_come_from_is_remembered(tmp_path) -> None:
    source = RawSource.of(
        ["data/*.mdoc"], frames=Path("frames"), overrides=Overrides(tilt_axis_deg=84.0), references={"gain": "g.mrc"}
    )
    (tmp_path / "raw").mkdir()
    source.write(Project(tmp_path))
    assert RawSource.read(Project(tmp_path)) == source
    assert source.patterns == (os.path.abspath("data/*.mdoc"),)
    (tmp_path / "raw" / "source.json").write_text('{"patterns": 3}')
    with pytest.raises(ProjectError, match="--mdoc"):
        RawSource.read(Project(tmp_path))


def test_bad_input_is_told(tmp_path, watched) -> None:
    with pytest.raises(ProjectError, match="no such project"):
        open_watched(tmp_path / "nowhere")
    with pytest.raises(ProjectError, match="no session"):
        open_watched(tmp_path / "Q", tmp_path / "data")
    assert not (tmp_path / "Q").exists()
    with pytest.raises(InputError, match="no step"):
        Watch(
            project=watched.project, source=watched.source, session=None, to="nonsense", quiet_s=1.0, observer=Silent()
        )


@pytest.mark.parametrize("words", [["--every", "-1"], ["--quiet", "nan"], ["--idle", "inf"]])
def test_times_that_are_none_are_refused(watched, words, capsys) -> None:
    assert main(["watch", str(watched.project.root), *words]) == 2
    assert words[0] in capsys.readouterr().err
