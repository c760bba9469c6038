"""What a session came to in a few sentences: did it hit, what went wrong, where time and dose went, what to change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lamella.records.acquisition import SPENT_ON, Acquisition

__all__ = ["Finding", "findings_of", "spread"]

_FAR_NM = 100.0  # off, from which on a view is worth a word
_ASIDE_NM = 30.0  # of a target's other views against its first one
_SURE = 2.0  # measured over expected, from which on a predictor is too sure of itself
_JUMP_UM = 0.5  # of the tracking area from one tilt to the next
_FOCUS_UM = 0.3
_DOSE_SHARE = 0.05  # of a target's dose, from others' beams
_WAITED_S = 60.0
_LATE = 1.2  # of the time planned
_SLOPE_DEG = 3.0
_AXIS_UM, _AXIS_SD = 0.2, 2.0  # of the axis's offset: worth a calibration, and surely there
_MANY = 0.02  # of the views that are not believed: more than some wrong peaks
_BEAM = 0.02  # by which a beam tilt is wrong that is worth a calibration
_NAMED = 6  # that are named one by one


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A sentence, whether it is good news, and what to do about it where there is something to do."""

    kind: Literal["good", "note", "bad"]
    text: str
    mend: str = ""


def findings_of(session: Acquisition) -> tuple[Finding, ...]:
    """What is worth knowing of a session, the weightiest first in each part."""
    parts = (_endings, _hits, _prediction, _left_out, _jumps, _focus, _time, _dose, _lie)
    return tuple(found for part in parts for found in part(session))


def spread(values: np.typing.ArrayLike, unit: str, scale: float = 1.0) -> str:
    """Median ± interquartile range of what is finite; a dash where nothing is."""
    numbers = scale * np.asarray(values, np.float64)
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        return "–"
    low, middle, high = np.percentile(finite, [25, 50, 75])
    wide = max(float(high - low), 0.05 * abs(float(middle)), 1e-4)
    decimals = int(np.clip(1 - np.floor(np.log10(wide)), 0, 4))
    return f"{middle:.{decimals}f} ± {high - low:.{decimals}f} {unit}"


def _endings(session: Acquisition) -> Iterator[Finding]:
    count, views = len(session.targets), int(session.recorded.sum())
    kinds = Counter(ending for ending in session.endings if ending)
    if not session.ended:
        yield Finding(kind="note", text=f"{100 * session.done:.0f} % of the tilts are done: {views} views so far.")
    elif not kinds["lost"]:
        yield Finding(kind="good", text=f"All {count} targets have their series: {views} views.")
    if kinds["limit"]:
        yield Finding(kind="note", text=f"{kinds['limit']} of them end where the image shift does, as planned.")
    if kinds["thick"]:
        yield Finding(kind="note", text=f"{kinds['thick']} were ended early, since they are thicker than is wanted.")
    lost = [number for number, ending in enumerate(session.endings) if ending == "lost"]
    for number in lost[:_NAMED]:
        reason = session.reasons[number] or "too few views"
        yield Finding(kind="bad", text=f"Target {session.targets[number]} is lost: {reason}.")
    if len(lost) > _NAMED:
        yield Finding(kind="bad", text=f"{len(lost) - _NAMED} further targets are lost.")


def _hits(session: Acquisition) -> Iterator[Finding]:
    off = 1e3 * np.where(session.learned, session.off_um, np.nan)
    known = np.isfinite(off)
    yield from _doubtful(session)
    if not known.any():
        return
    yield Finding(
        kind="good",
        text=f"Views were {spread(off, 'nm')} off, as measured against their series (median ± quartiles' range).",
    )
    far = np.argwhere(np.where(known, off, 0.0) > _FAR_NM)
    if len(far):
        worst = far[np.argmax([off[tuple(one)] for one in far])]
        text = (
            f"{len(far)} of {int(known.sum())} views were more than {_FAR_NM:.0f} nm off, "
            f"the worst {_at(session, *worst)} by {off[tuple(worst)]:.0f} nm."
        )
        yield Finding(kind="note", text=text)
    aside = 1e3 * np.hypot(*session.aside_um.T)
    begun = np.flatnonzero(np.where(np.isfinite(aside), aside, 0.0) > _ASIDE_NM)
    if len(begun):
        yield Finding(
            kind="note",
            text=f"The first view of {_names(session, begun)} stands beside the others, by up to "
            f"{aside[begun].max():.0f} nm.",
            mend="first_tilt_tracking, level, or a scheme that begins at the start tilt",
        )


def _doubtful(session: Acquisition) -> Iterator[Finding]:
    """Views whose displacement the session did not believe: a wrong peak of a correlation, or a target far off."""
    doubtful = np.argwhere(np.isfinite(session.off_um) & ~session.learned)
    if len(doubtful):
        where = ", ".join(f"{_at(session, *one)} by {session.off_um[tuple(one)]:.2g} µm" for one in doubtful[:_NAMED])
        more = f" and {len(doubtful) - _NAMED} more" if len(doubtful) > _NAMED else ""
        measured = int(np.isfinite(session.off_um).sum())
        text = f"{len(doubtful)} of {measured} views seem far off, or do not match their series: {where}{more}."
        yield Finding(
            kind="bad" if len(doubtful) > _MANY * measured else "note",
            text=text,
            mend="look at them: on a lattice of holes a wrong peak looks alike; they were not learned from",
        )


def _prediction(session: Acquisition) -> Iterator[Finding]:
    by_sd = session.off_by_sd[np.isfinite(session.off_by_sd)]
    if by_sd.size and np.median(by_sd) > _SURE:
        yield Finding(
            kind="note",
            text=f"Views were {np.median(by_sd):.1f} times farther off than the predictor expected.",
            mend="look at the tracking area more often (mode slow, track_every), or wait after each tilt (settle)",
        )
    if session.doubts:
        counts = Counter(one.done for one in session.doubts)
        done = ", ".join(f"{count} × {name}" for name, count in counts.most_common())
        times = "once" if len(session.doubts) == 1 else f"{len(session.doubts)} times"
        yield Finding(kind="note", text=f"The predictor was unsure {times}: {done}.")


_MENDS = {
    "limit": "a smaller tilt_range, or targets nearer to the middle",
    "dark": "look for grid bars and ice near these targets, and at the valves",
    "fault": "look at the faults below",
    "unsure": "track_every, settle, or a larger value of lost",
    "tilt": "look at the stage",
}
_WORDS = {
    "limit": "beyond the image shift",
    "dark": "that stayed dark",
    "fault": "that failed",
    "unsure": "whose place was too unsure to be worth a dose",
    "tilt": "where the stage did not go",
}


def _left_out(session: Acquisition) -> Iterator[Finding]:
    counts = Counter(one.kind for one in session.left_out)
    for kind, times in counts.most_common():
        what = "tilt" if kind == "tilt" else "view"
        text = f"Left out: {times} {what}{'s' if times > 1 else ''} {_WORDS.get(kind, kind)}."
        yield Finding(kind="note" if kind == "limit" else "bad", text=text, mend=_MENDS.get(kind, ""))


def _jumps(session: Acquisition) -> Iterator[Finding]:
    first = session.tracking.first_nm(len(session.tilt_deg))
    far = np.flatnonzero(np.where(np.isfinite(first), first, 0.0) > 1e3 * _JUMP_UM)
    if len(far):
        where = ", ".join(f"{1e-3 * first[one]:.1f} µm at {session.tilt_deg[one]:g}°" for one in far[:_NAMED])
        more = f" and {len(far) - _NAMED} times more" if len(far) > _NAMED else ""
        yield Finding(kind="note", text=f"The stage was far from where it was expected: {where}{more}.")
    last = session.tracking.last_nm(len(session.tilt_deg))
    last = last[np.isfinite(last)]
    if last.size:
        yield Finding(kind="good", text=f"Tracking left {np.sqrt(np.mean(last**2)):.1f} nm (rms over the tilts).")


def _focus(session: Acquisition) -> Iterator[Finding]:
    off = (session.focus.defocus_um - session.wanted_um)[session.focus.tilt >= 0]
    if not off.size:
        return
    typical = float(np.median(np.abs(off)))
    text = f"Focus was {spread(np.abs(off), 'µm')} off where it was measured."
    if typical > _FOCUS_UM:
        yield Finding(kind="bad", text=text, mend="autofocus_every = 1, and level for the plane")
    else:
        yield Finding(kind="good", text=text)


def _time(session: Acquisition) -> Iterator[Finding]:
    spent = {name: session.timeline.seconds(name) for name in SPENT_ON}
    whole = sum(spent.values())
    if not whole:
        return
    most = sorted(spent, key=lambda name: -spent[name])[:3]
    parts = (
        ", ".join(f"{name} {spent[name] / 60:.0f} min" for name in most if spent[name] >= 30) or "less than a minute"
    )
    begin = "It took" if session.ended else "So far it took"
    yield Finding(
        kind="bad" if session.ended and whole > _LATE * session.planned_s else "good",
        text=f"{begin} {whole / 60:.0f} min of {session.planned_s / 60:.0f} that were planned: {parts}.",
    )
    if spent["faults"] > _WAITED_S or session.faults:
        verbs = Counter(one.verb for one in session.faults)
        which = ", ".join(f"{times} × {verb}" for verb, times in verbs.most_common())
        yield Finding(
            kind="note",
            text=f"Faults and refills were survived ({which}); {spent['faults'] / 60:.1f} min were waited for them.",
        )


def _dose(session: Acquisition) -> Iterator[Finding]:
    own = session.planned_dose.get("own views", np.zeros(len(session.targets)))
    others = np.sum([dose for name, dose in session.planned_dose.items() if name != "own views"], axis=0)
    struck = np.flatnonzero(others > _DOSE_SHARE * np.maximum(own, 1e-9))
    if len(struck):
        worst = int(struck[np.argmax(others[struck])])
        yield Finding(
            kind="note",
            text=f"Others' beams reach {_names(session, struck)}: "
            f"up to {others[worst]:.0f} e/Å² on {session.targets[worst]}.",
            mend="set tracking_place and focus_place elsewhere, or leave these targets out",
        )


def _lie(session: Acquisition) -> Iterator[Finding]:
    if session.found_plane is not None and session.found_plane[0] > _SLOPE_DEG:
        tilt, way = session.found_plane
        yield Finding(
            kind="note",
            text=f"The targets' plane is tilted by {tilt:.1f}° and rises towards {way:.0f}° (90: along the axis).",
            mend=f"on this grid: pre_tilt = {tilt:.1f}, plane_rotation = {way:.0f}, or leave it to level",
        )
    found = session.axis_um or session.focus_axis_um
    if found is not None and abs(found[0]) > max(_AXIS_UM, _AXIS_SD * found[1]):
        yield Finding(
            kind="note",
            text=f"The tilt axis lies {found[0]:+.2f} ± {found[1]:.2f} µm beside the middle of the beam.",
            mend="add it to the axis offset in the microscope's calibration",
        )
    if session.focus_scales is not None:
        beam, sd = session.focus_scales[:2]
        if abs(beam - 1) > max(_BEAM, _AXIS_SD * sd):
            yield Finding(
                kind="note",
                text=f"A tilt of the beam does {beam:.3f} ± {sd:.3f} of what it says; the session reckoned with that.",
                mend="calibrate the beam tilt again",
            )


def _at(session: Acquisition, target: int, tilt: int) -> str:
    return f"{session.targets[target]} at {session.tilt_deg[tilt]:g}°"


def _names(session: Acquisition, numbers: object) -> str:
    names = [session.targets[int(one)] for one in np.atleast_1d(np.asarray(numbers))]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
