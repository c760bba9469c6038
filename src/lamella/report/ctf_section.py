"""The contrast transfer's part of a series' section: numbers, rings, and what they say of the hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lamella.records import TiltSeries
from lamella.records.ctf_profiles import HAND_CAUSES, HAND_FIXED
from lamella.report import page
from lamella.report.drawing import draw_picture, draw_plot, missing
from lamella.report.entries import SeriesReport
from lamella.report.plots import plot_ctf_pictures, plot_ctf_profiles, plot_ctf_sheet, plot_defocus

__all__ = ["ctf_parts", "ctf_resolution_ang", "hand_words"]

_DECIDED = 0.95
_CAUSES = (
    "a hand of +1 has two causes that no defocus tells apart: the sense of the tilt axis or the sign of the tilts is "
    "wrong (ctf.fix = axis), or the images are mirrored (ctf.fix = mirror)"
)
_FIXES = {"axis": "the tilt axis was turned by 180°", "mirror": "the images were mirrored back"}


def ctf_parts(entry: SeriesReport, mark: str) -> list[str]:
    """The HTML of one series' contrast transfer; marks of its plots begin with `mark`."""
    found, profiles = entry.defocused, entry.ctf_profiles
    parts = ["<h3>Defocus</h3>"]
    if found is None or found.defocus is None:
        return [*parts, missing(entry.ctf_passed_on or "not estimated yet")]
    parts += [
        missing(f"{entry.ctf_passed_on}; the defocus is the one that the record came with")
        if entry.ctf_passed_on
        else "",
        page.facts(_facts(found)),
        draw_plot(
            lambda: plot_defocus(found),
            "defocus of each view",
            "Defocus of the specimen's centre, with standard errors; what each view says by itself; astigmatism; the "
            "resolution to which the fit holds.",
            f"{mark}defocus",
        ),
        f"<p>{page.text(' '.join(hand_words(found)))}</p>",
    ]
    if profiles is None:
        parts.append(missing("no profiles at hand"))
    else:
        parts += [
            draw_plot(
                lambda: plot_ctf_profiles(found, profiles),
                "rings of some views",
                "Power over its smooth background, averaged along the rings, of views from low to high tilt. "
                "Frequencies are spaced by their square. Shaded: the fit no longer holds. The correlation's scale is "
                "−1 to 1 over the height.",
                f"{mark}rings",
            ),
            page.details(
                "Spectra of all views",
                draw_picture(
                    lambda: plot_ctf_pictures(found, profiles),
                    f"spectra of the views of {entry.name}",
                    "Left half measured, right half fitted; circles where the fit ends to hold.",
                ),
                is_open=True,
            ),
            page.details(
                "Rings of all views",
                draw_picture(
                    lambda: plot_ctf_sheet(found, profiles),
                    f"rings of the views of {entry.name}",
                    "Grey measured, blue fitted, orange their correlation.",
                ),
            ),
        ]
    parts.append(page.details("Numbers of each view", _table(found)))
    return parts


def ctf_resolution_ang(entry: SeriesReport) -> float | None:
    """Median resolution to which the fits of a series hold, Å; None where there are none."""
    defocus = None if entry.defocused is None else entry.defocused.defocus
    if defocus is None or defocus.max_resolution_ang is None:
        return None
    return float(np.median(defocus.max_resolution_ang))


def hand_words(series: TiltSeries) -> Iterator[str]:
    """What the data say of the hand, a sentence each."""
    numbers = series.quality
    measured = numbers.get("CtfMeasuredHand")
    if measured is None:
        yield f"The hand was not measured; the record keeps {_sign(series.hand)}."
        return
    confidence = numbers.get("CtfHandConfidence", 0.5)
    odds = f", log odds {numbers['CtfHandLogOdds']:.1f}" if "CtfHandLogOdds" in numbers else ""
    if confidence < _DECIDED:
        yield (
            f"The hand is undecided: {_sign(measured)} is the likelier, with a confidence of {confidence:.3f}{odds}. "
            f"The record keeps {_sign(series.hand)}."
        )
    else:
        yield (
            f"Defocus changes with depth as for a hand of {_sign(measured)} (rlnTomoHand): confidence "
            f"{confidence:.3f} from the scatter over views{odds}."
        )
        if int(measured) != series.hand:
            yield f"The record keeps {_sign(series.hand)}."
    if (how := series.other.get(HAND_FIXED)) is not None:
        yield f"The data said +1: {_FIXES.get(how, how)} (ctf.fix = {how}), which makes it −1."
    elif measured > 0 and confidence >= _DECIDED:
        yield "Unmirrored images of a calibrated microscope give −1."
        causes = series.other.get(HAND_CAUSES, _CAUSES)
        yield causes[:1].upper() + causes[1:] + "."


def _sign(hand: float) -> str:
    return "+1" if hand > 0 else "−1"


def _facts(series: TiltSeries) -> dict[str, str]:
    defocus, numbers = series.defocus, series.quality
    assert defocus is not None  # asked before
    mean = defocus.mean_ang / 1e4
    facts = {"defocus": f"{mean.mean():.2f} µm, {mean.min():.2f} … {mean.max():.2f} µm"}
    if defocus.max_resolution_ang is not None:
        reached = defocus.max_resolution_ang
        facts["fit resolution, median"] = f"{np.median(reached):.1f} Å, best {reached.min():.1f} Å"
    if (error := series.scores.get("CtfDefocusErrorAngst")) is not None:
        facts["standard error of defocus"] = f"{np.nanmedian(error):.0f} Å (median)"
    facts["astigmatism U − V"] = f"{np.median(defocus.u_ang - defocus.v_ang):.0f} Å"
    if (weak := series.scores.get("CtfBorrowed")) is not None and (weak > 0).any():
        facts["views that borrow"] = f"{int((weak > 0).sum())} of {len(series)}"
    if defocus.phase_shift_deg is not None:
        facts["phase shift"] = f"{np.median(defocus.phase_shift_deg):.1f}°"
    facts["hand"] = _sign(series.hand)
    pairs = (
        ("depth term, measured over expected", "CtfDepthSlope", "CtfDepthSlopeError", ""),
        ("tilt offset by defocus", "CtfTiltOffsetDeg", "CtfTiltOffsetDegError", "°"),
        ("x-tilt by defocus", "CtfXTiltOffsetDeg", "CtfXTiltOffsetDegError", "°"),
        ("amplitude contrast, fitted", "CtfAmplitudeContrast", "CtfAmplitudeContrastError", ""),
        ("change of focus between views", "CtfDefocusSpreadAngst", "", " Å"),
        ("sag", "CtfSagAngst", "CtfSagAngstError", " Å"),
    )
    for name, value, error_name, unit in pairs:
        if value in numbers and (error_name in numbers or value != "CtfAmplitudeContrast"):
            spread = f" ± {_short(numbers[error_name], unit)}" if error_name in numbers else ""
            facts[name] = f"{_short(numbers[value], unit)}{spread}{unit}"
    if series.geometry is not None and "CtfTiltOffsetDeg" in numbers:
        offset = float((series.geometry.y_tilt_deg - series.nominal_tilt_deg).mean())
        facts["tilt offset by alignment"] = f"{offset:+.2f}°"
    return facts


def _short(value: float, unit: str) -> str:
    return f"{value:.0f}" if unit == " Å" else f"{value:.2f}" if unit else f"{value:.3f}"


def _table(series: TiltSeries) -> str:
    defocus = series.defocus
    assert defocus is not None
    assert series.place is not None
    columns: list[tuple[str, list[str]]] = [
        ("view", [str(int(place)) for place in series.place]),
        ("nominal tilt", [f"{tilt:+.2f}°" for tilt in series.nominal_tilt_deg]),
        ("U / Å", [f"{value:.0f}" for value in defocus.u_ang]),
        ("V / Å", [f"{value:.0f}" for value in defocus.v_ang]),
        ("U's direction", [f"{value:.1f}°" for value in defocus.angle_deg]),
    ]
    scores = (
        ("± defocus / Å", "CtfDefocusErrorAngst"),
        ("± astigmatism / Å", "CtfAstigmatismErrorAngst"),
        ("by itself / Å", "CtfAloneDefocusAngst"),
        ("± by itself / Å", "CtfAloneErrorAngst"),
        ("image's centre / Å", "CtfImageCentreAngst"),
    )
    columns += [(title, [_whole(v) for v in series.scores[name]]) for title, name in scores if name in series.scores]
    if defocus.phase_shift_deg is not None:
        columns.append(("phase shift", [f"{value:.1f}°" for value in defocus.phase_shift_deg]))
    if defocus.figure_of_merit is not None:
        columns.append(("score", [f"{value:.3f}" for value in defocus.figure_of_merit]))
    if defocus.max_resolution_ang is not None:
        columns.append(("fit to / Å", [f"{value:.1f}" for value in defocus.max_resolution_ang]))
    if "CtfBorrowed" in series.scores:
        columns.append(("borrowed", ["yes" if weak > 0 else "" for weak in series.scores["CtfBorrowed"]]))
    head: list[page.Cell] = [(page.text(title), "number") for title, _ in columns]
    rows: list[list[page.Cell]] = [
        [(page.text(values[view]), "number") for _, values in columns] for view in range(len(series))
    ]
    return page.table(head, rows, f"contrast transfer of {series.name}")


def _whole(value: float) -> str:
    return f"{value:.0f}" if np.isfinite(value) else "–"
