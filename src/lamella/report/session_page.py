"""The page of a recording session, and the small one that follows it while it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lamella.formats.atomic import atomic_text
from lamella.records.acquisition import Acquisition
from lamella.report import page, plots
from lamella.report.drawing import draw_plot
from lamella.report.session_findings import findings_of, spread

__all__ = ["write_live_page", "write_session_page"]

_REFRESH_S = 5
_LONG = 12  # rows from which on a table is folded

_Plot = tuple[Callable[[], Figure], str, str]


def write_session_page(path: Path | str, session: Acquisition) -> None:
    """Write the page of a session: numbers, plots, what was left out. It opens without a network.

    Raises
    ------
    OutputError
        if it cannot be written.
    """
    title = f"Session {session.name}"
    state = "over" if session.ended else f"stopped or going on, {100 * session.done:.0f} % done"
    targets = [_off(session), _map(session), _prediction(session)]
    stage = [_drift(session), *_tracking(session), _settling(session), _focus(session), _heights(session)]
    time = [_timeline(session), _time(session), _dose(session)]
    sections = [
        ("short", "In short", [_findings(session), page.facts(_numbers(session)), page.facts(_lie(session))]),
        ("targets", "Did it hit", _drawn(targets)),
        ("truth", "The truth, which only the simulation knows", _truth(session)),
        ("stage", "Stage, focus and height", _drawn(stage)),
        ("time", "Where time and dose went", _drawn(time)),
        ("wrong", "What went wrong", _wrong(session)),
        ("each", "Target by target", [_table(session)]),
    ]
    parts = [f'<h1>{page.text(title)}</h1><p class="lead">{page.text(_lead(session, state))}</p>']
    parts += [page.section(anchor, name, inner) for anchor, name, inner in sections if inner]
    links = [(f"#{anchor}", anchor) for anchor, _, inner in sections if inner]
    atomic_text(path, page.page(title, links, parts, _footer()))


def write_live_page(path: Path | str, session: Acquisition) -> None:
    """Write the small page of a session that goes on; a browser that shows it loads it anew every few seconds.

    Raises
    ------
    OutputError
        if it cannot be written.
    """
    title = f"{100 * session.done:.0f} % · session {session.name}"
    state = "over" if session.ended else f"{session.left_s / 60:.0f} min left"
    bar = (
        f'<p class="lead">{page.text(f"{100 * session.done:.0f} % done, {state}")}</p>'
        f'<progress max="1" value="{session.done:.3f}" style="width:100%" aria-label="done"></progress>'
    )
    sections = [
        ("off", "Targets", [_findings(session), page.facts(_numbers(session)), *_drawn([_off(session)])]),
        ("time", "Time", _drawn([_timeline(session)])),
        ("stage", "Drift and tracking", _drawn([_drift(session), *_tracking(session)])),
        ("focus", "Focus and height", [*_drawn([_focus(session), _heights(session)]), page.facts(_lie(session))]),
        ("dose", "Dose", _drawn([_dose(session)])),
        ("wrong", "What went wrong", _wrong(session)),
    ]
    parts = [f"<h1>{page.text(f'Session {session.name}')}</h1>", bar]
    parts += [page.section(anchor, name, inner) for anchor, name, inner in sections]
    links = [(f"#{anchor}", name.lower()) for anchor, name, _ in sections]
    refresh = None if session.ended else _REFRESH_S
    atomic_text(path, page.page(title, links, parts, _footer(), refresh_s=refresh))


def _off(session: Acquisition) -> _Plot:
    text = (
        "How far each view was off where its target stands in most views, as measured against its series; white: not "
        "measured (the first view), or not believed (circles); crosses: no view."
    )
    return lambda: plots.plot_session_off(session), "displacement by target and tilt", text


def _map(session: Acquisition) -> _Plot:
    text = (
        "Targets: how far their views are off; arrows: where they stand in most views against the first; cross: lost."
    )
    return lambda: plots.plot_session_map(session), "map", text


def _prediction(session: Acquisition) -> _Plot:
    text = "How far views were off beside how far off the predictor expected them: both alike, where it knows itself."
    return lambda: plots.plot_session_prediction(session), "prediction", text


def _drift(session: Acquisition) -> _Plot:
    text = (
        "Where the specimen went: what image shift held the tracking area (or, without one, the first target) in the "
        "middle: geometry, drift and jumps."
    )
    return lambda: plots.plot_session_drift(session), "drift", text


def _tracking(session: Acquisition) -> list[_Plot]:
    if not len(session.tracking.tilt):
        return []
    text = "The tracking area at each tilt: in its first picture, where it was predicted, and in its last one."
    return [(lambda: plots.plot_session_tracking(session), "tracking", text)]


def _focus(session: Acquisition) -> _Plot:
    text = "Above: by how much focus was off. Below: what the lens was set to, so that each target has what is wanted."
    return lambda: plots.plot_session_focus(session), "focus", text


def _heights(session: Acquisition) -> _Plot:
    text = "Heights of the targets above their mean, against the plane through them."
    return lambda: plots.plot_session_heights(session), "heights", text


def _settling(session: Acquisition) -> _Plot:
    return lambda: plots.plot_session_settling(session), "settling", "Views within a tilt: what the stage still does."


def _timeline(session: Acquisition) -> _Plot:
    text = "What was done when; above: the tilts."
    return lambda: plots.plot_session_timeline(session), "time line", text


def _time(session: Acquisition) -> _Plot:
    return lambda: plots.plot_session_time(session), "time by tilt", "What the time of each tilt went to."


def _dose(session: Acquisition) -> _Plot:
    text = "Dose of each target: its own views so far; what the beams of others add in the whole session, as planned."
    return lambda: plots.plot_session_dose(session), "dose", text


def _drawn(wanted: list[_Plot]) -> list[str]:
    return [draw_plot(plot, name, text, name.replace(" ", "")) for plot, name, text in wanted]


def _lead(session: Acquisition, state: str) -> str:
    angles = session.tilt_deg
    return (
        f"{len(session.targets)} targets, {len(angles)} tilts from {angles.min():g}° to {angles.max():g}°, "
        f"predictor {session.predictor}; {state}."
    )


def _findings(session: Acquisition) -> str:
    kinds = {"good": "done", "note": "note", "bad": "failed"}
    lines = []
    for found in findings_of(session):
        mend = f' <span class="missing">What to change: {page.text(found.mend)}.</span>' if found.mend else ""
        lines.append(f'<li><span class="{kinds[found.kind]}">{page.text(found.text)}</span>{mend}</li>')
    return f"<ul>{''.join(lines)}</ul>"


def _numbers(session: Acquisition) -> dict[str, str]:
    last = session.tracking.last_nm(len(session.tilt_deg))
    last = last[np.isfinite(last)]
    minutes = (session.now_s - session.started_s) / 60
    endings = [ending for ending in session.endings if ending]
    numbers = {
        "predictor": session.predictor,
        "targets": str(len(session.targets)),
        "tilts": f"{int(np.isfinite(session.stood_s).sum())} of {len(session.tilt_deg)}",
        "views": str(int(session.recorded.sum())),
        "left out": str(len(session.left_out)),
        "lost": str(endings.count("lost")) if endings else "–",
        "off, as measured": spread(np.where(session.learned, session.off_um, np.nan), "nm", 1e3),
        "tracking left (rms)": f"{np.sqrt(np.mean(last**2)):.1f} nm" if last.size else "–",
        "time": f"{minutes:.0f} min of {session.planned_s / 60:.0f} planned",
        "per series": f"{minutes / len(session.targets):.2f} min",
    }
    return numbers if session.ended else {**numbers, "left": f"{session.left_s / 60:.0f} min"}


def _lie(session: Acquisition) -> dict[str, str]:
    """How the grid and the tilt axis were found to lie."""
    found = {}
    if session.levelled is not None:
        tilt, way, off = session.levelled
        found["plane at the start, by focus"] = f"{tilt:.1f}° towards {way:.0f}°, heights {off:.2f} µm off it"
    if session.found_plane is not None:
        found["plane, from the places"] = f"{session.found_plane[0]:.1f}° towards {session.found_plane[1]:.0f}°"
    for name, axis in (("focus", session.focus_axis_um), ("processing", session.axis_um)):
        if axis is not None:
            found[f"tilt axis off the beam, by {name}"] = f"{axis[0]:+.2f} ± {axis[1]:.2f} µm"
    if session.focus_scales is not None:
        beam, beam_sd, lens, lens_sd = session.focus_scales
        found["beam tilt, of what it says"] = f"{beam:.3f} ± {beam_sd:.3f}"
        if lens_sd is not None:
            found["lens, of what it says"] = f"{lens:.3f} ± {lens_sd:.3f}"
    if any(session.fed_back):
        defoci, shifts, unused = session.fed_back
        found["taken in from processing"] = f"{defoci} defoci, {shifts} shifts; {unused} of no use"
    return found


def _truth(session: Acquisition) -> list[str]:
    truth = session.truth
    if truth is None:
        return []
    numbers = {
        "true targeting error": spread(truth.targeting_um, "µm"),
        "true defocus error": spread(np.abs(truth.defocus_error_um), "µm"),
        "true tilt axis off the beam": f"{truth.axis_um:+.2f} µm",
        "true dose on a target": f"{(truth.own_dose + truth.other_dose).max():.0f} e/Å² at most",
    }
    text = "The truth: distance of each target's true place from the middle of its view."
    plot: _Plot = (lambda: plots.plot_session_off(session, truth=True), "true displacement", text)
    return [page.facts(numbers), *_drawn([plot])]


def _wrong(session: Acquisition) -> list[str]:
    return [_left_out(session), _faults(session), _doubts(session)]


def _left_out(session: Acquisition) -> str:
    rows: list[list[page.Cell]] = [
        [page.text(one.where), page.text(one.kind), page.text(one.reason)] for one in session.left_out
    ]
    inner = page.table(["view", "kind", "why"], rows, "views left out")
    title = f"Views left out ({len(rows)})"
    return page.details(title, inner, is_open=len(rows) <= _LONG) or "<p>No view was left out.</p>"


def _faults(session: Acquisition) -> str:
    counts = Counter((one.verb, one.problem) for one in session.faults)
    waited = dict.fromkeys(counts, 0.0)
    for one in session.faults:
        waited[one.verb, one.problem] += one.waited_s
    rows: list[list[page.Cell]] = [
        [page.text(what[0]), page.text(what[1]), (str(times), "number"), (f"{waited[what]:.0f} s", "number")]
        for what, times in counts.most_common()
    ]
    inner = page.table(["asked", "what went wrong", ("times", "number"), ("waited", "number")], rows, "faults survived")
    title = f"Faults of the microscope that were survived ({len(session.faults)})"
    return page.details(title, inner, is_open=len(rows) <= _LONG) or "<p>No fault of the microscope.</p>"


def _doubts(session: Acquisition) -> str:
    rows: list[list[page.Cell]] = [
        [
            page.text(one.where),
            (f"{1e3 * one.place_sd_um:.0f} nm", "number"),
            (f"{one.height_sd_um:.2f} µm", "number"),
            page.text(one.done),
        ]
        for one in session.doubts
    ]
    head: list[page.Cell] = ["where", ("place known to", "number"), ("height known to", "number"), "what was done"]
    title = f"Where the predictor was unsure ({len(rows)})"
    inner = page.table(head, rows, "doubts of the predictor")
    return page.details(title, inner, is_open=len(rows) <= _LONG) or "<p>The predictor was never unsure.</p>"


def _table(session: Acquisition) -> str:
    rows: list[list[page.Cell]] = []
    others = np.sum([dose for name, dose in session.planned_dose.items() if name != "own views"], axis=0)
    truth, aside = session.truth, np.hypot(*session.aside_um.T)
    for number, name in enumerate(session.targets):
        ending, reason = session.endings[number] or "goes on", session.reasons[number]
        missed = sum(one.target == number for one in session.left_out)
        row: list[page.Cell] = [
            page.text(name),
            (page.text(f"{ending}: {reason}" if reason else ending), "failed" if ending == "lost" else "done"),
            (str(int(session.recorded[number].sum())), "number"),
            (str(missed), "number"),
            (spread(np.where(session.learned, session.off_um, np.nan)[number], "nm", 1e3), "number"),
            (f"{1e3 * aside[number]:.0f} nm" if np.isfinite(aside[number]) else "–", "number"),
            (f"{session.height_um[number]:+.2f} µm" if np.isfinite(session.height_um[number]) else "–", "number"),
            (f"{np.nansum(session.dose[number]):.0f} + {others[number]:.0f} e/Å²", "number"),
        ]
        if np.isfinite(session.thickness_um).any():
            thick = session.thickness_um[number]
            row.append((f"{1e3 * thick:.0f} nm" if np.isfinite(thick) else "–", "number"))
        if truth is not None:
            row.append((spread(truth.targeting_um[number], "nm", 1e3), "number"))
            row.append((spread(truth.defocus_error_um[number], "µm"), "number"))
        rows.append(row)
    names = ["views", "left out", "off", "first view off", "height", "dose: own + others'"]
    names += ["thickness"] if np.isfinite(session.thickness_um).any() else []
    names += ["truth: off", "truth: defocus error"] if truth is not None else []
    return page.table(["target", "ending", *((name, "number") for name in names)], rows, "targets")


def _footer() -> str:
    return f"Written by lamella on {datetime.now():%Y-%m-%d %H:%M:%S}. This page needs no network."
