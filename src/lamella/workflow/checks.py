"""`lamella check`: everything that can be known wrong before hours are spent."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from lamella.errors import InputError, LamellaError
from lamella.formats.images import open_images
from lamella.records import TiltSeries
from lamella.runtime import choose_device, free_memory_bytes
from lamella.workflow.derived import is_derived, is_outdated
from lamella.workflow.digests import FileDigests
from lamella.workflow.executors import open_executor
from lamella.workflow.plan import Job, line_of_jobs, read_source, series_states
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, SELECT
from lamella.workflow.run_settings import RunSettings
from lamella.workflow.settings_file import SettingsFile
from lamella.workflow.steps import Step
from lamella.workflow.tables import has_tables, read_record

__all__ = ["Finding", "check_project"]

_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes
    ----------
    kind
        ``problem``: work would fail, or be in vain; ``warning``: it would be done, though perhaps not as wanted.
    where
        the series, step or file.
    text
        what it is, and how to mend it.
    """

    kind: Literal["problem", "warning", "info"]
    where: str
    text: str


def check_project(
    project: Project, *, last: str | None = None, how: RunSettings | None = None, every_pixel: bool = False
) -> list[Finding]:
    """Look through a project.

    Parameters
    ----------
    project
        to look through.
    last
        the last step that is meant to run; None: all.
    how
        executor and device; None: as ``[run]`` says.
    every_pixel
        read every image; else the first, the middle and the last of each series.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        findings = _check(project, last, how, every_pixel)
    told = dict.fromkeys(str(entry.message) for entry in caught)
    return findings + [Finding(kind="info", where="format", text=text) for text in told]


def _check(project: Project, last: str | None, how: RunSettings | None, every_pixel: bool) -> list[Finding]:
    findings: list[Finding] = []
    try:
        settings = project.read_settings()
        jobs = line_of_jobs(project, settings, None, last)
        how = how or settings.run_settings()
        records = [record for record in read_record(project, RAW) if isinstance(record, TiltSeries)]
    except LamellaError as error:
        return [_problem(project.root.name, error)]
    sound = []
    for number, record in enumerate(records):
        found = list(_check_series(project, record, jobs, every_pixel, judge=every_pixel or number == 0))
        findings += found
        if not any(finding.kind == "problem" for finding in found):
            sound.append(record)
    findings += _check_derived(project, jobs)
    findings += _check_machine(project, how)
    findings += _check_needs(project, settings, jobs, sound, how)
    return findings


def _problem(where: str, error: LamellaError) -> Finding:
    return Finding(kind="problem", where=where, text=str(error))


def _check_series(
    project: Project, record: TiltSeries, jobs: Sequence[Job], every_pixel: bool, *, judge: bool
) -> Iterator[Finding]:
    """What can be said of one series; `judge` lets steps read as much as takes them seconds."""
    for job in jobs:
        find = getattr(_module(job.step), "problems", None)
        texts = find(record, job.settings, project.root, every_pixel=every_pixel) if find else []
        for text in texts:
            yield Finding(kind="problem", where=job.step.name, text=text)
        doubt = getattr(_module(job.step), "doubts", None) if not texts else None
        for text in doubt(record, job.settings, project.root, judge=judge) if doubt else []:
            yield Finding(kind="warning", where=job.step.name, text=f"{record.name}: {text.removeprefix('warning: ')}")
    for images in (record.images, record.even_images, record.odd_images):
        if images is not None:
            yield from _check_images(project, record, images, every_pixel)
    if record.pre_exposure is None:
        yield Finding(
            kind="warning",
            where=record.name,
            text="its dose is unknown: nothing will be weighted by dose (--dose-per-tilt)",
        )
    if record.optics.voltage_kv is None and not any(job.step.name == "ctf" for job in jobs):
        yield Finding(kind="warning", where=record.name, text="its voltage is unknown (--voltage)")
    tilts = np.asarray(record.nominal_tilt_deg)
    if len(tilts) < 3 or np.ptp(tilts) < 10:
        yield Finding(
            kind="problem", where=record.name, text=f"{len(tilts)} views over {np.ptp(tilts):g}° make no tomogram"
        )
    elif np.max(np.abs(tilts)) > 85:
        yield Finding(
            kind="warning", where=record.name, text="tilt angles beyond 85°: are they degrees of this series?"
        )


def _check_images(project: Project, record: TiltSeries, names: Sequence[str], every_pixel: bool) -> Iterator[Finding]:
    try:
        images = open_images(names, project.root)
        if images.shape != (len(record), *record.image_shape_px):
            yield Finding(
                kind="problem",
                where=record.name,
                text=f"its images are {images.shape}, and the record says {(len(record), *record.image_shape_px)}",
            )
            return
        count = len(images)
        for index in range(count) if every_pixel else sorted({0, count // 2, count - 1}):
            view = images.view(index)
            if not np.isfinite(view).all():
                yield Finding(
                    kind="problem",
                    where=record.name,
                    text=f"{names[index]} holds NaN or infinite pixels: repair the stack",
                )
            elif float(np.ptp(view)) == 0:
                yield Finding(kind="warning", where=record.name, text=f"{names[index]} is blank")
    except LamellaError as error:
        yield _problem(record.name, error)


def _check_derived(project: Project, jobs: Sequence[Job]) -> Iterator[Finding]:
    """Records that no step makes and that steps are to read: whether they are there, and of today."""
    for job in jobs:
        if not is_derived(job.source):
            continue
        if not has_tables(project, job.source):
            text = f"it is to read {job.source}, which does not exist yet: make it with `{job.source.maker}`"
            yield Finding(kind="problem", where=job.step.name, text=text)
        elif is_outdated(project, job.source):
            what = "chosen again, by the same criteria" if job.source.step == SELECT else "made again, as it was"
            text = f"what it was made from has changed: it will be {what}"
            yield Finding(kind="info", where=str(job.source), text=text)


def _check_machine(project: Project, how: RunSettings) -> Iterator[Finding]:
    if not os.access(project.root, os.W_OK):
        yield Finding(kind="problem", where=str(project.root), text="it cannot be written to: give yourself permission")
    try:
        choose_device(how.device)
    except InputError as error:
        yield _problem("device", error)
    if how.executor == "dask" and how.scheduler:
        try:
            with open_executor(how) as executor:
                if executor.workers() == 0:  # type: ignore[attr-defined]
                    yield Finding(kind="problem", where=how.scheduler, text="the scheduler has no workers: start some")
        except LamellaError as error:
            yield _problem("executor", error)
    elif how.executor == "dask":
        try:
            import_module("distributed")
        except ImportError:
            yield Finding(kind="problem", where="executor", text="dask is missing: pip install 'lamella[cluster]'")


def _check_needs(
    project: Project, settings: SettingsFile, jobs: Sequence[Job], records: Sequence[TiltSeries], how: RunSettings
) -> Iterator[Finding]:
    disk, memory, hungry = 0.0, 0.0, ""
    for job in jobs:
        needs_of = getattr(_module(job.step), "needs", None)
        if needs_of is None:
            continue
        done = _done(project, job)
        known: Sequence[Any] = records
        if job.step.takes != "series":  # a series says nothing of a tomogram's size, or of particles
            known = read_source(project, job) if has_tables(project, job.source) else ()
        for record in known:
            try:
                needs = needs_of(record, job.settings)
            except LamellaError as error:
                yield _problem(f"{job.step.name}: {record.name}", error)
                continue
            if record.name not in done:
                disk += needs.disk
            if needs.memory > memory:
                memory, hungry = needs.memory, f"{job.step.name} of {record.name}"
    free = shutil.disk_usage(project.root).free
    if disk > free:
        yield Finding(
            kind="problem",
            where="disk",
            text=f"about {disk / _GIB:.1f} GiB will be written and {free / _GIB:.1f} GiB are free: make room",
        )
    elif disk:
        yield Finding(
            kind="info",
            where="disk",
            text=f"about {disk / _GIB:.2f} GiB will be written, {free / _GIB:.1f} GiB are free",
        )
    available = free_memory_bytes("cpu")
    if memory * how.workers > available:
        yield Finding(
            kind="warning",
            where="memory",
            text=f"{hungry}: about {memory / _GIB:.1f} GiB, {how.workers} at once, and {available / _GIB:.1f} GiB are "
            "free: let fewer series run side by side, or take a coarser reconstruct.pixel_size",
        )
    elif memory:
        yield Finding(
            kind="info",
            where="memory",
            text=f"about {memory / _GIB:.2f} GiB at most ({hungry}), {available / _GIB:.1f} GiB are free",
        )


def _done(project: Project, job: Job) -> set[str]:
    if not has_tables(project, job.source):
        return set()
    files = FileDigests()
    states = series_states(project, job, read_source(project, job), files)
    return {state.record.name for state in states if not state.needs_work}


def _module(step: Step) -> Any:
    return import_module(step.run_path.partition(":")[0])
