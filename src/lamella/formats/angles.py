"""Tilt angles as text: one number per line (``.rawtlt``, ``.tlt``, ``.xtilt``), or ``START,STEP``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_text
from lamella.records import Note

__all__ = ["angles_from_steps", "check_angles", "read_angles", "read_text", "write_angles"]

Array = NDArray[np.float64]

LARGEST_TEXT = 64 * 2**20
LARGEST_TILT_DEG = 90.0


def read_text(path: Path | str, kind: str = "text file") -> str:
    """Text of a small file from outside: UTF-8, UTF-16 with its mark, or Latin-1.

    Raises
    ------
    FormatError
        if the file cannot be read, is empty, larger than 64 MiB, or binary.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST_TEXT:
            raise FormatError(
                f"{path}: {size} bytes are too many for a {kind}", mend="check that this is the right file"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror}", mend="check the name and the permissions") from error
    if not raw.strip():
        raise FormatError(f"{path}: the file is empty", mend="copy it again, or leave it out")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: no text: {error.reason}", mend="save it as UTF-8") from error
    if b"\0" in raw:
        raise FormatError(f"{path}: the file is binary, not a {kind}", mend="check that this is the right file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def read_angles(path: Path | str) -> Array:
    """Angles ``(n,)`` in degrees, one per line; empty lines and comments (``#``) are passed over.

    Raises
    ------
    FormatError
        naming the line that is not one finite number.
    """
    path = Path(path)
    angles = []
    for number, line in enumerate(read_text(path, "file of angles").splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            value = float(words[0]) if len(words) == 1 else float("nan")
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise FormatError(
                f"{path}: line {number} is '{line.strip()[:40]}', not one angle",
                mend="give one number per line, degrees",
            )
        angles.append(value)
    if not angles:
        raise FormatError(f"{path}: no angle in the file", mend="give one number per line, degrees")
    return np.array(angles)


def write_angles(path: Path | str, angles_deg: ArrayLike, decimals: int = 2) -> None:
    """Write angles one per line, as IMOD does (``%8.2f``; more decimals on request)."""
    values = np.atleast_1d(np.asarray(angles_deg, dtype=np.float64))
    atomic_text(path, "".join(f"{value + 0.0:{decimals + 6}.{decimals}f}\n" for value in values))


def angles_from_steps(text: str, count: int) -> Array | None:
    """Angles of ``START,STEP`` for a stack of `count` images; None where the text is no pair of numbers."""
    words = text.split(",")
    try:
        start, step = (float(word) for word in words)
    except ValueError:
        return None
    if not (np.isfinite(start) and np.isfinite(step)):
        raise FormatError(f"--angles {text}: not finite", mend="give START,STEP in degrees, such as -60,3")
    if step == 0 and count > 1:
        raise FormatError(f"--angles {text}: a step of 0", mend="give START,STEP in degrees, such as -60,3")
    return np.asarray(start + step * np.arange(count), dtype=np.float64)


def check_angles(angles_deg: Array, where: str, labels: Sequence[str]) -> tuple[Note, ...]:
    """Refuse angles that no stage can have; tell of those that come twice.

    Raises
    ------
    FormatError
        naming the first angle that is not finite or beyond ±90°.
    """
    for angle, label in zip(angles_deg, labels, strict=True):
        if not np.isfinite(angle) or abs(angle) > LARGEST_TILT_DEG:
            raise FormatError(
                f"{where}: {label} has a tilt angle of {angle}°", mend="correct the angle, or leave it out"
            )
    order = np.argsort(angles_deg, kind="stable")
    twins = [
        f"{labels[first]} and {labels[second]} ({angles_deg[first]:g}°)"
        for first, second in pairwise(order.tolist())
        if abs(angles_deg[first] - angles_deg[second]) < 1e-3
    ]
    if not twins:
        return ()
    return (Note(kind="warning", where=where, text=f"the same tilt angle twice, both kept: {'; '.join(twins)}"),)
