"""What the microscope was set to."""

from __future__ import annotations

from dataclasses import dataclass

from lamella.errors import InputError

__all__ = ["Optics"]


@dataclass(frozen=True, kw_only=True)
class Optics:
    """Optical constants of a tilt series.

    Attributes
    ----------
    voltage_kv
        acceleration voltage, or None where nobody stated it.
    spherical_aberration_mm
        Cs, millimetres.
    amplitude_contrast
        fraction, 0…1.
    """

    voltage_kv: float | None = None
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.1

    def __post_init__(self) -> None:
        if self.voltage_kv is not None and not 10 <= self.voltage_kv <= 3000:
            raise InputError(f"a voltage of {self.voltage_kv} kV", mend="state the voltage in kilovolts, such as 300")
        if not 0 <= self.amplitude_contrast <= 1:
            raise InputError(
                f"an amplitude contrast of {self.amplitude_contrast}",
                mend="state a fraction between 0 and 1, such as 0.1",
            )
