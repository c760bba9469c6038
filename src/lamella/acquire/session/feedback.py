"""What processing measured of a session's views while it goes on: a file of lines that the session reads at each tilt.

``SESSION/feedback.jsonl`` has one JSON object a line: ``target`` (the series' name; empty for what is of all),
``tilt_deg`` (of the view; 0 for what is of the whole series), ``kind``, ``value_um``, ``sd_um``, and what some kinds
have beside:

- ``defocus``: what was fitted at the target's centre; positive is underfocus;
- ``shift``: by how much the view shows the target off its middle, ``value_um`` across the tilt axis and ``along_um``
  along it, as the session itself would have measured it against the first view;
- ``axis_offset``: x of the tilt axis from the middle of the beam, as a calibration states it; ``derived`` is true where
  it follows from the defoci of this file, so that nobody counts them twice;
- ``thickness``: of the specimen.

The log says what was taken in and when, so that a resumed session takes the same at the same tilt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from lamella.acquire.session.log import Journal
from lamella.errors import FormatError
from lamella.formats.atomic import output_errors

__all__ = [
    "FEEDBACK_NAME",
    "SAME_TILT_DEG",
    "Feedback",
    "Kind",
    "Measurement",
    "add_feedback",
    "journalled_feedback",
    "no_feedback",
    "read_feedback",
]

FEEDBACK_NAME = "feedback.jsonl"
SAME_TILT_DEG = 0.5
"""By which the angles that log and processing state of one view may differ."""

Kind = Literal["defocus", "shift", "axis_offset", "thickness"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One thing that processing measured.

    Attributes
    ----------
    target
        name of the series; empty for what is of all series.
    tilt_deg
        angle of the view; 0 for what is of the whole series.
    kind
        what was measured.
    value_um, sd_um
        it, and its standard deviation (of a shift: each way).
    along_um
        of a shift: along the tilt axis, where `value_um` is across it.
    derived
        whether it follows from other measurements that the session is told of too.

    Raises
    ------
    FormatError
        if the kind is none of these, or a number is not finite.
    """

    target: str
    tilt_deg: float
    kind: Kind
    value_um: float
    sd_um: float
    along_um: float = 0.0
    derived: bool = False

    def __post_init__(self) -> None:
        numbers = (self.tilt_deg, self.value_um, self.sd_um, self.along_um)
        if self.kind not in get_args(Kind) or not np.isfinite(numbers).all() or self.sd_um <= 0:
            raise FormatError(
                f"a measurement of {self.target or 'all series'}: {self.kind} {self.value_um} ± {self.sd_um} µm",
                mend=f"state one of {', '.join(get_args(Kind))}, and finite numbers",
            )

    @property
    def of(self) -> tuple[str, str, float]:
        """What it is a measurement of: kind, series, and the view's angle to a tenth of a degree."""
        return (self.kind, self.target, round(self.tilt_deg, 1))


Feedback = Callable[[int], Sequence[Measurement]]
"""What is new at a tilt, by its number in the order of recording."""


def no_feedback(tilt: int) -> Sequence[Measurement]:
    """Nothing."""
    return ()


def add_feedback(folder: Path | str, measurements: Sequence[Measurement]) -> None:
    """Append measurements to a session's file; each line goes in whole."""
    path = Path(folder) / FEEDBACK_NAME
    text = "".join(json.dumps(asdict(one)) + "\n" for one in measurements)
    with output_errors(path, every=True), path.open("a", encoding="utf-8") as file:
        file.write(text)


def read_feedback(folder: Path | str) -> tuple[Measurement, ...]:
    """Every whole line of a session's file that can be understood, in order; another is left out.

    A session does not stop for a line that somebody else wrote wrongly.
    """
    path = Path(folder) / FEEDBACK_NAME
    if not path.is_file():
        return ()
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        measurement = _of_line(line)
        if measurement is not None:
            found.append(measurement)
    return tuple(found)


def journalled_feedback(folder: Path, journal: Journal) -> Feedback:
    """Feedback from a session's folder whose every piece stands in the log; in a second run the log answers."""
    taken = 0

    def ask(tilt: int) -> Sequence[Measurement]:
        nonlocal taken
        line = {"call": "feedback", "with": [tilt]}
        found = journal.earlier(line)
        if found is None:
            new = read_feedback(folder)[taken:]
            journal.write({**line, "answer": [asdict(one) for one in new]})
        else:
            new = tuple(Measurement(**entry) for entry in found["answer"])
        taken += len(new)
        return new

    return ask


def _of_line(line: str) -> Measurement | None:
    try:
        entry: Any = json.loads(line)
        return Measurement(
            target=str(entry["target"]),
            tilt_deg=float(entry["tilt_deg"]),
            kind=entry["kind"],
            value_um=float(entry["value_um"]),
            sd_um=float(entry["sd_um"]),
            along_um=float(entry.get("along_um", 0.0)),
            derived=bool(entry.get("derived", False)),
        )
    except (ValueError, KeyError, TypeError, FormatError):
        return None
