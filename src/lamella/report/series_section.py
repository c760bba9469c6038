"""One series' part of the report: what was found, then how, then what should be known of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamella.errors import LamellaError
from lamella.records import TiltSeries
from lamella.report import page
from lamella.report.alignment_section import alignment_parts
from lamella.report.ctf_section import ctf_parts, ctf_resolution_ang
from lamella.report.drawing import draw_picture, draw_plot, missing
from lamella.report.entries import RunRow, SeriesReport
from lamella.report.pictures import as_data_uri
from lamella.report.plots import (
    plot_intensity,
    plot_local_motion,
    plot_montage,
    plot_motion_lengths,
    plot_power,
    plot_power_images,
    plot_trajectories,
)
from lamella.report.plots.slices import small_picture
from lamella.report.runs_table import run_table
from lamella.report.tomogram_section import tomogram_parts

__all__ = ["series_facts", "series_section", "small_slice"]


def series_section(entry: SeriesReport, runs: Sequence[RunRow], anchor: str) -> str:
    """The HTML of one series.

    Parameters
    ----------
    entry
        what is known of it; parts that are None are said to be missing.
    runs
        the runs that concerned it.
    anchor
        id of the section, made of letters, digits and hyphens.
    """
    mark = anchor.replace("-", "")
    parts = [
        page.facts(series_facts(entry)),
        *tomogram_parts(entry, mark),
        *ctf_parts(entry, mark),
        *alignment_parts(entry, mark),
        *_motion(entry, mark),
        *_views(entry, mark),
        *_import_notes(entry),
        "<h3>Steps and quality</h3>" + run_table(runs, f"steps of {entry.name}") if runs else "",
    ]
    return page.section(anchor, entry.title, parts)


def series_facts(entry: SeriesReport) -> dict[str, str]:
    """What fits on a card, by name."""
    raw, series = entry.raw, entry.aligned or entry.cleaned or entry.raw
    height, width = raw.image_shape_px
    out = entry.excluded_count
    facts = {
        "views": f"{len(raw)}" + (f", {out} excluded" if out else ""),
        "tilt angles": f"{raw.nominal_tilt_deg.min():+.1f}° … {raw.nominal_tilt_deg.max():+.1f}°",
        "images": f"{width} × {height} px of {raw.pixel_size_ang:.4g} Å",
        "microscope": (f"{raw.optics.voltage_kv:g} kV, " if raw.optics.voltage_kv else "")
        + f"Cs {raw.optics.spherical_aberration_mm:g} mm, {raw.imaging} field",
        "dose before the last view": "not stated" if raw.pre_exposure is None else f"{raw.pre_exposure.max():.0f} e/Å²",
        "tilt axis, stated": f"{float(raw.nominal_axis_deg.mean()):.1f}°",
    }
    if series.geometry is not None and not entry.record:  # numbers of one axis; two have no common ones
        geometry = series.geometry
        offset = geometry.y_tilt_deg - series.nominal_tilt_deg
        facts["tilt axis, found"] = f"{geometry.z_rot_deg.mean():.2f}°" + _spread(geometry.z_rot_deg)
        facts["tilt offset"] = f"{offset.mean():+.2f}°" + _spread(offset)
        facts["x-tilt"] = f"{geometry.x_tilt_deg.mean():+.2f}°" + _spread(geometry.x_tilt_deg)
        rms = residual_ang(entry)
        if rms is not None:
            facts["residual, rms"] = f"{rms:.1f} Å = {rms / series.pixel_size_ang:.2f} px"
    if method := series.other.get("lamellaAlignMethod"):
        facts["aligned by"] = method
    if (score := series.quality.get("AlignScore")) is not None:
        verdict = series.other.get("lamellaAlignVerdict", "")
        facts["held-out-view score"] = f"{score:.3f}" + (f", {verdict}" if verdict else "")
    if series.thickness_ang is not None:
        error = series.quality.get("AlignThicknessErrorAngst")
        facts["thickness"] = f"{series.thickness_ang / 10:.0f} nm" + (f" ± {error / 10:.0f} nm" if error else "")
    if (reached := ctf_resolution_ang(entry)) is not None:
        facts["CTF resolution, median"] = f"{reached:.1f} Å"
    if entry.tomogram is not None:
        binning = entry.tomogram.binning
        voxels = [round(side / binning) for side in entry.tomogram.size_px]
        if entry.volume is not None:
            voxels = list(reversed(entry.volume.shape))
        sides = " × ".join(str(side) for side in voxels)
        facts["tomogram"] = f"{sides} voxels of {entry.tomogram.voxel_size_ang:.4g} Å"
    if (agreed := entry.tomogram_numbers.get("HalfFscResolutionAngst")) is not None:
        facts["halves agree to"] = f"{agreed:.1f} Å"
    return facts


def residual_ang(entry: SeriesReport) -> float | None:
    """Rms distance of tracked features from where the geometry puts them, Å; None where nothing is known."""
    if entry.aligned is None:
        return None
    scores = entry.aligned.scores.get("AlignResidualAngst")
    if scores is not None and np.isfinite(scores).any():
        return float(np.sqrt(np.nanmean(scores**2)))
    rms = float("nan") if entry.tracks is None else float(entry.tracks.rms_ang())
    return rms if np.isfinite(rms) else None


def small_slice(entry: SeriesReport) -> str:
    """The tomogram's central slice as a small picture for the table of series, or a dash."""
    source = entry.denoised if entry.denoised is not None else entry.volume
    if source is None or entry.tomogram is None:
        return "–"
    try:
        uri = as_data_uri(small_picture(source, entry.tomogram.voxel_size_ang))
    except (LamellaError, OSError) as error:
        return page.text(f"unreadable: {error}")
    return f'<img loading="lazy" decoding="async" src="{uri}" alt="{page.text("central slice of " + entry.name)}">'


def _motion(entry: SeriesReport, mark: str) -> list[str]:
    moved, motions = entry.moved, entry.motions
    if moved is None:
        return [] if entry.raw.images is not None else ["<h3>Motion</h3>", missing("movies not corrected yet")]
    parts = [
        "<h3>Motion within views</h3>",
        draw_plot(
            lambda: plot_motion_lengths(moved),
            "motion of each view",
            "How far the whole field moved while each view was taken, along its way.",
            f"{mark}lengths",
        ),
    ]
    if motions is None:
        return [*parts, missing("the tables of the movies' motion have gone")]
    parts.append(
        page.details(
            "The way of each view",
            draw_plot(
                lambda: plot_trajectories(moved, motions),
                "way of the whole field in each view",
                "From the ring (first frame) to the red point (last frame), all to one scale; dark is late.",
                f"{mark}ways",
            ),
            is_open=True,
        )
    )
    if any(motion.local is not None for motion in motions):
        parts.append(
            draw_plot(
                lambda: plot_local_motion(moved, motions),
                "local motion",
                "Where places moved against the whole field, from the first frame to the last, in some views.",
                f"{mark}local",
            )
        )
    return parts


def _views(entry: SeriesReport, mark: str) -> list[str]:
    raw, images = (entry.moved, entry.moved_images) if entry.moved is not None else (entry.raw, entry.raw_images)
    parts_out = (part for part in (entry.excluded, entry.ctf_excluded) if part is not None)
    out = frozenset(int(place) for part in parts_out for place in _places(part))
    parts = ["<h3>Views</h3>"]
    if images is None:
        parts.append(missing("no tilt images at hand"))
    else:
        parts += [
            page.details(
                "All views, as taken",
                draw_picture(
                    lambda: plot_montage(raw, images, excluded_places=out),
                    f"views of {entry.name} as taken",
                    "Before alignment. Excluded views are labelled in orange with their place in the file.",
                ),
                is_open=True,
            ),
            '<div class="pair">',
            draw_plot(
                lambda: plot_intensity(raw, images, out),
                "brightness of each view",
                "Mean grey value of each view; bars show the spread inside it.",
                f"{mark}bright",
            ),
            draw_plot(
                lambda: plot_power(raw, images),
                "power spectra",
                "Power against spatial frequency, averaged over directions, of views from low to high tilt.",
                f"{mark}power",
            ),
            "</div>",
            draw_picture(
                lambda: plot_power_images(raw, images),
                "two-dimensional power spectra",
                "Logarithm of the power to Nyquist (outer circle) of the same views.",
            ),
        ]
    return [*parts, _excluded_table(entry)]


def _excluded_table(entry: SeriesReport) -> str:
    steps = (("clean", entry.excluded, entry.excluded_reasons), ("ctf", entry.ctf_excluded, entry.ctf_excluded_reasons))
    rows: list[list[page.Cell]] = []
    for step, excluded, reasons in steps:
        if excluded is None:
            continue
        padded = [*reasons, *[""] * (len(excluded) - len(reasons))]
        rows += [
            [(str(int(place)), "number"), (f"{angle:+.2f}°", "number"), step, page.text(reason or "no reason recorded")]
            for place, angle, reason in zip(_places(excluded), excluded.nominal_tilt_deg, padded, strict=False)
        ]
    if not rows:
        return "" if entry.cleaned is None else missing("no view was excluded")
    head: list[page.Cell] = [("place in the file", "number"), ("nominal tilt", "number"), "by", "why it was excluded"]
    return "<h3>Excluded views</h3>" + page.table(head, rows, f"excluded views of {entry.name}")


def _import_notes(entry: SeriesReport) -> list[str]:
    if not entry.notes:
        return []
    items = "".join(f"<li>{page.text(note)}</li>" for note in entry.notes)
    return [page.details(f"Notes ({len(entry.notes)}): assumed, dropped, warned of", f"<ul>{items}</ul>", is_open=True)]


def _places(series: TiltSeries) -> Sequence[int]:
    return range(1, len(series) + 1) if series.place is None else [int(place) for place in series.place]


def _spread(values: np.ndarray) -> str:
    spread = float(np.std(values))
    return f" ± {spread:.2f}°" if spread >= 0.005 else ""
