"""A session of recording many tilt series, as its report and its live page show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SPENT_ON",
    "Acquisition",
    "AcquisitionTruth",
    "AreaFocus",
    "AreaTracking",
    "Doubt",
    "Fault",
    "LeftOut",
    "Timeline",
]

Array = NDArray[np.float64]

_SOME = 3  # views of a target that tell where it stands in most of them

SPENT_ON = ("start", "turning", "waiting", "tracking", "focus", "views", "faults")
"""What a session's time goes to: all before its first tilt; the stage's turns; waits for it to settle; the tracking and
the focus area; views of targets; pauses after faults and in refills."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaTracking:
    """Exposures of the tracking area, ``(n,)`` each, in their order.

    Attributes
    ----------
    tilt
        number of the tilt, −1 before the first.
    low
        whether at the low magnification.
    left_nm
        where the area was against the middle.
    shift_um
        ``(n, 2)`` image shift as set.
    time_s
        by the microscope's clock.
    """

    tilt: NDArray[np.int64]
    low: NDArray[np.bool_]
    left_nm: Array
    shift_um: Array
    time_s: Array

    def first_nm(self, tilts: int) -> Array:
        """``(tilts,)`` how far off the area was in the first exposure of each tilt; NaN without one."""
        left = np.full(tilts, np.nan)
        for tilt, nm in zip(self.tilt[::-1], self.left_nm[::-1], strict=True):
            if tilt >= 0:
                left[tilt] = nm
        return left

    def last_nm(self, tilts: int) -> Array:
        """``(tilts,)`` what was left in the last exposure of each tilt at high magnification; NaN without one."""
        left = np.full(tilts, np.nan)
        for tilt, low, nm in zip(self.tilt, self.low, self.left_nm, strict=True):
            if tilt >= 0 and not low:
                left[tilt] = nm
        return left


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaFocus:
    """Measurements of focus, ``(n,)`` each: number of the tilt, true defocus, its standard error, µm, and the time."""

    tilt: NDArray[np.int64]
    defocus_um: Array
    sd_um: Array
    time_s: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """What was done when: spans of time in their order, ``(n,)`` each.

    Attributes
    ----------
    kind
        of what was done: its number in `SPENT_ON`.
    tilt
        number of the tilt; −1 before the first.
    start_s, end_s
        by the microscope's clock.
    """

    kind: NDArray[np.int64]
    tilt: NDArray[np.int64]
    start_s: Array
    end_s: Array

    def seconds(self, name: str) -> float:
        """Of the whole session that went to one thing."""
        mine = self.kind == SPENT_ON.index(name)
        return float((self.end_s - self.start_s)[mine].sum())

    def of_tilts(self, name: str, tilts: int) -> Array:
        """``(tilts,)`` seconds of each tilt that went to one thing."""
        mine = (self.kind == SPENT_ON.index(name)) & (self.tilt >= 0)
        return np.bincount(self.tilt[mine], (self.end_s - self.start_s)[mine], minlength=tilts).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Views that were not recorded.

    Attributes
    ----------
    target, tilt
        numbers; target −1: no target was recorded at this tilt.
    where
        the same in words.
    kind
        ``limit``, ``dark``, ``fault``, ``unsure``; ``tilt`` where the stage did not go there.
    reason
        in words.
    """

    target: int
    tilt: int
    where: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """The predictor was unsure: of which place, by how much (of it and of its height, µm), and what was done."""

    tilt: int
    where: str
    place_sd_um: float
    height_sd_um: float
    done: str
    time_s: float


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault that was survived: what was asked, what went wrong, how long it was waited, and when."""

    verb: str
    problem: str
    waited_s: float
    time_s: float


@dataclass(frozen=True, kw_only=True, eq=False)
class AcquisitionTruth:
    """What only a simulation knows of a session.

    Attributes
    ----------
    targeting_um, defocus_error_um
        ``(targets, tilts)`` distance of the target's true place from the middle, and its true defocus less what was
        wanted.
    own_dose, other_dose
        ``(targets,)`` on the target's area, from its own views and from all else, e/Å².
    height_um
        ``(targets,)`` at the start tilt, above their mean.
    axis_um
        x of the tilt axis from the middle of the beam.
    """

    targeting_um: Array
    defocus_error_um: Array
    own_dose: Array
    other_dose: Array
    height_um: Array
    axis_um: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Acquisition:
    """What a session has done up to now.

    Attributes
    ----------
    name
        of the session.
    predictor
        that it was recorded with.
    targets
        names.
    places_um
        ``(targets, 2)`` at the start tilt, across and along the tilt axis.
    height_um
        ``(targets,)`` above their mean, as the measured places tell it; NaN where they cannot yet.
    plane_um
        ``(targets,)`` of the plane through them.
    tilt_deg
        ``(tilts,)`` as asked, in the order of recording.
    stood_s
        ``(tilts,)`` when the stage stood there, by the microscope's clock; NaN where it did not.
    shift_um, displacement_um
        ``(targets, tilts, 2)`` the image shift as set, and where the target was against the picture's middle as
        measured; NaN where there is no view, or it could not be measured.
    displacement_sd_um, predicted_sd_um
        ``(targets, tilts)`` of that measurement, and of the place as it was predicted.
    learned
        ``(targets, tilts)`` whether the displacement was believed, and the predictor told of it.
    defocus_um
        ``(targets, tilts)`` as set.
    dose
        ``(targets, tilts)`` e/Å².
    time_s
        ``(targets, tilts)`` of the views.
    wanted_um
        defocus.
    planned_dose
        ``(targets,)`` of the whole session, by whose beams they come from.
    tracking, focus
        of the areas beside the targets.
    timeline
        what was done when.
    endings, reasons
        ``finished``, ``limit``, ``thick``, ``lost`` of each target, empty while it goes on; and why it was lost.
    left_out, doubts, faults
        views that were not recorded; what the predictor was unsure of; faults that were survived.
    levelled
        pre-tilt, the direction in which the plane rises, deg, and what heights are off it, µm: as measured by focus at
        the start; None where it was not.
    found_plane
        pre-tilt and direction of the plane through `height_um`, deg; None while there is none.
    focus_axis_um, axis_um
        x of the tilt axis from the middle of the beam, and its standard deviation: as focus tells it, and as processing
        found it; None where they do not.
    focus_scales
        by how much more the beam's tilt does than it says (1: as it says), and its standard deviation; the same of the
        lens (None: its was not measured, and 1 is taken). None where neither was measured.
    thickness_um
        ``(targets,)`` as processing found it; NaN where it did not.
    fed_back
        measurements of processing: defoci and shifts that the predictor was told, and those that were left out.
    started_s, now_s
        by the microscope's clock.
    planned_s
        of the whole session, as planned.
    ended
        whether it is over.
    truth
        where it is a simulated one.
    """

    name: str
    predictor: str
    targets: tuple[str, ...]
    places_um: Array
    height_um: Array
    plane_um: Array
    tilt_deg: Array
    stood_s: Array
    shift_um: Array
    displacement_um: Array
    displacement_sd_um: Array
    predicted_sd_um: Array
    learned: NDArray[np.bool_]
    defocus_um: Array
    dose: Array
    time_s: Array
    wanted_um: float
    planned_dose: Mapping[str, Array]
    tracking: AreaTracking
    focus: AreaFocus
    timeline: Timeline
    endings: tuple[str, ...]
    reasons: tuple[str, ...]
    thickness_um: Array
    left_out: tuple[LeftOut, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    faults: tuple[Fault, ...] = ()
    levelled: tuple[float, float, float] | None = None
    found_plane: tuple[float, float] | None = None
    focus_axis_um: tuple[float, float] | None = None
    axis_um: tuple[float, float] | None = None
    focus_scales: tuple[float, float, float, float | None] | None = None
    fed_back: tuple[int, int, int] = (0, 0, 0)
    started_s: float = 0.0
    now_s: float = 0.0
    planned_s: float = 0.0
    ended: bool = False
    truth: AcquisitionTruth | None = None

    @property
    def recorded(self) -> NDArray[np.bool_]:
        """``(targets, tilts)`` whether there is a view."""
        return np.isfinite(self.time_s)

    @property
    def over(self) -> NDArray[np.bool_]:
        """``(tilts,)`` whether the stage stood there, and the session is past it."""
        stood = np.isfinite(self.stood_s)
        if not self.ended and stood.any():
            stood[int(np.nanargmax(self.stood_s))] = False
        return stood

    @property
    def aside_um(self) -> Array:
        """``(targets, 2)`` where each target stands in most of its views against its first one; NaN before a few.

        Either its first view was off by that, or all others are: displacements alone cannot tell.
        """
        aside = np.full((len(self.targets), 2), np.nan)
        for number, known in enumerate(self.learned):
            if known.sum() >= _SOME:
                aside[number] = np.median(self.displacement_um[number, known], axis=0)
        return aside

    @property
    def off_um(self) -> Array:
        """``(targets, tilts)`` how far each view is off where its target stands in most views; NaN if not measured."""
        off = self.displacement_um - np.nan_to_num(self.aside_um)[:, None]
        return np.hypot(off[..., 0], off[..., 1])

    @property
    def off_by_sd(self) -> Array:
        """``(targets, tilts)`` length of the measured displacement over what it was expected to be (rms)."""
        expected = np.hypot(self.predicted_sd_um, np.sqrt(2.0) * self.displacement_sd_um)
        return np.asarray(self.off_um / np.where(expected > 0, expected, np.nan))

    @property
    def done(self) -> float:
        """Fraction of the tilts that are done."""
        if self.ended:
            return 1.0
        begun = int(np.isfinite(self.stood_s).sum())
        return max(0, begun - 1) / len(self.tilt_deg)

    @property
    def left_s(self) -> float:
        """Time that the tilts left will take: as those before took; as planned while there are none."""
        if self.ended:
            return 0.0
        stood = self.stood_s[np.isfinite(self.stood_s)]
        if len(stood) < 2:
            return max(0.0, self.planned_s - (self.now_s - self.started_s))
        each = float(stood[-1] - stood[0]) / (len(stood) - 1)
        return max(0.0, each * (len(self.tilt_deg) - len(stood) + 1) - (self.now_s - float(stood[-1])))
