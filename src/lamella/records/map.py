"""The record of an average: its map, its half maps and what they say of the resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lamella.errors import InputError

__all__ = ["Map"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Map:
    """An average of particles. Mass is positive; the reference's origin is voxel n // 2.

    Attributes
    ----------
    volume
        file of the average of all particles, relative to the project's folder or absolute.
    half1, half2
        files of the two half sets' averages, never filtered by what both know; None where there are none.
    fsc
        STAR table of the Fourier shell correlation of the halves.
    mask
        soft mask that was used, or None.
    classes
        files of the classes' maps, in the order of their numbers from 1.
    voxel_size_ang, box_px
        of every one of these volumes.
    symmetry
        point group that was imposed.
    resolution_ang
        where the halves' correlation under the mask, corrected for it, falls below 0.143 for good
        (`MapFsc.resolution_ang`), or the voxels' limit where it never does; None where it was not measured.
    quality
        further numbers by the name of their column without ``lamella``.
    """

    volume: str
    half1: str | None = None
    half2: str | None = None
    fsc: str | None = None
    mask: str | None = None
    classes: tuple[str, ...] = ()
    voxel_size_ang: float
    box_px: int
    symmetry: str = "C1"
    resolution_ang: float | None = None
    quality: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.box_px <= 0 or not self.voxel_size_ang > 0:
            raise InputError(
                f"{self.volume}: a box of {self.box_px} voxels of {self.voxel_size_ang} Å",
                mend="give a positive box and voxel size",
            )

    @property
    def halves(self) -> tuple[str, str]:
        """Files of both half maps.

        Raises
        ------
        InputError
            if one or both were not made.
        """
        if self.half1 is None or self.half2 is None:
            raise InputError(f"{self.volume}: there are no two half maps", mend="average two half sets")
        return self.half1, self.half2
