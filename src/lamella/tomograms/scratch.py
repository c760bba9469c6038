"""Room for what memory does not hold: an array in a temporary file without a name."""

from __future__ import annotations

import math
import mmap
import shutil
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lamella.errors import OutputError

__all__ = ["array_in_file", "let_go"]


def array_in_file(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros in a temporary file, which goes when the array is dropped.

    Raises
    ------
    OutputError
        if the folder for temporary files has not that much room. A write beyond it would end the process unheard.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            f"{size / 2**30:.1f} GiB are needed beside the memory, and {folder} has {free / 2**30:.1f} GiB",
            mend="set TMPDIR to a folder with more room, or raise reconstruct.memory, ctf_tolerance or pixel_size",
        )
    with tempfile.TemporaryFile(dir=folder) as file:  # it has no name to be left behind, and the map keeps it
        return np.memmap(file, dtype, "w+", shape=shape)


def let_go(array: NDArray[Any]) -> None:
    """Let the pages of an array from `array_in_file` that are in memory now go back to its file; others stay."""
    pages = getattr(array, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)
