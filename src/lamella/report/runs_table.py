"""The table of runs: when, how long, how much memory, how good."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lamella.report import page
from lamella.report.entries import RunRow

__all__ = ["duration", "number", "run_table"]


def run_table(runs: Sequence[RunRow], label: str, *, with_series: bool = False) -> str:
    """Rows of runs with their time, memory, message and quality numbers."""
    rows: list[list[page.Cell]] = []
    for run in runs:
        name = run.step if run.label in ("", run.step) else f"{run.step} ({run.label})"
        status = "".join(letter if letter.isalnum() else "-" for letter in run.status)
        row: list[page.Cell] = [page.text(name)]
        if with_series:
            row.append(page.text(run.series or "all"))
        row += [
            (page.text(run.status), status),
            ("–" if run.seconds is None else duration(run.seconds), "number"),
            ("–" if run.peak_bytes is None else f"{run.peak_bytes / 2**20:.0f} MiB", "number"),
            page.text(run.message),
            "<br>".join(page.text(f"{key} {number(value)}") for key, value in run.quality.items()),
        ]
        rows.append(row)
    head: list[page.Cell] = ["step", *(["series"] if with_series else []), "state"]
    head += [("time", "number"), ("peak memory", "number"), "message", "quality"]
    return page.table(head, rows, label)


def duration(seconds: float) -> str:
    """Seconds, or minutes and hours where they read better."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def number(value: float) -> str:
    """A number to four digits, without an exponent where that is short."""
    if not math.isfinite(value):
        return str(value)
    if value == round(value) and abs(value) < 1e7:
        return f"{value:.0f}"
    return f"{value:.4g}"
