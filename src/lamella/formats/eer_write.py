"""Write an EER file from the electrons that a camera counted.

Layout of a Falcon's files: a BigTIFF, one strip and one directory for each raw frame, the metadata with the first. The
directories stand at the end, so that a file which lost its end is noticed by every reader.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import InputError
from lamella.formats.atomic import atomic_path, output_errors
from lamella.formats.eer import EIGHT_BITS, SEVEN_BITS
from lamella.formats.eer_codec import QUARTERS, EventCode, encode_events
from lamella.formats.eer_metadata import metadata_xml

__all__ = ["event_index", "write_eer"]

_HEADER = struct.Struct("<2sHHHQ")
_COUNT, _ENTRY, _NEXT = struct.Struct("<Q"), struct.Struct("<HHQQ"), struct.Struct("<Q")
_SHORT, _LONG, _BYTES, _LONG8 = 3, 4, 7, 16
_BIG_TIFF = 43
_METADATA = 65001
_LARGEST_SIDE = 1 << 15


def event_index(xy_px: ArrayLike, shape_px: tuple[int, int]) -> NDArray[np.int64]:
    """Where electrons fall on the grid of quarter pixels; those that miss the detector are left out.

    Parameters
    ----------
    xy_px
        ``(n, 2)`` (x, y) in pixels, a pixel's centre being a whole number.
    shape_px
        (height, width) of the detector.

    Returns
    -------
    events
        ``(m,)`` index ``y · 4 width + x`` with x and y in quarter pixels, as `write_eer` takes it.
    """
    quarters = np.floor((np.asarray(xy_px, np.float64).reshape(-1, 2) + 0.5) * QUARTERS).astype(np.int64)
    height, width = (side * QUARTERS for side in shape_px)
    inside = (quarters >= 0).all(axis=1) & (quarters[:, 0] < width) & (quarters[:, 1] < height)
    events: NDArray[np.int64] = quarters[inside, 1] * width + quarters[inside, 0]
    return events


def write_eer(
    path: Path | str,
    frames: Iterable[NDArray[np.int64]],
    shape_px: tuple[int, int],
    *,
    code: Literal[7, 8] = 7,
    pixel_size_ang: float | None = None,
    exposure_s: float | None = None,
    gain: str | None = None,
) -> int:
    """Write raw frames of events; whole or not at all.

    Parameters
    ----------
    path
        the file.
    frames
        for each raw frame ``(n,)`` events in any order: index on the grid of quarter pixels, ``y · 4 width + x`` with x
        and y in quarter pixels (`event_index` makes it from positions).
    shape_px
        (height, width) of the detector. RELION reads files of 4096 × 4096 alone.
    code
        bits of a run of empty pixels: 7 as Falcon 4 writes today, or 8 as its first files had it.
    pixel_size_ang
        of the detector's pixels at the specimen, Å.
    exposure_s
        of the whole movie, s.
    gain
        name of the gain reference.

    Returns
    -------
    merged
        events that were lost because their pixel had another one in the same raw frame: the format, like the camera,
        counts one electron per pixel and frame.

    Raises
    ------
    InputError
        if the code or the size is none that the format has, there is no frame, or an event lies outside the frame.
    OutputError
        if the disk is full or the file cannot be written.
    """
    if code not in (7, 8):
        raise InputError(f"{path}: an EER code of {code} bits", mend="choose 7 or 8")
    if not all(0 < side <= _LARGEST_SIDE for side in shape_px):
        raise InputError(f"{path}: EER frames of {shape_px[1]} × {shape_px[0]} pixels", mend="give a size in pixels")
    with atomic_path(path) as temporary, output_errors(Path(path), every=True), temporary.open("wb") as file:
        file.write(bytes(_HEADER.size))
        strips, events, merged = _write_strips(file, Path(path), frames, shape_px, EventCode(code))
        xml = metadata_xml(_items(len(strips), events, shape_px, pixel_size_ang, exposure_s, gain))
        _write_directories(file, strips, shape_px, SEVEN_BITS if code == 7 else EIGHT_BITS, xml)
    return merged


def _write_strips(
    file: IO[bytes], path: Path, frames: Iterable[NDArray[np.int64]], shape_px: tuple[int, int], code: EventCode
) -> tuple[list[tuple[int, int]], int, int]:
    """Write the streams; offset and length of each, and how many events there are and were merged."""
    strips: list[tuple[int, int]] = []
    events = merged = 0
    for frame in frames:
        try:
            strip, lost = encode_events(frame, code, shape_px)
        except ValueError as error:
            raise InputError(f"{path}: raw frame {len(strips) + 1}: {error}", mend="leave it out") from error
        strips.append((file.tell(), len(strip)))
        file.write(strip)
        events += len(frame) - lost
        merged += lost
    if not strips:
        raise InputError(f"{path}: an EER file without a frame", mend="give one frame at least, which may be empty")
    return strips, events, merged


def _items(
    frames: int,
    events: int,
    shape_px: tuple[int, int],
    pixel_size_ang: float | None,
    exposure_s: float | None,
    gain: str | None,
) -> dict[str, tuple[str, str]]:
    """The metadata, by the camera's names."""
    height, width = shape_px
    dose = events / (height * width)
    items = {
        "numberOfFrames": (str(frames), ""),
        "sensorImageHeight": (str(height), "pixel"),
        "sensorImageWidth": (str(width), "pixel"),
        "totalDose": (f"{dose:.6g}", "e/pixel"),
    }
    if exposure_s is not None:
        items["exposureTime"] = (f"{exposure_s:.9g}", "s")
        items["meanDoseRate"] = (f"{dose / exposure_s:.6g}", "e/pixel/s")
    if pixel_size_ang is not None:
        items["sensorPixelSize.height"] = items["sensorPixelSize.width"] = (f"{pixel_size_ang * 1e-10:.9g}", "m")
    if gain is not None:
        items["eerGainReference"] = (gain, "")
    return items


def _write_directories(
    file: IO[bytes], strips: list[tuple[int, int]], shape_px: tuple[int, int], compression: int, xml: bytes
) -> None:
    """Write the metadata and the chain of directories behind the strips, then the header that points at it."""
    height, width = shape_px
    place = file.tell()
    file.write(xml + bytes(-len(xml) % 8))
    first = file.tell()
    for number, (offset, size) in enumerate(strips):
        entries = [
            (256, _LONG, 1, width),
            (257, _LONG, 1, height),
            (259, _SHORT, 1, compression),
            (262, _SHORT, 1, 1),
            (273, _LONG8, 1, offset),
            (278, _LONG, 1, height),
            (279, _LONG8, 1, size),
        ]
        if number == 0:
            entries.append((_METADATA, _BYTES, len(xml), place))
        end = file.tell() + _COUNT.size + len(entries) * _ENTRY.size + _NEXT.size
        file.write(_COUNT.pack(len(entries)))
        file.write(b"".join(_ENTRY.pack(*entry) for entry in entries))
        file.write(_NEXT.pack(end if number + 1 < len(strips) else 0))
    file.seek(0)
    file.write(_HEADER.pack(b"II", _BIG_TIFF, 8, 0, first))
