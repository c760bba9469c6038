"""A first map from particles of unknown orientation.

1. Several times, from random orientations, a coarse map is made by mini-batches whose poses grow certain; the one that
   gives the pictures the highest likelihood is kept.
2. Detail is added step by step, and batches grow to all particles.
3. Every particle is given its best pose, by climbing; where a symmetry is asked for, its axes are looked for in
   the map, map and poses are turned so that they lie where `point_group` has them, and the symmetry is imposed.

The views' directions are known to each other from the tilt series, so that a map and its mirror image do not explain
the pictures alike: the hand comes with the geometry.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import InputError, SettingsError
from lamella.fourier import crop_volume
from lamella.geometry.symmetry import point_group
from lamella.parallel import part_of
from lamella.particles.initial_model_data import coarse_box, read_pictures
from lamella.particles.initial_model_maps import believed_map
from lamella.particles.initial_model_plan import main_steps, settling_shells, start_steps
from lamella.particles.initial_model_settle import Poses, poses_of, sums_of
from lamella.particles.initial_model_steps import (
    ModelState,
    Setting,
    first_state,
    likelihood_of,
    next_state,
    pose_grid,
)
from lamella.particles.model_settings import MODEL_PROBABILITY, ModelSettings
from lamella.particles.particle_size import stated_diameter_ang
from lamella.particles.refine_data import ParticleReader
from lamella.particles.symmetry_axes import find_symmetry_axes, still_part
from lamella.progress import Progress, no_progress
from lamella.records import ParticleSet, ParticleSource

__all__ = ["InitialModel", "initial_model"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_MOST_PARTICLES = 1200
"""That make the map; the others are only compared with it."""
_STARTS = 4
_SHIFT_SHARE = 12.0  # of the diameter: the prior's width in each coordinate
_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class InitialModel:
    """What was found.

    Attributes
    ----------
    particles
        with orientations, places and classes; scores ``ModelProbability``: of a particle's class.
    maps
        ``(c, b, b, b)`` of the classes on the pictures' box and pixels, low-passed.
    largest
        number, from 0, of the class that holds most particles.
    resolution_ang
        finest detail in the maps.
    likelihoods
        mean log-likelihood of a particle after each random start, the best one's first.
    self_correlation
        of the largest class's map under the symmetry before it was imposed; 1 for C1.
    """

    particles: ParticleSet
    maps: Floats
    largest: int
    resolution_ang: float
    likelihoods: tuple[float, ...]
    self_correlation: float


def initial_model(
    particles: ParticleSet, source: ParticleSource, settings: ModelSettings, *, progress: Progress = no_progress
) -> InitialModel:
    """Find first maps and poses.

    Parameters
    ----------
    particles
        with pictures (`extract`).
    source
        of their pictures, in their order.
    settings
        see `ModelSettings`.

    Raises
    ------
    InputError
        if there are no pictures, or fewer particles than make an average of each class.
    SettingsError
        if the diameter is not known, larger than the pictures, or the detail finer than they hold.
    """
    reader = ParticleReader(particles, source)
    _check(len(reader), settings)
    group = point_group(settings.symmetry)
    diameter = stated_diameter_ang(particles, settings.diameter, "initial-model")
    finest = _finest_ang(reader, settings)
    if diameter > reader.box_px * reader.pixel_size_ang:
        raise SettingsError(f"a particle of {diameter:g} Å in smaller pictures", mend="extract with a larger box")
    rng = np.random.default_rng(settings.seed)
    box, shell = coarse_box(reader.box_px, reader.pixel_size_ang, finest)
    pixel = reader.box_px * reader.pixel_size_ang / box
    chosen = np.sort(rng.permutation(len(reader))[:_MOST_PARTICLES])
    pictures = read_pictures(particles, reader, chosen, box, shell, part_of(progress, 0, 0.05))
    setting = Setting(
        pictures=pictures, box_px=box, radius_px=diameter / pixel / 2, shift_width_px=diameter / _SHIFT_SHARE / pixel
    )
    given = None if settings.random_angles else particles.matrices()
    state, likelihoods = _best_start(setting, settings, shell, rng, given, part_of(progress, 0.05, 0.35))
    steps = main_steps(setting, settings, shell)
    for number, step in enumerate(steps):
        state = next_state(setting, state, step, rng)
        progress(0.35 + 0.4 * (number + 1) / len(steps), f"{box * pixel / step.shell:.0f} Å")
    poses, maps, correlation = _settle(setting, state, settings, group, shell, part_of(progress, 0.75, 0.95))
    poses += _others(particles, reader, setting, settings, maps, chosen, shell)
    return _result(particles, reader, setting, poses, maps, likelihoods, correlation, shell)


def _check(count: int, settings: ModelSettings) -> None:
    if count < 2:
        raise InputError("one particle makes no first model", mend="pick more particles, or give refine.reference")
    if count < 2 * settings.classes:
        raise InputError(
            f"{count} particles for {settings.classes} classes", mend="set fewer classes: each wants two or more"
        )


def _finest_ang(reader: ParticleReader, settings: ModelSettings) -> float:
    least = 2 * reader.pixel_size_ang
    if settings.resolution == "auto":
        return max(30.0, 1.5 * least)
    if settings.resolution < least:
        raise SettingsError(
            f"initial-model.resolution of {settings.resolution:g} Å in pixels of {reader.pixel_size_ang:g} Å",
            mend=f"give {least:g} Å or more, or bin less",
        )
    return float(settings.resolution)


def _best_start(
    setting: Setting,
    settings: ModelSettings,
    shell: int,
    rng: np.random.Generator,
    given: Array | None,
    progress: Progress,
) -> tuple[ModelState, tuple[float, ...]]:
    """The state that explains the pictures best, of several random ones; likelihoods, the best first."""
    steps = start_steps(setting, settings, shell)
    found: list[tuple[float, ModelState]] = []
    count = _STARTS if given is None else 1
    for start in range(count):
        state = first_state(setting, settings.classes, steps[0].shell, rng, given)
        for number, step in enumerate(steps):
            state = next_state(setting, state, step, rng)
            progress((start + (number + 1) / len(steps)) / count, f"random start {start + 1} of {count}")
        found.append((likelihood_of(setting, state, steps[-1]), state))
    found.sort(key=lambda one: -one[0])
    return found[0][1], tuple(value for value, _ in found)


def _settle(
    setting: Setting, state: ModelState, settings: ModelSettings, group: Array, shell: int, progress: Progress
) -> tuple[list[Poses], torch.Tensor, float]:
    """Poses and maps by climbing; on the way the symmetry's axes are found, and the maps are centred."""
    mask, whole, maps = setting.mask(), list(state.pictures), state.maps
    last = main_steps(setting, settings, shell)[-1]
    correlation, symmetry = 1.0, "C1"
    shells = settling_shells(setting, shell)
    for turn, finest in enumerate(shells):
        grid = pose_grid(setting, last, None, symmetry)
        pictures = [part.up_to(finest) for part in whole]
        poses = [poses_of(maps, part, grid, setting.radius_px, last.shell) for part in pictures]
        largest = int(np.bincount(np.concatenate([one.classes for one in poses])).argmax())
        frames = []
        for number, one in enumerate(maps):
            frame = find_symmetry_axes(one, "C1" if turn else settings.symmetry, finest)
            centre = still_part(frame.centre_px, group) if turn else frame.centre_px
            frames.append((frame.matrix, centre))
            if turn == 0 and number == largest:
                correlation = frame.correlation
        poses = [_moved(one, frames) for one in poses]
        symmetry = settings.symmetry
        fine = shells[min(turn + 1, len(shells) - 1)]
        sums = sums_of([part.up_to(fine) for part in whole], poses, len(maps), group)
        maps = torch.stack([believed_map(one, mask, highest_shell=fine) for one in sums]).float()
        whole = [replace(part, places=own.places) for part, own in zip(whole, poses, strict=True)]
        progress((turn + 1) / len(shells), "poses")
    return poses, maps, correlation


def _moved(poses: Poses, frames: list[tuple[Array, Array]]) -> Poses:
    """Poses in new frames (Q, c) of each class: M Q, u + M c."""
    turns = np.stack([frames[number][0] for number in poses.classes])
    centres = np.stack([frames[number][1] for number in poses.classes])
    places = poses.places + np.einsum("pij,pj->pi", poses.matrices, centres)
    return replace(poses, matrices=poses.matrices @ turns, places=places)


def _others(
    particles: ParticleSet,
    reader: ParticleReader,
    setting: Setting,
    settings: ModelSettings,
    maps: torch.Tensor,
    chosen: NDArray[np.int64],
    shell: int,
) -> list[Poses]:
    """Poses of the particles that had no part in the maps."""
    left = np.setdiff1d(np.arange(len(reader)), chosen)
    last = main_steps(setting, settings, shell)[-1]
    grid = pose_grid(setting, last, None, settings.symmetry)
    found = []
    for first in range(0, len(left), _AT_ONCE):
        parts = read_pictures(particles, reader, left[first : first + _AT_ONCE], setting.box_px, shell)
        found += [poses_of(maps, part, grid, setting.radius_px, last.shell) for part in parts]
    return found


def _result(
    particles: ParticleSet,
    reader: ParticleReader,
    setting: Setting,
    poses: list[Poses],
    maps: torch.Tensor,
    likelihoods: tuple[float, ...],
    correlation: float,
    shell: int,
) -> InitialModel:
    count, width = len(reader), reader.box_px * reader.pixel_size_ang
    matrices, positions = np.empty((count, 3, 3)), reader.cut_out_ang()
    classes, probability = np.empty(count, np.int64), np.empty(count)
    turns = _turns(particles, reader)
    for one in poses:
        at = one.numbers
        matrices[at] = turns[at] @ one.matrices
        positions[at] += np.einsum("pij,pj->pi", turns[at], one.places) * (width / setting.box_px)
        classes[at], probability[at] = one.classes, one.probability
    members = []
    columns = (particles.split(part) for part in (matrices, positions, classes, probability))
    for member, turned, placed, number, likely in zip(particles.members, *columns, strict=True):
        posed = member.with_poses(turned, placed)
        members.append(posed.with_changes(classes=number + 1, scores={MODEL_PROBABILITY: likely}))
    # the terms of both boxes are the same, so grey values follow the number of voxels
    scale = (setting.box_px / reader.box_px) ** 3
    volumes = crop_volume(maps, (reader.box_px,) * 3) * scale
    return InitialModel(
        particles=replace(particles, members=tuple(members)),
        maps=volumes.numpy().astype(np.float32),
        largest=int(np.bincount(classes, minlength=len(maps)).argmax()),
        resolution_ang=width / shell,
        likelihoods=likelihoods,
        self_correlation=correlation,
    )


def _turns(particles: ParticleSet, reader: ParticleReader) -> Array:
    """``(n, 3, 3)`` frames that volumes were cut out in; the identity for pictures."""
    if not reader.volume:
        return np.tile(np.eye(3), (len(reader), 1, 1))
    return np.concatenate([member.subtomogram_matrices() for member in particles.members])
