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

    Denoised data never enter averaging: a denoised file cannot stand where a measured one belongs, and steps that
    average take their volumes from `measured_volumes`.

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
        measured = (self.volume, self.even_volume, self.odd_volume)
        if self.denoised is not None and self.denoised in measured:
            raise InputError(
                f"{self.name}: {self.denoised} is named as denoised and as measured",
                mend="name the reconstruction and its halves as reconstruct wrote them; denoised data are for looking",
            )

    @property
    def name(self) -> str:
        """The tilt series' name."""
        return self.tilt_series.name

    @property
    def voxel_size_ang(self) -> float:
        """Edge of a voxel, Å."""
        return self.tilt_series.pixel_size_ang * self.binning

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) of its volumes in voxels, each even, so that the origin is their own n // 2."""
        x, y, z = (max(2 * round(size / (2 * self.binning)), 2) for size in self.size_px)
        return z, y, x

    @property
    def measured_volumes(self) -> tuple[str, ...]:
        """What may be averaged, extracted or compared: the whole reconstruction, then its halves where there are both.

        The only door by which such a step asks for voxels: a denoised volume never comes through it.

        Raises
        ------
        InputError
            if there is no reconstruction, whether or not there is a denoised volume.
        """
        if self.volume is None:
            only = f", only the denoised {self.denoised}" if self.denoised is not None else ""
            raise InputError(
                f"{self.name}: there is no measured volume{only}",
                mend="run reconstruct; denoised data are for looking, picking and segmenting, never for averaging",
            )
        return (self.volume, *(self.measured_halves if self.has_halves else ()))

    @property
    def measured_halves(self) -> tuple[str, str]:
        """The two half reconstructions.

        Raises
        ------
        InputError
            if one or both were not made.
        """
        if self.even_volume is None or self.odd_volume is None:
            raise InputError(f"{self.name}: there are no two halves", mend="run reconstruct with halves = auto")
        return self.even_volume, self.odd_volume

    @property
    def has_halves(self) -> bool:
        """Whether both half reconstructions were made."""
        return self.even_volume is not None and self.odd_volume is not None
