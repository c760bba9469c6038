"""How large the pictures of a particle are: the particle, and how far the defocus spreads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lamella.errors import SettingsError
from lamella.fourier import fast_size
from lamella.optics import electron_wavelength_ang
from lamella.particles.extract_settings import ExtractSettings
from lamella.records import TiltSeries

__all__ = ["PictureBox", "choose_box", "defocus_spread_ang"]

MARGIN = 1.2
"""Box over diameter where nothing spreads the picture: room for the mask's edge and for shifts."""
FINEST_ANG = 5.0
"""Finest detail whose spread is made room for; finer ones are spread over more than a box is worth."""
_SEARCHED = 12  # larger boxes that are tried for the one whose pixel is nearest to what was asked for
_LARGEST_PX = 2048


@dataclass(frozen=True, kw_only=True)
class PictureBox:
    """The sizes of a picture on its way from a tilt image to the record.

    Attributes
    ----------
    patch_px
        edge of what is cut out of the tilt image, in its pixels.
    crop_from_px
        edge of the same patch in the picture's pixels, in which it is multiplied by the transfer.
    box_px
        edge of what is kept of that.
    pixel_size_ang
        of the picture.
    diameter_ang
        of the particle; the noise is measured outside it.
    """

    patch_px: int
    crop_from_px: int
    box_px: int
    pixel_size_ang: float
    diameter_ang: float

    @property
    def binning(self) -> float:
        """The picture's pixel over the tilt image's."""
        return self.patch_px / self.crop_from_px


def choose_box(series: Sequence[TiltSeries], settings: ExtractSettings, diameter_ang: float) -> PictureBox:
    """The box for particles of several tilt series, one for all.

    Parameters
    ----------
    series
        all that the particles are in: of one pixel size.
    settings
        `binning`, `box` and `crop_from`.
    diameter_ang
        of the particle.

    Raises
    ------
    SettingsError
        if the series differ in pixel size, or the box is odd, too large, or smaller than the particle.

    Notes
    -----
    A defocus Δf moves detail of size d by λ Δf / d. In `crop_from` the finest detail of the particle's edge is whole;
    multiplied by the transfer half of it comes back, so that the box kept needs half of that room.
    """
    pixels = {round(one.pixel_size_ang, 5) for one in series}
    if len(pixels) != 1:
        listed = ", ".join(f"{one.name} {one.pixel_size_ang:g} Å" for one in series[:4])
        raise SettingsError(
            f"tilt series of different pixel sizes ({listed}, …) have no pictures of one size",
            mend="extract and average them apart, or resample their images first",
        )
    pixel = next(iter(pixels))
    wanted = pixel * settings.binning
    spread = max(defocus_spread_ang(one, max(2 * wanted, FINEST_ANG)) for one in series)
    least = int(np.ceil(diameter_ang / wanted)) + 4
    box = _whole(settings.box, MARGIN * diameter_ang + spread, wanted, "box", least)
    around = (MARGIN * diameter_ang if settings.box == "auto" else box * wanted - spread) + 2 * spread
    crop_from = _whole(settings.crop_from, max(around, box * wanted), wanted, "crop_from", box)
    patch, crop_from = _nearest(crop_from, settings.binning)
    return PictureBox(
        patch_px=patch,
        crop_from_px=crop_from,
        box_px=box,
        pixel_size_ang=pixel * patch / crop_from,
        diameter_ang=diameter_ang,
    )


def defocus_spread_ang(series: TiltSeries, detail_ang: float) -> float:
    """How far the defocus of a series moves detail of a size, Å: λ Δf / d for its middle view; 0 without defocus."""
    if series.defocus is None or series.imaging == "dark" or series.optics.voltage_kv is None:
        return 0.0
    middle = float(np.median(np.abs(series.defocus.mean_ang)))
    return electron_wavelength_ang(series.optics.voltage_kv) * middle / detail_ang


def _whole(asked: int | str, wanted_ang: float, pixel_ang: float, name: str, least: int) -> int:
    """Pixels of a box: what was asked for, or one that transforms fast and holds what is wanted."""
    found = fast_size(max(int(np.ceil(wanted_ang / pixel_ang)), least))
    size = found if isinstance(asked, str) else asked
    if size % 2 or size < 8 or size > _LARGEST_PX:
        raise SettingsError(
            f"extract.{name} of {size} px", mend=f"give an even number from 8 to {_LARGEST_PX}, or bin more"
        )
    if size < least:
        what = "the particle and a rim to measure the noise in" if name == "box" else "extract.box"
        raise SettingsError(f"extract.{name} of {size} px is smaller than {what}", mend=f"give {least} px or more")
    return size


def _nearest(crop_from: int, binning: float) -> tuple[int, int]:
    """Whole sizes of the patch before and after binning, whose ratio is as near to the binning as can be."""
    tried = range(crop_from, crop_from + 2 * _SEARCHED + 1, 2)
    best = min(tried, key=lambda size: (round(abs(round(size * binning) / size - binning), 7), size))
    return round(best * binning), best
