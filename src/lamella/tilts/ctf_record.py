"""What a fit of the contrast transfer says, as a record and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.records import Defocus, TiltSeries
from lamella.tilts.ctf_profile import RingProfile
from lamella.tilts.ctf_result import CtfProfiles
from lamella.tilts.ctf_series import SERIES_SURE, TELLS, SeriesFit
from lamella.tilts.ctf_settings import CtfSettings
from lamella.tilts.ctf_shrink import Shrunk, shrink

__all__ = ["profiles_of", "record_of"]

Array = NDArray[np.float64]

_BORROWED = 0.2  # a value of which less than this is the view's own is borrowed
_SCALE = 0.1  # by which the growth of defocus with depth must be off before pixel size or voltage are doubted
_FEW_RINGS = 3.0
_NOMINAL = (0.6, 1.7)  # a defocus may be so many times what the microscope was set to
_SCALE_SURE = 5.0  # and by how many standard errors


def record_of(
    series: TiltSeries,
    geometry: TiltGeometry,
    fit: SeriesFit,
    there: NDArray[np.int64],
    profiles: Sequence[RingProfile],
    settings: CtfSettings,
) -> tuple[TiltSeries, tuple[str, ...]]:
    """The record of a fit to the views numbered `there`, and what a user should know.

    The other views, which show nothing, borrow from them.
    """
    n = len(series)
    own = _spread(fit.defocus_ang(), there, n, 0.0)
    error = _spread(fit.joint.deviation(0), there, n, np.inf)
    gain = _spread(fit.gain, there, n, 0.0)
    inside = (own >= settings.min_defocus) & (own <= settings.max_defocus)
    error = np.where((gain >= TELLS) & inside, error, np.inf)
    covariance = np.zeros((n, n))
    covariance[np.ix_(there, there)] = fit.joint.covariance[0::4, 0::4]
    shrunk = shrink(own, error, covariance) if settings.joint else _kept(own, error)
    u, v, angle, astigmatism_error = _astigmatism(fit, there, shrunk, n)
    phase = _spread(np.array([state.phase for state in fit.joint.states]), there, n, np.nan)
    phase = np.where(np.isnan(phase), np.nanmean(phase), phase) - fit.lens.contrast_phase
    shifted = isinstance(settings.phase_shift, str) or settings.phase_shift > 0
    resolution = _spread(np.array([one.resolution_ang for one in profiles]), there, n, np.inf)
    nothing = 1e3  # Å: tables hold numbers only
    defocus = Defocus(
        u_ang=u, v_ang=v, angle_deg=angle,
        max_resolution_ang=np.where(np.isfinite(resolution), resolution, nothing),
        phase_shift_deg=np.rad2deg(phase) if shifted else None,
        figure_of_merit=_spread(np.array([one.score for one in profiles]), there, n, 0.0),
    )  # fmt: skip
    alone = np.array([state.defocus_ang for state in fit.alone.states])
    borrowed = shrunk.own < _BORROWED
    scores = {
        "CtfDefocusErrorAngst": shrunk.error_ang,
        "CtfAstigmatismErrorAngst": astigmatism_error,
        "CtfAloneDefocusAngst": _spread(alone, there, n, 0.0),
        "CtfAloneErrorAngst": np.minimum(_spread(fit.alone.deviation(0), there, n, 1e5), 1e5),
        "CtfBorrowed": borrowed.astype(np.float64),
        "CtfImageCentreAngst": _at_image_centre(geometry, defocus, fit.used_hand),
    }
    half_field = min(series.image_shape_px) * series.pixel_size_ang / 2
    record = series.with_changes(
        defocus=defocus, hand=fit.used_hand, scores=scores, quality=_quality(fit, shrunk, defocus, half_field),
        optics=replace(series.optics, amplitude_contrast=fit.lens.amplitude_contrast),
    )  # fmt: skip
    return record, _notes(series, fit, shrunk, settings, borrowed)


def profiles_of(
    profiles: Sequence[RingProfile], there: NDArray[np.int64], n: int, square: Array, limit_per_ang: float
) -> CtfProfiles:
    """The views' rings together; zeros for views that have none."""

    def rows(name: str) -> Array:
        out = np.zeros((n, *getattr(profiles[0], name).shape))
        for view, one in zip(there, profiles, strict=True):
            out[view] = getattr(one, name)
        return out

    return CtfProfiles(
        frequency_per_ang=np.sqrt(square), measured=rows("measured"), fitted=rows("fitted"),
        correlation=rows("correlation"), pictures=rows("picture").astype(np.float32),
        picture_limit_per_ang=limit_per_ang,
    )  # fmt: skip


def _spread(values: Array, there: NDArray[np.int64], n: int, elsewhere: float) -> Array:
    out = np.full(n, elsewhere, dtype=np.float64)
    out[there] = values
    return out


def _kept(value: Array, error: Array) -> Shrunk:
    """Each view by itself; one that tells nothing has the middle of the others, and says so."""
    told = np.isfinite(error)
    middle = float(np.median(value[told])) if told.any() else float(np.median(value))
    scatter = float(np.std(value[told])) if told.sum() > 1 else 1e4
    return Shrunk(
        value_ang=np.where(told, value, middle), error_ang=np.where(told, error, max(scatter, 1.0)),
        own=told.astype(np.float64), middle_ang=middle, scatter_ang=scatter,
    )  # fmt: skip


def _astigmatism(fit: SeriesFit, there: NDArray[np.int64], shrunk: Shrunk, n: int) -> tuple[Array, Array, Array, Array]:
    """Defocus u and v, the direction of u, and the standard error of their difference."""
    terms = np.stack([state.astigmatism_ang for state in fit.joint.states])
    usual = np.median(terms, axis=0)
    first, second = (_spread(terms[:, i], there, n, float(usual[i])) for i in (0, 1))
    half = np.hypot(first, second)
    angle = np.rad2deg(np.arctan2(second, first)) / 2
    deviation = np.hypot(fit.joint.deviation(1), fit.joint.deviation(2)) / math.sqrt(2)
    error = _spread(2 * deviation, there, n, float(np.median(2 * deviation)))
    return shrunk.value_ang + half, shrunk.value_ang - half, angle, error


def _at_image_centre(geometry: TiltGeometry, defocus: Defocus, hand: int) -> Array:
    """``(n,)`` mean defocus of the specimen's mid-plane under the image's centre."""
    points = geometry.back_project(np.zeros((len(geometry), 1, 2)), 0.0)
    depth = np.einsum("nj,npj->np", geometry.rotations()[:, 2], points)
    u, v = defocus.at_depth(depth, hand)
    return np.asarray((u + v)[:, 0] / 2)


def _quality(fit: SeriesFit, shrunk: Shrunk, defocus: Defocus, half_field_ang: float) -> dict[str, float]:
    """Numbers of the series; the sag is the height of a bent specimen at the field's edge over its middle."""
    assert defocus.max_resolution_ang is not None
    numbers = {
        "CtfResolutionAngst": float(np.median(defocus.max_resolution_ang)),
        "CtfAmplitudeContrast": fit.lens.amplitude_contrast,
        "CtfMeanErrorAngst": float(np.median(shrunk.error_ang)),
    }
    if np.isfinite(shrunk.scatter_ang):
        numbers["CtfDefocusSpreadAngst"] = shrunk.scatter_ang
    if fit.contrast_fitted:
        numbers["CtfAmplitudeContrastError"] = float(np.median(fit.joint.deviation(3)))
    if fit.hand is not None:
        hand = fit.hand
        numbers |= {
            "CtfMeasuredHand": hand.sign, "CtfHandConfidence": hand.confidence, "CtfHandLogOdds": hand.log_odds,
            "CtfDepthSlope": hand.slope,
        }  # fmt: skip
        if np.isfinite(hand.slope_error):
            numbers["CtfDepthSlopeError"] = hand.slope_error
    if fit.plane is not None and fit.bent is not None:
        tilt, error = np.rad2deg(np.arctan(fit.plane.terms)), np.rad2deg(fit.plane.errors)
        # a plane z = a x is level after a turn by atan(a) about y, see `geometry.regauge`
        numbers |= {
            "CtfTiltOffsetDeg": float(tilt[0]), "CtfTiltOffsetDegError": float(error[0]),
            "CtfXTiltOffsetDeg": float(-tilt[1]), "CtfXTiltOffsetDegError": float(error[1]),
            "CtfSagAngst": float((fit.bent.terms[2] + fit.bent.terms[4]) / 2 * half_field_ang**2),
            "CtfSagAngstError": float(np.hypot(fit.bent.errors[2], fit.bent.errors[4]) / 2 * half_field_ang**2),
        }  # fmt: skip
    return {name: float(value) for name, value in numbers.items()}


def _notes(
    series: TiltSeries, fit: SeriesFit, shrunk: Shrunk, settings: CtfSettings, borrowed: NDArray[np.bool_]
) -> tuple[str, ...]:
    notes = [*_hand_notes(series, fit, settings), *_scale_notes(fit)]
    if borrowed.any() and series.place is not None:
        places = ", ".join(str(int(place)) for place in series.place[borrowed])
        notes.append(
            f"defocus of view {places} comes from the other views, for its own rings are too weak: its standard error "
            f"is the scatter of focus over the series, {shrunk.scatter_ang:.0f} Å"
        )
    middle, low, high = shrunk.middle_ang, settings.min_defocus, settings.max_defocus
    if middle < 1.2 * low or middle > high / 1.03:
        notes.append(
            f"the defocus of {middle:.0f} Å lies at the edge of the range that was searched, {low:.0f} to {high:.0f} "
            "Å: look at pixel size and voltage, or widen ctf.min_defocus and ctf.max_defocus"
        )
    nominal = series.other_columns.get("rlnTomoNominalDefocus")
    if nominal is not None:
        stated = float(np.median([abs(float(text)) for text in nominal])) * 1e4
        if stated > 0 and not _NOMINAL[0] < middle / stated < _NOMINAL[1]:
            notes.append(
                f"the defocus of {middle / 1e4:.2f} µm is far from the {stated / 1e4:.2f} µm that the microscope was "
                "set to: look at pixel size and voltage"
            )
    rings = fit.fits[0].lens.wavelength_ang * middle * float(fit.fits[0].view.rings.edges[-1])
    if rings < _FEW_RINGS:
        notes.append(
            f"only {rings:.1f} rings lie within the images' resolution: another defocus may fit as well, and standard "
            "errors hold for this one"
        )
    if fit.used_surface is not None and fit.plane is not None:
        tilt, error = np.rad2deg(np.arctan(fit.plane.terms)), np.rad2deg(fit.plane.errors)
        notes.append(
            f"the change of defocus over the views shows the specimen's plane {tilt[0]:.1f} ± {error[0]:.1f}° along "
            f"the tilt and {-tilt[1]:.1f} ± {error[1]:.1f}° along the axis off the alignment's level: "
            "defoci hold for it, the geometry was left"
        )
    if fit.smooth:
        notes.append("astigmatism changes over the series")
    return tuple(notes)


def _hand_notes(series: TiltSeries, fit: SeriesFit, settings: CtfSettings) -> list[str]:
    hand = fit.hand
    if hand is None:
        return [] if len(series) < 3 else ["no view is tilted enough to tell the hand: it stays as recorded"]
    said = f"defocus grows with depth by the sign {hand.sign:+d} (confidence {hand.confidence:.4g}, {hand.views} views)"
    if hand.confidence < SERIES_SURE:
        return [f"the hand is undecided: {said}; it stays {fit.used_hand:+d}"]
    if settings.hand != "auto" and hand.sign != fit.used_hand:
        return [f"ctf.hand = {settings.hand} contradicts the data: {said}; it stays {fit.used_hand:+d} as you set it"]
    return [said] if hand.sign == series.hand else [f"{said}; recorded was {series.hand:+d}"]


def _scale_notes(fit: SeriesFit) -> list[str]:
    hand = fit.hand
    if hand is None or hand.confidence < SERIES_SURE or not np.isfinite(hand.slope_error):
        return []
    off = abs(hand.slope - 1)
    if off < _SCALE or off < _SCALE_SURE * hand.slope_error:
        return []
    return [
        f"defocus grows with depth {hand.slope:.2f} ± {hand.slope_error:.2f} times as much as geometry, pixel size "
        f"and voltage let expect: look whether the pixel size is {hand.slope:.2f} times too large, the voltage wrong, "
        "or the tilt angles scaled"
    ]
