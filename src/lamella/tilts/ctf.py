"""Defocus, astigmatism and hand of a tilt series, or of one image, from the rings in its power spectra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.geometry import TiltGeometry
from lamella.parallel import each, part_of
from lamella.progress import Progress, no_progress
from lamella.records import SESSION_DEFOCUS, ImageSource, TiltSeries
from lamella.tilts.ctf_lens import Lens
from lamella.tilts.ctf_profile import profile_of
from lamella.tilts.ctf_record import profiles_of, record_of
from lamella.tilts.ctf_result import CtfResult
from lamella.tilts.ctf_series import SeriesFit, fit_series
from lamella.tilts.ctf_settings import CtfSettings
from lamella.tilts.ctf_tiles import Looked, TilePlan, ViewSpectra, look_at_view, view_spectra

__all__ = ["estimate_ctf", "why_impossible"]

_TILE_ANG = 1024.0
_FAR_ANG = 50000.0  # defocus up to which tiles of that edge resolve rings well
_LARGEST_TILE_ANG = 2048.0
_FEW_SECTORS, _MANY_SECTORS = 12, 36  # directions: a difference of 250 Å, and of 2500 Å, blurs no ring within one
_LEAST_SCORE = 0.3  # correlation of the best view's rings with the fit, below which they are none
_NOTHING = "no rings stand out of the noise"
_FEW_VIEWS = 3  # up to so many views are fitted in many directions, for single images may be very astigmatic
_LOWEST_PER_ANG = 1 / 60
_FEWEST_RINGS = 1.5  # that the images must be able to show at 5 µm
_USUAL_DEFOCUS_ANG = 50000.0
_STEEPEST_DEG = 85.0  # views tilted more have no depth that could be told
_BYTES_PER_PIXEL = 40.0


def estimate_ctf(
    series: TiltSeries,
    images: ImageSource,
    settings: CtfSettings,
    *,
    even: ImageSource | None = None,
    odd: ImageSource | None = None,
    progress: Progress = no_progress,
) -> CtfResult:
    """Estimate the contrast transfer of every view.

    Parameters
    ----------
    series
        the record; with its geometry, else with the nominal angles. A single untilted view is an image by itself.
    images
        its tilt images.
    settings
        see `CtfSettings`.
    even, odd
        images of even and odd frames, whose spectra are taken where ``settings.spectra`` is ``frames``.

    Returns
    -------
    CtfResult
        the record with defocus and hand; or as it came, and why.

    Raises
    ------
    ImageError
        if images and record do not fit together, or spectra of frames are asked for and there are none.

    Notes
    -----
    1. Tiles under Hann windows in lines parallel to the axis; their power spectra, relative to their noise, in
       sectors of direction times bins of squared frequency k²: one transform per tile, and two of each image.
    2. Rings of all depths brought to the view's centre by the phase that their depth adds; a Fourier sum over k² tries
       all defoci at once.
    3. Fisher scoring of the spectra's Gamma likelihood (Whittle) over all views: defocus in each, astigmatism and phase
       common or smooth, the rings' strength a smooth curve of any sign like that of neighbouring tilts.
    4. The hand from both signs' likelihoods and their scatter over the views; the lie of the specimen from the change
       of defocus over the views; defoci shrunk by the width with which focus scatters.

    Standard errors are the inverse Fisher information's.
    """
    if tuple(images.shape) != (len(series), *series.image_shape_px):
        raise ImageError(
            f"{series.name}: images of shape {tuple(images.shape)} for {len(series)} views of {series.image_shape_px}",
            mend="give the images that the record names",
        )
    if why := why_impossible(series, settings):
        return CtfResult(series=series, passed_on=why)
    geometry = series.geometry or TiltGeometry.from_angles(series.nominal_tilt_deg, series.nominal_axis_deg)
    sources = (images, *_halves(series, settings, even, odd))
    there, fit = _fitted(sources, series, geometry, settings, part_of(progress, 0.0, 0.9))
    if not there.size:
        return CtfResult(series=series, passed_on="the images are constant, masked or hold no numbers")
    if fit is None:
        return CtfResult(series=series, passed_on=_NOTHING)
    rings = fit.fits[0].view.rings
    square, limit = rings.middle, float(np.sqrt(rings.edges[-1]))
    pairs = list(zip(fit.fits, fit.joint.states, strict=True))
    profiles = each(
        lambda pair: profile_of(*pair, square, limit), pairs, part_of(progress, 0.9, 1.0), "judging the fit"
    )
    middle = float(np.median(fit.defocus_ang()))
    if max(one.score for one in profiles) < _LEAST_SCORE or not settings.min_defocus <= middle <= settings.max_defocus:
        return CtfResult(series=series, passed_on=_NOTHING)
    record, notes = record_of(series, geometry, fit, there, profiles, settings)
    shown = profiles_of(profiles, there, len(series), square, limit)
    return CtfResult(series=record, profiles=shown, notes=notes)


def why_impossible(series: TiltSeries, settings: CtfSettings) -> str:
    """Why no estimate can be made; empty where one may be."""
    if series.imaging == "dark":
        return "dark-field images have no contrast transfer of this kind"
    if series.optics.voltage_kv is None:
        return "the voltage is not known: state it with --voltage when the project is made"
    lens = Lens.of(series.optics)
    finest = TilePlan.finest_ang(series.pixel_size_ang, settings.max_resolution)
    if finest >= settings.min_resolution:
        return f"pixels of {series.pixel_size_ang:g} Å are too coarse for rings: their finest detail is {finest:.0f} Å"
    usual = min(_USUAL_DEFOCUS_ANG, settings.max_defocus)
    if lens.wavelength_ang * usual / finest**2 < _FEWEST_RINGS:
        return f"pixels of {series.pixel_size_ang:g} Å are too coarse for rings at {usual / 1e4:g} µm"
    return ""


def _fitted(
    sources: tuple[ImageSource, ...],
    series: TiltSeries,
    geometry: TiltGeometry,
    settings: CtfSettings,
    progress: Progress,
) -> tuple[NDArray[np.int64], SeriesFit | None]:
    """Which views have spectra, and the fit to them, if there are rings.

    Where rings lie closer than the tiles resolve, spectra are taken once more from larger ones.
    """
    lens = Lens.of(series.optics)
    edge = settings.tile or _TILE_ANG
    for part in ((0.0, 0.8), (0.8, 1.0)):
        plan = _plan(series, lens, settings, edge)
        there, views = _all_spectra(sources, series, geometry, plan, part_of(progress, *part))
        fit = None
        if views:
            near = _session_defocus(series)
            fit = fit_series(views, geometry.select(there), lens, settings, hand=series.hand, near_ang=near)
        wider = 0.0 if fit is None else _TILE_ANG * float(np.median(fit.defocus_ang())) / _FAR_ANG
        if settings.tile or wider <= edge:
            break
        edge = min(wider, _LARGEST_TILE_ANG)
    return there, fit


def _halves(
    series: TiltSeries, settings: CtfSettings, even: ImageSource | None, odd: ImageSource | None
) -> tuple[ImageSource, ...]:
    if settings.spectra == "sums":
        return ()
    if even is None or odd is None:
        raise ImageError(
            f"{series.name}: there are no images of even and odd frames",
            mend="set ctf.spectra to sums, or begin from movies",
        )
    return (even, odd)


def _plan(series: TiltSeries, lens: Lens, settings: CtfSettings, edge_ang: float) -> TilePlan:
    finest = TilePlan.finest_ang(series.pixel_size_ang, settings.max_resolution)
    return TilePlan(
        edge_ang=edge_ang,
        frequency_per_ang=(min(_LOWEST_PER_ANG, 1 / settings.min_resolution), 1 / finest),
        turn_per_square=float(lens.turn(np.asarray(settings.max_defocus))),
        mask=settings.mask,
        sectors=_FEW_SECTORS if len(series) > _FEW_VIEWS else _MANY_SECTORS,
    )


def _all_spectra(
    sources: tuple[ImageSource, ...], series: TiltSeries, geometry: TiltGeometry, plan: TilePlan, progress: Progress
) -> tuple[NDArray[np.int64], list[ViewSpectra]]:
    """Which views have spectra, and those."""
    height, width = series.image_shape_px
    spectra = each(
        lambda view: _spectra(sources, view, series.pixel_size_ang, geometry, plan),
        range(len(series)), progress, "power spectra", _BYTES_PER_PIXEL * height * width,
    )  # fmt: skip
    return np.flatnonzero([view is not None for view in spectra]), [view for view in spectra if view is not None]


def _spectra(
    sources: tuple[ImageSource, ...], view: int, pixel_ang: float, geometry: TiltGeometry, plan: TilePlan
) -> ViewSpectra | None:
    """Spectra of one view: of its image, or the mean of those of its halves, cut and weighted as the image is."""
    if abs(geometry.y_tilt_deg[view]) > _STEEPEST_DEG:
        return None
    alone = geometry.select([view])
    whole = look_at_view(sources[0].view(view), pixel_ang, plan)
    if whole is None:
        return None
    if len(sources) == 1:
        return view_spectra(whole, alone, plan)
    parts = [look_at_view(source.view(view), pixel_ang, replace(plan, mask=False)) for source in sources[1:]]
    spectra = [view_spectra(_weighted(part, whole), alone, plan) for part in parts if part is not None]
    found = [one for one in spectra if one is not None]
    if len(found) < 2 or found[0].power.shape != found[1].power.shape:
        return found[0] if found else None
    power = ((found[0].power + found[1].power) / 2).astype(np.float32)
    return replace(found[0], power=power, tiles=2 * found[0].tiles)


def _weighted(part: Looked, whole: Looked) -> Looked:
    return replace(part, weight=whole.weight)


def _session_defocus(series: TiltSeries) -> float | None:
    """The defocus that the session set, Å; None where nobody said it."""
    stated = series.scores.get(SESSION_DEFOCUS)
    return None if stated is None or not np.isfinite(stated).all() else float(np.median(stated))
