"""Targets that a montage shows are planned by the command line; so is a lamella with a pre-tilt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.formats.mrc import write_mrc
from lamella.workflow.acquisition import read_folder


def test_a_montages_holes_are_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y, x = np.mgrid[:400, :400] - 200.0
    holes = np.zeros((400, 400), np.float32)
    # 2 µm apart, 1.2 µm wide, in pixels of 20 nm.
    for column in range(-3, 4):
        for row in range(-3, 4):
            if max(abs(column), abs(row)) * 50 < 170:
                holes += np.hypot(x - 50 * column, y - 50 * row) < 15
    image = np.random.default_rng(1).poisson(60 + 40 * holes).astype(np.float32)
    montage = tmp_path / "square.mrc"
    write_mrc(montage, image, 400.0)
    plan = ["acquire", "plan", str(tmp_path / "s"), "--targets", str(montage)]
    assert main(plan) != 0
    assert "--hole-diameter" in capsys.readouterr().err
    assert main([*plan, "--hole-diameter", "1.2"]) == 0
    places = np.array([(one.x_um, one.y_um) for one in read_folder(tmp_path / "s").targets])
    assert len(places) == 49
    # About the middle, whichever way the tilt axis turns them.
    assert np.sort(np.hypot(*places.T))[:9] == pytest.approx([0, *[2] * 4, *[2 * 2**0.5] * 4], abs=0.05)


def test_a_lamella_with_a_pretilt(tmp_path: Path) -> None:
    targets = tmp_path / "lamella.csv"
    targets.write_text("name,x_um,y_um\na,0,0\nb,3,1\n")
    folder = str(tmp_path / "s")
    assert main(["acquire", "plan", folder, "--targets", str(targets), "--start-tilt", "9"]) == 0
    session = read_folder(folder)
    assert session.plan.scheme.tilt_deg[0] == 9
