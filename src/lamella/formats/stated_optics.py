"""What a program says it was told of the microscope, held against the record."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lamella.records import Note, TiltSeries
from lamella.records.optics import Optics

__all__ = ["StatedOptics", "take_optics"]

_SAME = 0.005


@dataclass(frozen=True, kw_only=True)
class StatedOptics:
    """Constants as a file states them; None where it is silent."""

    pixel_size_ang: float | None = None
    voltage_kv: float | None = None
    spherical_aberration_mm: float | None = None
    amplitude_contrast: float | None = None


def take_optics(stated: StatedOptics, series: TiltSeries, where: str) -> tuple[Optics, list[Note]]:
    """The record's optics, completed by what a file states, and a word on each constant that differs.

    An unknown voltage is taken from the file. What the record has already is kept: the defocus was then found under
    other constants than it will be used with, which the notes say.
    """
    optics, notes = series.optics, []
    if optics.voltage_kv is None and stated.voltage_kv is not None:
        optics = replace(optics, voltage_kv=stated.voltage_kv)
        text = f"the voltage, {stated.voltage_kv:g} kV, was taken from it: the record had none"
        notes.append(Note(kind="assumed", where=where, text=text))
    pairs = (
        ("pixels of", "Å", stated.pixel_size_ang, series.pixel_size_ang),
        ("a voltage of", "kV", stated.voltage_kv, optics.voltage_kv),
        ("a spherical aberration of", "mm", stated.spherical_aberration_mm, optics.spherical_aberration_mm),
        ("an amplitude contrast of", "", stated.amplitude_contrast, optics.amplitude_contrast),
    )
    for what, unit, theirs, ours in pairs:
        if theirs is not None and ours is not None and abs(theirs - ours) > _SAME * abs(ours):
            text = f"defoci found with {what} {theirs:g} {unit}".rstrip() + f"; the record has {ours:g} {unit}".rstrip()
            notes.append(Note(kind="warning", where=where, text=text))
    return optics, notes
