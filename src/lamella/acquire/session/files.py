"""What a session leaves on the disk beside its log: what SerialEM would have written, and the session's own geometry.

::

    SESSION/NAME.mrc                     the tilt stack, its sections in the order of recording
    SESSION/NAME.mrc.mdoc                what is known of each section
    SESSION/sorted/NAME.mrc (.mdoc)      the same by rising tilt
    SESSION/geometry/tilt_series.star    RELION-5 tables of the session's own model
    SESSION/left_out.csv                 every view that was not recorded, and why
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.port import Calibrations, Picture, Purpose
from lamella.acquire.session.events import (
    Event,
    PlaneFitted,
    SeriesBegun,
    TargetEnded,
    TiltLeftOut,
    ViewLeftOut,
    ViewRecorded,
)
from lamella.acquire.session.model import lie_of, session_series, write_geometry
from lamella.acquire.session.series_files import SeriesFiles, SessionFacts
from lamella.acquire.targets import Target
from lamella.formats.atomic import atomic_text

__all__ = ["LEFT_OUT_NAME", "SessionFiles", "SessionOutput"]

LEFT_OUT_NAME = "left_out.csv"

CLOCK_ZERO = datetime(2024, 3, 1, 9, 0, 0)
"""Of a clock that begins at 0 with the session: the same session gives the same bytes."""


@dataclass(frozen=True, kw_only=True)
class SessionOutput:
    """The files of a session that is over.

    Attributes
    ----------
    stacks, mdocs
        of each series that has an image.
    geometry
        the global table, or None where there is no image.
    left_out
        the table of views that were not recorded.
    """

    stacks: tuple[Path, ...]
    mdocs: tuple[Path, ...]
    geometry: Path | None
    left_out: Path


class SessionFiles:
    """Writes the files of a session; `picture` and `watch` are what `run_session` and `resume_session` take.

    In a session that is resumed the stacks are gone on with. Pictures without pixels leave no stack.

    Parameters
    ----------
    folder
        of the session.
    targets, settings, calibrations
        of it.
    sorted_copies
        whether each stack is also written by rising tilt once its series is over.
    clock_zero
        the date at which the microscope's clock said 0.
    """

    def __init__(
        self,
        folder: Path | str,
        targets: Sequence[Target],
        settings: AcquireSettings,
        calibrations: Calibrations,
        *,
        sorted_copies: bool = True,
        clock_zero: datetime = CLOCK_ZERO,
    ) -> None:
        self._folder = Path(folder)
        facts = SessionFacts(folder=self._folder, settings=settings, calibrations=calibrations, clock_zero=clock_zero)
        self._facts = facts
        self._series = [SeriesFiles(one.name, facts) for one in targets]
        self._sorted_copies = sorted_copies
        self._left_out: list[ViewLeftOut | TiltLeftOut] = []
        self._plane: PlaneFitted | None = None

    def picture(self, picture: Picture, purpose: Purpose) -> None:
        """Take a picture of a target as the camera gave it."""
        if purpose.kind == "record" and 0 <= purpose.target < len(self._series):
            self._series[purpose.target].take(picture)

    def watch(self, event: Event) -> None:
        """Take an event of the session."""
        if isinstance(event, ViewRecorded):
            self._series[event.target].add(event)
        elif isinstance(event, SeriesBegun):
            self._series[event.target].begun_with = event
        elif isinstance(event, PlaneFitted):
            self._plane = event
        elif isinstance(event, ViewLeftOut | TiltLeftOut):
            self._left_out.append(event)
        elif isinstance(event, TargetEnded):
            self._series[event.target].end(self._sorted_copies)

    def finish(self) -> SessionOutput:
        """Write what all series share; call it when the session is over, however it ended."""
        begun = [one for one in self._series if one.begun and one.views]
        lie = None if self._plane is None else lie_of(self._plane, self._facts.settings.start_tilt)
        records = [
            session_series(
                one.name,
                one.views,
                self._facts.settings,
                self._facts.calibrations,
                pixel_size_ang=one.pixel_size_ang,
                image_shape_px=one.image_shape_px,
                images=[f"{number:06d}@{one.name}.mrc" for number in range(1, len(one.views) + 1)],
                group=f"optics{place}",
                first=one.begun_with,
                lie=lie,
            )
            for place, one in enumerate(begun, start=1)
        ]
        geometry = write_geometry(self._folder, records) if records else None
        # Last of all files: where it stands, the others do.
        table = self._folder / LEFT_OUT_NAME
        atomic_text(table, self._left_out_table())
        return SessionOutput(
            stacks=tuple(one.stack_path for one in begun),
            mdocs=tuple(one.mdoc_path for one in begun),
            geometry=geometry,
            left_out=table,
        )

    def _left_out_table(self) -> str:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("series", "tilt", "kind", "reason"))
        for event in self._left_out:
            if isinstance(event, TiltLeftOut):
                table.writerow(("", event.tilt, "tilt", event.reason))
            else:
                table.writerow((self._series[event.target].name, event.tilt, event.kind, event.reason))
        for one in self._series:
            for number in sorted(one.missing):
                table.writerow((one.name, one.views[number].tilt, "lost", "its picture was not on the disk any more"))
        return text.getvalue()
