"""The mdoc of a simulated series, as SerialEM, PACEtomo's scripts or Tomography 5 would have written it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from lamella import __version__
from lamella.formats.mdoc import Mdoc, new_mdoc
from lamella.formats.mdoc_write import WrittenView, clock_text, serialem_section
from lamella.records import TiltSeries
from lamella.simulate.detector import camera_of, exposure_seconds
from lamella.simulate.frames import Extremes, eer_fraction, frame_names, gain_name
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.true_series import doses_of_views

__all__ = ["mdoc_name", "series_mdoc"]

FIRST_EXPOSURE = datetime(2024, 3, 1, 9, 0, 0)
"""Of the mdoc's clock, which never shows the real time: the same seed gives the same bytes."""
BETWEEN_EXPOSURES = timedelta(seconds=40)
BETWEEN_SERIES = timedelta(hours=1)

_MAGNIFICATION_OF_1_ANG = 130000.0

Section = tuple[str, object, dict[str, object]]

_FRAME_FOLDERS = {
    "serialem": "X:\\Data\\simulated\\frames\\",
    "pacetomo": "X:\\Data\\simulated\\frames\\",
    "tomo5": "\\\\192.168.10.1\\OffloadData\\simulated\\",
}


def mdoc_name(series: TiltSeries, settings: SimulateSettings) -> str:
    """Name of the file: Tomography 5's lacks the name of the stack's kind."""
    return f"{series.name}.mdoc" if settings.mdoc == "tomo5" else f"{series.name}.mrc.mdoc"


@dataclass(frozen=True, kw_only=True)
class _View:
    """What a section says."""

    row: int
    number: int
    tilt: float
    dose: float
    before: float
    defocus_um: float
    when: datetime
    seconds: float
    extremes: Extremes
    frames: str | None


def series_mdoc(
    path: Path, series: TiltSeries, settings: SimulateSettings, extremes: list[Extremes], index: int = 0
) -> Mdoc:
    """The mdoc of one series.

    Parameters
    ----------
    path
        where it is to be written.
    series
        the true record.
    settings
        of the simulation.
    extremes
        of each view's counts, in the order of recording.
    index
        number of the series, from 0: a later one was recorded later.
    """
    views = _views(series, settings, extremes, FIRST_EXPOSURE + index * BETWEEN_SERIES)
    height, width = series.image_shape_px
    header: dict[str, object] = {"PixelSpacing": f"{settings.pixel_size:.10g}", "Voltage": f"{settings.voltage:g}"}
    if settings.mdoc == "pacetomo":
        header["Version"] = "SerialEM Version 4.1.0 64-bit"
    header |= {
        "ImageFile": f"{series.name}.mrc",
        "ImageSize": f"{width} {height}",
        "DataMode": "1" if settings.noise else "2",
    }
    make = {"serialem": _serialem, "pacetomo": _pacetomo, "tomo5": _tomo5}[settings.mdoc]
    sections: list[Section] = [("ZValue", view.number, make(view, settings)) for view in views]
    return new_mdoc(path, header, _titles(settings, views[0].when), sections)


def _views(series: TiltSeries, settings: SimulateSettings, extremes: list[Extremes], first: datetime) -> list[_View]:
    assert series.place is not None
    assert series.pre_exposure is not None
    assert series.defocus is not None
    order = np.argsort(series.place, kind="stable")
    names = frame_names(series, settings) if settings.movies else None
    doses = doses_of_views(series)
    views, when = [], first
    for number, row in enumerate(order.tolist()):
        seconds = exposure_seconds(float(doses[row]), settings)
        views.append(
            _View(
                row=row,
                number=number,
                tilt=float(series.nominal_tilt_deg[row]),
                dose=float(doses[row]),
                before=float(series.pre_exposure[row]),
                defocus_um=-float(series.defocus.u_ang[row] + series.defocus.v_ang[row]) / 2e4,
                when=when,
                seconds=seconds,
                extremes=extremes[number],
                frames=None if names is None else names[row],
            )
        )
        when += BETWEEN_EXPOSURES + timedelta(seconds=round(seconds))
    return views


def _titles(settings: SimulateSettings, when: datetime) -> tuple[str, ...]:
    if settings.mdoc == "tomo5":
        angle = (-settings.nominal_axis - 90 + 180) % 360 - 180
        return (
            f"Tomography: simulated by lamella {__version__}    {clock_text(when, '%Y')}",
            f"  TiltAxisAngle = {angle:.2f}  Binning = 1  SpotSize = 7",
        )
    space = "    " if settings.mdoc == "serialem" else ""
    return (
        f"SerialEM: simulated by lamella {__version__}                 {clock_text(when, '%y')}",
        f"{space}Tilt axis angle = {settings.nominal_axis:.1f}, binning = 1  spot = 8  camera = 0",
    )


def _common(view: _View, settings: SimulateSettings) -> dict[str, object]:
    """What all three write, in SerialEM's order."""
    written = WrittenView(
        tilt_deg=view.tilt,
        dose=view.dose,
        dose_before=view.before,
        pixel_size_ang=settings.pixel_size,
        defocus_um=-view.defocus_um,
        target_defocus_um=settings.defocus / 1e4,
        # Tomography 5's RotationAngle is the axis itself.
        axis_deg=settings.nominal_axis - (90 if settings.mdoc == "tomo5" else 0),
        exposure_s=view.seconds,
        extremes=(view.extremes.low, view.extremes.high, view.extremes.mean),
        when=view.when,
        conditions={
            "Magnification": f"{_MAGNIFICATION_OF_1_ANG / settings.pixel_size:.0f}",
            "Intensity": "0.1",
            "SpotSize": "8",
            "CameraIndex": "0",
            "DividedBy2": "0",
            "MagIndex": "20",
        },
        frames=None if view.frames is None else _FRAME_FOLDERS[settings.mdoc] + view.frames,
        frame_count=settings.frames * (eer_fraction(settings) if settings.frame_format == "eer" else 1),
    )
    values = serialem_section(written)
    return values | ({"DateTime": clock_text(view.when, "%y")} if settings.mdoc == "tomo5" else {})


def _serialem(view: _View, settings: SimulateSettings) -> dict[str, object]:
    return _common(view, settings)


def _pacetomo(view: _View, settings: SimulateSettings) -> dict[str, object]:
    """SerialEM's, with the camera's dose rate behind the specimen and what the script adds."""
    values = _common(view, settings)
    gain = gain_name(settings)
    if gain is not None:
        values["GainReference"] = gain
    rate = view.extremes.mean / view.seconds
    return {
        **values,
        "DoseRate": f"{rate:.6g}",
        "CameraPixelSize": "5",
        "SpecimenShift": "0 0",
        "EucentricOffset": "0",
        "CtfFind": f"{view.defocus_um:.4f}",
    }


def _tomo5(view: _View, settings: SimulateSettings) -> dict[str, object]:
    """Fewer keys; the camera and the filter have their own."""
    values = _common(view, settings)
    for key in ("Intensity", "DividedBy2", "MagIndex", "CameraIndex", "StageZ"):
        values.pop(key)
    return {**values, "CameraName": camera_of(settings).name, "FilterSlit": "10"}
