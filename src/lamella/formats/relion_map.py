"""``map.star``: what lamella knows of an average, beside the particles that it was made of."""

from __future__ import annotations

from pathlib import Path

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
    """The map of a record, or None where it has none."""
    if not star.is_file():
        return None
    tables = read_star(star)
    table = tables[BLOCK]
    row = {label: table.text(label)[0] for label in table.columns}
    known = {*FILES, VOXEL, BOX, SYMMETRY, RESOLUTION}
    return Map(
        **{name: row[label] for label, name in FILES.items() if label in row},  # type: ignore[arg-type]
        classes=tables[CLASSES].text(CLASS_MAP) if CLASSES in tables else (),
        voxel_size_ang=float(row[VOXEL]),
        box_px=int(row[BOX]),
        symmetry=row[SYMMETRY],
        resolution_ang=float(row[RESOLUTION]) if RESOLUTION in row else None,
        quality={label.removeprefix(_OWN): float(value) for label, value in row.items() if label not in known},
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
