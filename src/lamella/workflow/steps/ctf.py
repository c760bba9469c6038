"""`ctf`: defocus and astigmatism of every view, and the hand of the series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import lamella.tilts as tilts
from lamella.errors import ImageError, InputError, PostconditionError
from lamella.formats.ctf_profiles import CURVES, PICTURES, picture_pixel_ang, write_ctf_curves
from lamella.formats.images import open_images
from lamella.geometry import TiltGeometry
from lamella.records import CtfProfiles, ImageSource, TiltSeries
from lamella.records.ctf_profiles import HAND_FIXED
from lamella.runtime import threads
from lamella.tilts.ctf import why_impossible
from lamella.tilts.ctf_result import CtfResult
from lamella.tilts.ctf_settings import CtfSettings
from lamella.tilts.view_choice import MIN_VIEWS, views_left, views_of_places
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs
from lamella.workflow.steps.ctf_hand import IMAGES, mirrored_profiles, settle_hand
from lamella.workflow.steps.excluded import keep_excluded

__all__ = ["doubts", "needs", "run"]

_SLACK = 0.05  # a value may come to lie a little beyond the range that was searched when it is refined
_PICTURE_BYTES = 4.0 * 256**2
_BYTES_PER_PIXEL = 40.0  # of each image that is worked on


def needs(record: TiltSeries, settings: CtfSettings) -> Needs:
    """What estimating one series takes: pictures of its spectra, mirrored images, and some images in memory."""
    height, width = record.image_shape_px
    stacks = sum(getattr(record, field) is not None for field in IMAGES) if settings.fix == "mirror" else 0
    disk = (_PICTURE_BYTES + 4.0 * height * width * stacks) * len(record)
    return Needs(disk=disk, memory=_BYTES_PER_PIXEL * height * width * min(len(record), threads()))


def doubts(record: TiltSeries, settings: CtfSettings, root: Path, *, judge: bool) -> list[str]:
    """What `lamella check` warns of: why no contrast transfer will be estimated."""
    if record.optics.voltage_kv is None:
        return ["its voltage is unknown, so no defocus will be estimated (--voltage)"]
    return [f"{why}, so no defocus will be estimated"] if (why := why_impossible(record, settings)) else []


def run(record: TiltSeries, settings: CtfSettings, context: Context) -> TiltSeries:
    """Estimate the contrast transfer of one series.

    Views that the user excludes, and those whose fit does not reach `max_fit_resolution`, leave the record and stand in
    ``excluded/NAME.star``. Profiles and pictures of the spectra stand in ``NAME_profiles.star`` and
    ``NAME_spectra.mrcs``.

    Raises
    ------
    InputError
        if there are no images, the voltage is unknown and the step was called by its name, or `fix` and a stated hand
        contradict each other.
    ImageError
        if fewer than three views are left once some are left out.
    PostconditionError
        if a number is not finite, views were lost, or a defocus lies outside the range that was searched.
    """
    if record.images is None:
        raise InputError(f"{record.name}: there are no tilt images", mend="run motion first")
    if settings.fix != "none" and settings.hand != "auto":
        raise InputError(
            f"ctf.fix = {settings.fix} goes by the hand that is measured, and ctf.hand = {settings.hand} keeps one",
            mend="set ctf.hand = auto, or ctf.fix = none",
        )
    wanted = views_left(record, "ctf", settings.exclude, settings.include)
    reasons = {view: "excluded by ctf.exclude" for view in range(len(record)) if view not in wanted}
    start = record.select(wanted) if reasons else record
    if record.optics.voltage_kv is None:
        context.lacks(f"{record.name}: its voltage is unknown", mend="state it with --voltage when making the project")
    elif why := why_impossible(record, settings):
        context.pass_on(why)
    if context.passed_on:
        return _passed_on(record, start, reasons, context)
    result = _estimate(start, settings, context)
    for note in result.notes:
        context.say(note)
    if result.passed_on or result.profiles is None:
        context.pass_on(result.passed_on or "no estimate was possible")
        return _passed_on(record, start, reasons, context)
    found = result.series
    _check(start, found, settings)
    poor = _poor_views(found, settings)
    reasons |= {wanted[view]: reason for view, reason in poor.items()}
    kept = found.select([view for view in range(len(found)) if view not in poor]) if poor else found
    settled = settle_hand(kept, settings, context)
    mirrored = settled.other.get(HAND_FIXED) == "mirror"
    _write_profiles(mirrored_profiles(result.profiles) if mirrored else result.profiles, found, context)
    if record.geometry is None:
        settled = settled.with_changes(geometry=None)
    return _left(record, settled, reasons, context)


def _passed_on(record: TiltSeries, kept: TiltSeries, reasons: dict[int, str], context: Context) -> TiltSeries:
    if record.defocus is not None:
        context.say("the defocus that the record came with stays")
    return _left(record, kept, reasons, context)


def _left(record: TiltSeries, kept: TiltSeries, reasons: dict[int, str], context: Context) -> TiltSeries:
    """Put the views that are left out aside; what is kept."""
    views = sorted(reasons)
    excluded = record.select(views) if views else None
    keep_excluded("ctf", excluded, [reasons[view] for view in views], context)
    return kept


def _estimate(series: TiltSeries, settings: CtfSettings, context: Context) -> CtfResult:
    images = open_images(series.images or (), context.root)
    even, odd = _halves(series, settings, context)
    if even is None:
        settings = settings.model_copy(update={"spectra": "sums"})
    if series.geometry is None:
        context.say("the views are not aligned: tilt angles and axis are those that the microscope stated")
        geometry = TiltGeometry.from_angles(series.nominal_tilt_deg, series.nominal_axis_deg)
        series = series.with_changes(geometry=geometry)
    result: CtfResult = tilts.estimate_ctf(series, images, settings, even=even, odd=odd, progress=context.progress)
    return result


def _halves(
    series: TiltSeries, settings: CtfSettings, context: Context
) -> tuple[ImageSource | None, ImageSource | None]:
    """Images of even and odd frames, where spectra are to be taken of them."""
    if settings.spectra == "sums":
        return None, None
    if series.even_images is None or series.odd_images is None:
        context.say(
            "ctf.spectra = frames: there are no images of even and odd frames, so spectra are those of the sums"
        )
        return None, None
    return open_images(series.even_images, context.root), open_images(series.odd_images, context.root)


def _check(before: TiltSeries, after: TiltSeries, settings: CtfSettings) -> None:
    defocus = after.defocus
    if defocus is None or len(after) != len(before):
        raise PostconditionError(f"{before.name}: ctf lost views or found no defocus", mend="report this")
    for name in ("u_ang", "v_ang", "angle_deg", "max_resolution_ang", "phase_shift_deg", "figure_of_merit"):
        values = getattr(defocus, name)
        if values is not None and not np.isfinite(values).all():
            place = _places(after)[int(np.flatnonzero(~np.isfinite(values))[0])]
            raise PostconditionError(
                f"{before.name}: {name} of view {place} is not finite", mend=f"leave it out: ctf.exclude = [{place}]"
            )
    searched = np.asarray(after.scores.get("CtfImageCentreAngst", defocus.mean_ang))
    low, high = settings.min_defocus * (1 - _SLACK), settings.max_defocus * (1 + _SLACK)
    outside = np.flatnonzero(~((searched >= low) & (searched <= high)))
    if outside.size:
        view = int(outside[0])
        raise PostconditionError(
            f"{before.name}: a defocus of {searched[view]:.0f} Å in view {_places(after)[view]}, outside the range of "
            f"{settings.min_defocus:g} to {settings.max_defocus:g} Å that was searched",
            mend="widen ctf.min_defocus and ctf.max_defocus, or leave the view out",
        )


def _poor_views(series: TiltSeries, settings: CtfSettings) -> dict[int, str]:
    """Views whose fit does not reach far enough, and why each is left out.

    Raises
    ------
    ImageError
        if fewer than three would be left.
    """
    limit = settings.max_fit_resolution
    if not limit or series.defocus is None or series.defocus.max_resolution_ang is None:
        return {}
    reached = series.defocus.max_resolution_ang
    spared = views_of_places(series, settings.include)
    poor = {
        view: f"its fit reaches {reached[view]:.1f} Å, not ctf.max_fit_resolution of {limit:g} Å"
        for view in range(len(series))
        if reached[view] > limit and view not in spared
    }
    left = len(series) - len(poor)
    if poor and left < MIN_VIEWS:
        raise ImageError(
            f"{series.name}: the fit of {left} of {len(series)} views reaches {limit:g} Å, {MIN_VIEWS} are needed",
            mend="state a coarser ctf.max_fit_resolution, or keep views with ctf.include",
        )
    return poor


def _write_profiles(profiles: CtfProfiles, series: TiltSeries, context: Context) -> None:
    """Curves and pictures of every view that was fitted, also of those that are left out."""
    with context.new_file(CURVES) as path:
        write_ctf_curves(path, profiles, _places(series))
    with context.new_mrc(PICTURES, profiles.pictures.shape, picture_pixel_ang(profiles)) as writer:
        writer(0, 0, 0, profiles.pictures)


def _places(series: TiltSeries) -> NDArray[np.int64]:
    return np.asarray(series.place, dtype=np.int64)
