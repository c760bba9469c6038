"""What processing measured of a session's views while it goes on: a file of lines that the session reads at each tilt.

``SESSION/feedback.jsonl`` has one JSON object a line: ``target`` (the series' name), ``tilt_deg`` (of the view),
``kind``, ``value_um`` and ``sd_um``. The kind ``defocus`` is the defocus that was fitted at the target's centre,
positive is underfocus; ``thickness`` that of the specimen, which is kept for people. The log says what was taken in and
when, so that a resumed session takes the same at the same tilt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lamella.acquire.session.log import Journal
from lamella.errors import FormatError
from lamella.formats.atomic import output_errors
from lamella.records import TiltSeries

__all__ = [
    "FEEDBACK_NAME",
    "Feedback",
    "Measurement",
    "add_feedback",
    "journalled_feedback",
    "measurements_of",
    "no_feedback",
    "read_feedback",
]

FEEDBACK_NAME = "feedback.jsonl"

_UM_PER_ANG = 1e-4
_LEAST_SD_UM = 0.01


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One thing that processing measured.

    Attributes
    ----------
    target
        name of the series.
    tilt_deg
        angle of the view; 0 for what is of the whole series.
    kind
        ``"defocus"`` or ``"thickness"``.
    value_um, sd_um
        what was measured, and its standard deviation.
    """

    target: str
    tilt_deg: float
    kind: Literal["defocus", "thickness"]
    value_um: float
    sd_um: float

    def __post_init__(self) -> None:
        numbers = (self.tilt_deg, self.value_um, self.sd_um)
        if self.kind not in ("defocus", "thickness") or not np.isfinite(numbers).all() or self.sd_um <= 0:
            raise FormatError(
                f"a measurement of {self.target}: {self.kind} {self.value_um} ± {self.sd_um} µm",
                mend="state defocus or thickness, and finite numbers",
            )


Feedback = Callable[[int], Sequence[Measurement]]
"""What is new at a tilt, by its number in the order of recording."""


def no_feedback(tilt: int) -> Sequence[Measurement]:
    """Nothing."""
    return ()


def measurements_of(series: TiltSeries) -> tuple[Measurement, ...]:
    """What a record that went through `ctf` says of its views; views without an error of their own are left out."""
    found: list[Measurement] = []
    errors = series.scores.get("CtfDefocusErrorAngst")
    if series.defocus is not None and errors is not None:
        for tilt, defocus, error in zip(series.nominal_tilt_deg, series.defocus.mean_ang, errors, strict=True):
            if np.isfinite(defocus) and np.isfinite(error):
                sd = max(_UM_PER_ANG * float(error), _LEAST_SD_UM)
                found.append(_measurement(series.name, float(tilt), "defocus", _UM_PER_ANG * float(defocus), sd))
    thickness_error = series.quality.get("AlignThicknessErrorAngst")
    if series.thickness_ang is not None and thickness_error is not None and np.isfinite(thickness_error):
        sd = max(_UM_PER_ANG * float(thickness_error), _LEAST_SD_UM)
        found.append(_measurement(series.name, 0.0, "thickness", _UM_PER_ANG * series.thickness_ang, sd))
    return tuple(found)


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
        )
    except (ValueError, KeyError, TypeError, FormatError):
        return None


def _measurement(
    name: str, tilt_deg: float, kind: Literal["defocus", "thickness"], value_um: float, sd_um: float
) -> Measurement:
    return Measurement(target=name, tilt_deg=tilt_deg, kind=kind, value_um=value_um, sd_um=sd_um)
