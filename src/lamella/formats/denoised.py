"""The mark of denoised volumes, which travels with the file: they are for looking, never for averaging."""

from __future__ import annotations

from pathlib import Path

from lamella.errors import InputError
from lamella.formats.images import StackFile, open_stack

__all__ = ["DENOISED", "is_denoised", "refuse_denoised"]

DENOISED = "lamella: denoised, for looking, not for averaging"
"""The line that `denoise` writes into the headers of its files."""


def is_denoised(file: StackFile) -> bool:
    """Whether a file says that it was denoised; one that says nothing counts as measured."""
    return DENOISED in getattr(file, "labels", ())


def refuse_denoised(path: Path | str) -> StackFile:
    """Open a volume that is to be used as data.

    Raises
    ------
    InputError
        if its header says that it was denoised: what a filter or a network put there is no measurement, and two halves
        of it agree better than the data do.
    """
    file = open_stack(path)
    if is_denoised(file):
        raise InputError(
            f"{path} was denoised, which is for looking, picking and segmenting",
            mend="name the reconstruction that it was made from",
        )
    return file
