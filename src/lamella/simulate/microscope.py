"""An electron microscope: expected electrons in every frame, and what the camera counts of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lamella.records import MovieMotion, TiltSeries
from lamella.simulate.contrast import TemplateSpectra, padded_shape, view_contrast
from lamella.simulate.detector import Sensor, camera_of, count
from lamella.simulate.fading import Fading
from lamella.simulate.film_image import film_image
from lamella.simulate.ice import IceGrain
from lamella.simulate.mount import MountedSpecimen, mount
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.specimen import Specimen
from lamella.simulate.transfer import view_optics
from lamella.simulate.transmission import film_picture, ice_transmission
from lamella.simulate.true_series import brightness_of_views, doses_of_views
from lamella.simulate.warp import warp

__all__ = ["Microscope", "expose", "mean_counts"]

Image = NDArray[np.float32]

DARKEST = 0.02
"""Least fraction of the electrons that reach the detector: thin-object contrast has no floor of its own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Microscope:
    """A microscope with a specimen in it, ready to record the views of one series.

    Attributes
    ----------
    mounted
        the specimen in the series' frame.
    series
        the series' true record, as `record_series` makes it.
    settings
        of the simulation.
    index
        number of the series, from 0.
    motion
        the true motion of each view, in the order of the record, or None for a stack.
    sensor
        the camera's pixels, or None for images that are corrected already.
    spectra
        the templates' transforms.
    """

    mounted: MountedSpecimen
    series: TiltSeries
    settings: SimulateSettings
    index: int = 0
    motion: tuple[MovieMotion, ...] | None = None
    sensor: Sensor | None = None
    spectra: TemplateSpectra

    def expected_frames(self, view: int) -> Iterator[Image]:
        """Expected electrons per pixel, as the camera blurs them, in one frame after the other: ``(height, width)``."""
        settings, series = self.settings, self.series
        assert series.geometry is not None
        assert series.pre_exposure is not None
        assert series.place is not None
        geometry = series.geometry.select([view])
        optics = view_optics(series, settings, view)
        shape = padded_shape(settings)
        film = film_picture(self.mounted, geometry, settings, shape)
        contrast = view_contrast(self.mounted, geometry, optics, self.spectra, settings)
        behind_film = None if film is None else film_image(film, optics, settings.pixel_size)
        ice = ice_transmission(self.mounted, geometry, settings, settings.image_shape_px)
        motion = None if self.motion is None else self.motion[view]
        frames = 1 if motion is None else len(motion)
        dose, before = float(doses_of_views(series)[view]) / frames, float(series.pre_exposure[view])
        electrons = np.float32(dose * settings.pixel_size**2 * brightness_of_views(series)[view])
        rng = np.random.default_rng([settings.seed, self.index, 8, int(series.place[view])])
        grain = IceGrain(optics, geometry, settings, shape, rng) if settings.ice_noise else None
        fading = Fading(shape, settings) if settings.damage else None
        blur = (
            camera_of(settings)
            .mtf(np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])))
            .astype(np.float32)
        )
        for frame in range(frames):
            terms = contrast.lasting.copy()
            if fading is not None:
                terms += contrast.fading * fading.left(before + frame * dose, dose)
            else:
                terms += contrast.fading
            if grain is not None:
                terms += scipy.fft.rfft2(grain.frame(dose), workers=1)
            terms *= blur
            shown = self._moved(terms, shape, motion, frame)
            through = ice
            if behind_film is not None:
                terms = scipy.fft.rfft2(behind_film, workers=1) * blur
                # a sharp edge that is moved by part of a pixel swings below 0
                through = ice * np.maximum(self._moved(terms, shape, motion, frame), 0)
            background = settings.inelastic_background * (1 - ice) if settings.mean_free_path else 0
            yield electrons * (through * np.maximum(1 + shown, DARKEST) + background).astype(np.float32)

    def frames(self, view: int) -> Iterator[Image]:
        """What the camera counts in one frame after the other, ``(height, width)``."""
        assert self.series.place is not None
        camera = camera_of(self.settings)
        for frame, expected in enumerate(self.expected_frames(view)):
            key = [self.settings.seed, self.index, 3, int(self.series.place[view]), frame]
            yield count(expected, self.sensor, camera, self.settings, np.random.default_rng(key))

    def _moved(
        self, terms: NDArray[np.complex64], shape: tuple[int, int], motion: MovieMotion | None, frame: int
    ) -> Image:
        """The frame that a padded spectrum shows once the specimen has moved; changes `terms`."""
        height, width = self.settings.image_shape_px
        left, top = shape[1] // 2 - width // 2, shape[0] // 2 - height // 2
        if motion is not None and motion.global_px[frame].any():
            x, y = motion.global_px[frame]
            terms *= np.exp(-2j * np.pi * np.fft.rfftfreq(shape[1]) * x).astype(np.complex64)
            terms *= np.exp(-2j * np.pi * np.fft.fftfreq(shape[0]) * y).astype(np.complex64)[:, None]
        image = scipy.fft.irfft2(terms, s=shape, workers=1)
        if motion is None or motion.local is None or not motion.local.coefficients_px[frame].any():
            return np.ascontiguousarray(image[top : top + height, left : left + width])
        moved = (float(motion.global_px[frame, 0]), float(motion.global_px[frame, 1]))
        return warp(np.asarray(image, dtype=np.float32), motion.local, frame, (left, top), moved)


def mean_counts(specimen: Specimen, series: TiltSeries, settings: SimulateSettings, view: int, index: int = 0) -> Image:
    """Expected electrons per pixel in one view that is recorded as a single image, ``(height, width)``.

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
    index
        number of the series, from 0.
    """
    return next(_still(specimen, series, settings, index).expected_frames(view))


def expose(specimen: Specimen, series: TiltSeries, settings: SimulateSettings, view: int, index: int = 0) -> Image:
    """What the camera counts in one view that is recorded as a single image."""
    return next(_still(specimen, series, settings, index).frames(view))


def _still(specimen: Specimen, series: TiltSeries, settings: SimulateSettings, index: int) -> Microscope:
    return Microscope(
        mounted=mount(specimen),
        series=series,
        settings=settings.model_copy(update={"frames": 0}),
        index=index,
        spectra=TemplateSpectra(specimen),
    )
