"""The report: a page that opens anywhere, without a network and without a program of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lamella.formats.atomic import atomic_text
from lamella.progress import Progress, no_progress
from lamella.report import page
from lamella.report.ctf_section import ctf_resolution_ang
from lamella.report.drawing import draw_picture, draw_plot
from lamella.report.entries import RunRow, Section, SeriesReport
from lamella.report.machine import machine_facts
from lamella.report.particle_entries import ParticlesReport
from lamella.report.particles_section import particles_section
from lamella.report.plots import plot_timings
from lamella.report.plots.style import PLATE
from lamella.report.runs_table import duration, run_table
from lamella.report.series_section import residual_ang, series_section, small_slice

__all__ = ["write_report"]

ON_ONE_PAGE = 6
"""More series than this get a page each, so that the table stays quick to open."""


def write_report(
    path: Path | str,
    title: str,
    series: Sequence[SeriesReport],
    runs: Sequence[RunRow] = (),
    *,
    sections: Sequence[Section] = (),
    particles: ParticlesReport | None = None,
    progress: Progress = no_progress,
) -> tuple[Path, ...]:
    """Write the report.

    Up to six series stand on one page; more get a page each, in a folder beside it, that the table of series links to.
    Pictures are made and written series by series, from the slices and binned views that they need.

    Parameters
    ----------
    path
        of the page, ``report/index.html``; replaced whole.
    title
        of the page.
    series
        one entry per series, in the order to show.
    runs
        the runs of steps, in their order.
    sections
        further sections, shown before the series.
    particles
        picks and averages, shown after the table of series; None where there are none.
    progress
        told after each series.

    Returns
    -------
    pages
        the files written, the table of series first.

    Raises
    ------
    OutputError
        if a page cannot be written.
    """
    target = Path(path)
    together = len(series) <= ON_ONE_PAGE
    footer = f"Written by lamella on {datetime.now():%Y-%m-%d %H:%M}. This page needs no network."
    inner: list[str] = []
    pages: list[Path] = []
    addresses: list[str] = []
    for place, entry in enumerate(series, start=1):
        anchor = f"series-{place}"
        html = series_section(entry, [run for run in runs if run.series == entry.name], anchor)
        if together:
            inner.append(html)
            addresses.append(f"#{anchor}")
        else:
            # Numbered, since a series' name may not be a file's name.
            file = target.with_name(f"{target.stem}_series") / f"{place:04d}.html"
            links = [(f"../{target.name}", "all series"), *_neighbours(series, place)]
            atomic_text(file, page.page(f"{entry.title} – {title}", links, [html], footer))
            pages.append(file)
            addresses.append(f"{file.parent.name}/{file.name}")
        progress(place / (len(series) + 1), entry.name)
    parts = _parts(title, series, addresses, inner, sections, runs, particles)
    links = [(link, name) for link, name, _ in parts if name]
    atomic_text(target, page.page(title, links, [html for _, _, html in parts], footer))
    progress(1.0, "done")
    return (target, *pages)


def _parts(
    title: str,
    series: Sequence[SeriesReport],
    addresses: Sequence[str],
    inner: Sequence[str],
    sections: Sequence[Section],
    runs: Sequence[RunRow],
    particles: ParticlesReport | None,
) -> list[tuple[str, str, str]]:
    """The page from top to bottom: of each part its address, what the links call it (or nothing), and its text.

    A page of further sections alone is one too: it has no series and no steps.
    """
    with_series = bool(series or runs or not sections)
    parts = [("", "", f"<h1>{page.text(title)}</h1>")]
    if with_series:
        parts.append(("", "", f'<p class="lead">{page.text(_summary(series, runs))}</p>'))
    for place, (extra, html) in enumerate(zip(sections, _extra_sections(sections), strict=True), start=1):
        parts.append((f"#section-{place}", extra.title, html))
    if with_series:
        table = _series_table(series, addresses, runs)
        parts.append(("#series", "series", page.section("series", "Series", [table])))
    if particles is not None:
        parts.append(("#particles", "particles", particles_section(particles)))
    parts += [
        (address, entry.title, html) for address, entry, html in zip(addresses, series, inner, strict=False)
    ]  # none of them where each has a page of its own
    if with_series:
        parts.append(("#steps", "steps", page.section("steps", "Steps", _steps(runs))))
    parts.append(
        ("#machine", "machine", page.section("machine", "Machine and versions", [page.facts(machine_facts())]))
    )
    return parts


def _summary(series: Sequence[SeriesReport], runs: Sequence[RunRow]) -> str:
    seconds = sum(run.seconds or 0.0 for run in runs)
    failed = sum(run.status == "failed" for run in runs)
    volumes = sum(entry.volume is not None for entry in series)
    text = f"{len(series)} tilt series, {volumes} with a tomogram"
    if seconds:
        text += f"; {duration(seconds)} of work"
    return text + (f"; {failed} failed" if failed else "") + "."


def _series_table(series: Sequence[SeriesReport], addresses: Sequence[str], runs: Sequence[RunRow]) -> str:
    rows: list[list[page.Cell]] = []
    for entry, address in zip(series, addresses, strict=True):
        own = [run for run in runs if run.series == entry.name]
        failed = [run for run in own if run.status == "failed"]
        geometry = None if entry.aligned is None else entry.aligned.geometry
        rms = residual_ang(entry)
        found = "–" if geometry is None else "two axes" if entry.record else f"{geometry.z_rot_deg.mean():.1f}°"
        out, reached = entry.excluded_count, ctf_resolution_ang(entry)
        state: page.Cell = (page.text(_state(entry)), "done")
        if failed:
            state = (page.text(f"failed at {failed[-1].step}: {failed[-1].message}"), "failed")
        rows.append(
            [
                small_slice(entry),
                f'<a href="{page.text(address)}">{page.text(entry.title)}</a>',
                state,
                (str(len(entry.raw)) + (f" − {out}" if out else ""), "number"),
                (f"{entry.raw.pixel_size_ang:.4g} Å", "number"),
                (f"{np.mean(entry.raw.nominal_axis_deg):.1f}° → {found}", "number"),
                ("–" if rms is None else f"{rms:.1f} Å", "number"),
                ("–" if reached is None else f"{reached:.1f} Å", "number"),
                (str(len(entry.notes)), "number note" if entry.notes else "number"),
                (duration(sum(run.seconds or 0.0 for run in own)) if own else "–", "number"),
            ]
        )
    head: list[page.Cell] = ["", "series", "state", ("views", "number"), ("pixel", "number")]
    head += [
        ("axis stated → found", "number"),
        ("residual", "number"),
        ("CTF to", "number"),
        ("notes", "number"),
        ("time", "number"),
    ]
    return page.table(head, rows, "series")


def _state(entry: SeriesReport) -> str:
    stages = (
        (entry.denoised, "denoised"),
        (entry.volume, "reconstructed"),
        (entry.defocused, "defocus estimated"),
        (entry.aligned, "aligned"),
        (entry.cleaned, "cleaned"),
    )
    return next((name for part, name in stages if part is not None), "imported")


def _steps(runs: Sequence[RunRow]) -> Iterator[str]:
    if not runs:
        yield '<p class="missing">no step has run yet</p>'
        return
    if any(run.seconds is not None for run in runs):
        yield draw_plot(
            lambda: plot_timings(runs), "time of each step", "Time of each step, all series together.", "time"
        )
    label = "all runs"
    yield page.details(f"All runs ({len(runs)})", run_table(runs, label, with_series=True), is_open=len(runs) <= 12)


def _extra_sections(sections: Sequence[Section]) -> Iterator[str]:
    for place, extra in enumerate(sections, start=1):
        parts = [f"<p>{page.text(extra.text)}</p>" if extra.text else "", page.facts(extra.numbers)]
        for number, (caption, figure) in enumerate(extra.figures, start=1):
            parts.append(_extra_figure(figure, caption, f"extra{place}x{number}"))
        yield page.section(f"section-{place}", extra.title, parts)


def _extra_figure(figure: Figure, caption: str, mark: str) -> str:
    if to_hex(figure.get_facecolor()) == PLATE:
        return draw_picture(lambda: figure, caption, caption)
    return draw_plot(lambda: figure, caption, caption, mark)


def _neighbours(series: Sequence[SeriesReport], place: int) -> Iterator[tuple[str, str]]:
    for other, arrow in ((place - 1, "←"), (place + 1, "→")):
        if 1 <= other <= len(series):
            yield f"{other:04d}.html", f"{arrow} {series[other - 1].name}"
