"""What an EER file says of its recording: items of XML in tag 65001, of which those wanted are kept.

The text comes from outside: it is read only up to a size, and never with entities or a document type.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

from lamella.records import Note

__all__ = ["EerMetadata", "metadata_xml", "read_metadata"]

_MOST_BYTES = 1 << 20
_METRES = {"m": 1e10, "": 1e10, "nm": 10.0, "um": 1e4, "µm": 1e4, "pm": 0.01, "a": 1.0, "å": 1.0, "angstrom": 1.0}
_PLAUSIBLE_ANG = (0.01, 1000.0)
_GAIN = "gainreference"  # how the item's name ends, in lower case


@dataclass(frozen=True, kw_only=True)
class EerMetadata:
    """What is known of an EER movie; None where the file does not say it.

    Attributes
    ----------
    frames
        raw frames that were recorded.
    dose_per_px
        e per detector pixel, of the whole movie.
    exposure_s
        s.
    pixel_size_ang
        of the detector's pixels at the specimen, Å.
    gain
        name of the gain reference.
    items
        every item as it stands, name -> text.
    notes
        what could not be understood.
    """

    frames: int | None = None
    dose_per_px: float | None = None
    exposure_s: float | None = None
    pixel_size_ang: float | None = None
    gain: str | None = None
    items: Mapping[str, str]
    notes: tuple[Note, ...] = ()


def read_metadata(path: Path, raw: bytes) -> EerMetadata:
    """Understand the metadata; what cannot be read is left out with a note, since the events do not depend on it.

    Parameters
    ----------
    path
        the file, for notes.
    raw
        the tag's bytes, UTF-8; may be empty.
    """
    notes: list[Note] = []
    items, units = _items(path, raw, notes)

    def number(name: str) -> float | None:
        try:
            value = float(items.get(name, ""))
        except ValueError:
            return None
        return value if math.isfinite(value) and value > 0 else None

    frames = number("numberOfFrames")
    size = number("sensorPixelSize.width")
    if size is not None:
        size *= _METRES.get(units.get("sensorPixelSize.width", "").strip().lower(), math.nan)
        if not _PLAUSIBLE_ANG[0] <= size <= _PLAUSIBLE_ANG[1]:
            text = f"sensorPixelSize.width is {items['sensorPixelSize.width']}, no pixel size at the specimen; left out"
            notes.append(Note(kind="dropped", where=str(path), text=text))
            size = None
    return EerMetadata(
        frames=None if frames is None else int(frames),
        dose_per_px=number("totalDose"),
        exposure_s=number("exposureTime"),
        pixel_size_ang=size,
        gain=next((text for name, text in items.items() if name.lower().endswith(_GAIN)), None),
        items=MappingProxyType(items),
        notes=tuple(notes),
    )


def metadata_xml(items: Mapping[str, tuple[str, str]]) -> bytes:
    """The XML of some items, name -> (text, unit); no unit where that is empty."""
    lines = [
        f'<item name="{html.escape(name)}"'
        + (f' unit="{html.escape(unit)}"' if unit else "")
        + f">{html.escape(text)}</item>"
        for name, (text, unit) in items.items()
    ]
    return ("<metadata>" + "".join(lines) + "</metadata>").encode("utf-8")


def _items(path: Path, raw: bytes, notes: list[Note]) -> tuple[dict[str, str], dict[str, str]]:
    """Text and unit of each item."""

    def dropped(text: str) -> tuple[dict[str, str], dict[str, str]]:
        notes.append(Note(kind="dropped", where=str(path), text=f"its metadata {text}; left out"))
        return {}, {}

    raw = raw.strip(b"\0 \t\r\n")
    if not raw:
        return {}, {}
    if len(raw) > _MOST_BYTES:
        return dropped(f"are of {len(raw)} bytes")
    start = raw.find(b"<metadata")  # gain references have a declaration before it that is not well-formed
    if start < 0 or b"<!" in raw:  # document types and entities begin so; the items need neither
        return dropped("are not the XML that is expected")
    try:
        root = ElementTree.fromstring(raw[start:].decode("utf-8"))
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        return dropped(f"cannot be read ({error})")
    items, units = {}, {}
    for item in root.iter("item"):
        name = item.get("name")
        if name and item.text:
            items[name], units[name] = item.text.strip(), item.get("unit", "")
    return items, units
