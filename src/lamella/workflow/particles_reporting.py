"""What the report shows of particles, read from their records and the files beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, ImageError, InputError
from lamella.formats.images import open_volume
from lamella.formats.map_fsc import read_map_fsc
from lamella.formats.map_tables import read_columns
from lamella.formats.pick_scores import read_pick_scores
from lamella.records import Map, Particles, ParticleSet, VolumeSource
from lamella.records.map_fsc import MapFsc
from lamella.report import AverageReport, ParticlesReport, PickReport
from lamella.workflow.completion import Completion
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName
from lamella.workflow.steps import all_steps
from lamella.workflow.steps.pick import SCORES
from lamella.workflow.steps.refine_iterations import HISTORY, ITERATIONS, history_label
from lamella.workflow.tables import has_tables, read_particle_set

__all__ = ["particles_report"]

Array = NDArray[np.float64]
Found = TypeVar("Found")

_PICK, _EXTRACT = "pick", "extract"
_SHOWN = ("resolution_ang", "angle_change_deg", "angle_error_deg", "shift_change_px")
_LOCAL, _GUINIER = "local_resolution.mrc", "guinier.star"
_LINE = ("rlnFittedSlopeGuinierPlot", "rlnFittedInterceptGuinierPlot")


def particles_report(project: Project) -> ParticlesReport | None:
    """Picks and averages of a project, in the order of the line; None where there are none."""
    picks: list[PickReport] = []
    averages: list[AverageReport] = []
    for name in _records(project):
        found = _known(partial(read_particle_set, project, name))
        if found is None:
            continue
        if name.step == _PICK:
            picks += [_picked(project, name, member) for member in found.members]
        elif found.map is not None and name.step != _EXTRACT:
            averages.append(_average(project, name, found, found.map))
    return ParticlesReport(picks=tuple(picks), averages=tuple(averages)) if picks or averages else None


def _records(project: Project) -> list[RecordName]:
    """Records of particles, in the order of the steps that make them."""
    order = [step.name for step in all_steps() if step.gives == "particles"]
    found = [name for name in project.records() if name != RAW and name.step in order and has_tables(project, name)]
    return sorted(found, key=lambda name: (order.index(name.step), name.label or ""))


def _picked(project: Project, name: RecordName, particles: Particles) -> PickReport:
    done = Completion.read(project.completion(name, particles.name))
    cut = _extracted(project, name, particles.name)
    said = (*(done.messages if done is not None else ()), *(cut.messages if cut is not None else ()))
    return PickReport(
        record=str(name),
        particles=particles,
        volume=_volume(project, particles.tomogram.volume),
        peaks=_known(lambda: read_pick_scores(project.folder(name) / f"{particles.name}{SCORES}")) or {},
        extracted=None if cut is None else round(cut.quality.get("ExtractedParticles", 0)),
        numbers=done.quality if done is not None else {},
        said=said,
    )


def _extracted(project: Project, name: RecordName, series: str) -> Completion | None:
    """What `extract` made of the picks of a tomogram, in the first record that was made of them."""
    for record in project.records():
        done = Completion.read(project.completion(record, series)) if record.step == _EXTRACT else None
        if done is not None and done.made_from[:1] == (str(name),):
            return done
    return None


def _average(project: Project, name: RecordName, particles: ParticleSet, average: Map) -> AverageReport:
    folder = project.folder(name)
    done = Completion.read(project.completion(name, particles.name))
    line = _known(lambda: read_columns(folder / _GUINIER, "general")) or {}
    classes = [_volume(project, one) for one in average.classes]
    return AverageReport(
        record=str(name),
        particles=particles,
        voxel_size_ang=average.voxel_size_ang,
        volume=_volume(project, average.volume),
        classes=tuple(one for one in classes if one is not None),
        fsc=None if average.fsc is None else _known(partial(read_map_fsc, project.root / average.fsc)),
        iterations=_iterations(folder),
        history=_history(folder),
        mask=_volume(project, average.mask),
        local_resolution=_volume(project, str((folder / _LOCAL).relative_to(project.root))),
        guinier=_known(lambda: read_columns(folder / _GUINIER, "guinier")) or {},
        guinier_line=(float(line[_LINE[0]][0]), float(line[_LINE[1]][0])) if set(_LINE) <= set(line) else None,
        numbers=done.quality if done is not None else average.quality,
        said=done.messages if done is not None else (),
    )


def _iterations(folder: Path) -> tuple[MapFsc, ...]:
    """Correlations of the half maps of every iteration but the last, which is the record's own."""
    curves = [_known(partial(read_map_fsc, path)) for path in sorted((folder / ITERATIONS).glob("it*_fsc.star"))]
    return tuple(one for one in curves[:-1] if one is not None)


def _history(folder: Path) -> dict[str, Array]:
    columns = _known(lambda: read_columns(folder / ITERATIONS / HISTORY, "iterations"))
    if columns is None or any(history_label(name) not in columns for name in _SHOWN):
        return {}
    return {name: columns[history_label(name)] for name in _SHOWN}


def _volume(project: Project, name: str | None) -> VolumeSource | None:
    return None if name is None else _known(lambda: open_volume(name, project.root))


def _known(read: Callable[[], Found]) -> Found | None:
    """What a file says; None where it has gone or cannot be read, which must not keep the rest from being shown."""
    try:
        return read()
    except (FormatError, ImageError, InputError):
        return None
