"""How the specimen moves while a view is recorded: the true motion of every movie.

When the beam comes on the film jumps and settles, over a fraction of an electron per Å²; the stage still drifts after
the tilt; and the film bends, so that not every place moves alike (Brilot et al. 2012; Zheng et al. 2017).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lamella.records import LocalMotion, MovieMotion, TiltSeries
from lamella.records.motion import spline_basis
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.true_series import doses_of_views

__all__ = ["true_motion"]

Array = NDArray[np.float64]

_GRID = 4  # coefficients each way: any polynomial of third degree
_BEND_SHARE = 0.6  # of a view's dose, over which bending comes to its end
_BEND_DOSE = 30.0  # e/Å² over which a specimen that has been exposed bends less
_BEND_LEAST = 0.3  # of the first view's bending, that late views still show


def true_motion(settings: SimulateSettings, series: TiltSeries, index: int = 0) -> tuple[MovieMotion, ...]:
    """The motion of each movie of a true record, in the order of its rows; 0 everywhere in the first frame.

    Parameters
    ----------
    settings
        of the simulation.
    series
        its true record, as `record_series` makes it.
    index
        number of the series, from 0.
    """
    assert series.place is not None
    common = np.random.default_rng([settings.seed, index, 4]).normal(size=(2, 2))
    return tuple(_motion(settings, series, index, view, common) for view in range(len(series)))


def _motion(settings: SimulateSettings, series: TiltSeries, index: int, view: int, common: Array) -> MovieMotion:
    assert series.place is not None
    assert series.pre_exposure is not None
    rng = np.random.default_rng([settings.seed, index, 5, int(series.place[view])])
    dose = float(doses_of_views(series)[view])
    frames = max(1, settings.frames)
    done = (np.arange(frames) + 0.5) * dose / frames  # e/Å² of the view at the middle of each frame
    shared = settings.motion_shared
    start, drift = math.sqrt(shared) * common + math.sqrt(1 - shared) * rng.normal(size=(2, 2))
    jitter = settings.motion_jitter * rng.normal(size=(frames, 2))
    moved = (
        settings.motion_start / math.sqrt(2) * (1 - np.exp(-done / settings.motion_start_dose))[:, None] * start
        + settings.motion_drift / math.sqrt(2) * (done / dose)[:, None] * drift
        + jitter
    )
    return MovieMotion(
        shape_px=series.image_shape_px,
        pixel_size_ang=settings.pixel_size,
        global_px=(moved - moved[0]) / settings.pixel_size,
        local=_local(settings, series, view, done / dose, rng),
        pre_exposure=float(series.pre_exposure[view]),
        dose_per_frame=dose / frames,
    )


def _local(
    settings: SimulateSettings, series: TiltSeries, view: int, done: Array, rng: np.random.Generator
) -> LocalMotion | None:
    """Motion that differs over the field: a random smooth part in the plane, and a dome that tilt lets appear."""
    assert series.geometry is not None
    assert series.pre_exposure is not None
    amplitudes = rng.normal(size=(2, 5))
    if (settings.local_motion == 0 and settings.doming == 0) or len(done) < 2:
        return None
    height, width = series.image_shape_px
    y, x = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9), indexing="ij")
    shapes = np.stack([x, y, x**2 - 1 / 3, x * y, y**2 - 1 / 3])
    plane = np.einsum("cs,sij->cij", amplitudes, shapes)
    plane *= settings.local_motion / np.sqrt((plane**2).sum(axis=0).mean())
    dome = settings.doming * (2 / 3 - x**2 - y**2)
    upwards = series.geometry.rotations()[view, :2, 2]  # where in the image a point moves that rises
    field = plane + upwards[:, None, None] * dome
    late = _BEND_LEAST + (1 - _BEND_LEAST) * math.exp(-float(series.pre_exposure[view]) / _BEND_DOSE)
    course = (1 - np.exp(-done / _BEND_SHARE)) / (1 - math.exp(-1 / _BEND_SHARE))
    along_x = np.linalg.pinv(spline_basis((x[0] + 1) / 2 * (width - 1), width, _GRID))
    along_y = np.linalg.pinv(spline_basis((y[:, 0] + 1) / 2 * (height - 1), height, _GRID))
    coefficients = np.einsum("cij,yi,xj->cyx", field, along_y, along_x) * late / settings.pixel_size
    return LocalMotion((course - course[0])[:, None, None, None] * coefficients, (height, width))
