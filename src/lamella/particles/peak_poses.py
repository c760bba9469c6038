"""Orientation and place of peaks between the samples of the search, each in a small box around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.fourier import fast_size, soft_mask
from lamella.geometry import local_rotations
from lamella.kernels.template_poses import pose_scores, pose_slopes
from lamella.kernels.template_search import Band
from lamella.particles.search_grid import search_grid, within_lean
from lamella.particles.search_plan import SearchPlan
from lamella.particles.template import Template
from lamella.particles.template_cube import TemplateCube
from lamella.particles.template_weights import SearchWeights
from lamella.progress import Progress, no_progress
from lamella.records import VolumeSource

__all__ = ["Poses", "orient_points", "polish_poses"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_TAPER_PX = 4.0  # at the tomogram's edges
_MARGIN = 0.35  # of the diameter, around the particle: the contrast transfer spreads it
_LONGEST_STEP_PX = 1.0
_SEEN = 1e-4  # amplitude below which no view tells of a frequency
_SHELL = 1.5  # samples wide, in which a box's own power is averaged
_ROUNDS = 3  # at one angular step
_NEIGHBOURS = 1.16  # in steps: fourteen in a body-centred cubic lattice


@dataclass(frozen=True, eq=False)
class Poses:
    """Places ``(n, 3)`` xyz in voxels of the tomogram from its voxel 0, orientations ``(n, 3, 3)``, scores ``(n,)``."""

    places_px: Array
    matrices: Array
    scores: Array

    def select(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Poses:
        """Some of them."""
        return Poses(self.places_px[chosen], self.matrices[chosen], self.scores[chosen])


def polish_poses(
    volume: VolumeSource,
    template: Template,
    weights: SearchWeights,
    poses: Poses,
    *,
    highest_px: float,
    step_deg: float,
    finest_deg: float,
    progress: Progress = no_progress,
) -> Poses:
    """Climb from each pose to the score's maximum nearby, in orientation and place.

    Parameters
    ----------
    volume
        the tomogram, mass dark.
    template, weights
        on the tomogram's voxels.
    poses
        where to begin.
    highest_px
        greatest frequency that is compared, cycles per voxel.
    step_deg, finest_deg
        angle of the search's grid; steps are halved from half of it to `finest_deg`.

    Returns
    -------
    Poses
        with scores in deviations of noise, like the search's, but of all frequencies up to `highest_px`.

    Notes
    -----
    At each step the fourteen orientations around are compared, each at the place that the slope and curvature of its
    correlation point to (Newton's step).
    """
    climb = _Climb(template, weights, highest_px)
    steps = [step_deg / 2]
    while steps[-1] / 2 >= finest_deg * 0.75:
        steps.append(steps[-1] / 2)
    places, matrices, scores = poses.places_px.copy(), poses.matrices.copy(), np.empty(len(poses.scores))
    for number in range(len(scores)):
        places[number], matrices[number], scores[number] = climb.peak(volume, places[number], matrices[number], steps)
        if number % 16 == 15:
            progress((number + 1) / len(scores), "polishing peaks")
    return Poses(places, matrices, scores)


def orient_points(
    volume: VolumeSource,
    template: Template,
    weights: SearchWeights,
    places_px: Array,
    directions: Array,
    *,
    plan: SearchPlan,
    symmetry: str = "C1",
    range_deg: float = 180.0,
    progress: Progress = no_progress,
) -> Poses:
    """The template's best orientation at each place, of those whose z axis leans no further from a direction.

    Parameters
    ----------
    volume, template, weights
        as for `polish_poses`.
    places_px, directions
        ``(n, 3)`` places, voxels from voxel 0, and unit directions, xyz.
    plan
        angle step and resolution.
    symmetry
        of the template; with a range below 180° every orientation is gone through, as its z axis may have mates.
    range_deg
        see above.
    """
    grid = search_grid(plan.step_deg, symmetry if range_deg >= 180 else "C1")
    climb = _Climb(template, weights, template.voxel_size_ang / plan.resolution_ang)
    steps = [plan.step_deg / 2, plan.step_deg / 4, plan.step_deg / 8]
    places, scores = np.array(places_px, np.float64), np.empty(len(places_px))
    matrices = np.empty((len(places), 3, 3))
    for number, direction in enumerate(directions):
        allowed = grid[within_lean(grid, direction, range_deg + plan.step_deg / 2)]
        start = climb.first(volume, places[number], allowed)
        places[number], matrices[number], scores[number] = climb.peak(volume, places[number], start, steps)
        progress((number + 1) / len(places), "turning the template at each point")
    return Poses(places, matrices, scores)


class _Climb:
    """What all peaks of a tomogram share."""

    def __init__(self, template: Template, weights: SearchWeights, highest_px: float) -> None:
        diameter = template.diameter_ang / template.voxel_size_ang
        self.size = fast_size(math.ceil(diameter * (1 + 2 * _MARGIN)) + 4)
        shape = (self.size,) * 3
        self.cube = TemplateCube.of(template.volume, highest_px)
        band = Band.of(shape, highest_px)
        amplitude, power = weights.at(band.frequencies())
        seen = np.abs(amplitude) > _SEEN
        seen[0] = False  # the mean
        places = band.places()[seen]
        self.places = places.astype(np.float32)
        self.flat = torch.from_numpy(band.flat()[seen])
        self.whiten = (1 / np.sqrt(power[seen])).astype(np.float32)
        self.shell = np.round(np.linalg.norm(places, axis=1) / _SHELL).astype(np.int64)
        self.shell_count = np.maximum(np.bincount(self.shell), 1)
        weight, twice = amplitude[seen] * self.whiten, band.multiplicity()[seen]
        self.weight, self.squares = weight * twice, weight**2 * twice
        self.unit = math.sqrt(float(twice.sum())) / self.size**3
        self.per_px = np.full(3, 2 * np.pi / self.size, np.float32)
        edge = _MARGIN * diameter / 2
        self.window = soft_mask(shape, diameter / 2 + edge, edge)
        sphere = soft_mask(shape, diameter / 2, 1.0)
        self.share = sphere / sphere.sum()

    def peak(self, volume: VolumeSource, place: Array, matrix: Array, steps: list[float]) -> tuple[Array, Array, float]:
        """The pose at the maximum near one, and its score."""
        corner = np.round(place).astype(np.int64) - self.size // 2
        data = self._data(volume, corner)
        here = self._move(data, place - corner, matrix)
        for step in steps:
            around = local_rotations(_NEIGHBOURS * step, step)
            for _round in range(_ROUNDS):
                scores = self._scores(self._seen_from(data, here), around @ matrix)
                best = int(scores.argmax())
                if best == 0:
                    break
                matrix = around[best] @ matrix
                here = self._move(data, here, matrix)
            here = self._move(data, here, matrix)
        score = float(self._scores(self._seen_from(data, here), matrix[None])[0])
        return here + corner, matrix, score

    def first(self, volume: VolumeSource, place: Array, matrices: Array) -> Array:
        """The best of some orientations at a place."""
        corner = np.round(place).astype(np.int64) - self.size // 2
        data = self._seen_from(self._data(volume, corner), place - corner)
        best: Array = matrices[int(self._scores(data, matrices).argmax())]
        return best

    def _seen_from(self, data: NDArray[np.complex64], here: Array) -> NDArray[np.complex64]:
        """Terms with the phases' origin at a place ``(3,)`` of the box."""
        angle = self.places @ (here * self.per_px).astype(np.float32)
        turned: NDArray[np.complex64] = data * np.exp(np.complex64(1j) * angle)
        return turned

    def _scores(self, data: NDArray[np.complex64], matrices: Array) -> Array:
        turns = self.cube.matrices(matrices, (self.size,) * 3, 1.0)
        sums = pose_scores(self.cube.samples, self.places, data, self.squares, turns)
        out: Array = sums[:, 0] * self.unit / np.sqrt(np.maximum(sums[:, 1], 1e-30))
        return out

    def _move(self, data: NDArray[np.complex64], here: Array, matrix: Array) -> Array:
        """One step of Newton's to the place of the greatest correlation in this orientation."""
        turn = self.cube.matrices(matrix[None], (self.size,) * 3, 1.0)[0]
        first, second = pose_slopes(self.cube.samples, self.places, self._seen_from(data, here), turn, self.per_px)
        values, vectors = np.linalg.eigh(second)
        along = vectors.T @ first
        # where it curves upwards there is no maximum to step to
        step = np.where(values < 0, -along / np.minimum(values, -1e-30), 0.0)
        step *= min(1.0, _LONGEST_STEP_PX / max(float(np.linalg.norm(step)), 1e-9))
        moved: Array = here + vectors @ step
        return moved

    def _data(self, volume: VolumeSource, corner: NDArray[np.int64]) -> NDArray[np.complex64]:
        """Whitened and weighted terms of the box at a corner (x, y, z), over the deviation under the sphere.

        Whitened once more by the box's own spectrum: beside dense bodies low frequencies are stronger than on average,
        and would make every lump look like the template.
        """
        values, inside = (torch.from_numpy(array) for array in _cut(volume, corner, self.size))
        share = self.share * inside
        part = float(share.sum())
        share = share / part
        block = -(values - (values * share).sum()) * inside * self.window
        terms = torch.fft.rfftn(block).reshape(-1)[self.flat].numpy() * self.whiten
        power = np.bincount(self.shell, terms.real**2 + terms.imag**2) / self.shell_count
        power = np.convolve(np.pad(power, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
        terms = (terms / np.sqrt(np.maximum(power, 1e-30))[self.shell]).astype(np.complex64)
        half = torch.zeros(self.size**2 * (self.size // 2 + 1), dtype=torch.complex64)
        half[self.flat] = torch.from_numpy(terms)
        whitened = torch.fft.irfftn(half.reshape(self.size, self.size, -1), s=(self.size,) * 3)
        # of the template only the part in the tomogram meets noise
        variance = part * float((share * whitened**2).sum() - (share * whitened).sum() ** 2)
        out: NDArray[np.complex64] = (terms * self.weight / math.sqrt(max(variance, 1e-30))).astype(np.complex64)
        return out


def _cut(volume: VolumeSource, corner: NDArray[np.int64], size: int) -> tuple[Floats, Floats]:
    """A cube of the volume, 0 where it hangs over an edge; and what of it lies inside, falling softly at an edge."""
    spans, places, soft = [], [], []
    for start, count in zip(corner[::-1].tolist(), volume.shape, strict=True):
        first, last = max(start, 0), min(start + size, count)
        spans.append(slice(first, last))
        places.append(slice(first - start, last - start))
        line = np.arange(start, start + size) + 0.5
        inward = np.minimum(line, count - line) / _TAPER_PX
        soft.append(0.5 * (1 - np.cos(np.pi * inward.clip(0, 1))))
    values = np.zeros((size,) * 3, np.float32)
    values[tuple(places)] = volume.block(*spans)
    z, y, x = soft
    return values, (z[:, None, None] * y[:, None] * x).astype(np.float32)
