"""What extended headers say of each section: SerialEM's, Thermo Fisher's new (FEI1, FEI2) and old (FEI, Agard) ones.

Every reader gives one mapping per section, by names that carry their unit:

``tilt_deg`` ``axis_deg`` (as the file states it) ``pixel_size_ang`` ``dose`` (e/Å²) ``defocus_um`` (as the file states
it) ``stage_x_um`` ``stage_y_um`` ``stage_z_um`` ``magnification`` ``intensity`` ``exposure_s`` ``voltage_kv``
``piece_x_px`` ``piece_y_px`` ``piece_z``

A name is missing where the file does not state it. Sources: IMOD's description of the MRC format; the FEI1 and FEI2
layouts as `mrcfile` has them; the old layout's 128-byte records as in the MRC-format notes of FEI and Agard's programs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mrcfile.dtypes import get_ext_header_dtype

from lamella.formats.mrc_header import HEADER_BYTES, MrcHeader

__all__ = ["read_extended"]

Section = dict[str, float]

# SerialEM: bit of nreal -> (bytes, names of the numbers); numbers are 16-bit, scaled as below
_SERIAL_BITS: tuple[tuple[int, int, str], ...] = (
    (1, 2, "tilt"),
    (2, 6, "piece"),
    (4, 4, "stage"),
    (8, 2, "magnification"),
    (16, 2, "intensity"),
    (32, 4, "dose"),
    (64, 2, ""),
    (128, 4, ""),
    (256, 2, ""),
    (512, 4, ""),
    (1024, 2, ""),
)

# FEI1 and FEI2: our name -> (field, factor, the bitmask (1 or 2) and the bit in it that say whether it is set)
_FEI_FIELDS: dict[str, tuple[str, float, int, int]] = {
    "voltage_kv": ("HT", 1e-3, 1, 5),
    "dose": ("Dose", 1e-20, 1, 6),
    "tilt_deg": ("Alpha tilt", 1.0, 1, 7),
    "stage_x_um": ("X-Stage", 1e6, 1, 9),
    "stage_y_um": ("Y-Stage", 1e6, 1, 10),
    "stage_z_um": ("Z-Stage", 1e6, 1, 11),
    "axis_deg": ("Tilt axis angle", 1.0, 1, 12),
    "pixel_size_ang": ("Pixel size X", 1e10, 1, 14),
    "defocus_um": ("Defocus", 1e6, 1, 22),
    "magnification": ("Magnification", 1.0, 1, 31),
    "exposure_s": ("Integration time", 1.0, 2, 16),
}

# the old layout: our name -> (place in the record of 32 float32 numbers, factor)
_OLD_FIELDS: dict[str, tuple[int, float]] = {
    "tilt_deg": (0, 1.0),
    "stage_x_um": (2, 1e6),
    "stage_y_um": (3, 1e6),
    "stage_z_um": (4, 1e6),
    "defocus_um": (7, 1e6),
    "exposure_s": (8, 1.0),
    "axis_deg": (10, 1.0),
    "pixel_size_ang": (11, 1e10),
    "magnification": (12, 1.0),
    "voltage_kv": (13, 1e-3),
}
_OLD_RECORD, _OLD_RECORDS = 128, 1024

# a release of the microscope's software that wrote angles in radians (IMOD knows it by this version)
_RADIANS_VERSION = b"4.4.0.4981"


def read_extended(header: MrcHeader) -> tuple[Mapping[str, float], ...]:
    """One mapping per section, or none where the extended header is absent or of no known layout."""
    size = header.data_offset - HEADER_BYTES
    if size == 0:
        return ()
    with header.path.open("rb") as file:
        file.seek(HEADER_BYTES)
        raw = file.read(size)
    reader = _layout(header, size)
    return () if reader is None else tuple(reader(header, raw))


def _layout(header: MrcHeader, size: int) -> Callable[[MrcHeader, bytes], list[Section]] | None:
    kind, sections = header.extended_type, header.shape[0]
    if kind in ("FEI1", "FEI2"):
        return _read_fei
    bits = header.real_count & 0xFFFF
    bytes_of_bits = sum(count for bit, count, _ in _SERIAL_BITS if bits & bit)
    is_serial = 0 < header.int_count == bytes_of_bits and size >= header.int_count * sections
    if is_serial and kind in ("SERI", ""):
        return _read_serial
    old_size = size >= _OLD_RECORD * _OLD_RECORDS and sections <= _OLD_RECORDS
    stated = header.int_count == 0 and header.real_count >= 12 and size >= _record_bytes(header) * sections
    if kind == "AGAR" or (kind == "" and (old_size or stated)):
        return _read_old
    return None


def _record_bytes(header: MrcHeader) -> int:
    """Bytes of a record of the old layout: what nint and nreal say, 128 where they say nothing."""
    said = 4 * (header.int_count + header.real_count)
    return said if header.int_count == 0 and header.real_count >= 12 else _OLD_RECORD


def _read_serial(header: MrcHeader, raw: bytes) -> list[Section]:
    words = np.dtype("i2").newbyteorder(header.byte_order)
    out = []
    for index in range(header.shape[0]):
        section: Section = {}
        place = index * header.int_count
        for bit, count, name in _SERIAL_BITS:
            if header.real_count & bit:
                numbers = np.frombuffer(raw, words, count=count // 2, offset=place).astype(np.int64)
                section.update(_serial_item(name, [int(number) for number in numbers]))
                place += count
        out.append(section)
    return out


def _serial_item(name: str, numbers: list[int]) -> Section:
    match name:
        case "tilt":
            return {"tilt_deg": numbers[0] / 100}
        case "piece":
            return {"piece_x_px": numbers[0], "piece_y_px": numbers[1], "piece_z": numbers[2]}
        case "stage":
            return {"stage_x_um": numbers[0] / 25, "stage_y_um": numbers[1] / 25}
        case "magnification":
            return {"magnification": numbers[0] * 100}
        case "intensity":
            return {"intensity": numbers[0] / 25000}
        case "dose":
            return {"dose": _two_shorts(numbers[0], numbers[1])}
    return {}


def _two_shorts(low: int, high: int) -> float:
    """SerialEM's way to keep a real number in two 16-bit ones: 23 bits of value, the rest a power of two."""
    value = abs(low) * 256 + abs(high) % 256
    power = abs(high) // 256 * (-1 if high < 0 else 1)
    return (-1 if low < 0 else 1) * value * 2.0**power


def _read_fei(header: MrcHeader, raw: bytes) -> list[Section]:
    known: np.dtype[Any] = get_ext_header_dtype(header.extended_type.encode())  # type: ignore[no-untyped-call]
    layout = known.newbyteorder(header.byte_order)  # its own argument leaves the bitmasks as they are
    out: list[Section] = []
    place = 0
    for _ in range(header.shape[0]):
        size = (
            int(np.frombuffer(raw, layout["Metadata size"], count=1, offset=place)[0]) if place + 4 <= len(raw) else 0
        )
        record = raw[place : place + layout.itemsize]
        if size < 4 or len(record) < min(size, layout.itemsize):
            return []  # sections without records: nothing is said of any of them
        out.append(_fei_section(np.frombuffer(record.ljust(layout.itemsize, b"\0"), layout, count=1)[0]))
        place += size
    return out


def _fei_section(record: Any) -> Section:
    section: Section = {}
    for name, (field, factor, mask, bit) in _FEI_FIELDS.items():
        if int(record[f"Bitmask {mask}"]) >> bit & 1:
            section[name] = float(record[field]) * factor
    if bytes(record["Application version"]).rstrip(b"\0 ") == _RADIANS_VERSION:
        section.update({name: math.degrees(section[name]) for name in ("tilt_deg", "axis_deg") if name in section})
    return section


def _read_old(header: MrcHeader, raw: bytes) -> list[Section]:
    record = _record_bytes(header)
    numbers = np.dtype("f4").newbyteorder(header.byte_order)
    out = []
    for index in range(min(header.shape[0], len(raw) // record)):
        row = np.frombuffer(raw, numbers, count=record // 4, offset=index * record).astype(np.float64)
        said = {name: row[place] * factor for name, (place, factor) in _OLD_FIELDS.items() if place < len(row)}
        out.append({name: float(value) for name, value in said.items() if np.isfinite(value)})
    return out if len(out) == header.shape[0] else []
