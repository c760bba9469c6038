"""IMOD's files of transforms (``.xf``, ``.xg``, ``.prexg``): a line ``A11 A12 A21 A22 DX DY`` for each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.angles import read_text
from lamella.formats.atomic import atomic_text

__all__ = ["read_xf", "write_xf"]

Array = NDArray[np.float64]


def read_xf(path: Path | str) -> Array:
    """Transforms ``(n, 2, 3)`` of an ``.xf`` file: [A | d] of each line.

    Raises
    ------
    FormatError
        naming the line that is not six finite numbers.
    """
    path = Path(path)
    rows = []
    for number, line in enumerate(read_text(path, "file of transforms").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            values = []
        if len(values) != 6 or not np.isfinite(values).all():
            raise FormatError(
                f"{path}: line {number} is '{line.strip()[:60]}', not six numbers", mend="write A11 A12 A21 A22 DX DY"
            )
        rows.append(values)
    table = np.array(rows, dtype=np.float64)
    return np.concatenate([table[:, :4].reshape(-1, 2, 2), table[:, 4:, None]], axis=-1)


def write_xf(path: Path | str, transforms: Array) -> None:
    """Write transforms ``(n, 2, 3)``; more decimals than IMOD's own, which it reads as well."""
    lines = [
        "".join(f"{value + 0.0:14.9f}" for value in row[:, :2].ravel())
        + "".join(f"{value + 0.0:13.5f}" for value in row[:, 2])
        for row in transforms
    ]
    atomic_text(path, "".join(f"{line}\n" for line in lines))
