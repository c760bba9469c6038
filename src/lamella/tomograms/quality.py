"""Numbers that say how good a tomogram is: agreement of its halves, contrast, coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ProjectError
from lamella.progress import Progress, no_progress
from lamella.records import Tomogram, VolumeSource
from lamella.records.half_fsc import HalfFsc
from lamella.tomograms.coverage import Coverage, tilt_coverage
from lamella.tomograms.half_fsc import HalfSums, half_sums

__all__ = ["TomogramQuality", "tomogram_quality"]

Array = NDArray[np.float64]

FIRST_SHELL = 3
"""Shells below hold the specimen's outline and the filter's slope, not structure."""
_BAND_ANG = (100.0, 40.0)
_THRESHOLDS = (0.143, 0.5)
_AT_ONCE = 3  # shells in a row below a threshold that end the agreement, so that one unlucky shell does not


@dataclass(frozen=True, kw_only=True, eq=False)
class TomogramQuality:
    """What was measured; None where it could not be.

    Attributes
    ----------
    coverage
        of Fourier space by the views.
    curve
        the half-tomogram FSC.
    resolution_ang, half_ang
        where it falls below 0.143 and 0.5; the voxels' own limit where it never does.
    resolution_error_ang
        jackknife over the boxes.
    contrast
        power of the structure over that of the noise of the whole tomogram, from 100 to 40 Å.
    """

    coverage: Coverage
    curve: HalfFsc | None = None
    resolution_ang: float | None = None
    resolution_error_ang: float | None = None
    half_ang: float | None = None
    contrast: float | None = None

    def numbers(self) -> dict[str, float]:
        """By name, as records keep them; without what could not be measured."""
        values = {
            "HalfFscResolutionAngst": self.resolution_ang,
            "HalfFscResolutionErrorAngst": self.resolution_error_ang,
            "HalfFscHalfAngst": self.half_ang,
            "TomogramContrast": self.contrast,
            "TiltCoverageDeg": self.coverage.range_deg,
            "LargestTiltGapDeg": self.coverage.largest_gap_deg,
            "MeasuredFraction": self.coverage.fraction,
        }
        return {name: value for name, value in values.items() if value is not None}

    def in_words(self) -> str:
        """One sentence for the log."""
        coverage = self.coverage
        seen = (
            f"tilts from {coverage.lowest_deg:+.1f}° to {coverage.highest_deg:+.1f}°, at most "
            f"{coverage.largest_gap_deg:.1f}° apart, measure {100 * coverage.fraction:.0f} % of Fourier space"
        )
        if self.curve is None:
            return seen
        if self.resolution_ang is None:
            return f"{seen}; within it the halves agree nowhere (FSC below {_THRESHOLDS[0]})"
        error = f" ± {self.resolution_error_ang:.1f}" if self.resolution_error_ang is not None else ""
        return f"{seen}; within it the halves agree to {self.resolution_ang:.1f}{error} Å (FSC = {_THRESHOLDS[0]})"


def tomogram_quality(
    tomogram: Tomogram,
    even: VolumeSource | None = None,
    odd: VolumeSource | None = None,
    *,
    thickness_ang: float | None = None,
    middle_ang: float = 0.0,
    progress: Progress = no_progress,
) -> TomogramQuality:
    """Measure a tomogram.

    Parameters
    ----------
    tomogram
        its record, with geometry.
    even, odd
        its halves; without them only the coverage is measured.
    thickness_ang, middle_ang
        of the specimen, and the height of its middle, as measured in the tomogram; None: the record's thickness.
    progress
        told how far it is.

    Raises
    ------
    ProjectError
        if the record has no geometry.
    ImageError
        if the halves cannot be compared.

    Notes
    -----
    FSC: Harauz & van Heel, Optik 73 (1986) 146; 0.143 is where a map from all data, whose halves these are, correlates
    by 0.5 with the truth (Rosenthal & Henderson, J. Mol. Biol. 333 (2003) 721). Contrast: Σ Re A·B* estimates the
    structure's power, the rest of the halves' mean power is noise, and their mean has half of it.
    """
    series = tomogram.tilt_series
    if series.geometry is None:
        raise ProjectError(f"{series.name}: the views are not aligned", mend="run align first")
    coverage = tilt_coverage(series.geometry)
    if even is None or odd is None:
        return TomogramQuality(coverage=coverage)
    voxel = tomogram.voxel_size_ang
    known = series.thickness_ang if thickness_ang is None else thickness_ang
    thickness_px = None if known is None else known / voxel
    sums = half_sums(even, odd, coverage, thickness_px, middle_px=middle_ang / voxel, progress=progress)
    curve = sums.curve(voxel)
    resolution, half = (_resolution_ang(curve, threshold) for threshold in _THRESHOLDS)
    return TomogramQuality(
        coverage=coverage,
        curve=curve,
        resolution_ang=resolution,
        resolution_error_ang=_error_ang(sums, voxel),
        half_ang=half,
        contrast=_contrast(sums, voxel),
    )


def _resolution_ang(curve: HalfFsc, threshold: float) -> float | None:
    """Where the curve falls below a threshold and stays there for some shells; None where it begins so."""
    k, values = curve.frequency_per_ang[FIRST_SHELL:], curve.correlation[FIRST_SHELL:]
    if len(values) == 0:
        return None
    below = values < threshold
    ended = np.array([below[i : i + _AT_ONCE].all() for i in range(len(below))])
    if not ended.any():
        return float(1 / k[-1])
    first = int(np.argmax(ended))
    if first == 0:
        return None
    high, low = values[first - 1], values[first]
    part = (high - threshold) / (high - low) if high > low else 0.0
    return float(1 / (k[first - 1] + part * (k[first] - k[first - 1])))


def _error_ang(sums: HalfSums, voxel: float) -> float | None:
    """Jackknife (Efron & Stein, Ann. Stat. 9 (1981) 586) over the boxes."""
    count = len(sums.sums)
    if count < 3:
        return None
    each = [_resolution_ang(sums.curve(voxel, without=box), _THRESHOLDS[0]) for box in range(count)]
    if any(value is None for value in each):
        return None
    values = np.array(each, dtype=np.float64)
    return float(np.sqrt((count - 1) / count * ((values - values.mean()) ** 2).sum()))


def _contrast(sums: HalfSums, voxel: float) -> float | None:
    coarse, fine = (voxel / edge for edge in _BAND_ANG)
    band = (sums.frequency >= coarse) & (sums.frequency <= min(fine, 0.5)) & (np.arange(len(sums.frequency)) > 0)
    if not band.any():
        return None
    cross, even, odd, _ = sums.sums.sum(axis=0)[:, band].sum(axis=1)
    noise = (even + odd) / 2 - cross
    return max(float(cross / (noise / 2)), 0.0) if noise > 0 else None
