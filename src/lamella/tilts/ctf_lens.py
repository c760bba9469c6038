"""The phase of the rings: 2χ as a sum of what defocus adds and what does not depend on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.optics.electrons import electron_wavelength_ang
from lamella.records import Optics

__all__ = ["Lens"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Lens:
    """What rings depend on besides defocus.

    A power spectrum is a background times ``1 − A cos 2(χ + φ)``, with χ as `lamella.optics.phase_aberration` states
    it and φ the amplitude contrast's phase and a phase plate's.

    Attributes
    ----------
    wavelength_ang, spherical_aberration_ang
        λ and Cs.
    amplitude_contrast
        fraction.
    """

    wavelength_ang: float
    spherical_aberration_ang: float
    amplitude_contrast: float

    @classmethod
    def of(cls, optics: Optics) -> Lens:
        """The lens of a series whose voltage is known."""
        if optics.voltage_kv is None:
            raise InputError("the voltage is not known", mend="state it with --voltage when the project is made")
        return cls(
            electron_wavelength_ang(optics.voltage_kv),
            optics.spherical_aberration_mm * 1e7,
            optics.amplitude_contrast,
        )

    @property
    def contrast_phase(self) -> float:
        """Phase of the amplitude contrast, rad."""
        return math.asin(self.amplitude_contrast)

    def turn(self, square: Array) -> Array:
        """Change of 2χ with defocus, rad/Å, at squared frequencies in 1/Å²."""
        return np.asarray(2 * np.pi * self.wavelength_ang * square)

    def rest(self, square: Array) -> Array:
        """The part of 2χ that does not depend on defocus, rad."""
        return np.asarray(-np.pi * self.spherical_aberration_ang * self.wavelength_ang**3 * square**2)
