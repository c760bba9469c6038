"""In which order the views of an mdoc were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.mdoc_values import MdocView
from lamella.records import Note

__all__ = ["recording_order"]

_DOSE_TOLERANCE = 1e-3


def recording_order(views: Sequence[MdocView], where: str) -> tuple[NDArray[np.int64], tuple[Note, ...]]:
    """Rank ``(n,)`` of every view in time, from 0.

    - DateTime, where every view has one; views of the same second follow PriorRecordDose, else ZValue.
    - else PriorRecordDose, where every view has one and no two are the same;
    - else the order of ZValue, which is assumed aloud.

    Raises
    ------
    FormatError
        if DateTime and PriorRecordDose contradict each other, or no order can be had; the section is named.
    """
    numbers = [(view.source, view.number) for view in views]
    numbered = None not in [view.number for view in views] and len(set(numbers)) == len(views)
    if _all(views, "time"):
        order = _by_time(views, numbered)
        _refuse_contradiction(views, order, "DateTime")
        return _ranks(order), _note_of_sorted_stack(views, order, where, numbered)
    if _all(views, "prior_dose") and len({view.prior_dose for view in views}) == len(views):
        order = sorted(range(len(views)), key=lambda place: views[place].prior_dose or 0.0)
        _refuse_contradiction(views, order, "PriorRecordDose")
        text = "order of recording from PriorRecordDose: not every section has a DateTime"
        return _ranks(order), (Note(kind="info", where=where, text=text),)
    if not numbered:
        first = next(view for view in views if view.time is None)
        raise FormatError(
            f"{first.where}: no order of recording can be had: no DateTime, PriorRecordDose or number of its own",
            mend="add DateTime to the section",
        )
    order = sorted(range(len(views)), key=lambda place: numbers[place])
    _refuse_contradiction(views, order, "ZValue")
    text = "order of recording taken to be that of ZValue: sections lack DateTime and PriorRecordDose"
    return _ranks(order), (Note(kind="assumed", where=where, text=text),)


def _all(views: Sequence[MdocView], name: str) -> bool:
    return all(getattr(view, name) is not None for view in views)


def _by_time(views: Sequence[MdocView], numbered: bool) -> list[int]:
    priors = _all(views, "prior_dose")

    def key(place: int) -> tuple[object, ...]:
        view = views[place]
        return (view.time, view.prior_dose if priors else 0.0, view.source, view.number or 0)

    order = sorted(range(len(views)), key=key)
    for first, second in pairwise(order):
        same = views[first].time == views[second].time
        tie = not priors or views[first].prior_dose == views[second].prior_dose
        if same and tie and not numbered:
            raise FormatError(
                f"{views[second].where}: recorded at the same second as {views[first].section.label}: "
                "no order of recording can be had",
                mend="correct DateTime, or add PriorRecordDose",
            )
    return order


def _refuse_contradiction(views: Sequence[MdocView], order: Sequence[int], by: str) -> None:
    """Times and prior doses, where there are any, must not fall along the order."""
    for name, key, tolerance in (("time", "DateTime", 0.0), ("prior_dose", "PriorRecordDose", _DOSE_TOLERANCE)):
        stated = [place for place in order if getattr(views[place], name) is not None]
        for first, second in pairwise(stated):
            earlier, later = getattr(views[first], name), getattr(views[second], name)
            falls = earlier > later if name == "time" else earlier > later + tolerance
            if key != by and falls:
                raise FormatError(
                    f"{views[second].where}: {by} puts it after {views[first].section.label}, {key} before "
                    f"({later} against {earlier}): the order of recording is in doubt",
                    mend=f"correct {key} or {by} in one of the two sections",
                )


def _note_of_sorted_stack(
    views: Sequence[MdocView], order: Sequence[int], where: str, numbered: bool
) -> tuple[Note, ...]:
    numbers = [(views[place].source, views[place].number or 0) for place in order]
    if not numbered or numbers == sorted(numbers):
        return ()
    text = "sections are not numbered in the order of recording; the order was taken from DateTime"
    return (Note(kind="info", where=where, text=text),)


def _ranks(order: Sequence[int]) -> NDArray[np.int64]:
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[list(order)] = np.arange(len(order))
    return ranks
