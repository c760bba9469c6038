"""Navigator files: every item, and back to the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError
from lamella.formats.navigator import NavigatorItem, new_navigator, read_navigator, write_navigator

TEXT = """AdocVersion = 2.00
LastSavedAs = C:\\grids\\g1.nav

[Item = 1]
Color = 0
StageXYZ = 12.5 -3.25 7
NumPts = 1
Regis = 1
Type = 0
Acquire = 1
GroupID = 17
PtsX = 12.5
PtsY = -3.25

[Item = 2-A]
StageXYZ = 0 0 0
NumPts = 5
Regis = 3
Type = 2
Note = Sec 4 - map.mrc
MapFile = C:\\grids\\map.mrc
MapSection = 4
Unheard = of 1 2 3
PtsX = -1 1 1 -1 -1
PtsY = -1 -1 1 1 -1
"""


def test_items_and_what_is_not_understood(tmp_path: Path) -> None:
    path = tmp_path / "g1.nav"
    path.write_text(TEXT, newline="")
    whole, items = read_navigator(path)
    point, grid_map = items
    assert (point.label, point.kind, point.acquire, point.group) == ("1", "point", True, 17)
    assert point.stage_um == (12.5, -3.25, 7.0)
    assert point.points_um == ((12.5, -3.25),)
    assert (grid_map.kind, grid_map.map_file, grid_map.map_section) == ("map", "C:\\grids\\map.mrc", 4)
    assert (grid_map.note, grid_map.registration, len(grid_map.points_um)) == ("Sec 4 - map.mrc", 3, 5)
    assert write_navigator(whole, tmp_path / "again.nav").read_bytes() == path.read_bytes()


def test_a_recorded_file_comes_back_to_the_byte(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "acquisition" / "instamatic_nav.nav"
    whole, items = read_navigator(path)
    text = path.read_text()
    assert len(items) == 50
    assert [item.label for item in items] == re.findall(r"\[Item = (.*)\]", text)
    places = [tuple(float(word) for word in line.split()) for line in re.findall(r"StageXYZ = (.*)", text)]
    assert [item.stage_um for item in items] == places
    assert all(item.acquire and item.kind == "point" for item in items)
    assert write_navigator(whole, tmp_path / "again.nav").read_bytes() == path.read_bytes()
    new = write_navigator(new_navigator(tmp_path / "new.nav", items))
    for ours, theirs in zip(read_navigator(new)[1], items, strict=True):
        assert ours.label == theirs.label
        assert ours.stage_um == pytest.approx(theirs.stage_um, rel=1e-5)


_number = st.floats(-1e3, 1e3, allow_nan=False).map(lambda value: float(f"{value:.6g}"))


@given(st.lists(st.tuples(_number, _number, _number), min_size=1, max_size=4), st.booleans())
def test_written_items_are_read_again(tmp_path_factory: pytest.TempPathFactory, places: list, acquire: bool) -> None:
    items = tuple(
        NavigatorItem(label=f"{n}-B", kind="point", stage_um=place, points_um=(place[:2],), acquire=acquire, group=n)
        for n, place in enumerate(places)
    )
    path = write_navigator(new_navigator(tmp_path_factory.mktemp("nav") / "x.nav", items))
    assert read_navigator(path)[1] == items


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<?xml version='1.0'?><navigator/>", "XML"),
        ("[Item = 1]\nType = 0\nStageXYZ = 1 2 3\n", "AdocVersion"),
        ("AdocVersion = 2.00\n[Item = 1]\nType = 0\n", "no place"),
        ("AdocVersion = 2.00\n[Item = 1]\nStageXYZ = 1 2 3\n", "Type"),
        ("AdocVersion = 2.00\n[Item = 1]\nType = 0\nStageXYZ = 1 2 nan\n", "no list of numbers"),
        ("AdocVersion = 2.00\n[Item = 1]\nType = 0\nStageXYZ = 1 2 3\nPtsX = 1 2\nPtsY = 1\n", "PtsX"),
    ],
)
def test_what_is_no_navigator_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.nav"
    path.write_text(text)
    with pytest.raises(FormatError, match=words):
        read_navigator(path)
