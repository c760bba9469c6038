"""The text of AreTomo's ``.aln`` files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.angles import read_text
from lamella.formats.atomic import atomic_text

__all__ = ["Aln", "AlnPatches", "read_aln", "write_aln"]

Array = NDArray[np.float64]

_COLUMNS = 10
_LOCAL_COLUMNS = 7
_SETTING = re.compile(r"#\s*([A-Za-z]+)\s*=\s*(.*)")


@dataclass(frozen=True, kw_only=True, eq=False)
class AlnPatches:
    """The local table: ``(n, p, 2)`` places and shifts (x, y) in pixels, ``(n, p)`` whether a shift is good."""

    place_px: Array
    shift_px: Array
    good: NDArray[np.bool_]

    def select(self, rows: NDArray[np.int64]) -> AlnPatches:
        """The patches of some lines."""
        return AlnPatches(place_px=self.place_px[rows], shift_px=self.shift_px[rows], good=self.good[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Aln:
    """One file, a row per line of its table.

    Attributes
    ----------
    raw_size
        (x, y, sections) of the stack, or None where the file is silent.
    section
        ``(n,)`` SEC.
    axis_deg, tilt_deg, magnification
        ``(n,)`` ROT, TILT, GMAG.
    shift_px
        ``(n, 2)`` TX, TY.
    dark
        (place in the sorted stack, section, tilt) of each image that was left out.
    alpha_offset_deg, beta_offset_deg, thickness_px
        from the header, 0 where it is silent.
    patches
        the local table, or None.
    unread
        header lines that mean nothing to lamella.
    """

    raw_size: tuple[int, int, int] | None
    section: NDArray[np.int64]
    axis_deg: Array
    magnification: Array
    shift_px: Array
    tilt_deg: Array
    dark: tuple[tuple[int, int, float], ...] = ()
    alpha_offset_deg: float = 0.0
    beta_offset_deg: float = 0.0
    thickness_px: int = 0
    patches: AlnPatches | None = None
    unread: tuple[str, ...] = ()


def read_aln(path: Path | str) -> Aln:
    """Read a file of AreTomo 1, 2 or 3.

    Raises
    ------
    FormatError
        naming the line that is damaged; if there is no table, or the local one does not have a row for every patch and
        line.
    """
    path = Path(path)
    header: dict[str, list[tuple[int, str]]] = {}
    unread: list[str] = []
    tables: tuple[list[list[float]], list[list[float]]] = ([], [])
    local = False
    for number, line in enumerate(read_text(path, "AreTomo file").splitlines(), start=1):
        text = line.strip()
        if not text:
            continue
        if text.startswith("#"):
            local = local or "Local Alignment" in text
            setting = _SETTING.match(text)
            if setting:
                header.setdefault(setting[1], []).append((number, setting[2]))
            continue
        tables[local].append(_numbers(path, number, text, _LOCAL_COLUMNS if local else _COLUMNS))
    if not tables[0]:
        raise FormatError(f"{path}: no line of alignment", mend="check that this is AreTomo's .aln file")
    table = np.array(tables[0])
    unread += [f"line {entry[0]}: {key} = {entry[1]}" for key in header if key not in _KNOWN for entry in header[key]]
    sizes = _header_numbers(path, header, "RawSize", 3)
    dark = tuple((int(row[0]), int(row[1]), row[2]) for row in _header_numbers(path, header, "DarkFrame", 3))

    def single(key: str) -> float:
        rows = _header_numbers(path, header, key, 1)
        return rows[0][0] if rows else 0.0

    return Aln(
        raw_size=(int(sizes[0][0]), int(sizes[0][1]), int(sizes[0][2])) if sizes else None,
        section=table[:, 0].astype(np.int64),
        axis_deg=table[:, 1],
        magnification=table[:, 2],
        shift_px=table[:, 3:5],
        tilt_deg=table[:, 9],
        dark=dark,
        alpha_offset_deg=single("AlphaOffset"),
        beta_offset_deg=single("BetaOffset"),
        thickness_px=int(single("Thickness")),
        patches=_patches(path, tables[1], len(table)),
        unread=tuple(unread),
    )


_KNOWN = {"RawSize", "NumPatches", "DarkFrame", "AlphaOffset", "BetaOffset", "Thickness"}


def _numbers(path: Path, number: int, text: str, count: int) -> list[float]:
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = []
    if len(values) != count or not np.isfinite(values).all():
        raise FormatError(
            f"{path}: line {number} is '{text[:60]}', not {count} numbers", mend="take the file as AreTomo wrote it"
        )
    return values


def _header_numbers(path: Path, header: dict[str, list[tuple[int, str]]], key: str, count: int) -> list[list[float]]:
    return [_numbers(path, number, text, count) for number, text in header.get(key, [])]


def _patches(path: Path, rows: list[list[float]], lines: int) -> AlnPatches | None:
    if not rows:
        return None
    table = np.array(rows)
    count = int(table[:, 1].max()) + 1
    keys = table[:, 0] * count + table[:, 1]
    if len(rows) != lines * count or not np.array_equal(np.sort(keys), np.arange(lines * count)):
        raise FormatError(
            f"{path}: the local table has {len(rows)} rows, not one for each of {lines} lines and {count} patches",
            mend="take the file as AreTomo wrote it",
        )
    table = table[np.argsort(keys)].reshape(lines, count, _LOCAL_COLUMNS)
    return AlnPatches(place_px=table[..., 2:4], shift_px=table[..., 4:6], good=table[..., 6] >= 0.5)


def write_aln(path: Path | str, aln: Aln) -> None:
    """Write a file as AreTomo 3 lays it out, tilt angles and shifts with more decimals."""
    patches = 0 if aln.patches is None else aln.patches.good.shape[1]
    lines = ["# AreTomo Alignment / Priims bprmMn"]
    if aln.raw_size is not None:
        lines.append("# RawSize = {} {} {}".format(*aln.raw_size))
    lines.append(f"# NumPatches = {patches}")
    lines += [f"# DarkFrame = {place:5d} {section:4d} {tilt:8.2f}" for place, section, tilt in aln.dark]
    lines += [
        f"# AlphaOffset = {aln.alpha_offset_deg + 0.0:10.4f}",
        f"# BetaOffset = {aln.beta_offset_deg + 0.0:10.5f}",
    ]
    if aln.thickness_px:
        lines.append(f"# Thickness = {aln.thickness_px}")
    lines.append("# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT")
    lines += [
        f"{section:5d}  {axis:11.6f}  {magnification:9.5f}  {shift[0] + 0.0:11.4f}  {shift[1] + 0.0:11.4f}  "
        f"{1:7.2f}  {1:7.2f}  {1:7.2f}  {0:7.2f}  {tilt + 0.0:11.6f}"
        for section, axis, magnification, shift, tilt in zip(
            aln.section, aln.axis_deg, aln.magnification, aln.shift_px, aln.tilt_deg, strict=True
        )
    ]
    if aln.patches is not None:
        lines.append("# Local Alignment")
        for row in range(len(aln.section)):
            for patch in range(patches):
                place, shift = aln.patches.place_px[row, patch], aln.patches.shift_px[row, patch]
                lines.append(
                    f"{row:4d} {patch:3d} {place[0] + 0.0:10.3f}  {place[1] + 0.0:10.3f}  {shift[0] + 0.0:9.4f}  "
                    f"{shift[1] + 0.0:9.4f}  {float(aln.patches.good[row, patch]):4.1f}"
                )
    atomic_text(path, "".join(f"{line}\n" for line in lines))
