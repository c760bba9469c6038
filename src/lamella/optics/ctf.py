"""The contrast-transfer function of one image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lamella.errors import InputError
from lamella.fourier.grids import frequency_axes
from lamella.optics.electrons import electron_wavelength_ang

__all__ = ["contrast_transfer", "phase_aberration"]


def phase_aberration(
    ky: Tensor,
    kx: Tensor,
    *,
    defocus_u_ang: float,
    defocus_v_ang: float,
    angle_deg: float,
    voltage_kv: float,
    spherical_aberration_mm: float,
) -> Tensor:
    """χ(k) = π λ Δf(k) k² − π/2 Cs λ³ k⁴ in radians, at frequencies (ky, kx) in 1/Å that broadcast.

    Δf(k) = (u + v) / 2 + (u − v) / 2 · cos 2(direction of k − angle): u along `angle_deg`, counted from x towards y;
    positive is underfocus.
    """
    wavelength = electron_wavelength_ang(voltage_kv)
    spherical_aberration_ang = spherical_aberration_mm * 1e7
    square = kx**2 + ky**2
    twice = 2 * math.radians(angle_deg)
    # k² cos 2(direction − angle), without an arctangent that has no value at k = 0
    astigmatic = (kx**2 - ky**2) * math.cos(twice) + 2 * kx * ky * math.sin(twice)
    defocused = (defocus_u_ang + defocus_v_ang) / 2 * square + (defocus_u_ang - defocus_v_ang) / 2 * astigmatic
    return math.pi * wavelength * (defocused - spherical_aberration_ang * wavelength**2 * square**2 / 2)


def contrast_transfer(
    shape: Sequence[int],
    pixel_size_ang: float,
    *,
    defocus_u_ang: float,
    defocus_v_ang: float | None = None,
    angle_deg: float = 0.0,
    voltage_kv: float,
    spherical_aberration_mm: float = 2.7,
    amplitude_contrast: float = 0.1,
    phase_shift_deg: float = 0.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """CTF = sin(χ + phase shift + arcsin(amplitude contrast)) of an image.

    Parameters
    ----------
    shape
        `(h, w)` of the image.
    pixel_size_ang
        of the image.
    defocus_u_ang, defocus_v_ang, angle_deg
        defocus along the two axes of the astigmatism, Å, positive is underfocus, and the direction of u from x towards
        y; v equals u where left out.
    voltage_kv, spherical_aberration_mm, amplitude_contrast, phase_shift_deg
        the microscope's.

    Returns
    -------
    Tensor
        `(h, w // 2 + 1)`, float32, −1…1, + amplitude contrast at frequency 0.

    Notes
    -----
    The sign is RELION's. In a bright-field image mass is dark: it is a projection of mass times *minus* this function.
    """
    if not 0 <= amplitude_contrast <= 1:
        raise InputError(f"an amplitude contrast of {amplitude_contrast}", mend="state a fraction between 0 and 1")
    ky, kx = (line / pixel_size_ang for line in frequency_axes(shape, device))
    chi = phase_aberration(
        ky,
        kx,
        defocus_u_ang=defocus_u_ang,
        defocus_v_ang=defocus_u_ang if defocus_v_ang is None else defocus_v_ang,
        angle_deg=angle_deg,
        voltage_kv=voltage_kv,
        spherical_aberration_mm=spherical_aberration_mm,
    )
    return torch.sin(chi + math.radians(phase_shift_deg) + math.asin(amplitude_contrast)).float()
