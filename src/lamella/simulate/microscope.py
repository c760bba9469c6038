"""A simple electron microscope: it tilts about an axis that is not quite the stated one, and counts electrons."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lamella.fourier import fast_size
from lamella.geometry import TiltGeometry
from lamella.optics import contrast_transfer, dose_filter, electron_wavelength_ang
from lamella.records import Defocus, Optics, TiltSeries
from lamella.simulate.gaussians import Gaussians, project_gaussians
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.former_specimen import Specimen

__all__ = ["acquisition_order", "expose", "interaction_per_volt_ang", "mean_counts", "record_series"]

Image = NDArray[np.float32]

LAYER_PHASE_RAD = 0.05
"""Largest error of the aberration's phase that comes from imaging matter in layers of one defocus."""

DARKEST = 0.02
"""Least fraction of the electrons that reach the detector: thin-object contrast has no floor of its own."""

GOLD_ABSORPTION = 1.4e-4
"""Amplitude that gold takes away per V·Å of its potential: 0.35 through 100 Å, most by scattering past the aperture."""


def acquisition_order(tilt_range_deg: float, tilt_step_deg: float) -> NDArray[np.float64]:
    """Dose-symmetric order of tilt angles: 0, +3, −3, −6, +6, +9, … (Hagen, Wan & Briggs 2017)."""
    steps = int(tilt_range_deg / tilt_step_deg + 1e-9)
    order = [0]
    for step in range(1, steps + 1):
        first = step if step % 2 else -step
        order += [first, -first]
    return np.array(order, dtype=np.float64) * tilt_step_deg


def record_series(settings: SimulateSettings, index: int = 0) -> TiltSeries:
    """The true record of one series, its views by rising nominal tilt angle; `place` is the order of acquisition."""
    rng = np.random.default_rng([settings.seed, index, 2])
    grid = acquisition_order(settings.tilt_range, settings.tilt_step)
    n = len(grid)
    # Drawn once for all views and then sorted with them: an angle's jitter may not swap two views of a fine grid.
    order = np.argsort(grid, kind="stable")
    jitter = np.clip(rng.normal(scale=settings.tilt_noise, size=n), -0.4 * settings.tilt_step, 0.4 * settings.tilt_step)
    tilt = (grid + jitter)[order]
    wave: NDArray[np.float64] = np.sin(np.deg2rad(1.5 * tilt) + rng.uniform(0, 2 * np.pi))
    wave = wave - wave.mean()
    rms = float(np.sqrt((wave**2).mean()))
    axis = settings.axis + settings.axis_variation * (wave / rms if rms > 1e-6 else 0.0 * wave)
    shifts = rng.normal(scale=settings.shift, size=(2, n)) if settings.shift else np.zeros((2, n))
    defocus = settings.defocus + rng.normal(scale=1.0, size=n) * settings.defocus_spread
    return TiltSeries(
        name=f"{settings.name}_{index + 1:02d}",
        pixel_size_ang=settings.pixel_size,
        image_shape_px=(settings.height, settings.width),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(n, settings.nominal_axis),
        pre_exposure=settings.dose * order.astype(np.float64),
        place=order + 1,
        optics=Optics(
            voltage_kv=settings.voltage,
            spherical_aberration_mm=settings.spherical_aberration,
            amplitude_contrast=settings.amplitude_contrast,
        ),
        hand=settings.hand,
        geometry=TiltGeometry.from_angles(
            tilt + settings.tilt_offset,
            axis,
            x_tilt_deg=settings.x_tilt,
            x_shift_ang=shifts[0],
            y_shift_ang=shifts[1],
        ),
        defocus=Defocus(u_ang=defocus, v_ang=defocus.copy(), angle_deg=np.zeros(n)),
        thickness_ang=settings.thickness,
        scores={"AcquisitionOrder": np.asarray(order + 1, dtype=np.float64)},
    )


def interaction_per_volt_ang(voltage_kv: float) -> float:
    """Phase in rad that 1 V of potential over 1 Å adds: 2π m e λ / h² (6.53e-4 at 300 kV)."""
    kinetic, rest = voltage_kv * 1e3, 510998.95
    return 2 * math.pi / (electron_wavelength_ang(voltage_kv) * kinetic) * (rest + kinetic) / (2 * rest + kinetic)


def mean_counts(specimen: Specimen, series: TiltSeries, settings: SimulateSettings, view: int) -> Image:
    """Expected electrons per pixel in one view: linear transfer of a thin phase object, layer by layer of defocus.

    Parameters
    ----------
    specimen
        what is in the beam.
    series
        its true record, as `record_series` makes it.
    settings
        of the simulation.
    view
        row of the record.

    Returns
    -------
    image
        ``(height, width)`` electrons.
    """
    assert series.geometry is not None  # a true record has one
    height, width = series.image_shape_px
    margin = _margin_px(settings)
    padded = fast_size(height + 2 * margin), fast_size(width + 2 * margin)
    spectrum = np.zeros((padded[0], padded[1] // 2 + 1), dtype=np.complex64)
    phase_per_volt = interaction_per_volt_ang(settings.voltage)
    for cloud, strength, amplitude in (
        (specimen.matter, phase_per_volt, settings.amplitude_contrast),
        (specimen.gold, GOLD_ABSORPTION, 1.0),
    ):
        if len(cloud):
            spectrum += _wave_contrast(cloud, strength, amplitude, series, settings, view, padded)
    if settings.damage:
        assert series.pre_exposure is not None
        spectrum *= dose_filter(
            padded, settings.pixel_size, float(series.pre_exposure[view]), settings.dose, settings.voltage
        ).numpy()
    contrast = scipy.fft.irfft2(spectrum, s=padded)
    # The image's centre pixel n // 2 lies on the padded one's.
    top, left = padded[0] // 2 - height // 2, padded[1] // 2 - width // 2
    contrast = contrast[top : top + height, left : left + width]
    brightness = settings.dose * settings.pixel_size**2
    if settings.mean_free_path:
        slant = abs(float(series.geometry.rotations()[view, 2, 2]))
        brightness *= math.exp(-settings.thickness / (settings.mean_free_path * max(slant, 0.05)))
    image: Image = (brightness * np.maximum(1.0 + contrast, DARKEST)).astype(np.float32)
    return image


def expose(specimen: Specimen, series: TiltSeries, settings: SimulateSettings, view: int, index: int = 0) -> Image:
    """What the detector counts in one view of series number `index`: `mean_counts` with the noise of the dose."""
    expected = mean_counts(specimen, series, settings, view)
    if not settings.noise:
        return expected
    assert series.place is not None
    rng = np.random.default_rng([settings.seed, index, 3, int(series.place[view])])
    return rng.poisson(expected.astype(np.float64)).astype(np.float32)


def _wave_contrast(
    cloud: Gaussians,
    strength: float,
    amplitude_contrast: float,
    series: TiltSeries,
    settings: SimulateSettings,
    view: int,
    padded: tuple[int, int],
) -> NDArray[np.complex64]:
    """Spectrum of the relative change of intensity by one kind of matter."""
    assert series.geometry is not None
    assert series.defocus is not None
    geometry = series.geometry.select([view])
    places = geometry.project(cloud.places_ang)[0]
    if not settings.ctf:
        projected = project_gaussians(cloud, places, settings.pixel_size, padded)[0]
        return (-strength * scipy.fft.rfft2(projected)).astype(np.complex64)
    depth = geometry.depth_ang(cloud.places_ang)[0]
    step = _layer_ang(cloud, settings)
    layers = np.rint(depth / step).astype(np.int64)
    by_layer = np.argsort(layers, kind="stable")
    spectrum = np.zeros((padded[0], padded[1] // 2 + 1), dtype=np.complex64)
    for here in np.split(by_layer, np.flatnonzero(np.diff(layers[by_layer])) + 1):
        layer = int(layers[here[0]])
        part = Gaussians(cloud.places_ang[here], cloud.weights[here], cloud.sigma_ang[here])
        projected = project_gaussians(part, places[here], settings.pixel_size, padded)[0]
        transfer = contrast_transfer(
            padded,
            settings.pixel_size,
            defocus_u_ang=float(series.defocus.u_ang[view]) + series.hand * layer * step,
            voltage_kv=settings.voltage,
            spherical_aberration_mm=settings.spherical_aberration,
            amplitude_contrast=amplitude_contrast,
        )
        # Mass is dark: a projection of mass times minus the transfer function, twice (wave and its conjugate).
        spectrum -= 2 * strength * scipy.fft.rfft2(projected) * transfer.numpy()
    return spectrum


def _layer_ang(cloud: Gaussians, settings: SimulateSettings) -> float:
    """Thickness of a layer whose matter may share one defocus: π λ (Δz / 2) k² ≤ `LAYER_PHASE_RAD` at the finest k."""
    finest = min(0.5 / settings.pixel_size, 0.5 / float(cloud.sigma_ang.min()))  # beyond, a Gaussian has < 1 %
    return 2 * LAYER_PHASE_RAD / (math.pi * electron_wavelength_ang(settings.voltage) * finest**2)


def _margin_px(settings: SimulateSettings) -> int:
    """How far the transfer function carries information past the image's edge."""
    reach = 24.0
    if settings.ctf:
        wavelength = electron_wavelength_ang(settings.voltage)
        finest = min(0.5 / settings.pixel_size, 0.06)
        reach += wavelength * (abs(settings.defocus) + settings.thickness) * finest / settings.pixel_size
    return math.ceil(reach)
