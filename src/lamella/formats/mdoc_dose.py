"""The dose of each view of an mdoc, and the dose before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lamella.formats.mdoc_values import MdocView
from lamella.formats.overrides import Overrides
from lamella.records import Note

__all__ = ["doses_before_views", "doses_of_views"]

Array = NDArray[np.float64]

_FRAMES_SHARE = (0.95, 1.05)
_CAMERA_SHARE = (0.3, 1.25)  # thick specimens keep more than half of the electrons from the camera


def doses_of_views(
    views: Sequence[MdocView], overrides: Overrides, where: str
) -> tuple[Array | None, tuple[Note, ...]]:
    """Dose of each view ``(n,)`` in e/Å², or None where nobody states one.

    ``--dose-per-tilt``, else ExposureDose, else the sum of FrameDosesAndNumber. DoseRate · ExposureTime is never taken:
    it is measured behind the specimen.
    """
    stated = np.array([view.exposure_dose or 0.0 for view in views])
    frames = np.array([view.frame_dose or 0.0 for view in views])
    if overrides.dose_per_tilt is not None:
        return _given(overrides.dose_per_tilt, stated, frames, where)
    notes: list[Note] = []
    if (stated > 0).any():
        doses = _fill_gaps(views, stated, frames, notes)
        source = "ExposureDose"
    elif (frames > 0).all():
        doses, source = frames, "FrameDosesAndNumber"
        text = "ExposureDose is 0 or absent in every section; the dose was taken from FrameDosesAndNumber"
        notes.append(Note(kind="info", where=where, text=text))
    else:
        notes.append(Note(kind="warning", where=where, text=_unknown(views)))
        return None, tuple(notes)
    if source == "ExposureDose":
        notes += _disagreement(views, doses, "frame_dose", "FrameDosesAndNumber", _FRAMES_SHARE, source)
    notes += _disagreement(views, doses, "camera_dose", "DoseRate · ExposureTime", _CAMERA_SHARE, source)
    return doses, tuple(notes)


def _given(dose: float, stated: Array, frames: Array, where: str) -> tuple[Array, tuple[Note, ...]]:
    said = stated if (stated > 0).any() else frames
    text = f"dose {dose:g} e/Å² per view, as given"
    differ = (said > 0).any() and np.abs(said - dose).max() > 1e-6 * max(dose, 1.0)
    if differ:
        text += f"; the file says {_span(said)} e/Å²"
    return np.full(len(stated), dose), (Note(kind="overridden" if differ else "info", where=where, text=text),)


def _fill_gaps(views: Sequence[MdocView], stated: Array, frames: Array, notes: list[Note]) -> Array:
    doses = stated.copy()
    usual = float(np.median(stated[stated > 0]))
    for place in np.flatnonzero(stated <= 0).tolist():
        by_frames = frames[place] > 0
        doses[place] = frames[place] if by_frames else usual
        source = "FrameDosesAndNumber" if by_frames else "the median of the other sections"
        text = f"no ExposureDose; {doses[place]:g} e/Å² was taken, {source}"
        notes.append(Note(kind="assumed", where=views[place].where, text=text))
    return doses


def _unknown(views: Sequence[MdocView]) -> str:
    zero = any(view.exposure_dose is not None for view in views)
    text = f"dose unknown: ExposureDose is {'0' if zero else 'absent'} in every section; --dose-per-tilt states it"
    camera = np.array([view.camera_dose or 0.0 for view in views])
    if (camera > 0).all():
        text += f" (DoseRate · ExposureTime, behind the specimen, is {_span(camera)} e/Å², which was not taken)"
    return text


def _disagreement(
    views: Sequence[MdocView], doses: Array, name: str, key: str, share: tuple[float, float], source: str
) -> tuple[Note, ...]:
    """One warning for all views of which `key` tells less or more than a share of the dose that was taken."""
    other = np.array([getattr(view, name) or 0.0 for view in views])
    off = np.flatnonzero((other > 0) & ((other < share[0] * doses) | (other > share[1] * np.maximum(doses, 1e-9))))
    if not off.size:
        return ()
    first = off[0]
    text = (
        f"{source} ({doses[first]:g} e/Å²) and {key} ({other[first]:g} e/Å²) disagree here and in {off.size - 1} more "
        f"section(s); {source} was taken"
    )
    return (Note(kind="warning", where=views[first].where, text=text),)


def doses_before_views(
    views: Sequence[MdocView], doses: Array | None, rank: NDArray[np.int64], overrides: Overrides, where: str
) -> tuple[Array | None, tuple[Note, ...]]:
    """Dose before each view ``(n,)`` in e/Å², or None where it is unknown.

    PriorRecordDose where every section has one and it grows, else the sum over the views recorded before.
    """
    order = np.argsort(rank)
    summed: Array | None = None
    if doses is not None:
        summed = np.empty(len(views))
        summed[order] = np.concatenate([[0.0], np.cumsum(doses[order])[:-1]])
    notes: list[Note] = []
    priors = np.array([np.nan if view.prior_dose is None else view.prior_dose for view in views])
    usable = np.isfinite(priors).all() and overrides.dose_per_tilt is None and (len(views) == 1 or np.ptp(priors) > 0)
    if usable:
        before = priors
        if summed is not None and doses is not None:
            notes += _unexplained(views, priors, summed, float(np.median(doses)), order)
    elif summed is None:
        return None, ()
    else:
        before = summed
        notes += _note_of_sums(priors, order, overrides, where)
        first = priors[order[0]]
        if np.isfinite(first) and overrides.dose_per_tilt is None:
            before = summed + first
    if overrides.prior_dose is not None:
        was = float(before[order[0]])
        before = before - was + overrides.prior_dose
        kind = "overridden" if usable and abs(was - overrides.prior_dose) > 1e-6 else "info"
        text = f"dose before the first view {overrides.prior_dose:g} e/Å², as given" + (
            f"; the file says {was:g}" if kind == "overridden" else ""
        )
        notes.append(Note(kind="overridden" if kind == "overridden" else "info", where=where, text=text))
    return before, tuple(notes)


def _unexplained(
    views: Sequence[MdocView], priors: Array, summed: Array, usual: float, order: NDArray[np.int64]
) -> tuple[Note, ...]:
    """Warn where PriorRecordDose is not what the listed sections add up to."""
    excess = (priors - summed)[order]
    steps = np.diff(excess, prepend=0.0)
    notes = []
    for place, step, over in zip(order, steps, excess, strict=True):
        if abs(step) <= 0.5 * usual:
            continue
        what = "larger than the listed sections explain" if step > 0 else "smaller than the listed sections add up to"
        text = (
            f"PriorRecordDose {priors[place]:g} e/Å² is {what} ({summed[place]:g} e/Å² before it, "
            f"{abs(over):g} {'more' if over > 0 else 'less'}); PriorRecordDose was taken"
        )
        notes.append(Note(kind="warning", where=views[place].where, text=text))
    return tuple(notes)


def _note_of_sums(priors: Array, order: NDArray[np.int64], overrides: Overrides, where: str) -> tuple[Note, ...]:
    stated = np.isfinite(priors)
    if not stated.any():
        text = "no PriorRecordDose: the dose before a view is the sum over the views recorded before it"
        return (Note(kind="info", where=where, text=text),)
    if overrides.dose_per_tilt is not None:
        text = "PriorRecordDose is not used, since the dose per view was given: the given doses were summed"
        return (Note(kind="overridden", where=where, text=text),)
    reason = "is the same in every section" if stated.all() else f"is absent in {int((~stated).sum())} section(s)"
    text = f"PriorRecordDose {reason}; the doses of the views recorded before were summed"
    if np.isfinite(priors[order[0]]):
        text += f", on top of the first view's {priors[order[0]]:g} e/Å²"
    return (Note(kind="warning", where=where, text=text),)


def _span(values: Array) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if high - low < 5e-3 * max(high, 1e-9) else f"{low:.3g}…{high:.3g}"
