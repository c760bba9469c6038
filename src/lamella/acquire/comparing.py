"""How far a picture lies from the series of its area: against all of it, aligned and stretched, not the last picture.

A view tilted by θ shows the specimen narrower across the axis by cos θ (Guckenberger 1982). Every picture of an area is
therefore stretched to the untilted specimen and averaged there as aligned; a new one is compared with that average as
it would look at the new tilt. So errors of single comparisons do not add up over the series, as they do where each
picture is compared with the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.port import Landmarks, Picture, Pixels
from lamella.errors import ImageError

__all__ = ["AlignedSeries", "Displacement", "measure_shift"]

Array = NDArray[np.float64]

_REJECT = 4.0  # standard deviations from the median beyond which a feature moved for itself
_AGREE_UM = 0.1  # and what heights within an area may make of it
_AGREE_SHARE = 0.4  # of the features that must agree
_MATCHES = 0.1  # confidence from which on two pictures match as they are said to be tilted
_LEAST_COS = 0.1  # a picture tilted further shows nothing that can be stretched


@dataclass(frozen=True, kw_only=True, eq=False)
class Displacement:
    """Where the middle of an area appears in a picture of it.

    Attributes
    ----------
    shift_um
        ``(2,)`` from the picture's middle, across and along the tilt axis (stage frame): the image shift that was set
        plus this one brings it into the middle.
    sd_um
        its standard error, each way.
    confidence
        0…1: 0 where anything could have matched, towards 1 where nothing else could.
    """

    shift_um: Array
    sd_um: float
    confidence: float

    @property
    def length_um(self) -> float:
        """Its length."""
        return float(np.hypot(*self.shift_um))


class _Average(Protocol):
    """Pictures of one area, aligned, as they would look untilted."""

    def measure(self, picture: Picture) -> Displacement:
        """Displacement of a further one."""
        ...

    def add(self, picture: Picture, shift_um: Array) -> None:
        """Take in a picture whose displacement is known."""
        ...


class AlignedSeries:
    """The pictures of one area with one preset, aligned so far.

    Parameters
    ----------
    axis_deg
        direction of the tilt axis in the pictures (`Calibrations.tilt_axis_deg`); landmarks do not need it.
    """

    def __init__(self, axis_deg: float = 0.0) -> None:
        self._axis_deg = axis_deg
        self._average: _Average | None = None

    @property
    def empty(self) -> bool:
        """Whether it holds no picture yet."""
        return self._average is None

    def measure(self, picture: Picture) -> Displacement:
        """Displacement of a picture against the series.

        Raises
        ------
        ImageError
            if there is no picture to compare with, or this one is of another kind or size, or holds what is no number.
        """
        if self._average is None:
            raise ImageError("nothing to compare a picture with", mend="take a reference picture first")
        return self._average.measure(picture)

    def add(self, picture: Picture, shift_um: Array | tuple[float, float] = (0.0, 0.0)) -> None:
        """Take a picture into the series, its area's middle at `shift_um` from its own.

        Raises
        ------
        ImageError
            as `measure`.
        """
        if self._average is None:
            if isinstance(picture.content, Landmarks):
                self._average = _LandmarkAverage()
            else:
                # torch is loaded where pixels are compared, not where landmarks are.
                from lamella.acquire.comparing_pixels import PixelAverage

                self._average = PixelAverage(self._axis_deg)
        self._average.add(picture, np.asarray(shift_um, np.float64))


def measure_shift(picture: Picture, reference: Picture | AlignedSeries, *, axis_deg: float = 0.0) -> Displacement:
    """Displacement of a picture against another one, or against a series.

    Parameters
    ----------
    picture
        the new one.
    reference
        whose middle is looked for.
    axis_deg
        direction of the tilt axis in pictures of pixels, where `reference` is a picture.

    Returns
    -------
    Displacement
        Where two pictures of pixels do not match as they are said to be tilted, further foreshortenings across the axis
        are tried: angles may be unknown, and a specimen that lies inclined is foreshortened otherwise than its stage.
        The displacement is then that of what lies half-way between both middles, the same both ways.

    Raises
    ------
    ImageError
        if they cannot be compared.
    """
    if isinstance(reference, AlignedSeries):
        return reference.measure(picture)
    series = AlignedSeries(axis_deg)
    series.add(reference)
    found = series.measure(picture)
    if isinstance(picture.content, Landmarks) or found.confidence >= _MATCHES:
        return found
    from lamella.acquire.comparing_pixels import measure_stretched

    return measure_stretched(picture, reference, axis_deg) or found


def foreshortening(picture: Picture) -> float:
    """cos of the picture's tilt.

    Raises
    ------
    ImageError
        if it is tilted so far that nothing of it can be stretched.
    """
    cosine = float(np.cos(np.deg2rad(picture.status.tilt_deg)))
    if not cosine > _LEAST_COS:
        raise ImageError(
            f"a picture at a tilt of {picture.status.tilt_deg:g}°", mend="compare pictures tilted by less than 84°"
        )
    return cosine


@dataclass(eq=False)
class _LandmarkAverage:
    """Features' places on the untilted specimen, averaged over the pictures."""

    sums: Array = field(default_factory=lambda: np.zeros((0, 2)))
    weights: Array = field(default_factory=lambda: np.zeros(2))

    def measure(self, picture: Picture) -> Displacement:
        places, sd_um, cosine = self._read(picture)
        off = places - self.sums / self.weights * (cosine, 1.0)
        middle = np.median(off, axis=0)
        # Features that move for themselves, and those that left the field, lie anywhere: what is left agrees.
        near = (np.abs(off - middle) <= max(_REJECT * sd_um, _AGREE_UM)).all(axis=1)
        kept = off[near]
        if len(kept) < max(2, _AGREE_SHARE * len(off)) and len(off) > 1:
            return Displacement(shift_um=middle, sd_um=float(off.std(axis=0).max()), confidence=0.0)
        spread = kept.std(axis=0).max() if len(kept) > 2 else 0.0
        return Displacement(
            shift_um=kept.mean(axis=0),
            sd_um=float(max(spread, sd_um) / np.sqrt(len(kept))),
            confidence=float(near.mean()),
        )

    def add(self, picture: Picture, shift_um: Array) -> None:
        places, _, cosine = self._read(picture)
        # Across the axis the stretch magnifies a place's error by 1 / cos θ.
        weight = np.array([cosine**2, 1.0])
        untilted = (places - shift_um) / (cosine, 1.0)
        self.sums = weight * untilted + (self.sums if len(self.sums) else 0.0)
        self.weights = self.weights + weight

    def _read(self, picture: Picture) -> tuple[Array, float, float]:
        content = picture.content
        if isinstance(content, Pixels):
            raise ImageError("a picture of pixels in a series of landmarks", mend="compare pictures of one kind")
        places = np.asarray(content.places_um, np.float64)
        if places.ndim != 2 or places.shape[1] != 2 or not len(places) or not np.isfinite(places).all():
            raise ImageError("landmarks that are no places", mend="give (n, 2) finite numbers")
        if len(self.sums) and len(self.sums) != len(places):
            raise ImageError(
                f"{len(places)} landmarks where the series has {len(self.sums)}", mend="compare pictures of one area"
            )
        return places, content.sd_um, foreshortening(picture)
