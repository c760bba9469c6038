"""``map.star``: what lamella knows of an average, beside the particles that it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamella.errors import FormatError
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.records import Map

__all__ = ["read_map", "write_map"]

BLOCK, CLASSES = "lamella_map", "lamella_classes"
FILES = {
    "lamellaMap": "volume",
    "lamellaMapHalf1": "half1",
    "lamellaMapHalf2": "half2",
    "lamellaMapFsc": "fsc",
    "lamellaMapMask": "mask",
}
VOXEL, BOX, SYMMETRY, RESOLUTION = (
    "lamellaMapVoxelAngst",
    "lamellaMapBox",
    "lamellaMapSymmetry",
    "lamellaMapResolutionAngst",
)
CLASS_MAP = "lamellaClassMap"
_OWN = "lamella"


def read_map(star: Path) -> Map | None:
    """The map of a record, or None where it has none.

    Raises
    ------
    FormatError
        if the file is there and does not say which volume, voxel and box the map has.
    """
    if not star.is_file():
        return None
    tables = read_star(star)
    if BLOCK not in tables:
        raise FormatError(f"{star}: no table {BLOCK}", mend="make the record again")
    table = tables[BLOCK]
    row = {label: table.text(label)[0] for label in table.columns}
    known = {*FILES, VOXEL, BOX, SYMMETRY, RESOLUTION}
    files: dict[str, Any] = {name: row[label] for label, name in FILES.items() if label in row}
    table.text("lamellaMap")  # says what is missing
    return Map(
        **files,
        classes=tables[CLASSES].text(CLASS_MAP) if CLASSES in tables else (),
        voxel_size_ang=float(table.numbers(VOXEL)[0]),
        box_px=int(table.integers(BOX)[0]),
        symmetry=row.get(SYMMETRY, "C1"),
        resolution_ang=float(table.numbers(RESOLUTION)[0]) if RESOLUTION in row else None,
        quality={label.removeprefix(_OWN): float(table.numbers(label)[0]) for label in row if label not in known},
    )


def write_map(star: Path, found: Map) -> None:
    """Write what is known of an average."""
    columns = {label: getattr(found, name) for label, name in FILES.items() if getattr(found, name) is not None}
    columns |= {VOXEL: number_text(found.voxel_size_ang), BOX: str(found.box_px), SYMMETRY: found.symmetry}
    if found.resolution_ang is not None:
        columns[RESOLUTION] = number_text(found.resolution_ang)
    columns |= {_OWN + name: number_text(value) for name, value in found.quality.items()}
    tables = [StarTable(BLOCK, {label: (value,) for label, value in columns.items()})]
    if found.classes:
        tables.append(StarTable(CLASSES, {CLASS_MAP: found.classes}))
    write_star(star, tables)
