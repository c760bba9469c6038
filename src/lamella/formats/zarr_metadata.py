"""What OME-Zarr says of a volume: axes, voxel size, pyramid, contrast. Versions 0.4 (zarr format 2) and 0.5 (format 3).

Specification: https://ngff.openmicroscopy.org. The point (0, 0, 0) of the stated coordinates is the centre of the first
voxel of the finest level; a voxel of a coarser level has its centre in the middle of those it is the mean of.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lamella.errors import FormatError

__all__ = ["LevelPlan", "StoredLevel", "Version", "attributes", "is_store", "plan_levels", "read_finest"]

Version = Literal["0.4", "0.5"]
Size = tuple[int, int, int]

_UNITS_ANG = {"angstrom": 1.0, "nanometer": 10.0, "micrometer": 1e4, "picometer": 0.01}
_CODECS = {"blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma", "bytes", "transpose", "crc32c", "sharding_indexed"}
_CODECS |= {"shuffle", "bitshuffle", "delta"}
_KINDS = "iuf"
_LARGEST_CHUNK = 2**31  # bytes
_LARGEST_TEXT = 2**24  # bytes of a metadata file that is believed


@dataclass(frozen=True, kw_only=True)
class LevelPlan:
    """One level of a pyramid that is to be written: its shape, and how many voxels of the finest level one spans."""

    shape: Size
    factors: Size


@dataclass(frozen=True, kw_only=True)
class StoredLevel:
    """The finest level of a store that is read.

    Attributes
    ----------
    path
        of the array, inside the store.
    leading
        number of axes of length 1 (time, channel) before z.
    voxel_ang
        (z, y, x), Å, or None where nothing is said.
    labels
        lines of text that lamella wrote.
    assumed
        sentences on what was assumed.
    """

    path: str
    leading: int
    voxel_ang: tuple[float, float, float] | None
    labels: tuple[str, ...]
    assumed: tuple[str, ...]


def plan_levels(shape: Size, chunk: int) -> list[LevelPlan]:
    """The pyramid: halved, rounding up, until everything fits into one chunk; a side of one voxel stays."""
    levels = [LevelPlan(shape=shape, factors=(1, 1, 1))]
    while max(levels[-1].shape) > chunk:
        last = levels[-1]
        factors = tuple(f * (2 if n > 1 else 1) for f, n in zip(last.factors, last.shape, strict=True))
        halved = tuple(-(-n // 2) for n in last.shape)
        levels.append(LevelPlan(shape=(halved[0], halved[1], halved[2]), factors=(factors[0], factors[1], factors[2])))
    return levels


def attributes(
    levels: Sequence[LevelPlan],
    voxel_ang: float,
    name: str,
    window: tuple[float, float, float, float],
    version: Version,
    labels: Sequence[str] = (),
) -> dict[str, Any]:
    """The group's attributes.

    Parameters
    ----------
    levels
        finest first; level n is the array named n.
    voxel_ang
        edge of a voxel of the finest level, Å.
    name
        what viewers show.
    window
        grey values: least and greatest, and those to show as black and white.
    version
        of OME-Zarr.
    labels
        lines of text that go with the data.
    """
    datasets = []
    for number, level in enumerate(levels):
        scale = [voxel_ang * factor for factor in level.factors]
        shift = [voxel_ang * (factor - 1) / 2 for factor in level.factors]
        transformations = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
        datasets.append({"path": str(number), "coordinateTransformations": transformations})
    multiscale: dict[str, Any] = {
        "name": name,
        "axes": [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"],
        "datasets": datasets,
        "type": "mean",
        "metadata": {"description": "each voxel is the mean of the 2 × 2 × 2 below it, of those that are there"},
    }
    low, high, start, end = window
    channel = {
        "label": name,
        "color": "FFFFFF",
        "active": True,
        "window": {"min": low, "max": high, "start": start, "end": end},
    }
    omero: dict[str, Any] = {"name": name, "channels": [channel]}
    omero["rdefs"] = {"model": "greyscale", "defaultZ": levels[0].shape[0] // 2}
    own = {"lamella": {"labels": list(labels)}} if labels else {}
    if version == "0.4":
        return {"multiscales": [multiscale | {"version": "0.4"}], "omero": omero | {"version": "0.4"}, **own}
    return {"ome": {"version": "0.5", "multiscales": [multiscale], "omero": omero}, **own}


def is_store(path: Path) -> bool:
    """Whether a folder is a zarr group."""
    return any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def read_finest(store: Path) -> StoredLevel:
    """Read and judge the metadata of a store, as far as the finest level goes.

    Raises
    ------
    FormatError
        if the folder is no OME-Zarr volume: no group, no multiscales, more than one time or channel, axes in another
        order than z, y, x, a codec that runs more than arithmetic, or an array outside the folder.
    """
    group, told = _attributes_of(store)
    ome = group.get("ome", group)
    try:
        multiscale = ome["multiscales"][0]
        dataset = multiscale["datasets"][0]
        path = str(dataset["path"])
        axes = [axis if isinstance(axis, str) else str(axis["name"]) for axis in multiscale.get("axes", "zyx")]
        units = [axis.get("unit") if isinstance(axis, dict) else None for axis in multiscale.get("axes", "zyx")]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise FormatError(f"{store}: a zarr group without OME-Zarr's multiscales", mend="convert the array") from error
    if axes[-3:] != ["z", "y", "x"] or len(axes) > 5:
        raise FormatError(f"{store}: axes {', '.join(axes)}, not z, y, x", mend="write it with the axes z, y, x")
    _check_array(store, path, len(axes), told)
    voxel, assumed = _voxel_ang(store, multiscale, dataset, len(axes), units[-3:])
    own = group.get("lamella", {})
    labels = own.get("labels", []) if isinstance(own, dict) else []
    return StoredLevel(
        path=path,
        leading=len(axes) - 3,
        voxel_ang=voxel,
        labels=tuple(str(label) for label in labels),
        assumed=assumed,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise FormatError(f"{path}: {path.stat().st_size} bytes of metadata", mend="check the file")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path}: cannot be read as JSON ({error})", mend="copy the store again") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path}: no metadata", mend="copy the store again")
    return value


def _attributes_of(store: Path) -> tuple[dict[str, Any], int]:
    """The group's attributes, and zarr's format."""
    if (store / "zarr.json").is_file():
        return _json(store / "zarr.json").get("attributes", {}), 3
    if (store / ".zgroup").is_file():
        return (_json(store / ".zattrs") if (store / ".zattrs").is_file() else {}), 2
    raise FormatError(f"{store}: a folder that is no zarr group", mend="name a file, or an OME-Zarr folder")


def _check_array(store: Path, path: str, axes: int, told: int) -> None:
    """Refuse what would read outside the store, run code, or take unreasonable memory, before zarr opens it."""
    where = Path(path)
    if where.is_absolute() or ".." in where.parts or not (store / where).resolve().is_relative_to(store.resolve()):
        raise FormatError(f"{store}: its array {path!r} lies outside the folder", mend="copy the whole store")
    meta = _json(store / where / ("zarr.json" if told == 3 else ".zarray"))
    try:
        if told == 3:
            codecs = {str(codec["name"]) for codec in meta["codecs"]}
            chunk = meta["chunk_grid"]["configuration"]["chunk_shape"]
            kind = {"float": "f", "int": "i", "uint": "u"}.get(str(meta["data_type"]).rstrip("0123456789"), "?")
        else:
            parts = [meta.get("compressor"), *(meta.get("filters") or [])]
            codecs = {str(codec["id"]) for codec in parts if codec is not None}
            chunk, kind = meta["chunks"], str(meta["dtype"])[1:2]
        sizes = [int(n) for n in [*meta["shape"], *chunk]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(
            f"{store}: the metadata of array {path!r} are damaged", mend="copy the store again"
        ) from error
    if kind not in _KINDS:
        raise FormatError(f"{store}: array {path!r} holds no plain numbers", mend="write it as float32")
    if strange := sorted(codecs - _CODECS):
        raise FormatError(f"{store}: codec {strange[0]!r}, which is not decoded", mend="write it with blosc or zstd")
    if len(sizes) != 2 * axes or min(sizes) < 1 or math.prod(sizes[axes:]) * 8 > _LARGEST_CHUNK:
        raise FormatError(f"{store}: sizes {sizes[:axes]} in chunks of {sizes[axes:]}", mend="write it anew")
    if max(sizes[: axes - 3], default=1) > 1:
        raise FormatError(f"{store}: {sizes[: axes - 3]} times or channels", mend="write one volume a store")


def _voxel_ang(
    store: Path, multiscale: Mapping[str, Any], dataset: Mapping[str, Any], axes: int, units: Sequence[str | None]
) -> tuple[tuple[float, float, float] | None, tuple[str, ...]]:
    scale = [1.0] * axes
    known = False
    try:
        for part in (multiscale, dataset):
            for transformation in part.get("coordinateTransformations", ()):
                if transformation["type"] == "scale":
                    scale = [a * float(b) for a, b in zip(scale, transformation["scale"], strict=True)]
                    known = True
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{store}: a scale that cannot be read", mend="write the store again") from error
    if not known:
        return None, ()
    assumed = []
    sizes = []
    for value, unit in zip(scale[-3:], units, strict=True):
        if unit not in _UNITS_ANG:
            assumed.append(f"its voxel size of {value:g} has {f'the unit {unit}' if unit else 'no unit'}: taken as Å")
        sizes.append(value * _UNITS_ANG.get(unit or "", 1.0))
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        raise FormatError(f"{store}: a voxel size of {sizes}", mend="write the store again")
    if max(sizes) > 1.01 * min(sizes):
        assumed.append(f"its voxels are no cubes: {sizes} Å along z, y, x; x is taken")
    return (sizes[0], sizes[1], sizes[2]), tuple(dict.fromkeys(assumed))
