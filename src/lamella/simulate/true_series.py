"""The true record of a series: what the microscope did, beside what it says it did."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.errors import SettingsError
from lamella.geometry import ImageField, TiltGeometry
from lamella.geometry.regauge import normalise_field, normalise_magnification
from lamella.records import Defocus, Optics, TiltSeries
from lamella.simulate.schemes import doses_of_tilts, order_of_tilts
from lamella.simulate.settings import SimulateSettings

__all__ = ["brightness_of_views", "doses_of_views", "record_series", "series_name"]

Array = NDArray[np.float64]

DARK_VIEW = 0.1
"""Of the beam, what a view behind a grid bar still gets."""

_DOSE_OF_DEFORMATION = 40.0
"""e/Å² over which the specimen's deformation comes to its end: most of it happens early."""


def series_name(settings: SimulateSettings, index: int) -> str:
    """``TS_01``, ``TS_02``, …; of two axes ``TS_01a``, ``TS_01b``, ``TS_02a``, …; `index` from 0."""
    if settings.dual_axis:
        return f"{settings.name}_{index // 2 + 1:02d}{'ab'[index % 2]}"
    return f"{settings.name}_{index + 1:02d}"


def record_series(settings: SimulateSettings, index: int = 0) -> TiltSeries:
    """The true record of one series, its views by rising nominal tilt angle; `place` is the order of recording.

    The scores hold each view's dose (``Dose``, e/Å²) and its share of the beam (``Beam``: 0 for blank views).

    Raises
    ------
    SettingsError
        if more views shall be blank or dark than there are.
    """
    rng = np.random.default_rng([settings.seed, index, 2])
    grid = order_of_tilts(settings)
    n = len(grid)
    # Drawn once for all views and then sorted with them: an angle's jitter may not swap two views of a fine grid.
    order = np.argsort(grid, kind="stable")
    jitter = np.clip(rng.normal(scale=settings.tilt_noise, size=n), -0.4 * settings.tilt_step, 0.4 * settings.tilt_step)
    by_time = grid + jitter
    doses = doses_of_tilts(by_time, settings)
    before = np.concatenate([[0.0], np.cumsum(doses)[:-1]])
    tilt = by_time[order]
    axis = settings.axis + settings.axis_variation * _slow(tilt, rng)
    shifts = _shifts(settings, n, rng)[:, order]
    defocus = settings.defocus + settings.defocus_spread * rng.normal(size=n)
    astigmatism = _astigmatism(settings, tilt, rng)
    magnification = 1 + settings.magnification_drift * _slow(np.arange(n) * 120.0 / max(n, 1) - 60, rng)[order]
    geometry = TiltGeometry.from_angles(
        tilt + settings.tilt_offset,
        axis,
        x_tilt_deg=settings.x_tilt,
        x_shift_ang=shifts[0],
        y_shift_ang=shifts[1],
        magnification=np.maximum(magnification, 0.5),
        field=_deformation(settings, before[order], rng),
    )
    geometry = normalise_magnification(geometry)[0]
    height, width = settings.image_shape_px
    return TiltSeries(
        name=series_name(settings, index),
        pixel_size_ang=settings.pixel_size,
        image_shape_px=(height, width),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(n, settings.nominal_axis),
        pre_exposure=before[order],
        place=order + 1,
        optics=Optics(
            voltage_kv=settings.voltage,
            spherical_aberration_mm=settings.spherical_aberration,
            amplitude_contrast=settings.amplitude_contrast,
        ),
        hand=settings.hand,
        geometry=geometry if geometry.field is None else normalise_field(geometry),
        defocus=Defocus(
            u_ang=defocus + astigmatism[0],
            v_ang=defocus - astigmatism[0],
            angle_deg=astigmatism[1],
            phase_shift_deg=np.full(n, settings.phase_shift) if settings.phase_shift else None,
        ),
        thickness_ang=settings.thickness,
        scores={
            "AcquisitionOrder": np.asarray(order + 1, dtype=np.float64),
            "Dose": doses[order],
            "Beam": _beam(settings, n, index)[order],
        },
    )


def doses_of_views(series: TiltSeries) -> Array:
    """``(n,)`` dose of each view of a true record, e/Å²."""
    return series.scores["Dose"]


def brightness_of_views(series: TiltSeries) -> Array:
    """``(n,)`` share of the beam that each view of a true record had."""
    return series.scores["Beam"]


def _slow(places: Array, rng: np.random.Generator) -> Array:
    """One slow wave over the views, mean 0 and rms 1; 0 for a single view."""
    wave: Array = np.sin(np.deg2rad(1.5 * places) + rng.uniform(0, 2 * np.pi))
    wave = wave - wave.mean()
    rms = float(np.sqrt((wave**2).mean()))
    return wave / rms if rms > 1e-6 else 0.0 * wave


def _shifts(settings: SimulateSettings, n: int, rng: np.random.Generator) -> Array:
    """``(2, n)`` where the centre appears, in the order of recording: a jump of the stage each time, and a walk."""
    jumps = settings.shift * rng.normal(size=(2, n))
    walk = np.cumsum(rng.normal(size=(2, n)), axis=1) / np.sqrt(n)
    shifts: Array = jumps + settings.drift * walk
    return shifts


def _astigmatism(settings: SimulateSettings, tilt: Array, rng: np.random.Generator) -> Array:
    """``(2, n)`` half the difference of the defoci, Å, and the direction of the larger, deg."""
    angle = rng.uniform(0, np.pi)
    parts = settings.astigmatism * np.array([[np.cos(2 * angle)], [np.sin(2 * angle)]])
    parts = parts + settings.astigmatism_variation * np.stack([_slow(tilt, rng), _slow(tilt, rng)])
    return np.stack([np.hypot(*parts), np.rad2deg(np.arctan2(parts[1], parts[0])) / 2])


def _deformation(settings: SimulateSettings, before: Array, rng: np.random.Generator) -> ImageField | None:
    """A smooth field of second degree that grows with the dose and stands still at its end."""
    height, width = settings.image_shape_px
    half = (width * settings.pixel_size / 2, height * settings.pixel_size / 2)
    y, x = np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5), indexing="ij")
    shapes = np.stack([x**2 - 1 / 3, x * y, y**2 - 1 / 3, x * (y**2 - 1 / 3), y * (x**2 - 1 / 3)])
    amplitudes = rng.normal(size=(2, len(shapes)))
    if settings.deformation == 0:
        return None
    nodes = np.einsum("cs,sij->cij", amplitudes, shapes)
    nodes *= settings.deformation / np.sqrt((nodes**2).mean())
    growth = 1 - np.exp(-before / _DOSE_OF_DEFORMATION)
    return ImageField(growth[:, None, None, None] * nodes, half)


def _beam(settings: SimulateSettings, n: int, index: int) -> Array:
    """``(n,)`` share of the beam in the order of recording."""
    rng = np.random.default_rng([settings.seed, index, 6])
    share = np.ones(n)
    kinds = ((settings.dark_views, DARK_VIEW), (settings.blank_views, 0.0))
    for wanted, level in kinds:
        last = wanted if isinstance(wanted, int) else max(wanted, default=0)
        if last > n:
            raise SettingsError(
                f"{'dark' if level else 'blank'}_views = {wanted} of a series of {n} views",
                mend="ask for fewer, or number them from 1",
            )
        if not isinstance(wanted, int):
            share[[place - 1 for place in wanted]] = level
    rest = rng.permutation(np.flatnonzero(share == 1))
    for wanted, level in kinds:
        if isinstance(wanted, int):
            chosen, rest = rest[:wanted], rest[wanted:]
            share[chosen] = level
    return share
