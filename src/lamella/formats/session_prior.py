"""What the session that recorded a series knew of it, taken along as a start for alignment and defocus.

`lamella acquire` leaves ``geometry/tilt_series.star`` beside its mdoc files. Shifts and defocus become columns of the
record, not its geometry: they are where a search begins, and nobody shall take them for a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.formats.overrides import Imported
from lamella.formats.relion_tilt_series import read_tilt_series
from lamella.records import SESSION_DEFOCUS, SESSION_SHIFT_ERROR, SESSION_SHIFTS, Note, TiltSeries

__all__ = ["session_geometries", "session_geometry", "with_session_prior"]

_GEOMETRY = "geometry/tilt_series.star"
_SAME_TILT_DEG = 0.01


def session_geometries(mdocs: Sequence[Path]) -> tuple[Path, ...]:
    """The geometries that sessions left beside mdoc files."""
    beside = dict.fromkeys(path.parent / _GEOMETRY for path in mdocs)
    return tuple(path for path in beside if path.is_file())


def session_geometry(named: Path) -> Path:
    """The geometry that a user names, there or not; a session's folder stands for its own."""
    return named / _GEOMETRY if named.is_dir() else named


def with_session_prior(imported: Imported, geometries: Sequence[Path]) -> Imported:
    """Take along what sessions knew.

    Parameters
    ----------
    imported
        the series.
    geometries
        tables that sessions left; a series is known by its name, a view by its angle and the dose before it.

    Returns
    -------
    Imported
        with the scores ``SessionXShiftAngst``, ``SessionYShiftAngst``, ``SessionShiftErrorAngst`` and
        ``SessionDefocusAngst`` where a series' views are all known; what could not be read or does not fit is told and
        left out.
    """
    known: dict[str, TiltSeries] = {}
    notes: list[Note] = []
    for path in geometries:
        try:
            known |= {one.name: one for one in read_tilt_series(path, path.parent.parent)}
        except InputError as error:
            notes.append(Note(kind="warning", where=str(path), text=f"left out: {error}"))
    series = []
    for one in imported.series:
        prior = known.get(one.name)
        rows = None if prior is None else _rows(one, prior)
        if prior is None or rows is None or prior.geometry is None:
            if prior is not None:
                text = "the session's geometry is of other views, and was left out"
                notes.append(Note(kind="warning", where=one.name, text=text))
            series.append(one)
            continue
        shifts = prior.geometry.shifts_ang()[rows]
        scores = {SESSION_SHIFTS[0]: shifts[:, 0], SESSION_SHIFTS[1]: shifts[:, 1]}
        if SESSION_SHIFT_ERROR in prior.scores:
            scores[SESSION_SHIFT_ERROR] = prior.scores[SESSION_SHIFT_ERROR][rows]
        if prior.defocus is not None:
            scores[SESSION_DEFOCUS] = prior.defocus.mean_ang[rows]
        series.append(one.with_changes(scores=scores))
        text = "shifts and defocus that its session measured were taken along, as a start for align and ctf"
        notes.append(Note(kind="info", where=one.name, text=text))
    return replace(imported, series=tuple(series), notes=(*imported.notes, *notes))


def _rows(series: TiltSeries, prior: TiltSeries) -> NDArray[np.int64] | None:
    """Each view's row of the session's record; None where one has none."""
    away = np.abs(series.nominal_tilt_deg[:, None] - prior.nominal_tilt_deg)
    if series.pre_exposure is not None and prior.pre_exposure is not None:
        away = away + 1e-4 * np.abs(series.pre_exposure[:, None] - prior.pre_exposure)
    rows = away.argmin(axis=1)
    near = away[np.arange(len(series)), rows] <= _SAME_TILT_DEG
    return rows if near.all() and len(set(rows.tolist())) == len(series) else None
