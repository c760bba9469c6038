"""`motion`: movies to tilt images. Stacks of tilt images pass through."""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamella.errors import InputError, LamellaError, PostconditionError
from lamella.formats.images import image_name
from lamella.formats.relion_motion import write_movie_motion
from lamella.formats.star import number_text
from lamella.movies.motion_settings import MotionSettings
from lamella.records import MovieMotion, TiltSeries
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs
from lamella.workflow.steps.motion_files import mean_frames
from lamella.workflow.steps.motion_input import (
    OpenedMovies,
    degrees,
    gain_path,
    open_movies,
    read_references,
)
from lamella.workflow.steps.motion_outputs import FrameFiles, movie_table

if TYPE_CHECKING:
    from lamella.movies.find_detector import FoundDetector
    from lamella.movies.sums import Sums

__all__ = ["doubts", "needs", "problems", "run"]

_WARNING = "warning: "
_SLACK = 1.05  # a smooth local part may reach a little beyond the farthest global motion
_IMAGES = {"images": ".mrcs", "even_images": "_even.mrcs", "odd_images": "_odd.mrcs"}


def needs(record: TiltSeries, settings: MotionSettings) -> Needs:
    """What correcting one series takes: its sums and, meanwhile, its spectra on the disk; some frames in memory."""
    if record.images is not None:
        return Needs()
    from lamella.movies.sum_grid import sum_shape
    from lamella.movies.sum_series import memory_of_one
    from lamella.runtime import threads

    frames = mean_frames(record, settings)
    frame = (record.image_shape_px[0] * settings.eer_upsampling, record.image_shape_px[1] * settings.eer_upsampling)
    height, width = sum_shape(frame, settings.binning)
    stacks = 1.0 + 2 * settings.halves + settings.dose_weighted
    if settings.aligned_frames:
        stacks += frames
    disk = (2 if settings.float16 else 4) * float(height * width) * len(record) * stacks
    if settings.model != "none":
        from lamella.movies.shelf import bytes_on_shelf

        disk += len(record) * bytes_on_shelf(frame, frames, record.pixel_size_ang / settings.eer_upsampling)
    return Needs(disk=disk, memory=min(len(record), threads()) * memory_of_one(frame, weighted=settings.dose_weighted))


def problems(record: TiltSeries, settings: MotionSettings, root: Path, *, every_pixel: bool = False) -> list[str]:
    """What `lamella check` says of a series before anything is done: files that cannot be used."""
    if record.images is not None:
        return []
    if record.movies is None:
        return [f"{record.name}: it has neither images nor movies"]
    try:
        opened = open_movies(record, settings, root, every_frame=every_pixel)
        read_references(opened, settings, root)
    except LamellaError as error:
        return [str(error)]
    return []


def doubts(record: TiltSeries, settings: MotionSettings, root: Path, *, judge: bool) -> list[str]:
    """What `lamella check` warns of: views that will be left out; with `judge`, a gain that some frames contradict."""
    if record.movies is None or record.images is not None:
        return []
    from lamella.movies.find_detector import find_detector

    try:
        opened = open_movies(record, settings, root, every_frame=False)
        references, notes = read_references(opened, settings, root)
        if references.factor is not None and judge:
            files = [opened.files[place] for place in sorted({0, len(opened.files) // 2, len(opened.files) - 1})]
            judged = find_detector(files, references, settings.model_copy(update={"find_defects": False}))
            notes += judged.detector.notes
    except LamellaError as error:
        return [str(error)]
    return [*opened.notes, *(note for note in notes if note.startswith(_WARNING))]


def run(record: TiltSeries, settings: MotionSettings, context: Context) -> TiltSeries:
    """Correct the movies of one series.

    Raises
    ------
    InputError
        if movies or references cannot be used.
    PostconditionError
        if a sum is not finite or constant, or a motion is farther than `settings.max_shift`.
    """
    if record.images is not None:
        context.pass_on("its tilt images are there already")
        return record
    if record.movies is None:
        raise InputError(f"{record.name}: it has neither images nor movies", mend="make the project again")
    opened = open_movies(record, settings, context.root)
    references, notes = read_references(opened, settings, context.root)
    for note in (*opened.notes, *notes):
        context.say(note)
    from lamella.movies.find_detector import find_detector

    found = find_detector(
        opened.frames, references, settings, turn=record.frame_turn, progress=context.part("camera", (0, 0.1))
    )
    for note in found.detector.notes:
        context.say(note)
    blank = _blank_movies(opened, found, settings, context)
    motions = _motions(opened, found, blank, settings, context)
    _check_motions(opened, motions, settings)
    return _write(opened, found, motions, blank, settings, context)


def _blank_movies(
    opened: OpenedMovies, found: FoundDetector, settings: MotionSettings, context: Context
) -> frozenset[int]:
    """Views whose frames show nothing, as when the shutter stayed shut. `clean` leaves such views out."""
    from lamella.movies.still import is_blank

    blank = [view for view, movie in enumerate(opened.frames) if is_blank(movie, found.detector, settings)]
    if blank:
        which = ", ".join(degrees(opened.series.nominal_tilt_deg[view]) for view in blank)
        context.say(f"warning: blank movies, so their images are blank too: {which}")
    return frozenset(blank)


def _motions(
    opened: OpenedMovies, found: FoundDetector, blank: Set[int], settings: MotionSettings, context: Context
) -> tuple[MovieMotion, ...]:
    """The motion of every movie; one that is blank or has a single frame, or with `model` none, stands still."""
    from lamella.movies.still import frame_range, still_motion

    series, files = opened.series, opened.frames
    counts = [len(frame_range(len(file), settings)) for file in files]
    doses = opened.dose_per_frame
    shape = found.detector.image_shape_px
    motions = [still_motion(len(file), shape, opened.pixel_size_ang, settings) for file in files]
    moving = [view for view, count in enumerate(counts) if count > 1 and view not in blank]
    if settings.model == "none":
        moving = []
    if moving:
        from lamella.movies.estimate import estimate_motion

        estimated = estimate_motion(
            [files[view] for view in moving],
            found.detector,
            settings,
            pixel_size_ang=opened.pixel_size_ang,
            optics=series.optics,
            device=context.device,
            scratch=context.folder,
            progress=context.part("motion", (0.1, 0.6)),
        )
        for view, motion in zip(moving, estimated, strict=True):
            motions[view] = motion
    from lamella.movies.sum_grid import exact_binning

    return tuple(
        replace(
            motion,
            binning=float(exact_binning(settings.binning)),
            pre_exposure=None if series.pre_exposure is None else float(series.pre_exposure[view]),
            dose_per_frame=None if doses is None else float(doses[view]),
            bad_pixels_px=found.detector.bad_pixels_px,
        )
        for view, motion in enumerate(motions)
    )


def _check_motions(opened: OpenedMovies, motions: Sequence[MovieMotion], settings: MotionSettings) -> None:
    for view, motion in enumerate(motions):
        farthest = float(np.hypot(*(motion.global_px - motion.global_px[0]).T).max()) * motion.pixel_size_ang
        if not farthest <= _SLACK * settings.max_shift or motion.shape_px != motions[0].shape_px:
            raise PostconditionError(
                f"{opened.files[view].path}: its specimen would move by {farthest:.0f} Å, and motion.max_shift is "
                f"{settings.max_shift:g} Å",
                mend="set motion.max_shift higher if it did, or leave the view out",
            )


def _write(
    opened: OpenedMovies,
    found: FoundDetector,
    motions: tuple[MovieMotion, ...],
    blank: Set[int],
    settings: MotionSettings,
    context: Context,
) -> TiltSeries:
    """Sum, write images and tables, and make the record of them."""
    from lamella.movies.sum_grid import sum_shape
    from lamella.movies.sum_series import resolution_of_halves, sum_series
    from lamella.movies.sums import sum_pixel_size

    series = opened.series
    pixel_size = sum_pixel_size(motions[0])
    shape = sum_shape(motions[0].shape_px, settings.binning)
    halves = _halves(opened, motions, settings, context)
    voltage = _voltage_for_weights(series, motions, settings, context)
    wanted = ["images", *(["even_images", "odd_images"] if halves else [])]
    kind = "float16" if settings.float16 else "float32"
    resolutions = np.full(len(series), np.nan)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(context.new_mrc(_IMAGES[name], (len(series), *shape), pixel_size, kind))
            for name in wanted
        }
        weighted = None
        if voltage is not None:
            weighted = stack.enter_context(context.new_mrc("_dw.mrcs", (len(series), *shape), pixel_size, kind))
        frames = FrameFiles(opened, motions, shape, pixel_size, kind, context)

        def take(view: int, sums: Sums) -> None:
            parts = {"images": sums.full, "even_images": sums.even, "odd_images": sums.odd}
            for name, writer in writers.items():
                image = parts[name]
                spread = float("nan") if image is None or image.shape != shape else float(np.ptp(image))
                may_be_constant = view in blank or name != "images"  # few events may all lie in the even frames
                if image is None or not (spread > 0 or (spread == 0 and may_be_constant)):
                    raise PostconditionError(
                        f"{opened.files[view].path}: its sum is constant, not finite, or of the wrong size",
                        mend="look at its frames, and copy the file again",
                    )
                writer.image_sink()(view, image)
            if weighted is not None and sums.weighted is not None:
                weighted.image_sink()(view, sums.weighted)
            if view not in blank:
                resolutions[view] = resolution_of_halves(sums)
            frames.close(view)

        with frames:
            sum_series(
                opened.frames,
                found.detector,
                motions,
                take,
                halves=halves,
                voltage_kv=voltage,
                aligned=frames.open if settings.aligned_frames else None,
                device=context.device,
                progress=context.part("sums", (0.6, 1.0)),
            )
        tables = _write_tables(opened, motions, settings, context)
    names = {
        name: tuple(image_name(view, context.name(writer.path)) for view in range(len(series)))
        for name, writer in writers.items()
    }
    _measure(found, motions, resolutions, context)
    return series.with_changes(
        **names,
        metadata=tables,
        place=np.arange(1, len(series) + 1),
        pixel_size_ang=pixel_size,
        original_pixel_size_ang=opened.pixel_size_ang,
        image_shape_px=shape,
        other_columns=_path_columns(motions),
    )


def _write_tables(
    opened: OpenedMovies, motions: Sequence[MovieMotion], settings: MotionSettings, context: Context
) -> tuple[str, ...]:
    series = opened.series
    assert series.movies is not None
    gain = gain_path(settings, opened.files[0], context.root)
    names = []
    for view, (file, motion) in enumerate(zip(opened.files, motions, strict=True)):
        path = movie_table(context.folder, opened, view)
        path.parent.mkdir(parents=True, exist_ok=True)
        grouping = max(1, round(file.raw_frames / len(file)))
        write_movie_motion(
            path,
            motion,
            movie_name=series.movies[view],
            frames=len(file),
            voltage_kv=series.optics.voltage_kv,
            gain_name=None if gain is None else str(gain),
            eer=(settings.eer_upsampling, grouping) if file.kind == "eer" else None,
        )
        context.outputs.append(path)
        names.append(context.name(path))
    return tuple(names)


def _halves(opened: OpenedMovies, motions: Sequence[MovieMotion], settings: MotionSettings, context: Context) -> bool:
    """Whether sums of even and odd frames can be made; where not, it is said why."""
    single = [view for view, motion in enumerate(motions) if len(motion) == 1]
    if not single:
        return settings.halves
    lost = "; no sums of even and odd frames were written" if settings.halves else ""
    if len(single) == len(motions):
        context.say(f"every movie has one frame, which is its image{lost}")
        return False
    which = ", ".join(degrees(opened.series.nominal_tilt_deg[view]) for view in single[:6])
    more = ", …" if len(single) > 6 else ""
    lost += ": to have them, make the project without these views" if lost else ""
    context.say(f"{len(single)} of {len(motions)} movies have one frame, which is their image ({which}{more}){lost}")
    return False


def _voltage_for_weights(
    series: TiltSeries, motions: Sequence[MovieMotion], settings: MotionSettings, context: Context
) -> float | None:
    if not settings.dose_weighted:
        return None
    if series.optics.voltage_kv is None or motions[0].dose_per_frame is None or motions[0].pre_exposure is None:
        context.say("no dose-weighted copy was written: the dose or the voltage is unknown")
        return None
    return series.optics.voltage_kv


def _path_columns(motions: Sequence[MovieMotion]) -> dict[str, tuple[str, ...]]:
    """RELION's columns of how far each view's specimen moved, Å."""
    from lamella.movies.still import path_length

    lengths = [path_length(motion) for motion in motions]
    columns = {"rlnAccumMotionTotal": tuple(number_text(one.total) for one in lengths)}
    if all(one.early is not None for one in lengths):
        columns["rlnAccumMotionEarly"] = tuple(number_text(one.early or 0.0) for one in lengths)
        columns["rlnAccumMotionLate"] = tuple(number_text(one.late or 0.0) for one in lengths)
    return columns


def _measure(found: FoundDetector, motions: Sequence[MovieMotion], resolutions: Any, context: Context) -> None:
    from lamella.movies.still import path_length

    context.measure(
        MeanMotionAngst=float(np.mean([path_length(motion).total for motion in motions])),
        LocalMovies=sum(motion.local is not None for motion in motions),
        BadPixels=found.bad,
        HotPixels=found.hot,
        DeadPixels=found.dead,
        BadLines=found.columns + found.rows,
    )
    if found.gain is not None and np.isfinite(found.gain.share):
        context.measure(GainShare=found.gain.share)
    if np.isfinite(resolutions).any():
        context.measure(HalvesResolutionAngst=float(np.nanmedian(resolutions)))
