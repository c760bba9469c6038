"""In which views a particle can be seen and is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.particles.extract_box import PictureBox
from lamella.particles.extract_settings import ExtractSettings
from lamella.particles.views import view_places
from lamella.records import Particles, TiltSeries

__all__ = ["used_views", "visible_marks"]

Marks = NDArray[np.bool_]


def visible_marks(particles: Particles, box: PictureBox, settings: ExtractSettings) -> Marks:
    """The views in which each particle can be seen and is used.

    Parameters
    ----------
    particles
        of one tomogram. Marks that they carry already are kept: a view excluded before stays excluded.
    box
        of the pictures: a view counts where the particle's disc lies inside the image. What of its box lies outside
        is filled with the background.
    settings
        `max_dose` and `max_ctf_resolution`.

    Returns
    -------
    marks
        ``(n, v)``.
    """
    series = particles.tilt_series
    places = view_places(series, particles.positions_ang())  # (v, n, 2) x, y
    height, width = series.image_shape_px
    radius = box.diameter_ang / 2 / series.pixel_size_ang
    inside = (places >= radius - 0.5).all(axis=-1) & (places <= np.array([width, height]) - radius - 0.5).all(axis=-1)
    marks: Marks = inside.T & used_views(series, settings)
    return marks if particles.visible is None else marks & particles.visible


def used_views(series: TiltSeries, settings: ExtractSettings) -> Marks:
    """``(v,)`` the views of a series that the limits of dose and of the contrast transfer's fit leave."""
    used = np.ones(len(series), dtype=bool)
    if settings.max_dose and series.pre_exposure is not None:
        used &= np.asarray(series.pre_exposure) <= settings.max_dose
    if settings.max_ctf_resolution and series.defocus is not None and series.defocus.max_resolution_ang is not None:
        used &= np.asarray(series.defocus.max_resolution_ang) <= settings.max_ctf_resolution
    return used
