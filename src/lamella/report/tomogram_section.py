"""The tomogram's part of a series' section: slices, heights, a film, how good it is, and what the data support."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lamella.errors import LamellaError
from lamella.records import Tomogram, VolumeSource
from lamella.report import page
from lamella.report.drawing import cannot, draw_picture, draw_plot, missing
from lamella.report.entries import SeriesReport
from lamella.report.pictures import as_data_uri
from lamella.report.plots import (
    plot_half_fsc,
    plot_heights,
    plot_held_out,
    plot_position,
    plot_slices,
    plot_support,
    slice_movie,
)

__all__ = ["tomogram_parts"]

_MARGIN_ANG = 150.0  # of a film, above and below the specimen
_PLAIN_TEXTURE = 0.2  # of the structures' contrast, from which it is plain to see: docs/explanation/denoising.md
_FACTS = (
    ("halves agree to (FSC 0.143)", "HalfFscResolutionAngst", "HalfFscResolutionErrorAngst", "{:.1f}", " Å"),
    ("halves agree by half to", "HalfFscHalfAngst", "", "{:.1f}", " Å"),
    ("structure over noise, 100–40 Å", "TomogramContrast", "", "{:.2g}", ""),
    ("thickness in the tomogram", "PositionThicknessAngst", "PositionThicknessErrorAngst", "{:.0f}", " Å"),
    ("mid-plane at z", "PositionOffsetAngst", "PositionOffsetErrorAngst", "{:+.0f}", " Å"),
    ("tilt left about x", "PositionXTiltDeg", "PositionXTiltErrorDeg", "{:+.1f}", "°"),
    ("tilt left about y", "PositionYTiltDeg", "PositionYTiltErrorDeg", "{:+.1f}", "°"),
    ("range of tilts", "TiltCoverageDeg", "", "{:.1f}", "°"),
    ("largest gap between tilts", "LargestTiltGapDeg", "", "{:.1f}", "°"),
    ("specimen turned between the axes by", "SecondAxisTurnDeg", "RegistrationAngleErrorDeg", "{:.2f}", "°"),
    ("places of both axes differ by, rms", "RegistrationResidualAngst", "", "{:.1f}", " Å"),
    ("local movement between the axes, rms", "WarpAngst", "", "{:.1f}", " Å"),
    ("rounds", "Rounds", "", "{:.0f}", ""),
    ("gold beads painted over", "GoldBeads", "", "{:.0f}", ""),
    ("correlation of views with the tomogram", "ReprojectionCorrelation", "", "{:.3f}", ""),
)


def tomogram_parts(entry: SeriesReport, mark: str) -> list[str]:
    """The HTML of one series' tomogram; marks of its plots begin with `mark`."""
    parts = ["<h3>Tomogram</h3>"]
    tomogram, volume = entry.tomogram, entry.volume
    if tomogram is None:
        return [*parts, missing("not reconstructed yet")]
    parts.append(page.facts(_facts(entry.tomogram_numbers)))
    if volume is None:
        return [*parts, missing("the file of the reconstruction has gone"), *_curves(entry, mark)]
    parts += [*_pictures(entry, tomogram, volume), *_curves(entry, mark)]
    parts += [*_position(entry, tomogram, volume), *_support(entry, tomogram)]
    return parts


def _facts(numbers: Mapping[str, float]) -> dict[str, str]:
    facts = {}
    for title, name, error_name, form, unit in _FACTS:
        if name in numbers:
            error = f" ± {form.replace('+', '').format(numbers[error_name])}" if error_name in numbers else ""
            facts[title] = f"{form.format(numbers[name])}{error}{unit}"
    if (fraction := numbers.get("MeasuredFraction")) is not None:
        facts["Fourier space measured"] = f"{100 * fraction:.0f} %"
    if (median := numbers.get("SupportMedian")) is not None:
        facts["denoised structure that the data support"] = f"{100 * median:.0f} % (median)"
    if "NoiseBefore" in numbers and "NoiseAfter" in numbers and numbers["NoiseBefore"] > 0:
        left = 100 * numbers["NoiseAfter"] / numbers["NoiseBefore"]
        facts["noise left by denoising"] = f"{left:.0f} %"
    return facts


def _pictures(entry: SeriesReport, tomogram: Tomogram, volume: VolumeSource) -> Iterator[str]:
    shown = entry.denoised if entry.denoised is not None else volume
    state = "reconstructed, and denoised beside it" if entry.denoised is not None else "reconstructed (not denoised)"
    yield draw_picture(
        lambda: plot_slices(tomogram, volume, entry.denoised),
        f"three orthogonal slices of {entry.name}",
        f"Central slices, {state}: xy seen along the beam, xz and zy from the sides. Orange marks show where the "
        "side views are taken. Grey values from the 0.5th to the 99.5th percentile of xy.",
    )
    yield draw_picture(
        lambda: plot_heights(tomogram, shown),
        f"slices of {entry.name} at five heights",
        "Slices across the beam at five heights, each about 60 Å thick.",
    )
    yield page.details("Film through the heights", _film(entry, tomogram, shown))


def _film(entry: SeriesReport, tomogram: Tomogram, shown: VolumeSource) -> str:
    try:
        movie = slice_movie(shown, tomogram.voxel_size_ang, z_range_ang=_heights_ang(entry))
    except (LamellaError, OSError) as error:
        return cannot("film", error)
    low, high = movie.heights_nm
    what = "denoised" if entry.denoised is not None else "not denoised"
    return page.film(
        as_data_uri(movie.film),
        as_data_uri(movie.still),
        f"film through the heights of {entry.name}",
        f"{movie.frames} slices of about 60 Å from z = {low:.0f} nm to {high:.0f} nm, {what}, all with one range of "
        "grey values. Where the system asks for less motion, the middle slice stands still.",
    )


def _heights_ang(entry: SeriesReport) -> tuple[float, float] | None:
    """Heights that hold the specimen, where they are known."""
    numbers = entry.tomogram_numbers
    thickness = numbers.get("PositionThicknessAngst")
    if thickness is None:
        return None
    middle, reach = numbers.get("PositionOffsetAngst", 0.0), thickness / 2 + _MARGIN_ANG
    return middle - reach, middle + reach


def _curves(entry: SeriesReport, mark: str) -> Iterator[str]:
    curve, errors = entry.half_fsc, entry.held_out_errors
    numbers = entry.tomogram_numbers
    if curve is None:
        yield missing("the halves were not compared")
    else:
        yield draw_plot(
            lambda: plot_half_fsc(curve, numbers),
            "agreement of the halves",
            "Fourier shell correlation of the even and odd half, over the part of Fourier space that the views "
            "measured: the missing wedge, the rim of the field, and what lies above and below the specimen are left "
            "out. Shaded: two standard errors.",
            f"{mark}fsc",
        )
    if errors:
        taken = numbers.get("Rounds")
        yield draw_plot(
            lambda: plot_held_out(errors, None if taken is None else round(taken)),
            "error of held-out views by round",
            "Some views were left out of a trial and predicted from the others after each round. Rounds beyond the "
            "least error fit noise.",
            f"{mark}held",
        )


def _position(entry: SeriesReport, tomogram: Tomogram, volume: VolumeSource) -> Iterator[str]:
    numbers = entry.tomogram_numbers
    if "PositionXTiltDeg" not in numbers:
        yield missing("where the specimen lies in the tomogram is not known")
        return
    yield draw_picture(
        lambda: plot_position(volume, tomogram.voxel_size_ang, numbers),
        f"where the specimen of {entry.name} lies",
        "From the sides, 300 Å thick: the specimen's mid-plane (dashed) and its faces (solid), as far as the tomogram "
        "tells them.",
    )


def _support(entry: SeriesReport, tomogram: Tomogram) -> Iterator[str]:
    denoised, support = entry.denoised, entry.support
    if denoised is None:
        return
    if support is None:
        yield missing(
            "no map of what the data support: structure in the denoised tomogram may be the method's own "
            "(denoise.support with both halves makes the map)"
        )
    else:
        yield draw_picture(
            lambda: plot_support(tomogram, denoised, support, entry.unsupported),
            f"what the data of {entry.name} support",
            "Denoised, and the same tinted orange where the raw data of the other half do not show what is drawn "
            "(noise, or structure that a method invented). Red rings: visible structure of which, with two standard "
            "errors to spare, less than half can be in the data.",
        )
    if (unsupported := entry.tomogram_numbers.get("UnsupportedFraction", 0.0)) > 0:
        share = f"{100 * unsupported:.1f}" if unsupported >= 0.001 else "less than 0.1"
        yield (
            f'<p class="failed">{share} % of the contrast that the denoised tomogram shows is not in the measured '
            "data. Do not take it for structure.</p>"
        )
    if (texture := entry.tomogram_numbers.get("UnsupportedTexture", 0.0)) >= _PLAIN_TEXTURE:
        yield (
            f'<p class="failed">Between the structures the denoised tomogram shows texture with {100 * texture:.0f} % '
            "of their contrast that is not in the measured data. Do not take it for structure.</p>"
        )
    if entry.denoise_said:
        items = "".join(f"<li>{page.text(sentence)}</li>" for sentence in entry.denoise_said)
        yield page.details("What denoising found", f"<ul>{items}</ul>", is_open=True)
