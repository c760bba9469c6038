"""Tell a running session what processing measured of its series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lamella.acquire.session.feedback import Measurement, add_feedback, read_feedback
from lamella.acquire.session.measured import axis_of, first_views, measurements_of, views_by_name
from lamella.acquire.session.result import SessionResult
from lamella.acquire.session.run import SessionHead, read_head, read_session
from lamella.errors import ProjectError
from lamella.records import TiltSeries
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.tables import read_record, series_of

__all__ = ["Told", "tell_series", "tell_session"]

_NEWS = 0.5  # standard deviations by which the number of a whole series must change to be told again
_OF_ALL = ("thickness", "axis_offset")


@dataclass(frozen=True, kw_only=True)
class Told:
    """How many measurements of each kind a session was told: names as in its file."""

    counts: dict[str, int]

    @property
    def total(self) -> int:
        """Of all kinds together."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in self.counts.items()) or "nothing new"


def tell_session(folder: Path | str, project: Path | str, record_name: str) -> Told:
    """Append what a project's record says of the session's series to the session's feedback.

    Raises
    ------
    ProjectError
        if there is no session or record, or none of its series is one of the session's.
    """
    names = {one.name for one in read_session(folder).plan.targets}
    record = read_record(Project.open(project), RecordName.parse(record_name))
    series = [one for one in map(series_of, record) if one.name in names]
    if not series:
        raise ProjectError(
            f"{project}: no series of {record_name} is a target of the session in {folder}", mend="name its project"
        )
    return tell_series(folder, series)


def tell_series(folder: Path | str, series: Sequence[TiltSeries]) -> Told:
    """Append what records say of a session's series, and where the tilt axis lies by all defoci told so far.

    A view is told of once: what a predictor has learned cannot be taken back. Numbers of whole series are told again
    where they have changed.

    Parameters
    ----------
    folder
        of the session.
    series
        records that went through `align`, `ctf`, or both; those of other series are left out.
    """
    head, result = read_head(folder), read_session(folder)
    before = read_feedback(folder)
    new = _new(_measured(series, head, result), before)
    axis = axis_of([*before, *new], result, head.calibrations.hand)
    if axis is not None:
        new += _new([axis], before)
    add_feedback(folder, new)
    counts: dict[str, int] = {}
    for one in new:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    return Told(counts=counts)


def _measured(series: Sequence[TiltSeries], head: SessionHead, result: SessionResult) -> list[Measurement]:
    views, firsts = views_by_name(result), first_views(result)
    axis_deg = head.calibrations.tilt_axis_deg
    known = [one for one in series if one.name in views]
    return [found for one in known for found in measurements_of(one, views[one.name], axis_deg, firsts.get(one.name))]


def _new(measured: Sequence[Measurement], before: Sequence[Measurement]) -> list[Measurement]:
    last = {one.of: one for one in before}
    found = []
    for one in measured:
        known = last.get(one.of)
        changed = known is not None and one.kind in _OF_ALL and abs(one.value_um - known.value_um) > _NEWS * one.sd_um
        if known is None or changed:
            found.append(one)
            last[one.of] = one
    return found
