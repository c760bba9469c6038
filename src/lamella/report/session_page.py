"""The page of a recording session, and the small one that follows it while it goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lamella.formats.atomic import atomic_text
from lamella.records.acquisition import Acquisition
from lamella.report import page
from lamella.report.drawing import draw_plot
from lamella.report.plots import session as plots

__all__ = ["write_live_page", "write_session_page"]

_REFRESH_S = 5

_Plot = tuple[Callable[[], Figure], str, str]


def write_session_page(path: Path | str, session: Acquisition) -> None:
    """Write the page of a session: numbers, plots, what was left out. It opens without a network.

    Raises
    ------
    OutputError
        if it cannot be written.
    """
    title = f"Session {session.name}"
    off = [
        _off(session),
        (lambda: plots.plot_session_map(session), "map", "Targets; arrows: median displacement; cross: lost."),
    ]
    if session.targeting_um is not None:
        off.append(
            (
                lambda: plots.plot_session_off(session, truth=True),
                "true displacement",
                "The truth, which only the simulation knows: distance of the target's true place from the middle.",
            )
        )
    parts = [
        f"<h1>{page.text(title)}</h1>",
        page.section("numbers", "Numbers", [page.facts(_numbers(session)), page.facts(_truth(session))]),
        page.section("targets", "Targets", _drawn(off)),
        page.section("stage", "Stage, focus and height", _drawn([*_following(session), _settling(session)])),
        page.section("time", "Time and dose", _drawn([_time(session), _dose(session)])),
        page.section("faults", "Faults, and what was left out", [_faults(session), _left_out(session)]),
        page.section("each", "Target by target", [_table(session)]),
    ]
    links = [("#targets", "targets"), ("#stage", "stage"), ("#time", "time"), ("#faults", "faults"), ("#each", "each")]
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
        f'<progress max="1" value="{session.done:.3f}" style="width:100%"></progress>'
    )
    parts = [
        f"<h1>{page.text(f'Session {session.name}')}</h1>",
        bar,
        page.facts(_numbers(session)),
        page.section("off", "Drift", _drawn([_off(session)])),
        page.section("stage", "Tracking, focus and height", _drawn(_following(session))),
        page.section("dose", "Dose", _drawn([_dose(session)])),
    ]
    refresh = None if session.ended else _REFRESH_S
    atomic_text(path, page.page(title, [], parts, _footer(), refresh_s=refresh))


def _off(session: Acquisition) -> _Plot:
    text = "How far each view was off, as measured against the target's own series; cross: no view."
    return lambda: plots.plot_session_off(session), "displacement by target and tilt", text


def _following(session: Acquisition) -> list[_Plot]:
    return [
        (lambda: plots.plot_session_tracking(session), "tracking", "The tracking area at each tilt."),
        (lambda: plots.plot_session_focus(session), "focus", "Focus set and measured."),
        (lambda: plots.plot_session_heights(session), "heights", "Heights of the targets, and the plane through them."),
    ]


def _settling(session: Acquisition) -> _Plot:
    return lambda: plots.plot_session_settling(session), "settling", "Views within a tilt: what the stage still does."


def _time(session: Acquisition) -> _Plot:
    return lambda: plots.plot_session_time(session), "time", "What the time of each tilt went to."


def _dose(session: Acquisition) -> _Plot:
    return lambda: plots.plot_session_dose(session), "dose", "Dose of each target's own views."


def _drawn(wanted: list[_Plot]) -> list[str]:
    return [draw_plot(plot, name, text, name.replace(" ", "")) for plot, name, text in wanted]


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
        "off, as measured": _spread(session.off_um, "nm", 1e3),
        "tracking left (rms)": f"{np.sqrt(np.mean(last**2)):.1f} nm" if last.size else "–",
        "time": f"{minutes:.0f} min of {session.planned_s / 60:.0f} planned",
        "per series": f"{minutes / len(session.targets):.2f} min",
    }
    return numbers if session.ended else {**numbers, "left": f"{session.left_s / 60:.0f} min"}


def _truth(session: Acquisition) -> dict[str, str]:
    if session.targeting_um is None or session.defocus_error_um is None:
        return {}
    return {
        "true targeting error": _spread(session.targeting_um, "µm", 1.0),
        "true defocus error": _spread(np.abs(session.defocus_error_um), "µm", 1.0),
    }


def _spread(values: NDArray[np.float64], unit: str, scale: float) -> str:
    """Median ± interquartile range."""
    finite = scale * values[np.isfinite(values)]
    if not finite.size:
        return "–"
    low, middle, high = np.percentile(finite, [25, 50, 75])
    return f"{middle:.3g} ± {high - low:.2g} {unit}"


def _faults(session: Acquisition) -> str:
    if not session.faults:
        return "<p>No fault of the microscope.</p>"
    rows: list[list[page.Cell]] = [
        [page.text(verb), (str(times), "number")] for verb, times in sorted(session.faults.items())
    ]
    return page.table(["asked again", ("times", "number")], rows, "faults survived")


def _left_out(session: Acquisition) -> str:
    rows: list[list[page.Cell]] = [[page.text(where), page.text(why)] for where, why in session.left_out]
    inner = page.table(["view", "why"], rows, "views left out")
    return page.details(f"Left out ({len(rows)})", inner, is_open=len(rows) <= 12) or "<p>Nothing was left out.</p>"


def _table(session: Acquisition) -> str:
    rows: list[list[page.Cell]] = []
    for number, name in enumerate(session.targets):
        ending = session.endings[number] or "goes on"
        rows.append(
            [
                page.text(name),
                (page.text(ending), "failed" if ending == "lost" else "done"),
                (str(int(session.recorded[number].sum())), "number"),
                (_spread(session.off_um[number], "nm", 1e3), "number"),
                (f"{session.height_um[number]:+.2f} µm" if np.isfinite(session.height_um[number]) else "–", "number"),
                (f"{np.nansum(session.dose[number]):.0f} e/Å²", "number"),
            ]
        )
    head: list[page.Cell] = ["target", "ending", *((name, "number") for name in ("views", "off", "height", "dose"))]
    return page.table(head, rows, "targets")


def _footer() -> str:
    return f"Written by lamella on {datetime.now():%Y-%m-%d %H:%M:%S}. This page needs no network."
