"""Write simulated raw data as a microscope leaves it, and the truth beside it.

::

    DIR/raw/NAME.mrc            the stack, its sections in the order of acquisition
    DIR/raw/NAME.mrc.mdoc       what SerialEM would say of them: nominal angles and axis
    DIR/truth/tilt_series.star  RELION-5 tables of the true geometry and defocus
    DIR/truth/particles.star    where every particle in the field of view is, and how it is turned
    DIR/truth/NAME.mrc          the noise-free potential in V
    DIR/truth/settings.json     what to ask for to get the same bytes
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella import __version__
from lamella.formats.atomic import atomic_text
from lamella.formats.mdoc import new_mdoc, write_mdoc
from lamella.formats.mrc import MrcWriter, write_mrc
from lamella.formats.relion import write_tilt_series
from lamella.formats.star import StarTable, number_text, write_star
from lamella.progress import Progress, no_progress
from lamella.records import TiltSeries
from lamella.runtime import threads
from lamella.simulate.microscope import expose, record_series
from lamella.simulate.settings import SimulateSettings
from lamella.simulate.former_specimen import Specimen, build_specimen

__all__ = ["RawData", "simulate", "truth_shape"]

Image = NDArray[np.float32]

FIRST_EXPOSURE = datetime(2024, 3, 1, 9, 0, 0)
"""Of the mdoc's clock, which never shows the real time: the same seed gives the same bytes."""
BETWEEN_EXPOSURES = timedelta(seconds=40)


@dataclass(frozen=True, kw_only=True)
class RawData:
    """The files of a simulation.

    Attributes
    ----------
    stacks, mdocs, volumes
        one per series: the images, their description, and the noise-free volume.
    tilt_series, particles, settings
        the true geometry, the true poses, and what was asked for.
    """

    stacks: tuple[Path, ...]
    mdocs: tuple[Path, ...]
    volumes: tuple[Path, ...]
    tilt_series: Path
    particles: Path
    settings: Path


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
        if the slab has no room for the specimen.
    OutputError
        if a file cannot be written.
    """
    root = Path(folder)
    truth = root / "truth"
    records, poses, stacks, mdocs, volumes = [], [], [], [], []
    for index in range(settings.series):
        specimen = build_specimen(settings, index)
        series = record_series(settings, index)
        places = _place(series)
        series = series.with_changes(images=tuple(f"{place:06d}@raw/{series.name}.mrc" for place in places))
        stack = root / "raw" / f"{series.name}.mrc"
        extremes = _write_stack(stack, specimen, series, settings, index, progress)
        mdocs.append(_write_mdoc(stack, series, settings, extremes))
        voxel = settings.pixel_size * settings.truth_binning
        volumes.append(truth / f"{series.name}.mrc")
        write_mrc(volumes[-1], specimen.volume(voxel, truth_shape(specimen, voxel)), voxel)
        records.append(series)
        poses.append((series.name, specimen))
        stacks.append(stack)
    write_tilt_series(truth / "tilt_series.star", records, root)
    write_star(truth / "particles.star", [_pose_table(poses)])
    text = settings.model_dump_json(indent=2)
    atomic_text(truth / "settings.json", text + "\n")
    progress(1.0, "done")
    return RawData(
        stacks=tuple(stacks),
        mdocs=tuple(mdocs),
        volumes=tuple(volumes),
        tilt_series=truth / "tilt_series.star",
        particles=truth / "particles.star",
        settings=truth / "settings.json",
    )


def truth_shape(specimen: Specimen, voxel_size_ang: float) -> tuple[int, int, int]:
    """(z, y, x) of the noise-free volume: the field of view with half as much again in height, each side even."""
    x, y, z = specimen.field_ang
    nz, ny, nx = (2 * max(1, round(length / voxel_size_ang / 2)) for length in (1.5 * z, y, x))
    return nz, ny, nx


def _place(series: TiltSeries) -> NDArray[np.int64]:
    assert series.place is not None  # a record always has one
    return series.place


def _write_stack(
    path: Path, specimen: Specimen, series: TiltSeries, settings: SimulateSettings, index: int, progress: Progress
) -> list[tuple[float, float, float]]:
    """Write the sections in the order of acquisition; minimum, maximum and mean of each."""
    order = np.argsort(_place(series), kind="stable")
    kind = "int16" if settings.noise else "float32"
    extremes = []
    height, width = series.image_shape_px
    with MrcWriter(path, (len(series), height, width), settings.pixel_size, kind, stack=True) as writer:
        take = writer.image_sink()
        for section, image in enumerate(_views(specimen, series, settings, index, order)):
            take(section, image)
            extremes.append((float(image.min()), float(image.max()), float(image.mean(dtype=np.float64))))
            done = (index + (section + 1) / len(series)) / settings.series
            progress(0.98 * done, f"{series.name}: view {section + 1} of {len(series)}")
    return extremes


def _views(
    specimen: Specimen, series: TiltSeries, settings: SimulateSettings, index: int, order: NDArray[np.int64]
) -> Iterator[Image]:
    """Images in the given order, a few of them being made at any time."""
    with ThreadPoolExecutor(threads()) as pool:
        waiting: deque[Future[Image]] = deque()
        for view in order:
            waiting.append(pool.submit(expose, specimen, series, settings, int(view), index))
            if len(waiting) > threads():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _write_mdoc(
    stack: Path, series: TiltSeries, settings: SimulateSettings, extremes: list[tuple[float, float, float]]
) -> Path:
    assert series.defocus is not None
    assert series.pre_exposure is not None
    order = np.argsort(_place(series), kind="stable")
    sections = []
    for section, view in enumerate(order):
        low, high, mean = extremes[section]
        when = FIRST_EXPOSURE + section * BETWEEN_EXPOSURES
        # SerialEM's RotationAngle is not the tilt axis but 90° from it.
        turn = (float(series.nominal_axis_deg[view]) + 90 + 180) % 360 - 180
        values = {
            "TiltAngle": f"{series.nominal_tilt_deg[view]:.5f}",
            "StagePosition": "0 0",
            "StageZ": "0",
            "Magnification": "16500",
            "Intensity": "0.1",
            "ExposureDose": f"{settings.dose:g}",
            "PriorRecordDose": f"{series.pre_exposure[view]:g}",
            "PixelSpacing": f"{settings.pixel_size:g}",
            "SpotSize": "8",
            # micrometres, negative is underfocus
            "Defocus": f"{-series.defocus.u_ang[view] / 1e4:.4f}",
            "ImageShift": "0 0",
            "RotationAngle": f"{turn:g}",
            "ExposureTime": "1",
            "Binning": "1",
            "CameraIndex": "0",
            "DividedBy2": "0",
            "MagIndex": "20",
            "MinMaxMean": f"{low:g} {high:g} {mean:g}",
            "TargetDefocus": f"{-settings.defocus / 1e4:g}",
            "DateTime": _clock(when, "%Y"),
        }
        sections.append(("ZValue", section, values))
    height, width = series.image_shape_px
    header = {
        "PixelSpacing": f"{settings.pixel_size:g}",
        "Voltage": f"{settings.voltage:g}",
        "ImageFile": stack.name,
        "ImageSize": f"{width} {height}",
        "DataMode": "1" if settings.noise else "2",
    }
    titles = (
        f"SerialEM: simulated by lamella {__version__}                 {_clock(FIRST_EXPOSURE, '%y')}",
        f"    Tilt axis angle = {settings.nominal_axis:.1f}, binning = 1  spot = 8  camera = 0",
    )
    return write_mdoc(new_mdoc(stack.with_name(stack.name + ".mdoc"), header, titles, sections))


def _clock(when: datetime, year: str) -> str:
    """A date as SerialEM writes it, in English whatever the user's locale is."""
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{when:%d}-{months[when.month - 1]}-{when.strftime(year)}  {when:%H:%M:%S}"


def _pose_table(poses: list[tuple[str, Specimen]]) -> StarTable:
    columns: dict[str, list[str]] = {
        name: []
        for name in (
            "rlnTomoName",
            *(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"),
            *("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"),
            *(f"rlnOrigin{axis}Angst" for axis in "XYZ"),
            "rlnClassNumber",
        )
    }
    for name, specimen in poses:
        particles = specimen.particles_in_view()
        rows = zip(particles.places_ang, particles.angles_deg, particles.model, strict=True)
        for place, angles, model in rows:
            numbers = [number_text(round(float(value), 6)) for value in (*place, *angles, 0.0, 0.0, 0.0)]
            for column, value in zip(columns.values(), [name, *numbers, str(int(model) + 1)], strict=True):
                column.append(value)
    return StarTable("particles", {name: tuple(column) for name, column in columns.items()})
