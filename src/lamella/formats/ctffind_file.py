"""The text that CTFFIND 4 and 5 write beside their diagnostic image, and AreTomo as ``NAME_CTF.txt``.

Comments, then a line per micrograph: its number, defocus 1 and 2 in Å, azimuth of astigmatism (the direction of
defocus 1) in degrees, additional phase shift in radians, cross correlation, and the spacing in Å up to which rings were
fitted. CTFFIND 5 adds tilt axis, tilt angle and thickness (Å) as it estimates them; AreTomo 3 the sign by which defocus
grows with depth.

Sources: the headers of both programs' files, which name each column; AreTomo3's CSaveCtfResults and CLoadCtfResults.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.angles import read_text
from lamella.formats.atomic import atomic_text
from lamella.formats.stated_optics import StatedOptics
from lamella.records import Defocus

__all__ = ["CtffindFile", "read_ctffind", "write_aretomo_ctf", "write_ctffind"]

Array = NDArray[np.float64]

_PLAIN, _WITH_HAND, _WITH_TILT = 7, 8, 10
_MOST = 10**6  # micrographs
_STATED = {
    "pixel_size_ang": re.compile(r"Pixel size:\s*([\d.eE+-]+)"),
    "voltage_kv": re.compile(r"acceleration voltage:\s*([\d.eE+-]+)"),
    "spherical_aberration_mm": re.compile(r"spherical aberration:\s*([\d.eE+-]+)"),
    "amplitude_contrast": re.compile(r"amplitude contrast:\s*([\d.eE+-]+)"),
}
_COLUMNS = (
    "#1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; "
    "#5 - additional phase shift [radians]; #6 - cross correlation; #7 - spacing (in Angstroms) up to which CTF rings "
    "were fit successfully"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class CtffindFile:
    """One file, a row per micrograph.

    Attributes
    ----------
    numbers
        ``(rows,)`` micrographs' numbers.
    defocus
        as the program states it: of the image, not of a tomogram's centre.
    optics
        that the header states.
    tilt
        ``(rows, 3)`` axis and tilt angle in degrees, thickness in Å, of CTFFIND 5; else None.
    hand
        AreTomo 3's, +1 or −1; else None.
    """

    numbers: NDArray[np.int64]
    defocus: Defocus
    optics: StatedOptics = field(default_factory=StatedOptics)
    tilt: Array | None = None
    hand: int | None = None

    def __len__(self) -> int:
        return len(self.numbers)


def read_ctffind(path: Path | str) -> CtffindFile:
    """Read a file of CTFFIND 4 or 5, or AreTomo 2 or 3.

    Raises
    ------
    FormatError
        naming the line that is damaged; if there is none.
    """
    path = Path(path)
    header: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(read_text(path, "file of CTFFIND").splitlines(), start=1):
        text = line.strip()
        if text.startswith("#"):
            header.append(text)
        elif text:
            rows.append(_numbers(path, number, text, len(rows[0]) if rows else 0))
    if not rows:
        raise FormatError(f"{path}: no line of numbers", mend="check that this is the .txt that CTFFIND wrote")
    table = np.array(rows)
    phase = np.degrees(table[:, 4])
    defocus = Defocus(
        u_ang=table[:, 1],
        v_ang=table[:, 2],
        angle_deg=table[:, 3],
        phase_shift_deg=phase if np.any(phase) else None,
        figure_of_merit=table[:, 5],
        max_resolution_ang=table[:, 6],
    )
    return CtffindFile(
        numbers=np.rint(table[:, 0]).astype(np.int64),
        defocus=defocus,
        optics=_stated(path, header),
        tilt=table[:, 7:10] if table.shape[1] >= _WITH_TILT else None,
        hand=_hand(path, table[:, 7]) if table.shape[1] == _WITH_HAND else None,
    )


def _numbers(path: Path, number: int, text: str, count: int) -> list[float]:
    """The numbers of one line: as many as in the first one, those that say the defocus finite."""
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = []
    right = len(values) == count if count else len(values) in (_PLAIN, _WITH_HAND) or len(values) >= _WITH_TILT
    if not right or not all(math.isfinite(value) for value in values[:5]) or not 0 <= values[0] <= _MOST:
        raise FormatError(
            f"{path}: line {number} is '{text[:60]}', not {count or _PLAIN} numbers",
            mend="take the file as CTFFIND or AreTomo wrote it",
        )
    return values


def _stated(path: Path, header: Sequence[str]) -> StatedOptics:
    found: dict[str, float] = {}
    for name, pattern in _STATED.items():
        for line in header:
            if match := pattern.search(line):
                try:
                    found[name] = float(match[1])
                except ValueError:
                    raise FormatError(
                        f"{path}: '{match[0]}' in its header is no number", mend="take the file as it was written"
                    ) from None
    return StatedOptics(**found)


def _hand(path: Path, column: Array) -> int:
    if not np.isin(column, (-1, 1)).all() or len(set(column.tolist())) > 1:
        raise FormatError(f"{path}: dfHand is not +1 or -1 in all lines", mend="take the file as AreTomo wrote it")
    return int(column[0])


def write_ctffind(path: Path | str, defocus: Defocus, optics: StatedOptics, name: str) -> None:
    """Write rows as CTFFIND 4 lays them out, numbered from 1.

    Parameters
    ----------
    path
        where to write.
    defocus
        of the images.
    optics, name
        for the header: constants, and the stack.
    """
    count = len(defocus.u_ang)
    known = {key: "unknown" if value is None else f"{value:.3f}" for key, value in vars(optics).items()}
    lines = [
        "# Output in the manner of CTFFind version 4.1.14, written by lamella",
        f"# Input file: {name} ; Number of micrographs: {count}",
        f"# Pixel size: {known['pixel_size_ang']} Angstroms ; acceleration voltage: {known['voltage_kv']} keV ; "
        f"spherical aberration: {known['spherical_aberration_mm']} mm ; amplitude contrast: "
        f"{known['amplitude_contrast']}",
        f"# Columns: {_COLUMNS}",
    ]
    lines += [
        f"{row + 1:.6f} {u:.6f} {v:.6f} {angle:.6f} {phase:.6f} {merit:.6f} {resolution:.6f}"
        for row, (u, v, angle, phase, merit, resolution) in enumerate(_rows(defocus))
    ]
    atomic_text(path, "".join(f"{line}\n" for line in lines))


def write_aretomo_ctf(path: Path | str, defocus: Defocus, hand: int) -> None:
    """Write rows as AreTomo 3 lays them out, numbered from 1."""
    columns = _COLUMNS.replace("#1 - ", "#1 ").replace("[Angstroms]", "[A]").replace("[radians]", "[radian]")
    lines = [f"# Columns: {columns}; #8 - dfHand"]
    lines += [
        f"{row + 1:4d}   {u:8.2f}  {v:8.2f}  {angle:8.2f}  {phase:9.4f}  {merit:8.4f}  {resolution:8.4f}  {hand:3d}"
        for row, (u, v, angle, phase, merit, resolution) in enumerate(_rows(defocus))
    ]
    atomic_text(path, "".join(f"{line}\n" for line in lines))


def _rows(defocus: Defocus) -> Array:
    """``(rows, 6)`` numbers; merit and resolution are 0 where nobody stated them."""
    zero = np.zeros(len(defocus.u_ang))
    columns = (
        defocus.u_ang,
        defocus.v_ang,
        defocus.angle_deg,
        zero if defocus.phase_shift_deg is None else np.radians(defocus.phase_shift_deg),
        zero if defocus.figure_of_merit is None else defocus.figure_of_merit,
        zero if defocus.max_resolution_ang is None else defocus.max_resolution_ang,
    )
    return np.stack(columns, axis=-1)
