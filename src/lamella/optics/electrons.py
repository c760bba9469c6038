"""Electrons at a voltage: wavelength and speed."""

from __future__ import annotations

import math

from lamella.errors import InputError

__all__ = ["electron_wavelength_ang", "relative_speed"]

# CODATA 2018
_PLANCK = 6.62607015e-34  # J s
_LIGHT = 299792458.0  # m/s
_CHARGE = 1.602176634e-19  # C
_MASS = 9.1093837015e-31  # kg


def electron_wavelength_ang(voltage_kv: float) -> float:
    """De Broglie wavelength in Å, relativistic: h / √(2 m e V (1 + e V / 2 m c²))."""
    energy = _energy(voltage_kv)
    momentum = math.sqrt(2 * _MASS * energy * (1 + energy / (2 * _MASS * _LIGHT**2)))
    return _PLANCK / momentum * 1e10


def relative_speed(voltage_kv: float) -> float:
    """Speed over that of light, β."""
    return math.sqrt(1 - (1 + _energy(voltage_kv) / (_MASS * _LIGHT**2)) ** -2)


def _energy(voltage_kv: float) -> float:
    """Kinetic energy in J."""
    if not (math.isfinite(voltage_kv) and voltage_kv > 0):
        raise InputError(f"a voltage of {voltage_kv} kV", mend="state the voltage in kilovolts, such as 300")
    return voltage_kv * 1e3 * _CHARGE
