"""A session on a microscope that SerialEM controls is planned without it, from the file that the manual shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lamella.cli import main
from lamella.errors import MicroscopeError
from lamella.workflow.acquisition import read_folder, record

MANUAL = Path(__file__).parents[2] / "docs" / "how-to" / "serialem.md"


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    found = re.search(r"```toml\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    (tmp_path / "microscope.toml").write_text(found[1], encoding="utf-8")
    (tmp_path / "targets.csv").write_text("name,x_um,y_um\na,0,0\nb,4,1\n")
    return tmp_path


def plan(folder: Path, *more: str) -> int:
    targets = str(folder / "targets.csv")
    return main(["acquire", "plan", str(folder / "s"), "--microscope", "serialem", "--targets", targets, *more])


def test_it_is_planned_without_the_microscope(planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serialem", None)
    assert plan(planned, "--calibration", str(planned / "microscope.toml"), "--address", "here") == 0
    session = read_folder(planned / "s")
    assert session.microscope.address == "here"
    assert len(session.targets) == 2
    with pytest.raises(MicroscopeError, match="cannot be imported"):
        record(session)


def test_missing_calibrations_are_said(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(planned) != 0
    assert "--calibration" in capsys.readouterr().err
    path = planned / "microscope.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("tilt_axis", "# tilt_axis"), encoding="utf-8")
    assert plan(planned, "--calibration", str(path)) != 0
    assert "tilt_axis is missing" in capsys.readouterr().err
