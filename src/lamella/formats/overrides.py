"""What a user states of a tilt series, over what its files say; and what an import gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lamella.errors import InputError
from lamella.records import Note, Optics, TiltSeries

if TYPE_CHECKING:
    from lamella.formats.mdoc_references import NamedReference

__all__ = ["Imported", "Overrides", "settle", "settle_imaging", "settle_optics"]

DEFAULT_CS_MM = 2.7
DEFAULT_AMPLITUDE_CONTRAST = 0.1


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """Values that a user gives; each is None where the files decide.

    Attributes
    ----------
    pixel_size_ang
        of the images as they are stored (of the movies' pixels where there are movies), Å.
    tilt_axis_deg
        direction of the tilt axis in the image, from the rows' direction, as IMOD and SerialEM's title state it.
    voltage_kv, spherical_aberration_mm, amplitude_contrast
        of the microscope.
    dose_per_tilt
        dose of one view, e/Å².
    prior_dose
        dose that the specimen had before the first view, e/Å².
    imaging
        ``bright`` or ``dark`` field.

    Raises
    ------
    InputError
        if a number is not finite, or is out of any sensible range.
    """

    pixel_size_ang: float | None = None
    tilt_axis_deg: float | None = None
    voltage_kv: float | None = None
    spherical_aberration_mm: float | None = None
    amplitude_contrast: float | None = None
    dose_per_tilt: float | None = None
    prior_dose: float | None = None
    imaging: Literal["bright", "dark"] | None = None

    def __post_init__(self) -> None:
        for name, (lowest, highest, option) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and lowest <= value <= highest):
                raise InputError(f"{option} {value}", mend=f"give a number from {lowest:g} to {highest:g}")
        if self.pixel_size_ang is not None and self.pixel_size_ang <= 0:
            raise InputError(f"--pixel-size {self.pixel_size_ang}", mend="give a positive pixel size in Å")
        if self.imaging not in (None, "bright", "dark"):
            raise InputError(f"--imaging {self.imaging}", mend="choose bright or dark")


_BOUNDS = {
    "pixel_size_ang": (0.0, 1e6, "--pixel-size"),
    "tilt_axis_deg": (-360.0, 360.0, "--tilt-axis"),
    "voltage_kv": (10.0, 3000.0, "--voltage"),
    "spherical_aberration_mm": (0.0, 100.0, "--cs"),
    "amplitude_contrast": (0.0, 1.0, "--amplitude-contrast"),
    "dose_per_tilt": (0.0, 1e4, "--dose-per-tilt"),
    "prior_dose": (0.0, 1e6, "--prior-dose"),
}


@dataclass(frozen=True)
class Imported:
    """What an import understood.

    Attributes
    ----------
    series
        one record per tilt series, views by rising tilt angle.
    notes
        every assumption, dropped section, override and contradiction.
    references
        ``gain`` and ``defects``, where the files name them; the user's own come before them.
    """

    series: tuple[TiltSeries, ...]
    notes: tuple[Note, ...]
    references: Mapping[str, NamedReference] = field(default_factory=dict)


def settle(
    given: float | None, stated: float | None, what: str, unit: str, where: str, *, tolerance: float = 1e-6
) -> tuple[float | None, tuple[Note, ...]]:
    """The value that holds, and a note where what the user gives is not what the files say."""
    if given is None:
        return stated, ()
    if stated is None:
        return given, (Note(kind="info", where=where, text=f"{what} {given:g}{unit}, as given; the files state none"),)
    if abs(given - stated) <= tolerance * max(abs(given), abs(stated)):
        return given, ()
    text = f"{what} {given:g}{unit}, as given; the files say {stated:g}{unit}"
    return given, (Note(kind="overridden", where=where, text=text),)


def settle_optics(overrides: Overrides, stated_voltage_kv: float | None, where: str) -> tuple[Optics, tuple[Note, ...]]:
    """The microscope's constants; what nobody states is assumed aloud (Cs, amplitude contrast) or unknown (voltage)."""
    voltage_kv, notes = settle(overrides.voltage_kv, stated_voltage_kv, "voltage", " kV", where)
    said = list(notes)
    if voltage_kv is None:
        text = "voltage unknown: nobody states it; ctf will pass the record on, and dose filters go unused"
        said.append(Note(kind="warning", where=where, text=text))
    cs_mm, contrast = overrides.spherical_aberration_mm, overrides.amplitude_contrast
    if cs_mm is None:
        cs_mm = DEFAULT_CS_MM
        said.append(Note(kind="assumed", where=where, text=f"spherical aberration {cs_mm} mm; --cs states another"))
    if contrast is None:
        contrast = DEFAULT_AMPLITUDE_CONTRAST
        text = f"amplitude contrast {contrast}; --amplitude-contrast states another"
        said.append(Note(kind="assumed", where=where, text=text))
    return Optics(voltage_kv=voltage_kv, spherical_aberration_mm=cs_mm, amplitude_contrast=contrast), tuple(said)


def settle_imaging(overrides: Overrides, where: str) -> tuple[Literal["bright", "dark"], tuple[Note, ...]]:
    """Bright field, aloud, where the user does not say."""
    if overrides.imaging is not None:
        return overrides.imaging, ()
    return "bright", (Note(kind="assumed", where=where, text="bright field; --imaging dark states the other"),)
