"""Leave out bad views, and replace bad pixels, with one mask for the full, even and odd images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.progress import Progress, no_progress
from lamella.records import ImageSink, ImageSource, TiltSeries
from lamella.tilts.clean_settings import CleanSettings
from lamella.tilts.neighbours import agree_with_neighbours, judge_shifts
from lamella.tilts.outliers import check_fraction, fill_pixels, find_outliers, hot_pixels
from lamella.tilts.view_choice import MIN_VIEWS, views_left, views_of_places
from lamella.tilts.views import ViewLook, judge_views, look_at

__all__ = ["MIN_VIEWS", "CleanResult", "clean"]

Index = NDArray[np.int64]

_MANY = 1 / 3
"""A series of which more than this share shows nothing is suspect as a whole."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CleanResult:
    """What is left of a series.

    Attributes
    ----------
    series
        the views that were kept, with the scores ``CleanBrightness`` (against the smooth course over the tilt angle),
        ``CleanCovered`` (fraction of the field behind an opaque film), ``CleanAgreement`` (with the neighbour that
        agrees best: height of the correlation's peak over the deviation of its map; NaN where it was not sought) and
        ``CleanReplacedPixels``.
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
    warnings
        what the user should know: faults of views that stay because he included them, and a series of which many views
        show nothing.
    """

    series: TiltSeries
    excluded: TiltSeries | None
    reasons: tuple[str, ...]
    kept: Index
    replaced: Index
    invalid: Index
    hot: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Judgement:
    """Why each view of the series is left out (empty: it stays), scores of all views, and warnings."""

    reasons: list[str]
    scores: dict[str, NDArray[np.float64]]
    warnings: tuple[str, ...]


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
        thresholds, and the views that the user excludes or includes.
    write
        takes the kept images as 0, 1, …; None where only the judgement is wanted.
    even, odd, write_even, write_odd
        images of half the frames each, cleaned with the full image's mask, and their sinks.
    progress
        told after every image.

    Raises
    ------
    SettingsError
        if `settings.exclude` or `.include` names a view that is not there.
    ImageError
        if images and record do not fit, fewer than `MIN_VIEWS` views remain, or an image cannot be used (the message
        names the view).
    """
    _check_sizes(series, images, even, odd)
    wanted = _wanted(series, settings)
    findings: dict[int, _Finding] = {}
    for done, view in enumerate(wanted):
        progress(0.5 * done / len(wanted), f"look at view {done + 1} of {len(wanted)}")
        findings[view] = _examine(images.view(view), settings, series, view)
    judgement = _judge(series, findings, settings)
    reasons = judgement.reasons
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
    scores = {name: values[kept] for name, values in judgement.scores.items()}
    scores["CleanReplacedPixels"] = replaced.astype(np.float64)
    return CleanResult(
        series=series.select(kept).with_changes(scores=scores, quality={"CleanExcludedViews": float(len(left))}),
        excluded=series.select(left) if len(left) else None,
        reasons=tuple(reasons[view] for view in left),
        kept=kept,
        replaced=replaced,
        invalid=np.array([findings[view].invalid for view in kept], dtype=np.int64),
        hot=len(hot_places),
        warnings=judgement.warnings,
    )


_MEND_TOO_FEW = "keep views with clean.include, exclude fewer with clean.exclude, or turn clean.bad_views off"


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
    wanted = views_left(series, "clean", settings.exclude, settings.include)
    if len(wanted) < MIN_VIEWS:
        raise ImageError(f"{series.name}: {len(wanted)} views, {MIN_VIEWS} are needed", mend="import the whole series")
    return wanted


def _examine(image: NDArray[np.float32], settings: CleanSettings, series: TiltSeries, view: int) -> _Finding:
    """Outliers and general look of one image; a constant one is left to the judgement where there is one."""
    none = np.empty(0, np.int64)
    finite = image[np.isfinite(image)]
    constant = finite.size == image.size and finite.size and finite.min() == finite.max()
    if constant and settings.bad_views and view not in _included(series, settings):
        trouble = f"blank: every pixel is {finite.flat[0]:g}"
        return _Finding(look_at(image, imaging=series.imaging), none, 0, none, none, trouble)
    try:
        found = find_outliers(image, settings)
        if found.invalid:
            invalid = ~np.isfinite(image)
            check_fraction(invalid, settings, "the image")
    except ImageError as error:
        raise ImageError(f"{_name(series, view)}: {error.problem}", mend=error.mend) from error
    masked = np.flatnonzero(found.mask)
    look = look_at(image, found.mask, series.imaging)
    return _Finding(look, masked, found.invalid, found.raised, found.sunk)


def _included(series: TiltSeries, settings: CleanSettings) -> frozenset[int]:
    return views_of_places(series, settings.include)


def _judge(series: TiltSeries, findings: dict[int, _Finding], settings: CleanSettings) -> _Judgement:
    """What is wrong with each view, and whether it stays all the same."""
    views = np.array(list(findings), dtype=np.int64)
    looks = [findings[int(view)].look for view in views]
    tilt = np.asarray(series.tilt_deg)
    judged, brightness = judge_views(looks, tilt[views], series.imaging, settings)
    faults = {int(v): findings[int(v)].trouble or fault for v, fault in zip(views, judged, strict=True)}
    # neighbours are told from views that show something
    sound = [int(view) for view in views[np.argsort(tilt[views], kind="stable")] if not faults[int(view)]]
    agreement = agree_with_neighbours(
        [findings[view].look for view in sound], tilt[sound], np.asarray(series.nominal_axis_deg)[sound]
    )
    faults.update(zip(sound, judge_shifts(agreement, settings.max_shift), strict=True))
    scores = {name: np.full(len(series), np.nan) for name in ("CleanBrightness", "CleanCovered", "CleanAgreement")}
    scores["CleanBrightness"][views] = brightness
    scores["CleanCovered"][views] = [look.covered for look in looks]
    scores["CleanAgreement"][sound] = agreement.best()
    if not settings.bad_views:
        faults = dict.fromkeys(faults, "")
    kept_by_user = {view: faults[view] for view in _included(series, settings) if faults.get(view)}
    reasons = ["excluded by clean.exclude"] * len(series)
    for view, fault in faults.items():
        reasons[view] = "" if view in kept_by_user else fault
    return _Judgement(reasons, scores, _warnings(series, faults, kept_by_user))


def _warnings(series: TiltSeries, faults: dict[int, str], kept: dict[int, str]) -> tuple[str, ...]:
    place = np.asarray(series.place)
    said = [f"view {place[view]} stays by clean.include, although {fault}" for view, fault in sorted(kept.items())]
    faulty = sum(bool(fault) for fault in faults.values())
    if faulty > _MANY * len(faults):
        said.append(
            f"{faulty} of {len(faults)} views show nothing of the specimen (dark, blank, blocked or shifted out): the "
            "beam, the shutter, the stage or the import may have failed; what the rest gives is to be doubted"
        )
    return tuple(said)


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
