"""What each view, and each frequency in it, counts in a weighted back-projection or a direct inversion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.optics.dose import dose_filter
from lamella.records import TiltSeries
from lamella.tomograms.reconstruct_settings import ReconstructSettings

__all__ = ["angular_spacing", "dose_weights", "radial_filter", "shares_exactly", "unevenness", "window"]

Array = NDArray[np.float64]

_WIDEST_GAP = 4.0  # times the median; views beside a wider gap do not stand for all of it
_EVEN = 0.25  # gaps between tilts that differ from their median by no more than this part of it are alike
_ONE_AXIS_DEG = 10.0  # x-tilts of one axis keep within this range


def angular_spacing(tilt_deg: Array) -> Array:
    """``(n,)`` range of tilt in radians that each view stands for: half of the way to its neighbours on both sides.

    The outermost views stand for as much outside as inside. Views with the same tilt share its range.

    Raises
    ------
    GeometryError
        if all views have the same tilt.
    """
    tilt = np.deg2rad(np.asarray(tilt_deg, np.float64))
    order = np.argsort(tilt, kind="stable")
    places, turns = np.unique(tilt[order], return_inverse=True)
    if len(places) < 2:
        raise GeometryError("all views have the same tilt", mend="give a series of at least two tilt angles")
    gaps = np.diff(places)
    gaps = np.minimum(gaps, _WIDEST_GAP * np.median(gaps))
    around = np.concatenate([gaps[:1], gaps, gaps[-1:]])
    spacing = (around[:-1] + around[1:]) / 2
    out = np.empty(len(tilt))
    out[order] = (spacing / np.bincount(turns))[turns]
    return out


def radial_filter(
    frequency: Array,
    step: float,
    settings: ReconstructSettings,
    *,
    path_px: float,
    range_rad: float,
    finer: int = 1,
) -> Array:
    """Weight of frequencies across the tilt axis, in cycles per voxel: the ramp and its window.

    Parameters
    ----------
    frequency
        ``|k|`` in cycles per voxel.
    step
        distance of the Fourier samples, cycles per voxel. Around 0 the ramp is the mean of \\|k\\| over one step.
    settings
        names the filter.
    path_px
        length of a ray's path through the tomogram, voxels.
    range_rad
        range of tilts that all views stand for, radians.
    finer
        voxels that are meant here along one of those in whose cycles the settings state cutoff and fall-off.

    Notes
    -----
    Simultaneous iterative reconstruction on a slab of n planes answers at frequency k with an eigenvalue
    µ = min(1, 1 / (k L Θ)): of views spread over Θ, only those whose rays, L long, do not average k out. After N rounds
    with relaxation 1 it has restored 1 − (1 − µ)^N of the amplitude, which times the ramp is the ``sirt-like`` filter
    (the Landweber window of Zeng 2012, Phys. Med. Biol. 57:7725).
    """
    ramp = np.where(frequency < step / 2, frequency**2 / step + step / 4, frequency)
    if settings.filter == "sirt-like":
        restored = np.minimum(1.0, 1 / (np.maximum(frequency, 1e-9) * path_px * range_rad))
        ramp = ramp * (1 - (1 - restored) ** settings.filter_iterations)
    out: Array = ramp * window(finer * frequency, settings)
    return out


def window(frequency: Array, settings: ReconstructSettings) -> Array:
    """What the weights are multiplied by at frequencies across the tilt axis, cycles per voxel: window and fall-off."""
    out = np.ones_like(frequency)
    if settings.filter == "hamming":
        out *= 0.54 + 0.46 * np.cos(2 * np.pi * np.minimum(frequency, 0.5))
    elif settings.filter == "hann":
        out *= 0.5 + 0.5 * np.cos(2 * np.pi * np.minimum(frequency, 0.5))
    beyond = np.maximum(frequency - settings.cutoff, 0.0)
    if settings.falloff == 0:
        return np.where(beyond > 0, 0.0, out)
    smooth: Array = out * np.exp(-0.5 * (beyond / settings.falloff) ** 2)
    return smooth


def unevenness(geometry: TiltGeometry) -> float:
    """Greatest deviation of a gap between neighbouring tilts from the median gap, as a part of it; 0 for even tilts."""
    gaps = np.diff(np.unique(geometry.y_tilt_deg))
    return float(np.abs(gaps / np.median(gaps) - 1).max()) if len(gaps) else 0.0


def shares_exactly(geometry: TiltGeometry, settings: ReconstructSettings) -> bool:
    """Whether views are weighted by how many of them see a frequency, rather than by the ramp.

    ``auto`` does so where a gap between neighbouring tilts differs from the median gap by more than a quarter of it, or
    x-tilts differ by more than 10°: the views then have no single axis, and a distance from it says nothing.
    """
    if settings.weighting != "auto":
        return settings.weighting == "exact"
    return unevenness(geometry) > _EVEN or float(np.ptp(geometry.x_tilt_deg)) > _ONE_AXIS_DEG


def dose_weights(series: TiltSeries, frequency: Array, voxel_size_ang: float) -> list[Array] | None:
    """Per view what the dose left of each frequency (evenly spaced from 0, cycles per voxel); None where unknown."""
    voltage = series.optics.voltage_kv
    doses = series.view_dose
    if series.pre_exposure is None or doses is None or voltage is None:
        return None
    before = np.asarray(series.pre_exposure, np.float64)
    # a one-row image whose half spectrum is exactly these frequencies
    count, highest = len(frequency), frequency[-1]
    pixel = voxel_size_ang * 0.5 / highest
    return [
        dose_filter((1, 2 * (count - 1)), pixel, float(b), float(d), voltage).numpy()[0].astype(np.float64)
        for b, d in zip(before, doses, strict=True)
    ]
