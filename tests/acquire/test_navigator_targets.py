"""Targets of SerialEM's navigator and of PACEtomo: what is taken, and where it lies in the stage frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.acquire.navigator_targets import STAGE_TO_SPECIMEN, navigator_targets, stage_frame
from lamella.acquire.pacetomo_targets import is_pacetomo, pacetomo_targets
from lamella.errors import FormatError
from lamella.formats.navigator import NavigatorItem, new_navigator, write_navigator
from lamella.workflow.acquisition_settings import MicroscopeSettings
from lamella.workflow.acquisition_targets import targets_of

# As PACEtomo's selectTargets writes them (1.8): the first target is the one that is tracked on.
TGTS = """_set pretilt = -9.0
_set rotation = 4.0
_set minDefocus = -4

_tgt = 001
tgtfile = L02_tgt_001.mrc
tsfile = L02_ts_001.mrc
viewfile = L02_tgt_001_view.mrc
stageX = 100.5
stageY = -20.25
SSX = 0.0
SSY = 0.0
skip = False

_tgt = 002
tgtfile = L02_tgt_002.mrc
tsfile = L02_ts_002.mrc
SSX = 1.5
SSY = -3.25
stageX = 99.0
stageY = -17.0
SPACEscore = None
skip = False
_pbr
SSX = 9.9
SSY = 9.9
focus = -1.0
_nbr
SSX = 8.8
SSY = 8.8

_tgt = 003
tsfile = L02_ts_003.mrc
SSX = 4.0
SSY = 4.0
skip = True

_geo = 1
SSX = 2.0
SSY = 2.0
"""


def point(label: str, x: float, y: float, **more: object) -> NavigatorItem:
    return NavigatorItem(label=label, kind="point", stage_um=(x, y, 3.0), points_um=((x, y),), **more)  # type: ignore[arg-type]


def written(tmp_path: Path, *items: NavigatorItem) -> Path:
    return write_navigator(new_navigator(tmp_path / "grid.nav", items))


def test_marked_points_and_maps_about_the_first(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        point("1", 10.0, 20.0, acquire=True, group=7),
        point("2", 500.0, 20.0),
        point("3-A", 12.0, 20.0, acquire=True, group=7),
        NavigatorItem(
            label="1", kind="map", stage_um=(10.0, 25.0, 0.0), points_um=((10.0, 25.0),), acquire=True, note="tgt.mrc"
        ),
        NavigatorItem(label="p", kind="polygon", stage_um=(0.0, 0.0, 0.0), points_um=((0.0, 0.0),) * 5, acquire=True),
    )
    first, second, third = navigator_targets(path)
    assert (first.name, first.x_um, first.y_um, first.group) == ("1", 0.0, 0.0, "7")
    # The stage's x runs along the tilt axis, half a turn from the specimen's.
    assert (second.name, second.x_um, second.y_um) == ("3-A", 0.0, -2.0)
    assert (third.name, third.x_um, third.y_um, third.group) == ("1_3", 5.0, 0.0, "")


def test_navigators_without_targets(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no point and no map is marked"):
        navigator_targets(written(tmp_path, point("1", 0.0, 0.0)))
    with pytest.raises(FormatError, match="registrations"):
        navigator_targets(
            written(tmp_path, point("1", 0, 0, acquire=True), point("2", 0, 0, acquire=True, registration=2))
        )


@given(st.floats(-9, 9), st.floats(-9, 9), st.lists(st.floats(-1.5, 1.5), min_size=4, max_size=4))
def test_a_place_on_the_stage_is_one_of_specimen_shift(dx: float, dy: float, numbers: list[float]) -> None:
    ssx, ssy = np.reshape(numbers, (2, 2)) @ [dx, dy]
    assert stage_frame(dx, dy, numbers) == pytest.approx((-ssy, ssx))
    assert stage_frame(dx, dy, STAGE_TO_SPECIMEN) == pytest.approx((dy, -dx))


def test_pacetomos_targets(tmp_path: Path) -> None:
    path = tmp_path / "L02_tgts.txt"
    path.write_text(TGTS, newline="\r\n")
    first, second = pacetomo_targets(path)
    assert (first.name, second.name) == ("L02_ts_001", "L02_ts_002")
    assert (first.x_um, first.y_um, first.z_um) == pytest.approx((0.0, 0.0, 0.0))
    assert (second.x_um, second.y_um) == (3.25, 1.5)
    # PACEtomo's z0; with it SSY cos θ − z0 sin θ is the stage frame's x cos θ + z sin θ, turned about.
    slope, turn = np.tan(np.radians(-9.0)), np.radians(4.0)
    assert second.z_um == pytest.approx(slope * (np.cos(turn) * -3.25 - np.sin(turn) * 1.5))
    theta = np.radians(30.0)
    published = -3.25 * np.cos(theta) - second.z_um * np.sin(theta)
    assert second.x_um * np.cos(theta) + second.z_um * np.sin(theta) == pytest.approx(-published)


def test_pacetomos_targets_by_their_place_on_the_stage(tmp_path: Path) -> None:
    path = tmp_path / "L02_tgts.txt"
    kept = [line for line in TGTS.splitlines() if not line.startswith(("SS", "_set"))]
    path.write_text("\n".join(kept))
    second = pacetomo_targets(path)[1]
    # The stage lies half a turn from the specimen: −1.5 and 3.25 on it are SSX = 1.5 and SSY = −3.25.
    assert (second.x_um, second.y_um, second.z_um) == (3.25, 1.5, None)
    assert pacetomo_targets(path, (1.0, 0.0, 0.0, 1.0))[1].x_um == -3.25


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("_set pretilt = 9\n", "no target"),
        ("_tgt = 001\nSSX = 1\n", "neither SSX"),
        ("_tgt = 001\nSSX = 1\nSSY = x\n", "target 001: SSY = x is no number"),
        ("_tgt = 001\nSSX = 1\nSSY = 2\nskip = True\n", "all 1 targets"),
        ("_set pretilt = nan\n_tgt = 001\nSSX = 1\nSSY = 2\n", "pretilt = nan"),
    ],
)
def test_what_is_no_file_of_targets(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a_tgts.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match=words):
        pacetomo_targets(path)


def test_files_are_known_by_what_they_hold(tmp_path: Path) -> None:
    microscope = MicroscopeSettings()
    path = tmp_path / "a_tgts.txt"
    path.write_text(TGTS)
    assert is_pacetomo(path)
    found = targets_of(str(path), microscope)
    assert not isinstance(found, int)
    assert [one.name for one in found] == ["L02_ts_001", "L02_ts_002"]
    path.write_text("name,x_um,y_um\na,1,2\n")
    assert targets_of(str(path), microscope)[0].name == "a"  # type: ignore[index]
    nav = written(tmp_path, point("1", 0.0, 0.0, acquire=True), point("2", 1.0, 2.0, acquire=True))
    (_, second) = targets_of(str(nav), microscope)  # type: ignore[misc]
    assert (second.x_um, second.y_um) == (2.0, -1.0)
