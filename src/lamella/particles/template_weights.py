"""What a tomogram shows of a particle at each frequency: the views' mean transfer, and its own noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, uniform_filter

from lamella.errors import ImageError, ProjectError
from lamella.optics import critical_exposure, phase_aberration
from lamella.records import TiltSeries, VolumeSource

__all__ = ["Correction", "NoisePower", "SearchWeights", "measure_noise", "transfer_at"]

Array = NDArray[np.float64]
Correction = Literal["none", "phase-flip", "multiply", "wiener"]

_PATCHES = 1500  # of which the noise's spectrum is averaged at most
_SAMPLES = 2.5  # per width of a view's slice, at which the transfer is stored
_FLOOR = 0.02  # of the mean power at a frequency's length: directions with less hold nothing but what leaked there


def transfer_at(
    series: TiltSeries,
    frequency_per_ang: Array,
    diameter_ang: float,
    *,
    correction: Correction = "none",
    dose_weighted: bool = True,
) -> NDArray[np.float32]:
    """Part of a particle's amplitude that a tomogram holds, at frequencies ``(n, 3)`` (x, y, z) in 1/Å of its frame.

    Parameters
    ----------
    series
        with geometry; defocus, dose and voltage where they are known.
    diameter_ang
        of the particle: a view tells of frequencies within 1 / diameter of its central slice.
    correction
        of the contrast transfer in the tomogram.
    dose_weighted
        whether the tomogram's views were weighted by dose as well (what the dose left counts twice then).

    Returns
    -------
    NDArray
        ``(n,)``: the mean of the views that see the frequency, each counted by its distance from it; less where less
        than one view does; 0 in the missing wedge. Without correction it changes sign with the contrast transfer.

    Raises
    ------
    ProjectError
        if the series has no geometry.

    Notes
    -----
    The contrast transfer is that of the tomogram's centre. Far from focus by 1000 Å it turns the phase at 30 Å by 0.07
    rad.
    """
    if series.geometry is None:
        raise ProjectError(f"{series.name}: the views are not aligned", mend="run align first")
    frequency = torch.from_numpy(np.ascontiguousarray(frequency_per_ang, dtype=np.float32))
    total, count = torch.zeros(len(frequency)), torch.zeros(len(frequency))
    for view, rotation in enumerate(series.geometry.rotations()):
        turned = frequency @ torch.from_numpy(rotation.astype(np.float32)).T
        share = 1 - turned[:, 2].abs() * diameter_ang
        seen = torch.nonzero(share > 0)[:, 0]
        share, kx, ky = share[seen], turned[seen, 0], turned[seen, 1]
        count[seen] += share
        total[seen] += share * _view_transfer(series, view, kx, ky, correction, dose_weighted)
    mean: NDArray[np.float32] = (total / count.clamp_min(1.0)).numpy()
    return mean


def _view_transfer(
    series: TiltSeries, view: int, kx: torch.Tensor, ky: torch.Tensor, correction: Correction, dose_weighted: bool
) -> torch.Tensor:
    out = torch.ones_like(kx)
    voltage = series.optics.voltage_kv
    if series.defocus is not None and voltage is not None and series.imaging == "bright":
        defocus = series.defocus
        phase = phase_aberration(
            ky, kx, defocus_u_ang=float(defocus.u_ang[view]), defocus_v_ang=float(defocus.v_ang[view]),
            angle_deg=float(defocus.angle_deg[view]), voltage_kv=voltage,
            spherical_aberration_mm=series.optics.spherical_aberration_mm,
        )  # fmt: skip
        shift = 0.0 if defocus.phase_shift_deg is None else math.radians(float(defocus.phase_shift_deg[view]))
        out = torch.sin(phase + shift + math.asin(series.optics.amplitude_contrast))
        # Wiener's filter for little signal is a multiplication, for much a flip: at picking resolutions it is between
        out = {"none": out, "phase-flip": out.abs(), "multiply": out**2, "wiener": out.abs()}[correction]
    if series.pre_exposure is not None and voltage is not None and series.view_dose is not None:
        dose = float(series.pre_exposure[view]) + float(series.view_dose[view]) / 2
        k = torch.sqrt(kx**2 + ky**2).clamp_min(1e-4)
        left = torch.exp(-0.5 * dose / critical_exposure(k, voltage))
        out = out * (left**2 if dose_weighted else left)
    return out


class NoisePower:
    """Power spectrum of a tomogram's noise in three dimensions, at any frequency.

    Parameters
    ----------
    log_power
        ``(b, b, b)`` logarithm of the power, frequency 0 in the middle.
    """

    def __init__(self, log_power: Array) -> None:
        self.log_power = log_power

    def at(self, frequency_px: Array) -> NDArray[np.float32]:
        """Power at frequencies ``(n, 3)`` (x, y, z) in cycles per voxel, at least a part of that of their length."""
        size = self.log_power.shape[0]
        places = frequency_px[:, ::-1].T * size + size // 2
        power = np.exp(map_coordinates(self.log_power, places, order=1, mode="nearest"))
        length = np.sqrt((frequency_px**2).sum(axis=1))
        line = np.arange(size // 2 + 1) / size
        out: NDArray[np.float32] = np.maximum(power, _FLOOR * np.interp(length, line, self._by_length())).astype(
            np.float32
        )
        return out

    def _by_length(self) -> Array:
        size = self.log_power.shape[0]
        line = np.arange(size) - size // 2
        shell = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2).round().astype(int).ravel()
        sums = np.bincount(shell, np.exp(self.log_power).ravel())
        mean: Array = (sums / np.maximum(np.bincount(shell), 1))[: size // 2 + 1]
        return mean


def measure_noise(
    volume: VolumeSource, edge_px: int, seed: int = 1, z_range: tuple[int, int] | None = None
) -> NoisePower:
    """The mean power spectrum of windows spread over a tomogram, in three dimensions.

    Parameters
    ----------
    volume
        of the tomogram. Particles are part of the noise: they are few, or in each other's way.
    edge_px
        edge of the cubic windows, which have a Hann profile; even.
    seed
        of where they are, if there are too many.
    z_range
        planes that hold the specimen; None: all.

    Raises
    ------
    ImageError
        if the tomogram is smaller than a window, holds values that are not numbers, or is constant.

    Notes
    -----
    Each window counts by the shape of its spectrum, not by its power, so that a bead does not outweigh the rest (local
    normalisation takes care of power). The directions matter: noise is absent in the missing wedge, and less where
    more views overlap. Smoothed over 3 × 3 × 3 samples.
    """
    shape = volume.shape
    low, high = (0, shape[0]) if z_range is None else z_range
    low, high = max(0, min(low, shape[0] - edge_px)), min(shape[0], max(high, edge_px))
    if min(shape) < edge_px:
        raise ImageError(
            f"a tomogram of {' × '.join(map(str, shape))} voxels is smaller than windows of {edge_px}, in which the "
            "template fits",
            mend="reconstruct a thicker or wider tomogram, or give a smaller template",
        )
    spans = ((low, high), (0, shape[1]), (0, shape[2]))
    corners = np.stack(np.meshgrid(*(_starts(a, b, edge_px) for a, b in spans), indexing="ij"), axis=-1).reshape(-1, 3)
    if len(corners) > _PATCHES:
        corners = corners[np.sort(np.random.default_rng(seed).permutation(len(corners))[:_PATCHES])]
    line = torch.hann_window(edge_px, periodic=True)
    window = line[:, None, None] * line[:, None] * line
    total, used = torch.zeros(edge_px, edge_px, edge_px // 2 + 1, dtype=torch.float64), 0
    for corner in corners:
        block = torch.from_numpy(np.ascontiguousarray(volume.block(*(slice(int(c), int(c) + edge_px) for c in corner))))
        if not torch.isfinite(block).all():
            raise ImageError("the tomogram holds values that are not numbers", mend="reconstruct it again")
        spread = float(block.std())
        if spread == 0:
            continue
        terms = torch.fft.rfftn((block - block.mean()) / spread * window)
        total += terms.real**2 + terms.imag**2
        used += 1
    if used == 0:
        raise ImageError("the tomogram is constant", mend="look at its tilt images: are they empty?")
    half = (total / used).numpy()
    return NoisePower(_smooth_log(_whole(half, edge_px)))


def _starts(low: int, high: int, edge: int) -> NDArray[np.int64]:
    """Windows that overlap by half, or by more so that they fill the span."""
    count = max(1, math.ceil((high - low - edge) / (edge / 2)) + 1)
    return np.unique(np.linspace(low, high - edge, count).round().astype(np.int64))


def _whole(half: Array, size: int) -> Array:
    """A half spectrum as a whole one, frequency 0 in the middle."""
    z = np.arange(size)
    full = np.empty((size,) * 3)
    full[:, :, : size // 2 + 1] = half
    x = np.arange(size // 2 + 1, size)
    full[:, :, x] = half[(-z) % size][:, (-z) % size][:, :, size - x]
    return np.fft.fftshift(full)


def _smooth_log(power: Array) -> Array:
    floor = max(float(power.max()) * 1e-12, 1e-300)
    return np.asarray(uniform_filter(np.log(np.maximum(power, floor)), 3, mode="nearest"))


@dataclass(frozen=True, eq=False)
class SearchWeights:
    """What each frequency of a tomogram counts in a search: a particle's amplitude there, and the noise's power.

    Attributes
    ----------
    transfer
        ``(b, b, b)`` of `transfer_at`, frequency 0 in the middle.
    samples_per_cycle
        of that grid, for a frequency of 1 cycle per voxel of the tomogram.
    noise
        `NoisePower`, or None where each frequency is to be taken as it is.
    """

    transfer: NDArray[np.float32]
    samples_per_cycle: float
    noise: NoisePower | None

    @classmethod
    def of(
        cls,
        series: TiltSeries,
        voxel_size_ang: float,
        diameter_ang: float,
        noise: NoisePower | None,
        *,
        highest_px: float = 0.5,
        correction: Correction = "none",
        dose_weighted: bool = True,
    ) -> SearchWeights:
        """Of a tomogram with such voxels, up to a frequency in cycles per voxel. See `transfer_at`."""
        per_cycle = _SAMPLES * diameter_ang / voxel_size_ang
        reach = math.ceil(highest_px * per_cycle) + 1
        line = np.arange(-reach, reach + 1) / per_cycle / voxel_size_ang
        z, y, x = np.meshgrid(line, line, line, indexing="ij")
        frequency = np.stack([x, y, z], axis=-1).reshape(-1, 3)
        transfer = transfer_at(
            series, frequency, diameter_ang, correction=correction, dose_weighted=dose_weighted
        ).reshape(z.shape)
        return cls(transfer, per_cycle, noise)

    def at(self, frequency_px: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Amplitude and power, ``(n,)`` each, at frequencies ``(n, 3)`` (x, y, z) in cycles per voxel of the tomogram.

        The amplitude is 0 where no view sees the frequency.
        """
        places = frequency_px[:, ::-1].T * self.samples_per_cycle + self.transfer.shape[0] // 2
        amplitude = map_coordinates(self.transfer, places, order=1, mode="nearest").astype(np.float32)
        power = np.ones_like(amplitude) if self.noise is None else self.noise.at(frequency_px)
        return amplitude, power
