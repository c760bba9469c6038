"""The mask that `reconstruct` is given. Light to import: planning a run must not load what computes."""

from __future__ import annotations

from pathlib import Path

from lamella.errors import ImageError
from lamella.formats.mrc import open_mrc
from lamella.records import TiltSeries, Tomogram, VolumeSource
from lamella.tomograms.reconstruct_settings import ReconstructSettings

__all__ = ["ITERATIVE", "inputs", "open_mask"]

ITERATIVE = ("sirt", "sart")
"""Methods that take a mask."""

_ALIKE = 0.01  # of pixel sizes


def inputs(record: TiltSeries, settings: ReconstructSettings, root: Path) -> list[Path]:
    """Files beside the record's own that the result depends on: the mask, where the method takes one."""
    return [_path(settings, root)] if settings.mask and settings.method in ITERATIVE else []


def open_mask(settings: ReconstructSettings, tomogram: Tomogram, root: Path) -> VolumeSource | None:
    """The mask that the settings name, if any and if the method takes one; its shape is checked where it is used.

    Raises
    ------
    FormatError
        if it cannot be read.
    ImageError
        if its voxels have another size than the tomogram's; a file that states none is taken as it is.
    """
    if not settings.mask or settings.method not in ITERATIVE:
        return None
    mask = open_mrc(_path(settings, root))
    stated, ours = mask.pixel_size_ang, tomogram.voxel_size_ang
    if stated and abs(stated - ours) > _ALIKE * ours:
        raise ImageError(
            f"{settings.mask}: voxels of {stated:g} Å for a tomogram of {ours:g} Å",
            mend="make the mask from a tomogram of the same reconstruct.pixel_size",
        )
    return mask


def _path(settings: ReconstructSettings, root: Path) -> Path:
    return root / Path(settings.mask).expanduser()
