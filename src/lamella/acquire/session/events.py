"""What happens in a session, as its log tells it beside the calls to the microscope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from lamella.errors import FormatError

__all__ = [
    "AxisMeasured",
    "Doubted",
    "Event",
    "FaultSurvived",
    "FeedbackTaken",
    "FocusScalesMeasured",
    "HeightMeasured",
    "PlaneFitted",
    "SeriesBegun",
    "SessionBegun",
    "SessionEnded",
    "StageLifted",
    "TargetEnded",
    "Tell",
    "ThicknessMeasured",
    "TiltBegun",
    "TiltLeftOut",
    "Tracked",
    "ViewLeftOut",
    "ViewRecorded",
    "event_json",
    "read_event",
]

Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SessionBegun:
    """The first answer of the microscope, by its clock."""

    time_s: float


@dataclass(frozen=True, kw_only=True)
class StageLifted:
    """The stage was brought to eucentric height: what was measured, and by how much it was moved, µm."""

    height_um: float
    moved_um: float


@dataclass(frozen=True, kw_only=True)
class HeightMeasured:
    """Focus was measured by beam tilt: true defocus and height of an area (`View.target`), µm."""

    target: int
    tilt: int
    defocus_um: float
    height_um: float
    sd_um: float
    time_s: float


@dataclass(frozen=True, kw_only=True)
class FocusScalesMeasured:
    """By how much more the beam's tilt and the lens do than they say (1: as they say), and the errors of that."""

    beam: float
    beam_sd: float
    lens: float
    lens_sd: float | None
    time_s: float


@dataclass(frozen=True, kw_only=True)
class PlaneFitted:
    """The plane of the targets, from measured heights."""

    pre_tilt_deg: float
    rotation_deg: float
    residual_um: float


@dataclass(frozen=True, kw_only=True)
class TiltBegun:
    """The stage stands at a further tilt: what was asked, what it reads."""

    tilt: int
    asked_deg: float
    tilt_deg: float
    time_s: float


@dataclass(frozen=True, kw_only=True)
class TiltLeftOut:
    """A tilt of which no view is recorded, and why."""

    tilt: int
    asked_deg: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """One exposure of a tracking area: where it was against the middle, nm, and the image shift that was set, µm."""

    target: int
    tilt: int
    preset: str
    attempt: int
    left_nm: float
    shift_um: Pair
    time_s: float


@dataclass(frozen=True, kw_only=True)
class Doubted:
    """The predictor was unsure of a target or area, and what was done for it.

    Attributes
    ----------
    target, tilt
        its numbers.
    predicted_sd_um
        of the place and of the height.
    done
        ``track``: the tracking area was looked at again, after `waited_s`; ``focus``: focus was measured.
    waited_s, time_s
        the wait, and when.
    """

    target: int
    tilt: int
    predicted_sd_um: Pair
    done: str
    waited_s: float
    time_s: float


@dataclass(frozen=True, kw_only=True)
class ViewRecorded:
    """A view of a target.

    Attributes
    ----------
    target, tilt, shot, attempt
        its numbers (see `Purpose`).
    asked_deg, tilt_deg
        the scheme's angle and what the stage read.
    shift_um, defocus_um
        as set.
    predicted_sd_um
        of the place and of the height, as predicted.
    displacement_um
        measured against the target's own series; None where it is the first, or could not be measured.
    displacement_sd_um, confidence
        of it.
    learned
        whether the predictor was told of it.
    dose, dose_before
        e/Å², of this view, and what the target had before it.
    mean_counts, files, time_s
        of the picture.
    """

    target: int
    tilt: int
    shot: int
    attempt: int
    asked_deg: float
    tilt_deg: float
    shift_um: Pair
    defocus_um: float
    predicted_sd_um: Pair
    displacement_um: Pair | None
    displacement_sd_um: float
    confidence: float
    learned: bool
    dose: float
    dose_before: float
    mean_counts: float
    files: tuple[str, ...]
    time_s: float


@dataclass(frozen=True, kw_only=True)
class ViewLeftOut:
    """A view that was not recorded, and why: ``limit``, ``dark``, ``fault``, ``unsure``."""

    target: int
    tilt: int
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SeriesBegun:
    """A target's first view became the one that its others are compared with: where the target was in it.

    Tracking before and after it tells; µm from the middle, across and along the axis.
    """

    target: int
    tilt: int
    displacement_um: Pair
    sd_um: float


@dataclass(frozen=True, kw_only=True)
class TargetEnded:
    """A target's series is over: ``finished``, ``limit`` (it left the image shift's range, as planned), ``lost``, or
    ``thick`` (ended early, since processing found it thicker than is wanted)."""

    target: int
    kind: str
    views: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class FeedbackTaken:
    """Measurements of processing were taken in: how many the predictor was told, and how many were left out.

    Attributes
    ----------
    tilt
        at which.
    defoci, shifts
        that the predictor was told.
    left_out
        of views that were not recorded, or of which it is known already.
    time_s
        by the microscope's clock.
    """

    tilt: int
    defoci: int
    shifts: int
    left_out: int
    time_s: float


@dataclass(frozen=True, kw_only=True)
class AxisMeasured:
    """Processing found where the tilt axis lies: x from the middle of the beam, as a calibration states it, µm."""

    tilt: int
    axis_um: float
    sd_um: float
    time_s: float


@dataclass(frozen=True, kw_only=True)
class ThicknessMeasured:
    """Processing found how thick a target's specimen is, µm."""

    target: int
    tilt: int
    thickness_um: float
    sd_um: float
    time_s: float


@dataclass(frozen=True, kw_only=True)
class FaultSurvived:
    """A call that the microscope failed and that is asked again after a wait, or a pause of its that was waited for."""

    verb: str
    problem: str
    attempt: int
    waited_s: float
    time_s: float


@dataclass(frozen=True, kw_only=True)
class SessionEnded:
    """Every tilt was done; when the session began and ended by the microscope's clock."""

    started_s: float
    ended_s: float


Event = (
    SessionBegun
    | StageLifted
    | HeightMeasured
    | FocusScalesMeasured
    | PlaneFitted
    | SeriesBegun
    | TiltBegun
    | TiltLeftOut
    | Tracked
    | Doubted
    | ViewRecorded
    | ViewLeftOut
    | TargetEnded
    | FeedbackTaken
    | AxisMeasured
    | ThicknessMeasured
    | FaultSurvived
    | SessionEnded
)
Tell = Callable[[Event], None]


def event_json(event: Event) -> dict[str, Any]:
    """The event as the log's line holds it: its name under ``event``, then its fields."""
    return {"event": type(event).__name__, **asdict(event)}


_KINDS: dict[str, Callable[..., Event]] = {kind.__name__: kind for kind in get_args(Event)}


def read_event(line: Mapping[str, Any]) -> Event | None:
    """The event of a log's line; None where the line is a call to the microscope or a remark.

    Raises
    ------
    FormatError
        if it is an event that cannot be read.
    """
    if "event" not in line:
        return None
    fields = {
        name: tuple(value) if isinstance(value, list) else value for name, value in line.items() if name != "event"
    }
    try:
        return _KINDS[line["event"]](**fields)
    except (KeyError, TypeError) as error:
        raise FormatError(
            f"the log's event {line['event']!r} cannot be read ({error})", mend="use the version that wrote it"
        ) from error
