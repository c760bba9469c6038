"""Point-like scatterers as a lens shows them, each at its own defocus: known exactly, plane wave by plane wave."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lamella.records import TiltSeries

Array = NDArray[np.float64]


def transfer(series: TiltSeries, view: int, depth_ang: float, kx: Array, ky: Array) -> Array:
    """sin(π λ Δf k² − π/2 Cs λ³ k⁴ + phase plate + arcsin w), written out (Kirkland 2010; RELION's sign)."""
    volt = series.optics.voltage_kv * 1e3
    wavelength = 12.2642596 / np.sqrt(volt * (1 + 0.978475598e-6 * volt))
    defocus = series.defocus
    u, v = (part[view] + series.hand * depth_ang for part in (defocus.u_ang, defocus.v_ang))
    square = kx**2 + ky**2
    turn = np.arctan2(ky, kx) - np.deg2rad(defocus.angle_deg[view])
    here = u * np.cos(turn) ** 2 + v * np.sin(turn) ** 2
    chi = np.pi * wavelength * here * square
    chi -= np.pi / 2 * series.optics.spherical_aberration_mm * 1e7 * wavelength**3 * square**2
    plate = 0.0 if defocus.phase_shift_deg is None else np.deg2rad(defocus.phase_shift_deg[view])
    return np.sin(chi + plate + np.arcsin(series.optics.amplitude_contrast))


def lens_images(
    series: TiltSeries, points_ang: Array, sigma_ang: float, factor: Callable[[Array], Array]
) -> NDArray[np.float32]:
    """Images of Gaussian specks, each times `factor` of its own transfer: ``-c`` is what a camera sees of mass."""
    height, width = series.image_shape_px
    ky, kx = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    kx, ky = kx / series.pixel_size_ang, ky / series.pixel_size_ang
    speck = np.exp(-2 * np.pi**2 * sigma_ang**2 * (kx**2 + ky**2)) / series.pixel_size_ang**2
    q, depth = series.geometry.project(points_ang), series.geometry.depth_ang(points_ang)
    out = []
    for view in range(len(series)):
        terms = np.zeros((height, width), complex)
        for (x, y), deep in zip(q[view], depth[view], strict=True):
            x, y = x + width // 2 * series.pixel_size_ang, y + height // 2 * series.pixel_size_ang
            terms += factor(transfer(series, view, deep, kx, ky)) * speck * np.exp(-2j * np.pi * (kx * x + ky * y))
        out.append(np.fft.ifft2(terms).real)
    return np.array(out, np.float32)
