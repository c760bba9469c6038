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


XML = """<?xml version="1.0" encoding="utf-8"?>
<navigator>
\t<PreData>
\t\t<AdocVersion>2.00</AdocVersion>
\t\t<LastSavedAs>C:\\grids\\g1.nav</LastSavedAs>
\t</PreData>
\t<!-- written by hand -->
\t<Item name="1">
\t\t<Color>0</Color>
\t\t<StageXYZ>12.5 -3.25 7</StageXYZ>
\t\t<NumPts>1</NumPts>
\t\t<Regis>1</Regis>
\t\t<Type>0</Type>
\t\t<Acquire>1</Acquire>
\t\t<GroupID>17</GroupID>
\t\t<PtsX>12.5</PtsX>
\t\t<PtsY>-3.25</PtsY>
\t</Item>
\t<Item name="2-A">
\t\t<StageXYZ>0 0 0</StageXYZ>
\t\t<NumPts>5</NumPts>
\t\t<Regis>3</Regis>
\t\t<Type>2</Type>
\t\t<Note>Sec 4 - map.mrc</Note>
\t\t<MapFile>C:\\grids\\map.mrc</MapFile>
\t\t<MapSection>4</MapSection>
\t\t<Unheard>of 1 2 3</Unheard>
\t\t<PtsX>-1 1 1 -1 -1</PtsX>
\t\t<PtsY>-1 -1 1 1 -1</PtsY>
\t</Item>
</navigator>
"""


def test_the_xml_form_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "text.nav").write_text(TEXT, newline="")
    (tmp_path / "xml.nav").write_text(XML, newline="")
    whole, items = read_navigator(tmp_path / "xml.nav")
    assert items == read_navigator(tmp_path / "text.nav")[1]
    assert write_navigator(whole, tmp_path / "again.nav").read_text() == TEXT + "\n"
    escaped = XML.replace("Sec 4 - map.mrc", "R&amp;D &lt;best&gt;")
    (tmp_path / "xml.nav").write_text(escaped, newline="")
    assert read_navigator(tmp_path / "xml.nav")[1][1].note == "R&D <best>"


def test_what_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "g1.nav"
    path.write_text(TEXT.replace("Unheard = of 1 2 3", "TSParamIndex = 0").replace("Acquire = 1", "Acquire = 0"))
    point, grid_map = read_navigator(path)[1]
    assert (point.acquire, point.tilt_series, grid_map.acquire, grid_map.tilt_series) == (False, False, False, True)


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
        ("<?xml version='1.0'?><navigator/>", "XML without a section"),
        ("<?xml version='1.0'?><navigator><Item>", "broken XML"),
        ("<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><navigator>&b;</navigator>", "declarations"),
        ("<?xml version='1.0'?><navigator><Item name='1'><Type>0</Type></Item></navigator>", "AdocVersion"),
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
