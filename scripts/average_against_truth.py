"""How near an average of simulated particles comes to the body that was simulated: shell correlation, and both maps.

python scripts/average_against_truth.py PROJECT TRUE_MAP.mrc
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from lamella.formats.map_fsc import read_map_fsc
from lamella.formats.mrc import read_mrc
from lamella.formats.relion_map import read_map
from lamella.fourier import band_pass, crop_volume, rescale, shell_correlation, soft_mask
from lamella.geometry import angular_grid, euler_matrix
from lamella.kernels.central_slices import padded_transform, take_terms
from lamella.particles.likelihood import picture_index
from lamella.records import Map
from lamella.records.map_fsc import MapFsc
from lamella.report import Section
from lamella.report.plots import plot_map, plot_map_fsc
from lamella.runtime import prepare

Volume = NDArray[np.float32]

ALIGNED_TO_ANG = 25.0
"""Detail by which the average's frame is found: the reference's frame is free, and drifts a little in refinement."""
MASK_ANG, EDGE_ANG = 300.0, 40.0
COARSE_ANG = 40.0
"""Detail by which the frame of a map from a first model is sought among all."""
ORDER = 2  # 15 degrees
AT_ONCE = 256


@dataclass(frozen=True)
class AverageComparison:
    """An average against its truth."""

    numbers: dict[str, str]
    found: Volume
    truth: Volume
    voxel_size_ang: float
    halves: MapFsc
    with_truth: MapFsc

    def section(self) -> Section:
        """Maps side by side, and the curves."""
        return Section(
            title="The average against the truth",
            text="The body that was simulated, and what averaging its copies in one tomogram gave.",
            numbers=self.numbers,
            figures=(
                (
                    "Above: the average after postprocessing. Below: the truth, no finer than the average.",
                    plot_map({"average": self.found, "truth": self.truth}, self.voxel_size_ang),
                ),
                (
                    "Shell correlation of the half maps, which the resolution is read from, and of the map with the "
                    "truth: where the halves fall below 0.143, the map should correlate with the truth by 0.5.",
                    plot_map_fsc(self.halves, others={"with the truth": self.with_truth}),
                ),
            ),
        )


def compare_average(project: Path, true_map: Path) -> AverageComparison:
    """Compare the map of `refine` and of `postprocess` with the true one, turned and shifted onto it."""
    refined, final = (_map_of(project, step) for step in ("refine", "postprocess"))
    whole, _ = read_mrc(project / refined.volume)
    halves = read_map_fsc(project / final.fsc)
    voxel, box = refined.voxel_size_ang, refined.box_px
    drawn, true_voxel = read_mrc(true_map)
    truth = _in_box(rescale(torch.from_numpy(drawn), voxel / true_voxel, 3).numpy(), box)
    pose, likeness = _fitted(whole, truth, voxel)
    _, inverted = _fitted(whole, _inverted(truth), voxel)
    moved = _moved(whole, pose)
    sphere = _curve(moved, truth, _sphere(box, voxel), voxel, halves)
    assert final.mask is not None
    mask = _moved(read_mrc(project / final.mask)[0], pose).clip(0, 1)
    curve = _curve(moved, truth, torch.from_numpy(mask), voxel, halves)
    at_half, at_gold = _half_ang(curve), halves.resolution_ang()
    turned = np.rad2deg(np.linalg.norm(pose[:3]))
    numbers = {
        "half maps, corrected FSC 0.143": _text(at_gold),
        "with the truth under the same mask, FSC 0.5": _text(at_half),
        f"with the truth in a sphere of {MASK_ANG:g} Å, FSC 0.5": _text(_half_ang(sphere)),
        "frame turned and shifted by": f"{turned:.1f}°, {np.linalg.norm(pose[3:]) * voxel:.1f} Å",
        f"correlation with the truth to {ALIGNED_TO_ANG:g} Å, and with its mirror image": (
            f"{likeness:.3f}, {inverted:.3f}"
        ),
    }
    sharpened, _ = read_mrc(project / final.volume)
    shown = _low_passed(truth, voxel / at_half) if at_half else truth
    return AverageComparison(numbers, _moved(sharpened, pose), shown, voxel, halves, curve)


def _map_of(project: Path, step: str) -> Map:
    found = read_map(project / step / "map.star")
    if found is None:
        sys.exit(f"{project} has no map of {step}: run lamella {step} {project} first")
    return found


def _curve(volume: Volume, truth: Volume, mask: torch.Tensor, voxel: float, halves: MapFsc) -> MapFsc:
    """Correlation of both under a mask."""
    frequency, correlation, _ = shell_correlation(torch.from_numpy(volume) * mask, torch.from_numpy(truth) * mask)
    return MapFsc(frequency_per_ang=frequency.numpy() / voxel, correlation=correlation.numpy(), terms=halves.terms)


def _half_ang(curve: MapFsc) -> float | None:
    """Where a correlation with the truth passes 0.5, by the rule for half maps."""
    return MapFsc.with_truth(curve.frequency_per_ang, curve.correlation, curve.terms).resolution_ang()


def _text(resolution_ang: float | None) -> str:
    return "finer than the voxels show" if resolution_ang is None else f"{resolution_ang:.1f} Å"


def _in_box(volume: Volume, box: int) -> Volume:
    out = np.zeros((box,) * 3, np.float32)
    size = volume.shape[0]
    taken = max(size // 2 - box // 2, 0)
    put = max(box // 2 - size // 2, 0)
    length = min(size - taken, box - put)
    out[(slice(put, put + length),) * 3] = volume[(slice(taken, taken + length),) * 3]
    return out


def _low_passed(volume: Volume, highest: float) -> Volume:
    """Without what is finer than a frequency, cycles/px."""
    terms = torch.fft.rfftn(torch.from_numpy(volume)) * band_pass(volume.shape, None, highest, 0.1 * highest)
    out: Volume = torch.fft.irfftn(terms, s=volume.shape).numpy()
    return out


def _sphere(box: int, voxel: float) -> torch.Tensor:
    edge = EDGE_ANG / voxel
    return soft_mask((box,) * 3, min(MASK_ANG / 2 / voxel, box / 2 - edge), edge)


def _moved(volume: Volume, pose: NDArray[np.float64]) -> Volume:
    """Turned about its origin by a rotation vector (rad; x, y, z) and shifted (px)."""
    matrix = Rotation.from_rotvec(pose[:3]).as_matrix()[::-1, ::-1]  # xyz to zyx
    origin = np.full(3, volume.shape[0] // 2)
    moved: Volume = affine_transform(volume, matrix, origin - matrix @ (origin + pose[3:]), order=3, prefilter=True)
    return moved


def _inverted(volume: Volume) -> Volume:
    """Through the origin at n // 2, which is a mirror image."""
    flipped: Volume = np.roll(volume[::-1, ::-1, ::-1], 1 - volume.shape[0] % 2, (0, 1, 2))
    return flipped


def _fitted(volume: Volume, truth: Volume, voxel: float) -> tuple[NDArray[np.float64], float]:
    """Rotation vector and shift that bring a map onto another, and how alike they are then."""
    mask = _sphere(truth.shape[0], voxel).numpy()
    low = [_low_passed(one, voxel / ALIGNED_TO_ANG) for one in (volume, truth)]
    wanted = low[1] * mask
    norm = np.linalg.norm(wanted)
    scale = np.array([0.1, 0.1, 0.1, 1, 1, 1])

    def away(pose: NDArray[np.float64]) -> float:
        moved = _moved(low[0], pose * scale) * mask
        return -float((moved * wanted).sum() / (np.linalg.norm(moved) * norm))

    start = _coarse_pose(volume, truth, voxel) / scale
    if away(np.zeros(6)) < away(start):
        start = np.zeros(6)
    found = minimize(away, start, method="Powell", options={"maxiter": 4, "xtol": 1e-2, "ftol": 1e-5})
    pose: NDArray[np.float64] = found.x * scale
    return pose, -float(found.fun)


def _coarse_pose(volume: Volume, truth: Volume, voxel: float) -> NDArray[np.float64]:
    """The same among all rotations of a grid, and all shifts, by coarse detail."""
    box = volume.shape[0]
    small = 2 * int(np.ceil(box * voxel / COARSE_ANG)) + 4
    coarse = [crop_volume(torch.from_numpy(one), (small,) * 3) for one in (volume, truth)]
    mask = _sphere(small, voxel * box / small)
    shape = (small,) * 3
    about_origin = (coarse[1] * mask).roll((-(small // 2),) * 3, (0, 1, 2))
    wanted = torch.fft.rfftn(about_origin)
    wanted *= band_pass(shape, None, voxel * box / small / COARSE_ANG, 0.02)
    transform = padded_transform((coarse[0] * mask).float()).numpy()
    at = picture_index(small, small // 2 - 1, volume=True)
    rotations = euler_matrix(*angular_grid(ORDER).T)
    best = (-np.inf, rotations[0], np.zeros(3))
    for first in range(0, len(rotations), AT_ONCE):
        some = rotations[first : first + AT_ONCE]
        # F at Mᵀ k is what `take_terms` takes: the map turned by M
        taken = torch.from_numpy(take_terms(transform, at.index, some, small))
        turned = torch.zeros((len(some), wanted.numel()), dtype=torch.complex64)
        turned[:, torch.from_numpy(at.flat)] = taken
        cross = torch.fft.irfftn(turned.reshape(-1, *wanted.shape).conj() * wanted, s=shape, dim=(1, 2, 3))
        heights, places = cross.flatten(1).max(dim=1)
        scores = (heights / taken.abs().square().sum(dim=1).sqrt()).numpy()
        top = int(scores.argmax())
        if scores[top] > best[0]:
            place = np.array(np.unravel_index(int(places[top]), shape))
            best = (float(scores[top]), some[top], (place + small // 2) % small - small // 2)
    _, matrix, shift = best
    # `_moved` makes x show what is at matrix · (x − shift)
    return np.concatenate([Rotation.from_matrix(matrix.T).as_rotvec(), shift * box / small])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    prepare(torch=True)
    for name, value in compare_average(Path(sys.argv[1]), Path(sys.argv[2])).numbers.items():
        print(f"{name}: {value}")
