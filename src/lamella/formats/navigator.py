"""SerialEM's navigator files (.nav): points, polygons and maps on the grid, read whole and written back.

The file is the same "autodoc" text as an mdoc: ``AdocVersion = 2.00``, then a section ``[Item = LABEL]`` for each item
(SerialEM's help, "File Formats and Other Documentation"), or the same in XML. Stage places are µm in the stage's own
axes, z included. What is not understood here is kept as it stands: in text to the byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamella.errors import FormatError
from lamella.formats.angles import read_text
from lamella.formats.mdoc import Mdoc, Section, new_mdoc, parse_mdoc, write_mdoc
from lamella.formats.navigator_xml import is_xml, parse_xml

__all__ = ["NavigatorItem", "new_navigator", "read_navigator", "write_navigator"]

MAP, POINT, POLYGON = 2, 0, 1

_KINDS = {POINT: "point", POLYGON: "polygon", MAP: "map"}


@dataclass(frozen=True, kw_only=True)
class NavigatorItem:
    """One item.

    Attributes
    ----------
    label
        its name in the list.
    kind
        ``"point"``, ``"polygon"``, ``"map"``, or ``"other"``.
    stage_um
        x, y, z of the stage.
    points_um
        its corners (a point has one), stage x and y.
    acquire
        whether it is marked for acquisition.
    tilt_series
        whether it is marked for a tilt series.
    group
        number of the group of points that it was made with, 0 for none.
    registration
        items of one number share a frame of the grid.
    note
        the user's words.
    map_file, map_section
        of a map: its image file and the section in it.
    """

    label: str
    kind: str
    stage_um: tuple[float, float, float]
    points_um: tuple[tuple[float, float], ...]
    acquire: bool = False
    tilt_series: bool = False
    group: int = 0
    registration: int = 1
    note: str = ""
    map_file: str = ""
    map_section: int = 0


def read_navigator(path: Path | str) -> tuple[Mdoc, tuple[NavigatorItem, ...]]:
    """Read a navigator file: its text, whole, and its items in order.

    Raises
    ------
    FormatError
        if it is no navigator file of the kinds that SerialEM writes since version 3.6, or an item lacks its place.
    """
    path = Path(path)
    text = read_text(path, "navigator file")
    whole = parse_xml(text, path) if is_xml(text) else parse_mdoc(text, path)
    if whole.header.get("AdocVersion") is None:
        raise FormatError(
            f"{path}: no 'AdocVersion' line: no navigator file, or one older than SerialEM 3.6",
            mend="open it in a newer SerialEM and save it again",
        )
    return whole, tuple(_item(section, path) for section in whole.sections if section.kind == "Item")


def write_navigator(navigator: Mdoc, path: Path | str | None = None) -> Path:
    """Write a navigator file as text, whole or not at all, also where it was read from XML."""
    return write_mdoc(navigator, path)


def new_navigator(path: Path | str, items: Iterable[NavigatorItem]) -> Mdoc:
    """The text of a new navigator file with these items, to be written to `path`."""
    path = Path(path)
    sections = [("Item", item.label, _values(item)) for item in items]
    return new_mdoc(path, {"AdocVersion": "2.00", "LastSavedAs": path.name}, (), sections)


def _item(section: Section, path: Path) -> NavigatorItem:
    number = _whole(section, "Type", path, required=True)
    stage = _numbers(section, "StageXYZ", path)
    if len(stage) != 3:
        mend = "open the file in SerialEM and save it, which gives imported items a place, or delete the item"
        raise FormatError(f"{path}: {section.label} has no place 'StageXYZ = x y z'", mend=mend)
    x, y = _numbers(section, "PtsX", path), _numbers(section, "PtsY", path)
    if len(x) != len(y):
        raise FormatError(f"{path}: {section.label} has {len(x)} PtsX for {len(y)} PtsY", mend="mend or delete it")
    return NavigatorItem(
        label=section.name,
        kind=_KINDS.get(number, "other"),
        stage_um=(stage[0], stage[1], stage[2]),
        points_um=tuple(zip(x, y, strict=True)) or ((stage[0], stage[1]),),
        acquire=_whole(section, "Acquire", path) != 0,
        tilt_series=section.get("TSParamIndex") is not None and _whole(section, "TSParamIndex", path) >= 0,
        group=_whole(section, "GroupID", path),
        registration=_whole(section, "Regis", path) or 1,
        note=section.get("Note") or "",
        map_file=section.get("MapFile") or "",
        map_section=_whole(section, "MapSection", path),
    )


def _values(item: NavigatorItem) -> dict[str, object]:
    numbers = {kind: number for number, kind in _KINDS.items()}
    if item.kind not in numbers:
        raise FormatError(f"a navigator item of kind '{item.kind}'", mend="points, polygons and maps can be written")
    values: dict[str, object] = {
        "Color": 0,
        "StageXYZ": _text(item.stage_um),
        "NumPts": len(item.points_um),
        "Regis": item.registration,
        "Type": numbers[item.kind],
    }
    if item.note:
        values["Note"] = item.note
    if item.acquire:
        values["Acquire"] = 1
    if item.group:
        values["GroupID"] = item.group
    if item.kind == "map":
        values |= {"MapFile": item.map_file, "MapSection": item.map_section}
    values["PtsX"] = _text([x for x, _ in item.points_um])
    values["PtsY"] = _text([y for _, y in item.points_um])
    return values


def _text(values: Sequence[float]) -> str:
    return " ".join(f"{value:.10g}" if value else "0" for value in values)


def _numbers(section: Section, key: str, path: Path) -> list[float]:
    words = (section.get(key) or "").split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = [math.nan]
    if not all(math.isfinite(value) for value in values):
        raise FormatError(f"{path}: {section.label}: {key} = {' '.join(words)} is no list of numbers", mend="mend it")
    return values


def _whole(section: Section, key: str, path: Path, *, required: bool = False) -> int:
    word = section.get(key)
    if word is None and not required:
        return 0
    try:
        return int(word or "")
    except ValueError:
        raise FormatError(
            f"{path}: {section.label}: {key} = {word} is no whole number", mend="mend or delete the item"
        ) from None
