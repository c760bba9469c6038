"""Views that a step leaves out: they stand in ``STEP/excluded/NAME.star`` with the reason, and can come back."""

from __future__ import annotations

from collections.abc import Sequence

from lamella.formats.relion import write_tilt_table
from lamella.records import TiltSeries
from lamella.workflow.context import Context

__all__ = ["REASON", "keep_excluded"]

REASON = "lamellaExcludedBecause"
"""Column of the excluded views' table."""


def keep_excluded(step: str, excluded: TiltSeries | None, reasons: Sequence[str], context: Context) -> None:
    """Write the table of a series' excluded views, and say what was left out and how it comes back.

    Parameters
    ----------
    step
        whose settings ``exclude`` and ``include`` decide.
    excluded
        the views that were left out; None where all stay: a table of an earlier run then goes.
    reasons
        one sentence for each; those by the user's own word begin with ``excluded by``.
    context
        of the step.
    """
    path = context.folder / "excluded" / f"{context.series}.star"
    if excluded is None:
        path.unlink(missing_ok=True)
        return
    write_tilt_table(path, excluded.with_changes(other_columns={REASON: tuple(reasons)}))
    context.outputs.append(path)
    assert excluded.place is not None  # a record always has one
    places = [int(place) for place in excluded.place]
    for place, reason in zip(places, reasons, strict=True):
        context.say(f"view {place} left out: {reason}")
    judged = [str(p) for p, reason in zip(places, reasons, strict=True) if not reason.startswith("excluded by")]
    if judged:
        context.say(
            f"{len(judged)} views were judged bad and stand in {context.name(path)}; {step}.include = "
            f"[{', '.join(judged)}] brings them back"
        )
