"""Contrast transfer of a partly coherent wave, for every defocus that a view holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from lamella.optics import electron_wavelength_ang
from lamella.records import TiltSeries
from lamella.simulate.settings import SimulateSettings

__all__ = ["ViewOptics", "apply_transfer", "interaction_per_volt_ang", "transfer_phase", "view_optics"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ViewOptics:
    """The lens in one view.

    Attributes
    ----------
    voltage_kv, spherical_aberration_mm, amplitude_contrast, phase_shift_deg
        of the microscope.
    defocus_u_ang, defocus_v_ang, angle_deg
        of the specimen's centre.
    hand
        sign by which defocus grows with depth.
    source_angle_rad, focal_spread_ang
        half angle of the illumination, and rms of the focus: they damp high frequencies.
    contrast_transfer
        False: images are projected potential.
    """

    voltage_kv: float
    spherical_aberration_mm: float
    amplitude_contrast: float
    phase_shift_deg: float
    defocus_u_ang: float
    defocus_v_ang: float
    angle_deg: float
    hand: int
    source_angle_rad: float
    focal_spread_ang: float
    contrast_transfer: bool

    def reach_ang(self, depth_ang: float, k_per_ang: float) -> float:
        """How far, at most, transfer carries information of frequencies up to k sideways: |dχ/dk| / 2π."""
        wavelength = electron_wavelength_ang(self.voltage_kv)
        most = max(abs(self.defocus_u_ang), abs(self.defocus_v_ang)) + abs(depth_ang)
        if not self.contrast_transfer:
            return 0.0
        k = np.linspace(0, k_per_ang, 64)
        cs = self.spherical_aberration_mm * 1e7
        return float(np.abs(wavelength * most * k - cs * wavelength**3 * k**3).max())


def view_optics(series: TiltSeries, settings: SimulateSettings, view: int) -> ViewOptics:
    """The lens as a true record has it in one of its rows."""
    assert series.defocus is not None
    phase_shift = series.defocus.phase_shift_deg
    return ViewOptics(
        voltage_kv=settings.voltage,
        spherical_aberration_mm=settings.spherical_aberration,
        amplitude_contrast=settings.amplitude_contrast,
        phase_shift_deg=0.0 if phase_shift is None else float(phase_shift[view]),
        defocus_u_ang=float(series.defocus.u_ang[view]),
        defocus_v_ang=float(series.defocus.v_ang[view]),
        angle_deg=float(series.defocus.angle_deg[view]),
        hand=series.hand,
        source_angle_rad=settings.source_angle * 1e-3,
        focal_spread_ang=settings.focal_spread,
        contrast_transfer=settings.ctf,
    )


def interaction_per_volt_ang(voltage_kv: float) -> float:
    """Phase in rad that 1 V of potential over 1 Å adds: 2π m e λ / h² (6.53e-4 at 300 kV)."""
    kinetic, rest = voltage_kv * 1e3, 510998.95
    return 2 * math.pi / (electron_wavelength_ang(voltage_kv) * kinetic) * (rest + kinetic) / (2 * rest + kinetic)


def apply_transfer(
    terms: NDArray[np.complex64],
    size_px: int,
    pixel_size_ang: float,
    optics: ViewOptics,
    depth_ang: float,
    absorption: float,
    shift_px: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Turn the spectrum of a square piece of projected potential, V·Å, into that of its contrast, in place.

    Parameters
    ----------
    terms
        ``(n, n // 2 + 1)``, rfft2 of the piece.
    size_px, pixel_size_ang
        of the piece.
    optics
        of the view.
    depth_ang
        of this matter.
    absorption
        amplitude taken away per V·Å, in place of phase contrast; 0: the microscope's amplitude contrast.
    shift_px
        (x, y) by which the picture is moved.

    Notes
    -----
    Contrast is −2 σ V · E(k) · sin(χ + φ + arcsin A): mass is dark. The envelope E is that of Frank (1973) and
    Wade & Frank (1977): exp(−(π α)² (Cs λ² k³ − Δf k)²) · exp(−(π λ Δ k²)² / 2).
    """
    strength, extra = _strength(optics, absorption)
    _transfer(terms, size_px, pixel_size_ang, *_numbers(optics, depth_ang), extra, strength, *shift_px)


def _strength(optics: ViewOptics, absorption: float) -> tuple[float, float]:
    """Factor before the transfer function, and the phase added to χ."""
    if not optics.contrast_transfer:
        strength = absorption if absorption else interaction_per_volt_ang(optics.voltage_kv)
        return -strength, 0.0
    if absorption:
        return -2 * absorption, math.pi / 2
    shift = math.radians(optics.phase_shift_deg) + math.asin(optics.amplitude_contrast)
    return -2 * interaction_per_volt_ang(optics.voltage_kv), shift


def _numbers(optics: ViewOptics, depth_ang: float) -> tuple[float, float, float, float, float, float, float, bool]:
    """Mean defocus, its half difference times cos and sin of twice its angle, λ, Cs, source angle, focal spread."""
    difference = (optics.defocus_u_ang - optics.defocus_v_ang) / 2
    twice = 2 * math.radians(optics.angle_deg)
    return (
        (optics.defocus_u_ang + optics.defocus_v_ang) / 2 + optics.hand * depth_ang,
        difference * math.cos(twice),
        difference * math.sin(twice),
        electron_wavelength_ang(optics.voltage_kv),
        optics.spherical_aberration_mm * 1e7,
        optics.source_angle_rad,
        optics.focal_spread_ang,
        optics.contrast_transfer,
    )


def transfer_phase(
    optics: ViewOptics, shape_px: tuple[int, int], pixel_size_ang: float, depth_ang: float, *, whole: bool = False
) -> tuple[Array, Array, Array]:
    """k² in 1/Å², χ + φ + arcsin A in rad, and the envelope, in the layout of rfft2, or of fft2 where `whole`."""
    ky = np.fft.fftfreq(shape_px[0])[:, None] / pixel_size_ang
    kx = (np.fft.fftfreq if whole else np.fft.rfftfreq)(shape_px[1])[None, :] / pixel_size_ang
    mean, cosine, sine, wavelength, cs, source, spread, _ = _numbers(optics, depth_ang)
    k2 = kx**2 + ky**2
    defocused = mean * k2 + cosine * (kx**2 - ky**2) + sine * 2 * kx * ky
    phase = math.pi * wavelength * (defocused - cs * wavelength**2 * k2**2 / 2)
    lag = np.sqrt(k2) * (cs * wavelength**2 * k2 - mean)
    envelope = np.exp(-((math.pi * source * lag) ** 2) - (math.pi * wavelength * spread * k2) ** 2 / 2)
    return k2, phase + _strength(optics, 0.0)[1], envelope


def apply_transfer_full(
    terms: NDArray[np.complex64],
    shape_px: tuple[int, int],
    pixel_size_ang: float,
    optics: ViewOptics,
    depth_ang: float,
    absorption: float = 0.0,
) -> None:
    """The same for a whole image ``(h, w // 2 + 1)``."""
    strength, extra = _strength(optics, absorption)
    if not optics.contrast_transfer:
        terms *= np.float32(strength)
        return
    _, phase, envelope = transfer_phase(optics, shape_px, pixel_size_ang, depth_ang)
    phase += extra - _strength(optics, 0.0)[1]
    terms *= (strength * envelope * np.sin(phase)).astype(np.float32)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _transfer(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    terms, size, pixel, mean, cosine, sine, wavelength, cs, source, spread, transfer, extra, strength, shift_x, shift_y
):
    step = 1.0 / (size * pixel)
    limit = (size / 2) ** 2
    half_cs = cs * wavelength**2 / 2
    spatial = (np.pi * source) ** 2
    temporal = (np.pi * wavelength * spread) ** 2 / 2
    row_phase = np.empty(size, np.complex64)
    for row in range(size):
        j = row if row < (size + 1) // 2 else row - size
        turn = -2 * np.pi * j * shift_y / size
        row_phase[row] = complex(np.cos(turn), np.sin(turn))
    column_phase = np.empty(size // 2 + 1, np.complex64)
    for i in range(size // 2 + 1):
        turn = -2 * np.pi * i * shift_x / size
        column_phase[i] = complex(np.cos(turn), np.sin(turn))
    for row in range(size):
        j = row if row < (size + 1) // 2 else row - size
        ky = j * step
        for i in range(size // 2 + 1):
            if i * i + j * j >= limit:  # templates hold nothing there
                terms[row, i] = 0
                continue
            factor = strength
            if transfer:
                kx = i * step
                k2 = kx * kx + ky * ky
                defocused = mean * k2 + cosine * (kx * kx - ky * ky) + sine * 2 * kx * ky
                chi = np.pi * wavelength * (defocused - half_cs * k2 * k2)
                lag = 2 * half_cs * k2 - mean
                damped = np.exp(np.float32(-spatial * k2 * lag * lag - temporal * k2 * k2))
                factor = strength * damped * np.sin(chi + extra)
            terms[row, i] *= np.float32(factor) * row_phase[row] * column_phase[i]
