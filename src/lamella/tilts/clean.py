"""Leave out bad views, and replace bad pixels, with one mask for the full, even and odd images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError, SettingsError
from lamella.progress import Progress, no_progress
from lamella.records import ImageSink, ImageSource, TiltSeries
from lamella.tilts.clean_settings import CleanSettings
from lamella.tilts.outliers import check_fraction, fill_pixels, find_outliers, hot_pixels
from lamella.tilts.views import ViewLook, judge_views, look_at

__all__ = ["MIN_VIEWS", "CleanResult", "clean"]

Index = NDArray[np.int64]

MIN_VIEWS = 3
"""Fewer views make no tomogram."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CleanResult:
    """What is left of a series.

    Attributes
    ----------
    series
        the views that were kept, with the scores ``CleanBrightness`` (against the smooth course over the tilt angle)
        and ``CleanReplacedPixels``.
    excluded
        the views that were left out, or None.
    reasons
        why, one sentence per excluded view.
    kept
        ``(m,)`` the kept views' places in the series that came in, from 0.
    replaced
        ``(m,)`` pixels replaced in each kept view.
    invalid
        ``(m,)`` how many of them were not finite numbers.
    hot
        pixels that were replaced in every view.
    """

    series: TiltSeries
    excluded: TiltSeries | None
    reasons: tuple[str, ...]
    kept: Index
    replaced: Index
    invalid: Index
    hot: int


@dataclass(frozen=True, eq=False)
class _Finding:
    """One view after the first look; masked pixels as flat indices, which are few."""

    look: ViewLook
    masked: Index
    invalid: int
    raised: Index
    sunk: Index
    trouble: str = ""


def clean(
    series: TiltSeries,
    images: ImageSource,
    settings: CleanSettings,
    write: ImageSink | None,
    *,
    even: ImageSource | None = None,
    odd: ImageSource | None = None,
    write_even: ImageSink | None = None,
    write_odd: ImageSink | None = None,
    progress: Progress = no_progress,
) -> CleanResult:
    """Leave out bad views and replace outlying pixels; every image is read twice, one at a time.

    Parameters
    ----------
    series, images
        the record and its images, in the same order.
    settings
        thresholds, and the views that the user excludes.
    write
        takes the kept images as 0, 1, …; None where only the judgement is wanted.
    even, odd, write_even, write_odd
        images of half the frames each, cleaned with the full image's mask, and their sinks.
    progress
        told after every image.

    Raises
    ------
    SettingsError
        if `settings.exclude` names a view that is not there.
    ImageError
        if images and record do not fit, fewer than `MIN_VIEWS` views remain, or an image cannot be used (the message
        names the view).
    """
    _check_sizes(series, images, even, odd)
    wanted = _wanted(series, settings)
    findings: dict[int, _Finding] = {}
    for done, view in enumerate(wanted):
        progress(0.5 * done / len(wanted), f"look at view {done + 1} of {len(wanted)}")
        findings[view] = _examine(images.view(view), settings, _name(series, view))
    reasons, relative = _judge(series, findings, settings)
    kept = np.array([view for view in wanted if not reasons[view]], dtype=np.int64)
    if len(kept) < MIN_VIEWS:
        raise ImageError(f"{series.name}: {_too_few(series, reasons, len(kept))}", mend=_MEND_TOO_FEW)
    hot = hot_pixels(
        np.concatenate([findings[view].raised for view in kept]),
        np.concatenate([findings[view].sunk for view in kept]),
        series.image_shape_px,
        len(kept),
    )
    hot_places = np.flatnonzero(hot)
    replaced = np.zeros(len(kept), np.int64)
    sources = ((images, write), (even, write_even), (odd, write_odd))
    for index, view in enumerate(kept):
        progress(0.5 + 0.5 * index / len(kept), f"clean view {index + 1} of {len(kept)}")
        masked = np.union1d(findings[view].masked, hot_places)
        replaced[index] = _write(int(view), index, masked, sources, settings, _name(series, int(view)))
    progress(1.0, "")
    left = np.array([view for view in range(len(series)) if reasons[view]], dtype=np.int64)
    scores = {"CleanBrightness": relative[kept], "CleanReplacedPixels": replaced.astype(np.float64)}
    return CleanResult(
        series=series.select(kept).with_changes(scores=scores, quality={"CleanExcludedViews": float(len(left))}),
        excluded=series.select(left) if len(left) else None,
        reasons=tuple(reasons[view] for view in left),
        kept=kept,
        replaced=replaced,
        invalid=np.array([findings[view].invalid for view in kept], dtype=np.int64),
        hot=len(hot_places),
    )


_MEND_TOO_FEW = "exclude fewer views with clean.exclude, or turn clean.bad_views off"


def _name(series: TiltSeries, view: int) -> str:
    assert series.place is not None  # a record always has one
    return f"{series.name}, view {series.place[view]} (tilt {series.nominal_tilt_deg[view]:.1f} degrees)"


def _check_sizes(series: TiltSeries, images: ImageSource, even: ImageSource | None, odd: ImageSource | None) -> None:
    expected = (len(series), *series.image_shape_px)
    for name, source in (("images", images), ("even images", even), ("odd images", odd)):
        if source is not None and tuple(source.shape) != expected:
            raise ImageError(
                f"{series.name}: {name} of {source.shape} for a record of {expected} (views, height, width)",
                mend="import the stack again",
            )


def _wanted(series: TiltSeries, settings: CleanSettings) -> list[int]:
    """Views that the user did not exclude."""
    places = np.asarray(series.place)
    if unknown := sorted(set(settings.exclude) - {int(place) for place in places}):
        raise SettingsError(
            f"{series.name}: clean.exclude names view {', '.join(map(str, unknown))}, which is not in the series",
            mend=f"name views by their place in the stack, {places.min()} to {places.max()}",
        )
    wanted = np.flatnonzero(~np.isin(places, settings.exclude))
    if len(wanted) < MIN_VIEWS:
        raise ImageError(
            f"{series.name}: clean.exclude leaves {len(wanted)} of {len(series)} views, {MIN_VIEWS} are needed",
            mend="exclude fewer views",
        )
    return [int(view) for view in wanted]


def _examine(image: NDArray[np.float32], settings: CleanSettings, name: str) -> _Finding:
    """Outliers and general look of one image; a constant one is left to the judgement where there is one."""
    none = np.empty(0, np.int64)
    finite = image[np.isfinite(image)]
    if settings.bad_views and finite.size == image.size and finite.size and finite.min() == finite.max():
        trouble = f"blank: every pixel is {finite.flat[0]:g}"
        return _Finding(look_at(image), none, 0, none, none, trouble)
    try:
        found = find_outliers(image, settings)
        if found.invalid:
            invalid = ~np.isfinite(image)
            check_fraction(invalid, settings, "the image")
    except ImageError as error:
        raise ImageError(f"{name}: {error.problem}", mend=error.mend) from error
    masked = np.flatnonzero(found.mask)
    return _Finding(look_at(image, found.mask), masked, found.invalid, found.raised, found.sunk)


def _judge(
    series: TiltSeries, findings: dict[int, _Finding], settings: CleanSettings
) -> tuple[list[str], NDArray[np.float64]]:
    """Why each view is left out (empty: it stays), and its brightness against the expected one."""
    reasons = ["" if view in findings else "excluded by clean.exclude" for view in range(len(series))]
    views = list(findings)
    judged, brightness = judge_views(
        [findings[view].look for view in views], np.asarray(series.tilt_deg)[views], series.imaging, settings
    )
    relative = np.full(len(series), np.nan)
    relative[views] = brightness
    for view, reason in zip(views, judged, strict=True):
        if settings.bad_views:
            reasons[view] = findings[view].trouble or reason
    return reasons, relative


def _too_few(series: TiltSeries, reasons: Sequence[str], left: int) -> str:
    named = [
        f"view {place}: {reason}" for place, reason in zip(np.asarray(series.place), reasons, strict=True) if reason
    ]
    shown = "; ".join(named[:5]) + (f"; and {len(named) - 5} more" if len(named) > 5 else "")
    return f"{left} of {len(series)} views are left, {MIN_VIEWS} are needed ({shown})"


def _write(
    view: int,
    index: int,
    masked: Index,
    sources: Sequence[tuple[ImageSource | None, ImageSink | None]],
    settings: CleanSettings,
    name: str,
) -> int:
    """Clean the full, even and odd image of one view with one mask; how many pixels it holds."""
    pictures = [(source.view(view), sink) for source, sink in sources if source is not None and sink is not None]
    if not pictures:
        return len(masked)
    mask = np.zeros(pictures[0][0].shape, dtype=bool)
    mask.flat[masked] = True
    for picture, _ in pictures:
        mask |= ~np.isfinite(picture)
    check_fraction(mask, settings, name)
    for number, (picture, sink) in enumerate(pictures):
        sink(index, fill_pixels(picture, mask, settings, seed=3 * view + number))
    return int(mask.sum())
