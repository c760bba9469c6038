from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lamella.errors import InputError
from lamella.optics import contrast_transfer, electron_wavelength_ang


def relion_ctf(x: float, y: float, u: float, v: float, angle: float, kv: float, cs: float, q0: float) -> float:
    """RELION's formula: −sin(K1 Δf k² + K2 k⁴ − K3), its Δf negative for underfocus."""
    volts, cs_ang = kv * 1e3, cs * 1e7
    wavelength = 12.2643247 / math.sqrt(volts * (1 + volts * 0.978466e-6))
    k2 = x * x + y * y
    along = math.atan2(y, x) - math.radians(angle)
    defocus = -(u + v) / 2 - (u - v) / 2 * math.cos(2 * along)
    gamma = math.pi * wavelength * defocus * k2 + math.pi / 2 * cs_ang * wavelength**3 * k2**2
    return -math.sin(gamma - math.atan2(q0, math.sqrt(1 - q0 * q0)))


@pytest.mark.parametrize("shape", [(32, 32), (31, 40)])
def test_against_relions_formula(shape: tuple[int, int]) -> None:
    ctf = contrast_transfer(
        shape, 2.5, defocus_u_ang=31000, defocus_v_ang=29000, angle_deg=35, voltage_kv=300, spherical_aberration_mm=2.7,
        amplitude_contrast=0.07,
    )  # fmt: skip
    for row, column in ((0, 0), (3, 5), (shape[0] - 4, 7), (10, 0), (shape[0] // 2 + 3, 2), (1, shape[1] // 2)):
        y = np.fft.fftfreq(shape[0])[row] / 2.5
        x = column / shape[1] / 2.5
        expected = relion_ctf(x, y, 31000, 29000, 35, 300, 2.7, 0.07)
        # its wavelength is 5 in a million off that of the constants of 2018
        assert float(ctf[row, column]) == pytest.approx(expected, abs=1e-3)


def test_first_zero_stands_where_the_defocus_says() -> None:
    """Without Cs and amplitude contrast, CTF = sin(π λ Δf k²) is zero at k = 1 / √(λ Δf)."""
    defocus, pixel, n = 20000.0, 2.0, 4096
    ctf = contrast_transfer(
        (2, n), pixel, defocus_u_ang=defocus, voltage_kv=300, spherical_aberration_mm=0, amplitude_contrast=0
    )
    zero = int(torch.argmax((ctf[0, 1:] < 0).int())) + 0.5
    assert zero / n / pixel == pytest.approx(1 / math.sqrt(electron_wavelength_ang(300) * defocus), rel=1e-3)


def test_astigmatism_points_along_its_angle() -> None:
    """Along the angle (from x towards y) the defocus is u, across it v."""
    common = {"voltage_kv": 300.0, "spherical_aberration_mm": 2.7}
    ctf = contrast_transfer((64, 64), 3, defocus_u_ang=25000, defocus_v_ang=15000, angle_deg=45, **common)
    u, v = (contrast_transfer((64, 64), 3, defocus_u_ang=d, **common) for d in (25000, 15000))
    diagonal = torch.arange(1, 20)
    assert torch.allclose(ctf[diagonal, diagonal], u[diagonal, diagonal], atol=1e-5)
    assert torch.allclose(ctf[-diagonal, diagonal], v[-diagonal, diagonal], atol=1e-5)


def test_phase_plate_and_amplitude_contrast() -> None:
    common = {"defocus_u_ang": 10000.0, "voltage_kv": 300.0}
    assert float(contrast_transfer((8, 8), 1, amplitude_contrast=0.1, **common)[0, 0]) == pytest.approx(0.1)
    assert float(
        contrast_transfer((8, 8), 1, amplitude_contrast=0, phase_shift_deg=90, **common)[0, 0]
    ) == pytest.approx(1)


def test_low_resolution_is_positive_in_underfocus() -> None:
    ctf = contrast_transfer((256, 256), 5, defocus_u_ang=30000, voltage_kv=300)
    assert torch.all(ctf[0, :10] > 0)


def test_impossible_amplitude_contrast() -> None:
    with pytest.raises(InputError, match="amplitude contrast"):
        contrast_transfer((8, 8), 1, defocus_u_ang=1e4, voltage_kv=300, amplitude_contrast=7)
