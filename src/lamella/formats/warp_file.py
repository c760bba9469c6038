"""The text of Warp's files of a tilt series: its ``.xml``, and the ``.tomostar`` that WarpTools starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_path, output_errors
from lamella.formats.warp_grid import WarpGrid

__all__ = ["GRIDS", "WarpSeries", "read_warp", "write_warp"]

Array = NDArray[np.float64]

_LARGEST_FILE = 256 * 2**20
_MOST_NODES = 5_000_000
_MARGINS = ("MarginX", "MarginY", "MarginZ")

GRIDS = (
    "GridCTF", "GridCTFDefocusDelta", "GridCTFDefocusAngle", "GridCTFPhase", "GridMovementX", "GridMovementY",
    "GridVolumeWarpX", "GridVolumeWarpY", "GridVolumeWarpZ", "GridAngleX", "GridAngleY", "GridAngleZ",
    "GridDoseBfacs", "GridDoseBfacsDelta", "GridDoseBfacsAngle", "GridDoseWeights", "GridLocationBfacs",
    "GridLocationWeights",
)  # fmt: skip
"""Grids of a file, in Warp's order."""

_ONES = ("GridDoseWeights", "GridLocationWeights")


@dataclass(frozen=True, kw_only=True, eq=False)
class WarpSeries:
    """One file, an entry per view.

    Attributes
    ----------
    angles_deg, dose, axis_deg
        ``(n,)``.
    use
        ``(n,)`` whether a view is used.
    offset_ang
        ``(n, 2)`` AxisOffsetX, AxisOffsetY.
    movies
        MoviePath of each view; empty where the file has none.
    angles_inverted
        AreAnglesInverted: defocus grows with depth in RELION's frame.
    level_deg
        (LevelAngleX, LevelAngleY).
    plane_normal
        PlaneNormal; zero where nothing was fitted.
    magnification
        ``(2, 2)`` MagnificationCorrection.
    ctf_resolution_ang
        CTFResolutionEstimate, 0 where there is none.
    ctf
        parameters of the element CTF, by name.
    grids
        by name; those that are missing are one node of 0 (weights: 1). Volume warps are ``(duration · depth, height,
        width)``.
    data_directory
        where `movies` start from.
    """

    angles_deg: Array
    dose: Array
    axis_deg: Array
    use: NDArray[np.bool_]
    offset_ang: Array
    movies: tuple[str, ...] = ()
    angles_inverted: bool = False
    level_deg: tuple[float, float] = (0.0, 0.0)
    plane_normal: tuple[float, float, float] = (0.0, 0.0, 0.0)
    magnification: Array = field(default_factory=lambda: np.eye(2))
    ctf_resolution_ang: float = 0.0
    ctf: dict[str, str] = field(default_factory=dict)
    grids: dict[str, WarpGrid] = field(default_factory=dict)
    data_directory: str = ""

    def grid(self, name: str) -> WarpGrid:
        """A grid; its neutral value where the file has none."""
        return self.grids.get(name) or WarpGrid.constant(1.0 if name in _ONES else 0.0)


def read_warp(path: Path | str) -> WarpSeries:
    """Read the ``.xml`` of a tilt series of Warp 1, WarpTools or M: UTF-8 or UTF-16, with its mark or without.

    Raises
    ------
    FormatError
        if it is no such file, declares a document type, or a list has another length than Angles.
    """
    path = Path(path)
    root = _root(path)
    angles = _numbers(path, root, "Angles", 0, 0.0)
    n = len(angles)
    if n == 0:
        raise FormatError(f"{path}: no Angles", mend="give the .xml of a tilt series, not of a movie")
    used = [word == "True" for word in _lines(root, "UseTilt")] or [True] * n
    movies = tuple(_lines(root, "MoviePath"))
    for name, count in (("UseTilt", len(used)), ("MoviePath", len(movies) or n)):
        if count != n:
            raise FormatError(
                f"{path}: {count} entries of {name}, {n} of Angles", mend="take the file as Warp wrote it"
            )
    normal = _attribute(path, root, "PlaneNormal", (0.0, 0.0, 0.0))
    level = [_attribute(path, root, name, (0.0,))[0] for name in ("LevelAngleX", "LevelAngleY")]
    return WarpSeries(
        angles_deg=angles,
        dose=_numbers(path, root, "Dose", n, 0.0),
        axis_deg=_numbers(path, root, "AxisAngle", n, 0.0),
        use=np.array(used, dtype=bool),
        offset_ang=np.stack([_numbers(path, root, f"AxisOffset{axis}", n, 0.0) for axis in "XY"], axis=-1),
        movies=movies,
        angles_inverted=root.get("AreAnglesInverted", "False") == "True",
        level_deg=(level[0], level[1]),
        plane_normal=(normal[0], normal[1], normal[2]) if len(normal) == 3 else (0.0, 0.0, 0.0),
        magnification=_magnification(_attribute(path, root, "MagnificationCorrection", (1.0, 0.0, 0.0, 1.0))),
        ctf_resolution_ang=_attribute(path, root, "CTFResolutionEstimate", (0.0,))[0],
        ctf={param.get("Name", ""): param.get("Value", "") for param in root.findall("CTF/Param")},
        grids={name: _grid(path, element) for name in GRIDS if (element := root.find(name)) is not None},
        data_directory=root.get("DataDirectory", ""),
    )


def write_warp(path: Path | str, series: WarpSeries) -> None:
    """Write the ``.xml`` of a tilt series as WarpTools lays it out: UTF-8 with its mark."""
    matrix = ", ".join(_text(value) for value in series.magnification.ravel())
    root = ElementTree.Element(
        "TiltSeries",
        {
            "DataDirectory": series.data_directory,
            "AreAnglesInverted": str(series.angles_inverted),
            "PlaneNormal": ", ".join(_text(value) for value in series.plane_normal),
            "LevelAngleX": _text(series.level_deg[0]),
            "LevelAngleY": _text(series.level_deg[1]),
            "Bfactor": "0",
            "Weight": "1",
            "MagnificationCorrection": matrix,
            "UnselectFilter": "False",
            "UnselectManual": "",
            "CTFResolutionEstimate": _text(series.ctf_resolution_ang),
        },
    )
    columns: list[tuple[str, Sequence[str]]] = [
        ("Angles", [_text(value) for value in series.angles_deg]),
        ("Dose", [_text(value) for value in series.dose]),
        ("UseTilt", [str(bool(value)) for value in series.use]),
        ("AxisAngle", [_text(value) for value in series.axis_deg]),
        ("AxisOffsetX", [_text(value) for value in series.offset_ang[:, 0]]),
        ("AxisOffsetY", [_text(value) for value in series.offset_ang[:, 1]]),
        ("MoviePath", series.movies),
        ("FOVFraction", ["1"] * len(series.angles_deg)),
    ]
    for name, texts in columns:
        ElementTree.SubElement(root, name).text = "\n".join(texts)
    ctf = ElementTree.SubElement(root, "CTF")
    for name, value in series.ctf.items():
        ElementTree.SubElement(ctf, "Param", {"Name": name, "Value": value})
    for name in GRIDS:
        root.append(_grid_element(name, series.grid(name)))
    ElementTree.indent(root, "\t")
    text = ElementTree.tostring(root, encoding="unicode")
    with atomic_path(path) as temporary, output_errors(Path(path), every=True):
        temporary.write_bytes(b"\xef\xbb\xbf" + f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode())


def _root(path: Path) -> ElementTree.Element:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise FormatError(f"{path}: too large for a tilt series", mend="check that this is the right file")
        raw = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
    wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: no text: {error.reason}", mend="take the file as Warp wrote it") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FormatError(f"{path}: it declares a document type, which Warp never does", mend="take Warp's own file")
    body = text[text.index("?>") + 2 :] if text.startswith("<?xml") and "?>" in text else text
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise FormatError(f"{path}: no XML: {error}", mend="take the file as Warp wrote it") from error
    if root.tag != "TiltSeries":
        raise FormatError(f"{path}: it holds a {root.tag}, not a TiltSeries", mend="give the .xml of the tilt series")
    return root


def _lines(root: ElementTree.Element, name: str) -> list[str]:
    return [line.strip() for line in (root.findtext(name) or "").split("\n") if line.strip()]


def _numbers(path: Path, root: ElementTree.Element, name: str, count: int, default: float) -> Array:
    """A list of numbers; `count` of them unless that is 0, and where the element is missing, the default."""
    lines = _lines(root, name)
    if not lines and count:
        return np.full(count, default)
    values = np.array([_number(path, name, line) for line in lines], dtype=np.float64)
    if count and len(values) != count:
        raise FormatError(f"{path}: {len(values)} entries of {name}, {count} of Angles", mend="take Warp's own file")
    return values


def _attribute(path: Path, root: ElementTree.Element, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    text = root.get(name) or ""
    return tuple(_number(path, name, word) for word in text.split(",")) if text.strip() else default


def _number(path: Path, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise FormatError(
            f"{path}: {name} holds {text.strip()[:40]!r}, no number", mend="take the file as Warp wrote it"
        )
    return value


def _magnification(values: tuple[float, ...]) -> Array:
    """Four numbers are a matrix, row by row; three are the older scale along x and y and the angle of these axes."""
    if len(values) == 4:
        return np.array(values).reshape(2, 2)
    if len(values) == 3:
        turn = np.deg2rad(values[2])
        axes = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix: Array = axes.T @ np.diag(values[:2]) @ axes
        return matrix
    return np.eye(2)


def _grid(path: Path, element: ElementTree.Element) -> WarpGrid:
    name = element.tag
    sizes = [int(_number(path, name, element.get(key) or "1")) for key in ("Width", "Height", "Depth", "Duration")]
    if min(sizes) < 1 or np.prod([float(size) for size in sizes]) > _MOST_NODES:
        raise FormatError(f"{path}: {name} of {' × '.join(map(str, sizes))} nodes", mend="take Warp's own file")
    nodes = np.full(sizes[::-1], np.nan)
    for node in element.findall("Node"):
        place = [int(_number(path, name, node.get(key) or "0")) for key in ("W", "Z", "Y", "X")]
        if any(not 0 <= number < size for number, size in zip(place, nodes.shape, strict=True)):
            raise FormatError(f"{path}: {name} has a node outside its size", mend="take the file as Warp wrote it")
        nodes[tuple(place)] = _number(path, name, node.get("Value") or "")
    if np.isnan(nodes).any():
        raise FormatError(f"{path}: {name} lacks nodes", mend="take the file as Warp wrote it")
    margins = [_number(path, name, element.get(key) or "0") for key in _MARGINS]
    if any(margins) and np.ptp(nodes) > 0:
        raise FormatError(f"{path}: {name} has margins, which lamella does not know", mend="align in Warp without them")
    return WarpGrid(nodes.reshape(-1, *nodes.shape[2:]))


def _grid_element(name: str, grid: WarpGrid) -> ElementTree.Element:
    depth, height, width = grid.nodes.shape
    sizes = {"Width": str(width), "Height": str(height), "Depth": str(depth)}
    volume = name.startswith("GridVolumeWarp")
    element = ElementTree.Element(name, sizes | ({"Duration": "1"} if volume else dict.fromkeys(_MARGINS, "0")))
    for z, y, x in np.ndindex(depth, height, width):
        place = {"X": str(x), "Y": str(y), "Z": str(z)} | ({"W": "0"} if volume else {})
        ElementTree.SubElement(element, "Node", place | {"Value": _text(float(grid.nodes[z, y, x]))})
    return element


def _text(value: float) -> str:
    return f"{float(value) + 0.0:.9g}"
