"""The files of one series while it is recorded: a stack in the order of recording, and the mdoc beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from lamella import __version__
from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.port import RECORD, Calibrations, Picture, Pixels
from lamella.acquire.session.events import SeriesBegun, ViewRecorded
from lamella.formats.mdoc import new_mdoc, read_mdoc, write_mdoc
from lamella.formats.mdoc_write import WrittenView, serialem_section, serialem_titles
from lamella.formats.mrc_growing import GrowingStack
from lamella.formats.mrc_writer import MrcWriter

__all__ = ["SeriesFiles", "SessionFacts"]

_MOST_COUNTS = 16384  # of a first image; the brightest of a series is hardly twice as bright

Section = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class SessionFacts:
    """What all series of a session have in common.

    Attributes
    ----------
    folder
        of the session.
    settings, calibrations
        of it.
    clock_zero
        the date at which the microscope's clock said 0.
    """

    folder: Path
    settings: AcquireSettings
    calibrations: Calibrations
    clock_zero: datetime


class SeriesFiles:
    """``NAME.mrc`` and ``NAME.mrc.mdoc`` of one series.

    Pixels are written as soon as the camera gives them, counted by the header once the view stands in the log, and only
    then named by the mdoc: whatever is killed between, each file is whole, and a resumed session finds the pixels.

    Parameters
    ----------
    name
        of the series.
    facts
        of the session.

    Attributes
    ----------
    views
        in the order of recording.
    begun_with
        where the target was in its first view; None where it was not measured.
    missing
        numbers of the views whose picture was not on the disk any more when the session was resumed.
    """

    def __init__(self, name: str, facts: SessionFacts) -> None:
        self.name = name
        self.views: list[ViewRecorded] = []
        self.begun_with: SeriesBegun | None = None
        self.missing: set[int] = set()
        self._facts = facts
        self._stack: GrowingStack | None = None
        self._stage_um = (0.0, 0.0, 0.0)
        self._earlier = self._read_sections()
        self._sections: list[Section] = []

    @property
    def stack_path(self) -> Path:
        """Of the images in the order of recording."""
        return self._facts.folder / f"{self.name}.mrc"

    @property
    def mdoc_path(self) -> Path:
        """Of what is said of them."""
        return self._facts.folder / f"{self.name}.mrc.mdoc"

    @property
    def begun(self) -> bool:
        """Whether there is an image."""
        return self._stack is not None and len(self._stack) > 0

    @property
    def image_shape_px(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self._facts.calibrations.presets[RECORD].shape_px

    @property
    def pixel_size_ang(self) -> float:
        """Of the images."""
        return self._facts.calibrations.presets[RECORD].pixel_size_ang

    def take(self, picture: Picture) -> None:
        """Write the pixels of the view to come; a later picture of it takes their place."""
        self._stage_um = picture.status.stage_um
        if not isinstance(picture.content, Pixels):
            return
        image = picture.content.image
        if self._stack is None:
            whole = bool((image == np.rint(image)).all() and np.abs(image).max() < _MOST_COUNTS)
            self._stack = self._open("int16" if whole else "float32")
        self._stack.put(len(self.views), image)

    def add(self, view: ViewRecorded) -> None:
        """Count a view that stands in the log, and name it in the mdoc."""
        number = len(self.views)
        self.views.append(view)
        if self._stack is None:
            if not self.stack_path.exists():
                return
            self._stack = self._open("float32")
        known = number in self._earlier and number < len(self._stack)
        if not known and not self._stack.holds(number):
            self.missing.add(number)
            self._stack.put(number, np.zeros(self.image_shape_px, np.float32))
        if number >= len(self._stack):
            self._stack.keep(number + 1)
        self._sections.append(self._earlier[number] if known else self._section(number))
        if not known:
            self._write_mdoc()

    def end(self, sorted_copy: bool) -> None:
        """No view comes any more: what was never counted is cut off; a copy by rising tilt is written."""
        if self._stack is None or not self.views:
            return
        self._stack.keep(len(self.views))
        self._write_mdoc()
        if sorted_copy:
            self._write_sorted()

    def _open(self, dtype: str) -> GrowingStack:
        return GrowingStack(self.stack_path, self.image_shape_px, self.pixel_size_ang, dtype)

    def _read_sections(self) -> dict[int, Section]:
        """What an earlier run of the session said of its views."""
        if not self.mdoc_path.exists():
            return {}
        return {
            int(section.name): {entry.key: entry.value for entry in section.entries}
            for section in read_mdoc(self.mdoc_path).sections
            if section.kind == "ZValue"
        }

    def _section(self, number: int) -> Section:
        assert self._stack is not None
        view, facts = self.views[number], self._facts
        preset = facts.calibrations.presets[RECORD]
        return serialem_section(
            WrittenView(
                tilt_deg=view.tilt_deg,
                dose=view.dose,
                dose_before=view.dose_before,
                pixel_size_ang=self.pixel_size_ang,
                # Of the target: the lens stands elsewhere, by the height that the session gave it.
                defocus_um=facts.settings.defocus,
                target_defocus_um=facts.settings.defocus,
                axis_deg=facts.calibrations.tilt_axis_deg,
                exposure_s=preset.exposure_s * view.dose / preset.dose if preset.dose else preset.exposure_s,
                extremes=self._stack.extremes(number),
                when=self._date(view),
                stage_um=self._stage_um,
                image_shift_um=view.shift_um,
                # SerialEM's runs along the tilt axis first, and against x across it.
                specimen_shift_um=(view.shift_um[1], -view.shift_um[0]),
                frames=view.files[0] if view.files else None,
                frame_count=preset.frames,
            )
        )

    def _date(self, view: ViewRecorded) -> datetime:
        return self._facts.clock_zero + timedelta(seconds=view.time_s)

    def _write_mdoc(self) -> None:
        kept = [number for number in range(len(self._sections)) if number not in self.missing]
        if kept:
            self._write_mdoc_of(self.mdoc_path, kept, kept)

    def _write_mdoc_of(self, path: Path, views: list[int], places: list[int]) -> None:
        """Write the mdoc of some views, each with its place in the stack."""
        assert self._stack is not None
        calibrations = self._facts.calibrations
        height, width = self.image_shape_px
        header: dict[str, Any] = {
            "PixelSpacing": f"{self.pixel_size_ang:.10g}",
            "Voltage": f"{calibrations.voltage_kv:g}",
            "ImageFile": self.stack_path.name,
            "ImageSize": f"{width} {height}",
            "DataMode": "1" if self._stack.dtype == "int16" else "2",
        }
        what = f"acquired by lamella {__version__}"
        titles = serialem_titles(what, calibrations.tilt_axis_deg, self._date(self.views[0]), _begun(self._facts))
        sections = [("ZValue", place, self._sections[view]) for view, place in zip(views, places, strict=True)]
        write_mdoc(new_mdoc(path, header, titles, sections))

    def _write_sorted(self) -> None:
        assert self._stack is not None
        views = [number for number in range(len(self.views)) if number not in self.missing]
        views.sort(key=lambda number: self.views[number].tilt_deg)
        if not views:
            return
        path = self._facts.folder / "sorted" / self.stack_path.name
        shape = (len(views), *self.image_shape_px)
        with MrcWriter(path, shape, self.pixel_size_ang, self._stack.dtype, stack=True) as writer:
            for place, number in enumerate(views):
                writer(place, 0, 0, self._stack.image(number)[None])
        self._write_mdoc_of(path.with_name(self.mdoc_path.name), views, list(range(len(views))))


def _begun(facts: SessionFacts) -> str:
    """The scheme's start, as SerialEM's titles state it of series that go to both sides."""
    settings = facts.settings
    name = {"dose-symmetric": "dosym", "bidirectional": "bidir"}.get("" if settings.tilts else settings.scheme)
    return "" if name is None else f"{name} = {settings.start_tilt:.1f}"
