"""The particles' part of the report: picks of every tomogram, then every average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from lamella.records import PARTICLE_DIAMETER, VolumeSource
from lamella.report import page
from lamella.report.drawing import draw_picture, draw_plot, missing
from lamella.report.particle_entries import AverageReport, ParticlesReport, PickReport
from lamella.report.plots import (
    plot_directions,
    plot_gallery,
    plot_guinier,
    plot_iterations,
    plot_local_resolution,
    plot_map,
    plot_map_fsc,
    plot_pick_scores,
    plot_picks,
)

__all__ = ["particles_section"]

_THRESHOLD = "PickThreshold"
_UNKNOWN_ANG = 200.0  # diameter of the rings where none is known
_OPEN = 4  # more tomograms than this lie folded
_FACTS = (
    ("resolution (FSC 0.143)", "MapResolutionAngst", "{:.2f} Å"),
    ("in the poses given", "StartResolutionAngst", "{:.1f} Å"),
    ("without a mask", "UnmaskedResolutionAngst", "{:.2f} Å"),
    ("first crossing of 0.143", "FirstCrossingAngst", "{:.2f} Å"),
    ("particles", "RefinedParticles", "{:.0f}"),
    ("particles averaged", "AveragedParticles", "{:.0f}"),
    ("iterations", "Iterations", "{:.0f}"),
    ("error of an angle, median", "AngleErrorDeg", "{:.2f}°"),
    ("B-factor", "BFactor", "{:.0f} Å²"),
    ("local resolution, median", "LocalResolutionMedianAngst", "{:.1f} Å"),
    ("sphericity", "Sphericity", "{:.2f}"),
)


def particles_section(entry: ParticlesReport) -> str:
    """The HTML of the section."""
    parts: list[str] = []
    for number, one in enumerate(entry.picks):
        parts += _picks(one, f"pick{number}", is_open=len(entry.picks) <= _OPEN)
    for number, average in enumerate(entry.averages):
        parts += _average(average, f"average{number}")
    return page.section("particles", "Particles", parts)


def _picks(entry: PickReport, mark: str, *, is_open: bool) -> Iterator[str]:
    particles = entry.particles
    yield f"<h3>{page.text(entry.record)}: {page.text(particles.name)}</h3>"
    facts = {"particles": str(len(particles))}
    if entry.extracted is not None:
        facts["cut out"] = str(entry.extracted)
    if (expected := entry.numbers.get("ExpectedFalseParticles")) is not None:
        facts["expected by chance"] = f"{expected:.2g}"
    yield page.facts(facts)
    yield _sentences(entry.said)
    if not len(particles):
        return
    diameter = particles.quality.get(PARTICLE_DIAMETER, _UNKNOWN_ANG)
    volume = entry.volume
    inner = []
    if volume is None:
        inner.append(missing("the file of the reconstruction has gone"))
    else:
        inner.append(
            draw_picture(
                lambda: plot_picks(particles, volume, diameter),
                f"particles of {particles.name}",
                "Picks over the tomogram, as rings of the particle's diameter: bright where the centre lies within "
                "150 Å of what is shown, faint elsewhere.",
            )
        )
        inner.append(
            draw_picture(
                lambda: plot_gallery(particles, volume, diameter),
                f"gallery of particles of {particles.name}",
                "Slices of 60 Å through single picks, from the highest score to the lowest.",
            )
        )
    if "PickScore" in particles.scores and len(particles) > 1:
        inner.append(
            draw_plot(
                lambda: plot_pick_scores(particles, particles.quality.get(_THRESHOLD), entry.peaks),
                "scores of the picks",
                "Scores of the best peaks, picked where they are above the threshold, and what noise alone would "
                "make. The closer the particles crowd at the threshold, the more are false or lost.",
                f"{mark}score",
            )
        )
    yield page.details(f"Picks of {particles.name}", "\n".join(inner), is_open=is_open)


def _average(entry: AverageReport, mark: str) -> Iterator[str]:
    yield f"<h3>{page.text(entry.record)}</h3>"
    yield page.facts(_facts(entry.numbers))
    yield _sentences(entry.said)
    if entry.numbers.get("RefineUndone"):
        yield '<p class="failed">The refinement made the halves agree less, and was undone.</p>'
    yield from _map(entry)
    fsc, history = entry.fsc, entry.history
    if fsc is not None:
        yield draw_plot(
            lambda: plot_map_fsc(fsc, iterations=entry.iterations),
            f"agreement of the halves of {entry.record}",
            "Fourier shell correlation of the two half maps, which never met"
            + ("; faint: earlier iterations." if entry.iterations else "."),
            f"{mark}fsc",
        )
    if history:
        yield draw_plot(
            lambda: plot_iterations(history),
            f"iterations of {entry.record}",
            "What every iteration reached, and how far it moved the particles; the error is what the pictures allow.",
            f"{mark}history",
        )
    if len(entry.particles):
        yield draw_plot(
            lambda: plot_directions(entry.particles),
            f"directions of the particles of {entry.record}",
            "Directions from which the particles were seen in the untilted view; tilting fills what lies between.",
            f"{mark}directions",
        )
    if entry.guinier:
        yield draw_plot(
            lambda: plot_guinier(entry.guinier, entry.guinier_line),
            f"Guinier plot of {entry.record}",
            "How amplitudes fall with detail; the line's slope is what sharpening undoes. In a map coarser than 7 Å "
            "the line bends as the amplitudes of any particle do.",
            f"{mark}guinier",
        )
    yield from _local(entry)


def _map(entry: AverageReport) -> Iterator[str]:
    if entry.volume is None:
        yield missing("the file of the map has gone")
        return
    volume = entry.volume
    yield draw_picture(
        lambda: plot_map({"": _whole(volume)}, entry.voxel_size_ang),
        f"the map of {entry.record}",
        "The average, mass bright: central slices and projections along the axes.",
    )
    if entry.classes:
        yield draw_picture(
            lambda: plot_map(
                {f"class {number}": _whole(one) for number, one in enumerate(entry.classes, start=1)},
                entry.voxel_size_ang,
            ),
            f"the classes of {entry.record}",
            "The maps of the classes.",
        )


def _local(entry: AverageReport) -> Iterator[str]:
    volume, mask, local = entry.volume, entry.mask, entry.local_resolution
    if volume is None or mask is None or local is None:
        return
    yield draw_picture(
        lambda: plot_local_resolution(_whole(volume), _whole(mask), _whole(local), entry.voxel_size_ang),
        f"local resolution of {entry.record}",
        "Local resolution within the mask, and central slices tinted by it.",
    )


def _facts(numbers: Mapping[str, float]) -> dict[str, str]:
    return {title: form.format(numbers[name]) for title, name, form in _FACTS if name in numbers}


def _sentences(said: tuple[str, ...]) -> str:
    items = "".join(f"<li>{page.text(sentence)}</li>" for sentence in said)
    return f"<ul>{items}</ul>" if items else ""


def _whole(volume: VolumeSource) -> NDArray[np.float32]:
    return volume.block(*(slice(0, n) for n in volume.shape))
