from __future__ import annotations

import pytest

from lamella.errors import InputError
from lamella.optics import electron_wavelength_ang, relative_speed


@pytest.mark.parametrize(
    ("voltage_kv", "wavelength_pm", "speed"),
    # Williams & Carter, Transmission Electron Microscopy, table 1.2
    [
        (100, 3.70, 1.644),
        (120, 3.35, 1.759),
        (200, 2.51, 2.086),
        (300, 1.97, 2.330),
        (400, 1.64, 2.484),
        (1000, 0.87, 2.823),
    ],
)
def test_published_table(voltage_kv: float, wavelength_pm: float, speed: float) -> None:
    assert electron_wavelength_ang(voltage_kv) * 100 == pytest.approx(wavelength_pm, abs=0.006)
    assert relative_speed(voltage_kv) * 2.99792458 == pytest.approx(speed, abs=0.003)


@pytest.mark.parametrize("voltage_kv", [0, -300, float("nan"), float("inf")])
def test_no_voltage(voltage_kv: float) -> None:
    with pytest.raises(InputError, match="voltage"):
        electron_wavelength_ang(voltage_kv)
