"""The record of one tomogram: its tilt series, its box and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lamella.errors import InputError
from lamella.records.tilt_series import TiltSeries

__all__ = ["Tomogram"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tomogram:
    """One tomogram.

    Attributes
    ----------
    tilt_series
        the record that it was reconstructed from, with geometry.
    size_px
        (x, y, z) in pixels of the tilt images (unbinned), each even.
    binning
        voxel size over the tilt images' pixel size; need not be whole.
    volume, even_volume, odd_volume
        files of the whole and the half reconstructions, relative to the project's folder; None where not made.
    denoised, support
        the denoised volume and the map of what the data support, where made.
    gold
        table of the gold beads' places (rlnCenteredCoordinate…Angst, lamellaBeadDiameterAngst), where they were looked
        for.
    quality
        numbers of the whole tomogram by the name of their column without ``lamella``.
    """

    tilt_series: TiltSeries
    size_px: tuple[int, int, int]
    binning: float = 1.0
    volume: str | None = None
    even_volume: str | None = None
    odd_volume: str | None = None
    denoised: str | None = None
    support: str | None = None
    gold: str | None = None
    quality: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.size_px) <= 0 or self.binning <= 0:
            raise InputError(
                f"{self.name}: a tomogram of {self.size_px} pixels at binning {self.binning}",
                mend="give a positive size and binning",
            )

    @property
    def name(self) -> str:
        """The tilt series' name."""
        return self.tilt_series.name

    @property
    def voxel_size_ang(self) -> float:
        """Edge of a voxel, Å."""
        return self.tilt_series.pixel_size_ang * self.binning
