"""What the microscope and the beam do to an image: contrast transfer and radiation damage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.optics.ctf import contrast_transfer, phase_aberration
    from lamella.optics.dose import critical_exposure, dose_filter
    from lamella.optics.electrons import electron_wavelength_ang, relative_speed
    from lamella.optics.restoration import restoring_filter, signal_to_noise, wiener_filter

__all__ = [
    "contrast_transfer",
    "critical_exposure",
    "dose_filter",
    "electron_wavelength_ang",
    "phase_aberration",
    "relative_speed",
    "restoring_filter",
    "signal_to_noise",
    "wiener_filter",
]

open_room(
    __name__,
    {
        "contrast_transfer": "ctf",
        "critical_exposure": "dose",
        "dose_filter": "dose",
        "electron_wavelength_ang": "electrons",
        "phase_aberration": "ctf",
        "relative_speed": "electrons",
        "restoring_filter": "restoration",
        "signal_to_noise": "restoration",
        "wiener_filter": "restoration",
    },
)
