"""Write simulated raw data as a microscope leaves it, and the truth beside it.

::

    DIR/raw/NAME.mrc.mdoc         what SerialEM (or another program) says of the series: nominal angles and axis
    DIR/raw/NAME_000_0.0.tif …    its movies, beside their gain reference DIR/raw/gain.mrc
    DIR/raw/NAME.mrc              or, without frames, the stack, its sections in the order of recording
    DIR/truth/tilt_series.star    RELION-5 tables of the true geometry and defocus
    DIR/truth/motion/NAME/*.star  the true motion of every movie
    DIR/truth/particles.star      where every particle in the field of view is, and how it is turned
    DIR/truth/beads.star          where every gold bead is
    DIR/truth/NAME.mrc            the noise-free potential in V
    DIR/truth/settings.json       what to ask for to get the same bytes
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lamella.formats.atomic import atomic_text
from lamella.formats.mdoc import write_mdoc
from lamella.formats.mrc_writer import MrcWriter
from lamella.progress import Progress, no_progress
from lamella.records import TiltSeries
from lamella.runtime import threads
from lamella.simulate.contrast import TemplateSpectra
from lamella.simulate.detector import build_sensor
from lamella.simulate.frames import Extremes, frame_names, gain_name, write_gain, write_movie
from lamella.simulate.mdoc_flavours import mdoc_name, series_mdoc
from lamella.simulate.microscope import Microscope
from lamella.simulate.motion import true_motion
from lamella.simulate.mount import SECOND_AXIS_DEG, MountedSpecimen, mount
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.specimen import build_specimen
from lamella.simulate.true_series import record_series
from lamella.simulate.truth import TruthOfSeries, write_motion, write_tables, write_volume

__all__ = ["RawData", "mounted_specimen", "simulate"]

Image = NDArray[np.float32]
Made = TypeVar("Made")

SECOND_AXIS_SHIFT_ANG = 150.0
"""rms by which the specimen is off where it was, when it is put in again for a second axis."""


@dataclass(frozen=True, kw_only=True)
class RawData:
    """The files of a simulation.

    Attributes
    ----------
    stacks
        one per series, where there are no movies.
    movies
        of all series, in the order of recording.
    gain
        the gain reference, or None.
    mdocs, volumes
        one per series (no volume where none was asked for).
    tilt_series, particles, beads, settings
        the true geometry, poses and bead positions, and what was asked for.
    motion
        the true motion of each movie, in the order of `movies`.
    """

    stacks: tuple[Path, ...]
    movies: tuple[Path, ...]
    gain: Path | None
    mdocs: tuple[Path, ...]
    volumes: tuple[Path, ...]
    tilt_series: Path
    particles: Path
    beads: Path
    settings: Path
    motion: tuple[Path, ...]


def mounted_specimen(settings: SimulateSettings, index: int = 0) -> MountedSpecimen:
    """The specimen in the frame of one series: its own, or the first axis's turned and moved for the second."""
    if not settings.dual_axis:
        return mount(build_specimen(settings, index))
    specimen = build_specimen(settings, index // 2)
    if index % 2 == 0:
        return mount(specimen)
    rng = np.random.default_rng([settings.seed, index, 10])
    offset = SECOND_AXIS_SHIFT_ANG * rng.normal(size=3) * (1, 1, 0.1)
    return mount(specimen, SECOND_AXIS_DEG + 2.0 * rng.normal(), offset)


def simulate(folder: Path | str, settings: SimulateSettings, *, progress: Progress = no_progress) -> RawData:
    """Simulate tilt series into a folder.

    Parameters
    ----------
    folder
        gets ``raw/`` and ``truth/``; made where missing. Files of the same names are replaced.
    settings
        of the specimen, the microscope and its faults.
    progress
        told after each view.

    Returns
    -------
    files
        what was written.

    Raises
    ------
    SettingsError
        if the slab has no room for the specimen, or the series has fewer views than shall be blank.
    OutputError
        if a file cannot be written.
    """
    run = _Run(Path(folder), settings, progress)
    for index in range(run.count):
        run.add_series(index)
    return run.finish()


class _Run:
    """One simulation while its files are being written."""

    def __init__(self, root: Path, settings: SimulateSettings, progress: Progress) -> None:
        self.root, self.settings, self.progress = root, settings, progress
        self.raw, self.truth = root / "raw", root / "truth"
        self.count = settings.series * (2 if settings.dual_axis else 1)
        self.sensor = build_sensor(settings) if settings.movies else None
        self.truths: list[TruthOfSeries] = []
        self.stacks: list[Path] = []
        self.movies: list[Path] = []
        self.mdocs: list[Path] = []
        self.volumes: list[Path] = []
        self.motion: list[Path] = []

    def add_series(self, index: int) -> None:
        """Write one series and the larger part of its truth."""
        settings = self.settings
        series = record_series(settings, index)
        mounted = mounted_specimen(settings, index)
        microscope = Microscope(
            mounted=mounted,
            series=series,
            settings=settings,
            index=index,
            motion=true_motion(settings, series, index) if settings.movies else None,
            sensor=self.sensor,
            spectra=TemplateSpectra(mounted.specimen),
        )
        series, extremes = self._write_movies(microscope) if settings.movies else self._write_stack(microscope)
        mdoc = self.raw / mdoc_name(series, settings)
        self.mdocs.append(write_mdoc(series_mdoc(mdoc, series, settings, extremes, index)))
        if settings.truth_binning:
            self.volumes.append(self.truth / f"{series.name}.mrc")
            write_volume(self.volumes[-1], mounted.specimen, settings)
        self.truths.append(TruthOfSeries(series=series, mounted=mounted))

    def finish(self) -> RawData:
        """Write what all series share."""
        gain = gain_name(self.settings)
        if gain is not None and self.sensor is not None:
            write_gain(self.raw / gain, self.sensor, self.settings)
        write_tables(self.truth, self.truths, self.root)
        atomic_text(self.truth / "settings.json", self.settings.model_dump_json(indent=2) + "\n")
        self.progress(1.0, "done")
        return RawData(
            stacks=tuple(self.stacks),
            movies=tuple(self.movies),
            gain=None if gain is None else self.raw / gain,
            mdocs=tuple(self.mdocs),
            volumes=tuple(self.volumes),
            tilt_series=self.truth / "tilt_series.star",
            particles=self.truth / "particles.star",
            beads=self.truth / "beads.star",
            settings=self.truth / "settings.json",
            motion=tuple(self.motion),
        )

    def _write_stack(self, microscope: Microscope) -> tuple[TiltSeries, list[Extremes]]:
        """Write the sections in the order of recording; the record with their names, and each one's extremes."""
        series, settings = microscope.series, self.settings
        order = _order(series)
        path = self.raw / f"{series.name}.mrc"
        height, width = series.image_shape_px
        extremes = []
        kind = "int16" if settings.noise else "float32"
        with MrcWriter(path, (len(series), height, width), settings.pixel_size, kind, stack=True) as writer:
            take = writer.image_sink()

            def image(view: int) -> Image:
                return next(microscope.frames(view))

            for section, picture in enumerate(_ahead(image, order)):
                take(section, np.minimum(picture, 32767) if settings.noise else picture)
                mean = float(picture.mean(dtype=np.float64))
                extremes.append(Extremes(float(picture.min()), float(picture.max()), mean))
                self._tell(series, section)
        self.stacks.append(path)
        assert series.place is not None
        images = tuple(f"{place:06d}@raw/{series.name}.mrc" for place in series.place)
        return series.with_changes(images=images), extremes

    def _write_movies(self, microscope: Microscope) -> tuple[TiltSeries, list[Extremes]]:
        """Write a file for each view and its true motion; the record with their names, and each one's extremes."""
        series, settings = microscope.series, self.settings
        order = _order(series)
        names = frame_names(series, settings)
        assert microscope.motion is not None
        assert series.place is not None
        places = series.place

        def movie(view: int) -> Extremes:
            key = [settings.seed, microscope.index, int(places[view])]
            return write_movie(self.raw / names[view], microscope.frames(view), settings, key)

        extremes = []
        for section, numbers in enumerate(_ahead(movie, order)):
            extremes.append(numbers)
            self._tell(series, section)
        folder = self.truth / "motion" / series.name
        tables = write_motion(folder, series, microscope.motion, names, settings, gain_name(settings))
        self.movies += [self.raw / names[view] for view in order]
        self.motion += [tables[view] for view in order]
        record = series.with_changes(
            movies=tuple(f"raw/{name}" for name in names),
            frame_counts=np.full(len(series), settings.frames, dtype=np.int64),
            metadata=tuple(str(table.relative_to(self.root).as_posix()) for table in tables),
        )
        return record, extremes

    def _tell(self, series: TiltSeries, section: int) -> None:
        done = (len(self.truths) + (section + 1) / len(series)) / self.count
        self.progress(0.98 * done, f"{series.name}: view {section + 1} of {len(series)}")


def _order(series: TiltSeries) -> list[int]:
    """Rows of the record in the order of recording."""
    assert series.place is not None
    return [int(row) for row in np.argsort(series.place, kind="stable")]


def _ahead(make: Callable[[int], Made], order: list[int]) -> Iterator[Made]:
    """Results in the given order, a few of them being made at any time."""
    with ThreadPoolExecutor(threads()) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for view in order:
                waiting.append(pool.submit(make, view))
                if len(waiting) > threads():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
