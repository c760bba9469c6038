"""What processing measured of a session's series, in the session's own words: its frame, its units, its references.

An alignment knows where the specimen's centre voxel is in each view, and its specimen may lie anywhere: another
translation of it changes every shift and no picture. The session knows where the point is that a target's *first* view
had in its middle, but for what tracking said that this view was off by itself. So a point of the specimen is chosen
whose way through the views agrees best with what the session measured and believed, near the middle of the first view
and near the specimen's mid-plane, which alignment makes z = 0; the shifts told are that point's. Where the session
believed too few views there is no such point, and nothing is told; where the two do not agree, one of them is wrong,
and nothing is told either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.session.axis_offset import SeenDefocus, fit_axis_offset
from lamella.acquire.session.events import SeriesBegun, ViewRecorded
from lamella.acquire.session.feedback import SAME_TILT_DEG, Kind, Measurement
from lamella.acquire.session.model import in_stage_um
from lamella.acquire.session.result import SessionResult
from lamella.records import TiltSeries

__all__ = ["axis_of", "first_views", "measurements_of", "shifts_of", "views_by_name"]

Array = NDArray[np.float64]

_UM_PER_ANG = 1e-4
_ANG_PER_UM = 1e4
_LEAST_SD_UM = 0.01
_LEAST_SHIFT_SD_UM = 0.003
_FIRST_SD_UM = 0.05  # by which a first view is off itself, of which the session does not say where it was
_MID_PLANE_SD_UM = 0.1  # by which the point that is followed may lie off it
_FEW_VIEWS = 4
_DISAGREE_UM = 0.1  # beyond which alignment and session saw something else
_ROUNDS = 5
_DOUBT = 2.5
_USEFUL_AXIS_SD_UM = 0.3


def views_by_name(result: SessionResult) -> dict[str, tuple[ViewRecorded, ...]]:
    """The views of each target of a session, in the order of recording."""
    names = [target.name for target in result.plan.targets]
    return {name: tuple(view for view in result.views if view.target == place) for place, name in enumerate(names)}


def first_views(result: SessionResult) -> dict[str, SeriesBegun]:
    """Of each target that has one, where it was in the view that its others were compared with."""
    names = [target.name for target in result.plan.targets]
    return {names[event.target]: event for event in result.events if isinstance(event, SeriesBegun)}


def measurements_of(
    series: TiltSeries,
    views: Sequence[ViewRecorded] = (),
    axis_deg: float = 0.0,
    first: SeriesBegun | None = None,
) -> tuple[Measurement, ...]:
    """What a record says of its views: defoci, shifts, thickness.

    Parameters
    ----------
    series
        that went through `align`, `ctf`, or both. A view's defocus without an error of its own, or that is borrowed
        from the others, is left out.
    views
        of that target, as the session recorded them; none: no shift.
    axis_deg
        the tilt axis in images, as the session knows it.
    first
        where the target was in the view that its others were compared with, where the session knows.
    """
    found: list[Measurement] = []
    errors = series.scores.get("CtfDefocusErrorAngst")
    if series.defocus is not None and errors is not None:
        borrowed = series.scores.get("CtfBorrowed", np.zeros(len(series)))
        rows = zip(series.nominal_tilt_deg, series.defocus.mean_ang, errors, borrowed, strict=True)
        for tilt, defocus, error, other in rows:
            if np.isfinite(defocus) and np.isfinite(error) and not other:
                found.append(_measurement(series.name, float(tilt), "defocus", float(defocus), float(error)))
    found += shifts_of(series, views, axis_deg, first)
    thickness_error = series.quality.get("AlignThicknessErrorAngst")
    if series.thickness_ang is not None and thickness_error is not None and np.isfinite(thickness_error):
        found.append(_measurement(series.name, 0.0, "thickness", series.thickness_ang, thickness_error))
    return tuple(found)


def shifts_of(
    series: TiltSeries, views: Sequence[ViewRecorded], axis_deg: float, first: SeriesBegun | None = None
) -> tuple[Measurement, ...]:
    """Each view's displacement as alignment found it, but for the first view's, which the session compares with."""
    if series.geometry is None or not views:
        return ()
    pairs = _pairs(series, views)
    if len(pairs) < _FEW_VIEWS:
        return ()
    by_point, offset = _ways(series, axis_deg)
    rows = np.array([row for row, _ in pairs])
    point = _followed_point(by_point[rows], offset[rows], [_Believed.of(view, views[0], first) for _, view in pairs])
    if point is None:
        return ()
    place, covariance, scatter_um = point
    own_um = _errors_um(series)
    found = []
    for row, view in pairs:
        if view is views[0]:
            continue
        shift = by_point[row] @ place + offset[row]
        spread = by_point[row] @ covariance @ by_point[row].T
        sd = np.sqrt(own_um[row] ** 2 + scatter_um**2 + np.trace(spread) / 2)
        found.append(
            Measurement(
                target=series.name,
                tilt_deg=float(series.nominal_tilt_deg[row]),
                kind="shift",
                value_um=float(shift[0]),
                along_um=float(shift[1]),
                sd_um=float(max(sd, _LEAST_SHIFT_SD_UM)),
            )
        )
    return tuple(found)


def axis_of(defoci: Sequence[Measurement], result: SessionResult, hand: int) -> Measurement | None:
    """The axis's offset from the defoci of a session's views, each told once; None where they do not tell it.

    Parameters
    ----------
    defoci
        of any of its targets.
    result
        the session up to now: its log says what the lens was set to.
    hand
        sign by which the defocus grows with height.
    """
    views = views_by_name(result)
    x_um = {target.name: target.x_um for target in result.plan.targets}
    settings = result.plan.settings
    seen: dict[tuple[int, int], SeenDefocus] = {}
    for one in defoci:
        view = _view_at(views.get(one.target, ()), one.tilt_deg)
        if one.kind != "defocus" or view is None:
            continue
        seen[view.target, view.tilt] = SeenDefocus(
            target=view.target,
            tilt=view.tilt,
            x_um=x_um[one.target],
            tilt_deg=view.tilt_deg - settings.start_tilt,
            lens_um=view.defocus_um,
            defocus_um=one.value_um,
            sd_um=one.sd_um,
        )
    found = fit_axis_offset(list(seen.values()), hand=hand, wanted_um=settings.defocus)
    if found is None or found.sd_um > _USEFUL_AXIS_SD_UM:
        return None
    return Measurement(
        target="", tilt_deg=0.0, kind="axis_offset", value_um=found.axis_um, sd_um=found.sd_um, derived=True
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Believed:
    """A displacement that the session believed, and its standard deviation; None where it did not believe any."""

    place_um: Array | None
    sd_um: float

    @classmethod
    def of(cls, view: ViewRecorded, earliest: ViewRecorded, first: SeriesBegun | None) -> _Believed:
        if first is not None and view.tilt == first.tilt:
            return cls(place_um=np.array(first.displacement_um), sd_um=max(first.sd_um, _LEAST_SHIFT_SD_UM))
        if first is None and view is earliest:
            return cls(place_um=np.zeros(2), sd_um=_FIRST_SD_UM)
        if not view.learned or view.displacement_um is None:
            return cls(place_um=None, sd_um=np.inf)
        return cls(place_um=np.array(view.displacement_um), sd_um=max(view.displacement_sd_um, _LEAST_SHIFT_SD_UM))


def _followed_point(by_point: Array, offset: Array, believed: Sequence[_Believed]) -> tuple[Array, Array, float] | None:
    """``(3,)`` the point that the session follows, its covariance, and how far the two scatter about each other; µm."""
    known = [number for number, one in enumerate(believed) if one.place_um is not None]
    if len(known) < _FEW_VIEWS:
        return None
    rows = by_point[known].reshape(-1, 3)
    values = (np.array([believed[number].place_um for number in known]) - offset[known]).reshape(-1)
    sd = np.repeat([believed[number].sd_um for number in known], 2)
    belief = np.diag([0.0, 0.0, _MID_PLANE_SD_UM**-2.0])
    scatter = 0.0
    weight = np.ones(len(values))
    for _ in range(_ROUNDS):
        variance = (sd**2 + scatter**2) / weight
        covariance = np.linalg.inv(rows.T @ (rows / variance[:, None]) + belief)
        place = covariance @ (rows.T @ (values / variance))
        left = np.abs(values - rows @ place)
        scatter = float(1.4826 * np.median(left))
        weight = np.minimum(1.0, _DOUBT * np.hypot(sd, scatter) / np.maximum(left, 1e-9))
    return None if scatter > _DISAGREE_UM else (place, np.asarray(covariance, np.float64), scatter)


def _ways(series: TiltSeries, axis_deg: float) -> tuple[Array, Array]:
    """``(n, 2, 3)`` and ``(n, 2)``: a point p of the specimen, µm, appears at the first times p plus the second, µm."""
    assert series.geometry is not None
    points = np.vstack([np.zeros(3), _ANG_PER_UM * np.eye(3)])
    seen = in_stage_um(series.geometry.with_terms(field=None).project(points), axis_deg)  # (n, 4, 2)
    return np.moveaxis(seen[:, 1:] - seen[:, :1], 1, 2), seen[:, 0]


def _errors_um(series: TiltSeries) -> Array:
    """``(n,)`` standard errors of the shifts, where alignment tells any."""
    names = ("AlignXShiftErrorAngst", "AlignYShiftErrorAngst")
    errors = [np.nan_to_num(series.scores[name]) for name in names if name in series.scores]
    return _UM_PER_ANG * np.max(errors, axis=0) if errors else np.zeros(len(series))


def _pairs(series: TiltSeries, views: Sequence[ViewRecorded]) -> list[tuple[int, ViewRecorded]]:
    """Each row of the record with the view that it is of."""
    pairs = [(row, _view_at(views, float(tilt))) for row, tilt in enumerate(series.nominal_tilt_deg)]
    return [(row, view) for row, view in pairs if view is not None]


def _view_at(views: Sequence[ViewRecorded], tilt_deg: float) -> ViewRecorded | None:
    nearest = min(views, key=lambda view: abs(view.tilt_deg - tilt_deg), default=None)
    return nearest if nearest is not None and abs(nearest.tilt_deg - tilt_deg) <= SAME_TILT_DEG else None


def _measurement(name: str, tilt_deg: float, kind: Kind, value_ang: float, error_ang: float) -> Measurement:
    sd_um = max(_UM_PER_ANG * error_ang, _LEAST_SD_UM)
    return Measurement(target=name, tilt_deg=tilt_deg, kind=kind, value_um=_UM_PER_ANG * value_ang, sd_um=sd_um)
