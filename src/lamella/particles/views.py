"""How a particle appears in the views of its tilt series: turned, placed, and changed by microscope and dose.

The model that all of averaging shares: a view's picture of a particle, mass positive, is the view's transfer T times a
central slice of the particle's transform, where

    T(k) = CTF(k; defocus at the particle's depth) × amplitude that the dose left at |k|.

In bright field mass is dark: the tilt image times −1 shows it so (see `lamella.optics.contrast_transfer`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lamella.errors import GeometryError
from lamella.fourier import frequency_axes
from lamella.geometry import TiltGeometry
from lamella.optics import dose_filter, electron_wavelength_ang, phase_aberration
from lamella.records import Particles, TiltSeries

__all__ = ["SeriesTransfer", "noise_after_crop", "view_places", "view_rotations", "view_transfer", "visible_views"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_LEAST_NOISE = 1e-6  # of white noise that was never multiplied


def view_rotations(series: TiltSeries) -> Array:
    """``(v, 3, 3)`` rotation R of the specimen in each view: a particle of orientation A appears turned by R · A.

    Raises
    ------
    GeometryError
        if the series is not aligned.
    """
    return _geometry(series).rotations()


def view_places(series: TiltSeries, positions_ang: ArrayLike) -> Array:
    """Where points of the specimen appear in the tilt images.

    Parameters
    ----------
    series
        aligned.
    positions_ang
        ``(..., 3)`` x, y, z, Å from the tomogram's centre voxel.

    Returns
    -------
    Array
        ``(v, ..., 2)`` x, y in pixels of the tilt images; pixel 0 is at 0.

    Raises
    ------
    GeometryError
        if the series is not aligned.
    """
    height, width = series.image_shape_px
    places: Array = _geometry(series).project(positions_ang) / series.pixel_size_ang + (width // 2, height // 2)
    return places


def visible_views(particles: Particles, index: int) -> Integers:
    """The views, in the order of the tilt series' table, that a particle has pictures of."""
    if particles.visible is None:
        return np.arange(len(particles.tilt_series))
    return np.flatnonzero(particles.visible[index])


def view_transfer(
    particles: Particles,
    index: int,
    box_px: int,
    pixel_size_ang: float,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Transfer T of each visible view of one particle; for many of them, make one `SeriesTransfer` and ask that.

    Parameters
    ----------
    particles
        of one tomogram.
    index
        which of them.
    box_px, pixel_size_ang
        of the pictures.

    Returns
    -------
    Tensor
        ``(v, box, box // 2 + 1)`` float32 in the layout of an rfft; only visible views.
    """
    transfer = SeriesTransfer(particles.tilt_series, box_px, pixel_size_ang, device)
    return transfer.at(particles.positions_ang()[index], visible_views(particles, index))


def noise_after_crop(squares: Tensor, padding: int = 1) -> Tensor:
    """Power of white noise, 1 to begin with, in pictures that were multiplied by a transfer and then cropped.

    Parameters
    ----------
    squares
        ``(v, n, n // 2 + 1)`` T² at the pictures' terms.
    padding
        how many times as large as the cropped picture its transform's box is; the rest holds 0.

    Returns
    -------
    Tensor
        of that shape: T² convolved with the power spectrum of the window. A zero of T is no zero of the noise: noise of
        its neighbourhood comes in through the crop's edges, and a term there counts T² / noise times less.
    """
    n = squares.shape[-2]
    lag = torch.fft.fftfreq(n, device=squares.device).abs() * padding
    overlap = (1 - lag).clamp_min(0)  # of the window with itself, moved
    correlation = torch.fft.irfft2(squares, s=(n, n))
    power: Tensor = torch.fft.rfft2(correlation * overlap[:, None] * overlap).real
    return power.clamp_min(_LEAST_NOISE)


class SeriesTransfer:
    """The transfer of every view of a tilt series, for points at any depth.

    Parameters
    ----------
    series
        aligned; without defocus (dark field, or before `ctf`) the contrast transfer is left out, without dose or
        voltage the dose.
    box_px, pixel_size_ang
        of the pictures.
    device
        where results lie.
    """

    def __init__(
        self, series: TiltSeries, box_px: int, pixel_size_ang: float, device: torch.device | str = "cpu"
    ) -> None:
        self._rotations = view_rotations(series)
        self._amplitude = _dose_amplitudes(series, box_px, pixel_size_ang, device)
        self._phase = _phases(series, box_px, pixel_size_ang, device)
        self._per_depth: Tensor | None = None
        if self._phase is not None:
            voltage = _voltage(series)
            ky, kx = (line / pixel_size_ang for line in frequency_axes((box_px, box_px), device))
            slope = math.pi * electron_wavelength_ang(voltage) * series.hand
            self._per_depth = (slope * (kx**2 + ky**2)).float()

    def at(self, position_ang: ArrayLike, views: ArrayLike | None = None) -> Tensor:
        """Transfer of one point.

        Parameters
        ----------
        position_ang
            ``(3,)`` x, y, z, Å from the tomogram's centre voxel.
        views
            which views; None: all.

        Returns
        -------
        Tensor
            ``(v, box, box // 2 + 1)`` float32, −1…1.
        """
        chosen = np.arange(len(self._rotations)) if views is None else np.asarray(views, dtype=np.int64)
        depth = self._rotations[chosen, 2] @ np.asarray(position_ang, dtype=np.float64)
        index = torch.from_numpy(chosen).to(self._amplitude.device)
        phase = None if self._phase is None else self._phase[index]
        return self._transfer(phase, depth, self._amplitude[index])

    def of_view(self, view: int, positions_ang: ArrayLike) -> Tensor:
        """Transfer of one view for points ``(n, 3)``: ``(n, box, box // 2 + 1)``."""
        depth = np.asarray(positions_ang, dtype=np.float64) @ self._rotations[view, 2]
        amplitude = self._amplitude[view].expand(len(depth), -1, -1)
        return self._transfer(None if self._phase is None else self._phase[view], depth, amplitude)

    def _transfer(self, phase: Tensor | None, depth_ang: Array, amplitude: Tensor) -> Tensor:
        if phase is None or self._per_depth is None:
            return amplitude
        depths = torch.from_numpy(depth_ang).to(amplitude.device, torch.float32)[:, None, None]
        return torch.sin(torch.addcmul(phase, depths, self._per_depth)) * amplitude


def _phases(series: TiltSeries, box_px: int, pixel_size_ang: float, device: torch.device | str) -> Tensor | None:
    """Phase ``(v, box, box // 2 + 1)`` whose sine is the centre voxel's contrast transfer, within ±π; None without."""
    defocus = series.defocus
    if defocus is None or series.imaging == "dark":
        return None
    ky, kx = (line / pixel_size_ang for line in frequency_axes((box_px, box_px), device))
    contrast = math.asin(series.optics.amplitude_contrast)
    plate = np.zeros(len(series)) if defocus.phase_shift_deg is None else defocus.phase_shift_deg
    phases = torch.empty(len(series), box_px, box_px // 2 + 1, device=device)
    for view in range(len(series)):
        chi = phase_aberration(
            ky,
            kx,
            defocus_u_ang=float(defocus.u_ang[view]),
            defocus_v_ang=float(defocus.v_ang[view]),
            angle_deg=float(defocus.angle_deg[view]),
            voltage_kv=_voltage(series),
            spherical_aberration_mm=series.optics.spherical_aberration_mm,
        )
        chi = chi + (contrast + math.radians(float(plate[view])))
        # whole turns are taken off in double precision: what is left stays exact in single
        phases[view] = (chi - 2 * math.pi * torch.round(chi / (2 * math.pi))).float()
    return phases


def _dose_amplitudes(series: TiltSeries, box_px: int, pixel_size_ang: float, device: torch.device | str) -> Tensor:
    """What the dose left ``(v, box, box // 2 + 1)``; ones where dose or voltage are not known."""
    shape = (box_px, box_px)
    doses, voltage = series.view_dose, series.optics.voltage_kv
    if series.pre_exposure is None or doses is None or voltage is None:
        return torch.ones(len(series), box_px, box_px // 2 + 1, device=device)
    parts = [
        dose_filter(shape, pixel_size_ang, float(before), float(dose), voltage, device)
        for before, dose in zip(series.pre_exposure, doses, strict=True)
    ]
    return torch.stack(parts)


def _voltage(series: TiltSeries) -> float:
    voltage = series.optics.voltage_kv
    if voltage is None:
        raise GeometryError(
            f"{series.name}: a defocus but no voltage, so the contrast transfer is not known",
            mend="state the voltage (rlnVoltage, or lamella new --voltage)",
        )
    return voltage


def _geometry(series: TiltSeries) -> TiltGeometry:
    if series.geometry is None:
        raise GeometryError(f"{series.name}: its tilt images are not aligned", mend="run align first")
    return series.geometry
