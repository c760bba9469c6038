"""How near a tomogram of simulated data comes to the truth: alignment error, shell correlation, and pictures of both.

python scripts/against_truth.py SIMULATED PROJECT PAGE
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from average_against_truth import AverageComparison, compare_average
from numpy.typing import NDArray

from lamella.formats.images import open_images, open_volume
from lamella.formats.relion import read_tilt_series, read_tomograms
from lamella.fourier import edge_taper, resolution_at, shell_correlation
from lamella.geometry import TiltGeometry
from lamella.records import ArrayVolume, TiltSeries, Tomogram
from lamella.report import Section, write_report
from lamella.report.plots import plot_shell_correlation, plot_slices
from lamella.runtime import prepare
from lamella.simulate import SimulateSettings, Specimen, mounted_specimen
from lamella.simulate.mount import moved_specimen
from lamella.tilts.compare import geometry_error
from lamella.tomograms import ReconstructSettings, reconstruct

__all__ = ["Comparison", "compare", "compare_average", "write_page"]

Volume = NDArray[np.float32]
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

MOST_ANG, LEAST_ANG = 200.0, 40.0
"""Band over which shell correlations are averaged."""


@dataclass(frozen=True)
class Comparison:
    """One series against its truth: numbers as text, and what to draw."""

    name: str
    numbers: dict[str, str]
    curves: dict[str, Curve]
    tomogram: Tomogram
    found: Volume
    truth: Volume


def compare(simulated: Path, project: Path) -> list[Comparison]:
    """Compare every reconstructed series of a project with the simulation that its data came from."""
    prepare(torch=True)
    settings = SimulateSettings.model_validate_json((simulated / "truth" / "settings.json").read_text())
    true_series = read_tilt_series(simulated / "truth" / "tilt_series.star", simulated)
    tomograms = {one.name: one for one in read_tomograms(project / "reconstruct" / "tomograms.star", project)}
    return [
        _compare_one(project, tomograms[true.name], true, mounted_specimen(settings, index).specimen)
        for index, true in enumerate(true_series)
        if true.name in tomograms
    ]


def _compare_one(project: Path, tomogram: Tomogram, true: TiltSeries, specimen: Specimen) -> Comparison:
    found = tomogram.tilt_series
    # Views by the angle that the mdoc states: some may have been excluded.
    apart = np.abs(true.nominal_tilt_deg[None, :] - found.nominal_tilt_deg[:, None])
    true = true.select(apart.argmin(axis=1))
    points = specimen.particles_in_view().places_ang
    difference = geometry_error(found.geometry, true.geometry, points)
    untouched = TiltGeometry.from_angles(true.nominal_tilt_deg, true.nominal_axis_deg)
    before = geometry_error(untouched, true.geometry, points)

    voxel = tomogram.voxel_size_ang
    volume = open_volume(tomogram.volume, project)
    ours = volume.block(*(slice(0, n) for n in volume.shape))
    best = _reconstruct_from_truth(project, tomogram, true)
    # The specimen is drawn in the frame that each geometry describes it in.
    truth_in_ours = moved_specimen(specimen, difference.rotation, difference.shift_ang).volume(voxel, ours.shape)
    truth = specimen.volume(voxel, best.shape)
    beads = specimen.beads_ang @ difference.rotation.T + difference.shift_ang
    curves = {
        "found geometry": _correlate(ours, truth_in_ours, beads, voxel, specimen.field_ang[2]),
        "true geometry": _correlate(best, truth, specimen.beads_ang, voxel, specimen.field_ang[2]),
    }
    pixel = found.pixel_size_ang
    numbers = {
        "alignment error over the particles, rms": f"{difference.rms_ang / pixel:.3f} px ({difference.rms_ang:.1f} Å)",
        "worst view": f"{difference.per_view_ang.max() / pixel:.3f} px",
        "error before alignment (nominal angles and axis)": f"{before.rms_ang / pixel:.2f} px",
        "tilt axis, found / true": f"{found.geometry.z_rot_deg.mean():.2f}° / {true.geometry.z_rot_deg.mean():.2f}°",
    }
    if found.defocus is not None and true.defocus is not None:
        u, v = found.defocus_at(difference.shift_ang)  # of the true centre voxel, where it lies in our frame
        off = np.abs((u + v) / 2 - true.defocus.mean_ang)
        numbers["error of defocus, median / worst view"] = f"{np.median(off):.0f} Å / {off.max():.0f} Å"
        numbers["hand, found / true"] = f"{found.hand:+d} / {true.hand:+d}"
    for name, curve in curves.items():
        numbers[f"shell correlation with the specimen, {MOST_ANG:.0f}–{LEAST_ANG:.0f} Å, {name}"] = (
            f"{_mean_in_band(curve, voxel):.3f}, falls below 0.143 at {_resolution(curve, voxel):.0f} Å"
        )
    return Comparison(tomogram.name, numbers, curves, tomogram, ours, -truth_in_ours)


def _reconstruct_from_truth(project: Path, tomogram: Tomogram, true: TiltSeries) -> Volume:
    """The same images, the same box, the true geometry."""
    series = tomogram.tilt_series.with_changes(geometry=true.geometry, thickness_ang=true.thickness_ang)
    nx, ny, nz = (round(side / tomogram.binning) for side in tomogram.size_px)
    volume = ArrayVolume(np.zeros((nz, ny, nx), dtype=np.float32))
    images = open_images(series.images, project)
    reconstruct(series, images, replace(tomogram, tilt_series=series), ReconstructSettings(), volume)
    return volume.array


def _correlate(
    volume: Volume, truth: Volume, beads_ang: NDArray[np.float64], voxel: float, thickness_ang: float
) -> Curve:
    """Shell correlation inside the ice, beads cut out; mass is dark in the tomogram and bright in the truth."""
    mask = edge_taper(volume.shape, 8.0).numpy()
    nz, ny, nx = volume.shape
    height = (np.arange(nz) - nz // 2) * voxel
    mask *= np.clip((thickness_ang / 2 + 80 - np.abs(height)) / 80, 0, 1)[:, None, None]
    for x, y, z in beads_ang / voxel + np.array([nx // 2, ny // 2, nz // 2]):
        _cut_ball(mask, (z, y, x), 130.0 / voxel)
    ice = np.abs(height) <= thickness_ang / 2 + 80  # nothing beyond is compared
    volume, truth, mask = volume[ice], truth[ice], mask[ice]
    inside = mask > 0.5
    parts = [torch.from_numpy(((part - part[inside].mean()) * mask).astype(np.float32)) for part in (-volume, truth)]
    frequency, correlation, _ = shell_correlation(*parts)
    return frequency.numpy(), correlation.numpy()


def _cut_ball(mask: Volume, centre_px: tuple[float, float, float], radius_px: float) -> None:
    """Set a ball with a soft edge of three voxels to 0."""
    reach = radius_px + 3
    spans = [
        slice(max(0, int(at - reach)), max(0, min(size, int(at + reach) + 2)))
        for at, size in zip(centre_px, mask.shape, strict=True)
    ]
    axes = np.ogrid[spans[0], spans[1], spans[2]]
    distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(axes, centre_px, strict=True)))
    mask[spans[0], spans[1], spans[2]] *= np.clip((distance - radius_px) / 3, 0, 1)


def _mean_in_band(curve: Curve, voxel: float) -> float:
    frequency, correlation = curve
    band = (frequency >= voxel / MOST_ANG) & (frequency <= voxel / LEAST_ANG)
    return float(correlation[band].mean())


def _resolution(curve: Curve, voxel: float) -> float:
    """Where the curve falls below 0.143; the coarsest shells, which hold the slab's outline, are left out."""
    frequency, correlation = curve
    known = frequency >= voxel / MOST_ANG
    return resolution_at(frequency[known], correlation[known], 0.143, voxel)


def write_page(path: Path, comparisons: list[Comparison], average: AverageComparison | None = None) -> Path:
    """A page with the numbers, the correlation curves, and tomogram, average and truth side by side."""
    sections = [] if average is None else [average.section()]
    for one in comparisons:
        voxel = one.tomogram.voxel_size_ang
        figures = (
            (
                "Left: the tomogram. Right: the true specimen in the same frame, contrast as in the tomogram.",
                plot_slices(one.tomogram, ArrayVolume(one.found), ArrayVolume(one.truth), names=("tomogram", "truth")),
            ),
            (
                "Shell correlation of the tomogram with the true specimen, beads cut out. The missing wedge and the "
                "zeros of the contrast transfer keep both curves below 1.",
                plot_shell_correlation(one.curves, voxel),
            ),
        )
        sections.append(Section(title=f"{one.name} against the truth", numbers=one.numbers, figures=figures))
    return write_report(path, "The demonstration against the truth", [], sections=sections)[0]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    for comparison in (made := compare(Path(sys.argv[1]), Path(sys.argv[2]))):
        for name, value in comparison.numbers.items():
            print(f"{comparison.name}: {name}: {value}")
    print(write_page(Path(sys.argv[3]), made))
