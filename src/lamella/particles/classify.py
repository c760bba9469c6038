"""Particles sorted by the maps that they make.

Each class has a map; each particle belongs to every class by how well that class's map explains its pictures, and the
maps are made anew with those weights, until no particle changes its class (expectation-maximisation; Scheres 2012,
J. Struct. Biol. 180:519). Classes begin by chance. The likelihood is flattened at first, so that the largest difference
among the particles comes out before any particle is certain (deterministic annealing; Rose 1998, Proc. IEEE 86:2210);
of several beginnings the one that explains the pictures best goes on.

A class's map is the average of all and a difference from it, believed as far as it is more than noise. A particle is
compared with what the other particles make of a class, as if that were without noise (`_bias`): few particles of little
signal would stay wherever chance put them otherwise, or join the largest class. Where a mask says where classes may
differ, every class shows the average outside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lamella.errors import InputError
from lamella.fourier import crop_volume
from lamella.kernels.central_slices import padded_transform
from lamella.parallel import each, part_of
from lamella.particles.classify_data import Sample, prepare_sample, sums_over
from lamella.particles.classify_pose import best_in_class
from lamella.particles.classify_settings import ClassifySettings
from lamella.particles.initial_model_data import Pictures
from lamella.particles.initial_model_maps import believed_difference, believed_map
from lamella.particles.refine_data import ParticleReader
from lamella.progress import Progress, no_progress
from lamella.records import ParticleSet, ParticleSource

__all__ = ["Classification", "classify"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_STARTS = 4
_START_STEPS = 7
_HOT, _COLD = 1.0, 0.2
"""Temperature of the first and last step of a start, in standard deviations of the classes' log-likelihoods."""
_STILL = 0.005
"""Part of the particles that may change class in an iteration that ends the work."""
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification:
    """What was found.

    Attributes
    ----------
    particles
        with their classes, from 1, by falling size; scores ``ClassProbability``. Poses are new only where they were
        searched.
    maps
        ``(c, b, b, b)`` of the classes on the pictures' box and pixels, regularised.
    resolution_ang
        finest detail that was compared.
    changed
        part of the particles that changed class in each iteration.
    likelihoods
        mean log-likelihood of a particle at the end of each random start, the best one's first.
    """

    particles: ParticleSet
    maps: Floats
    resolution_ang: float
    changed: tuple[float, ...]
    likelihoods: tuple[float, ...]


def classify(
    particles: ParticleSet,
    source: ParticleSource,
    settings: ClassifySettings,
    *,
    mask: ArrayLike | None = None,
    progress: Progress = no_progress,
) -> Classification:
    """Sort particles into classes.

    Parameters
    ----------
    particles
        with pictures and poses.
    source
        of their pictures, in their order.
    settings
        see `ClassifySettings`.
    mask
        ``(b, b, b)``, 0 … 1, on the pictures' pixels and box, in the reference's frame: where classes may differ;
        None: everywhere in the sphere.

    Raises
    ------
    InputError
        if there are no pictures, fewer particles than classes, or the mask does not fit.
    SettingsError
        if the diameter is not known, or larger than the pictures, or the detail finer than they hold.
    """
    reader = ParticleReader(particles, source)
    if len(reader) < max(2, settings.classes):
        raise InputError(
            f"{len(reader)} particles for {settings.classes} classes", mend="set fewer classes, or give more particles"
        )
    inside = None if mask is None else _checked_mask(mask, reader.box_px)
    sample = prepare_sample(particles, reader, settings, part_of(progress, 0, 0.1))
    focus = None if inside is None else crop_volume(inside, (sample.box_px,) * 3).clamp(0, 1)
    rng = np.random.default_rng(settings.seed)
    weights, likelihoods = _best_start(sample, settings, focus, rng, part_of(progress, 0.1, 0.4))
    sample, weights, changed = _iterate(sample, settings, focus, weights, part_of(progress, 0.4, 1.0))
    return _result(particles, reader, sample, settings, focus, weights, changed, likelihoods)


def _checked_mask(mask: ArrayLike, box: int) -> Tensor:
    values = np.asarray(mask, dtype=np.float32)
    if values.shape != (box,) * 3:
        raise InputError(
            f"a mask of {values.shape} voxels for pictures of {box} px",
            mend="bring it to the pictures' pixel and box with `lamella convert`",
        )
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1 or not values.any():
        raise InputError("a mask with values that are not within 0 … 1, or nothing but 0", mend="give a soft mask")
    return torch.from_numpy(values)


def _best_start(
    sample: Sample, settings: ClassifySettings, focus: Tensor | None, rng: np.random.Generator, progress: Progress
) -> tuple[Array, tuple[float, ...]]:
    """Weights ``(n, c)`` at the end of the best of several starts, and the likelihood of each."""
    count = len(sample)
    if settings.classes == 1:
        return np.ones((count, 1)), ()
    found: list[tuple[float, Array]] = []
    for start in range(_STARTS):
        weights = np.eye(settings.classes)[rng.permutation(count) % settings.classes]
        for step in range(_START_STEPS):
            scores, _ = _scores(sample, _class_maps(sample, settings, focus, weights), weights, None)
            heat = _HOT * (_COLD / _HOT) ** (step / (_START_STEPS - 1))
            spread = float(np.sqrt(((scores - scores.mean(axis=1, keepdims=True)) ** 2).mean()))
            weights, _ = _weights(scores, max(heat * spread, 1e-6))
            progress((start + (step + 1) / _START_STEPS) / _STARTS, f"random start {start + 1} of {_STARTS}")
        found.append((float(_weights(scores, 1.0)[1].mean()), weights))
    found.sort(key=lambda one: -one[0])
    return found[0][1], tuple(value for value, _ in found)


def _iterate(
    sample: Sample, settings: ClassifySettings, focus: Tensor | None, weights: Array, progress: Progress
) -> tuple[Sample, Array, tuple[float, ...]]:
    """Iterate until no more than a few particles change their class."""
    changed: list[float] = []
    given = sample.matrices
    for iteration in range(settings.iterations):
        maps = _class_maps(sample, settings, focus, weights)
        scores, poses = _scores(sample, maps, weights, (given, settings.angle_range) if settings.align else None)
        before = weights.argmax(axis=1)
        weights, _ = _weights(scores, 1.0)
        best = weights.argmax(axis=1)
        if poses is not None:
            rows = np.arange(len(sample))
            sample = replace(sample, matrices=poses[0][rows, best], places=poses[1][rows, best])
        changed.append(float((best != before).mean()))
        progress((iteration + 1) / settings.iterations, f"{100 * changed[-1]:.1f}% changed class")
        if changed[-1] <= _STILL and iteration >= (2 if settings.align else 1):
            break
    return sample, weights, tuple(changed)


@dataclass(frozen=True, eq=False)
class _ClassMaps:
    """Maps of the classes, and how much of each a single particle makes.

    Attributes
    ----------
    volumes
        of each class.
    own, shared, noise
        ``(c, b // 2 + 1)`` of `BelievedDifference`.
    """

    volumes: list[Tensor]
    own: Array
    shared: Array
    noise: Array


def _class_maps(sample: Sample, settings: ClassifySettings, focus: Tensor | None, weights: Array) -> _ClassMaps:
    """Maps of the classes: the average, and what each differs by from it where it may."""
    kept = np.where(weights < _LEAST_WEIGHT, 0, weights)
    sums = [sums_over(sample, np.ascontiguousarray(column)) for column in kept.T]
    whole = sums[0]
    for one in sums[1:]:
        whole = whole.plus(one)
    trust, inside = settings.regularisation, sample.sphere if focus is None else focus * sample.sphere
    average = believed_map(whole, sample.sphere, trust, sample.shell)
    if len(sums) == 1:
        nothing = np.zeros((1, sample.box_px // 2 + 1))
        return _ClassMaps([average.float()], nothing, nothing, nothing)
    parts = [believed_difference(one, whole, inside, trust, sample.shell) for one in sums]
    return _ClassMaps(
        volumes=[(average + one.volume).float() for one in parts],
        own=np.stack([one.own for one in parts]),
        shared=np.stack([one.shared for one in parts]),
        noise=np.stack([one.noise for one in parts]),
    )


def _bias(sample: Sample, maps: _ClassMaps, weights: Array) -> Array:
    """``(n, c)`` log-likelihood that particles gain or lose because the maps are made of few of them.

    A particle that counts w in a class adds w f / W x to the term of the map where its own term x stands, f being what
    the mask leaves, and so w f / W |x|² to its cross product with it. Noise of the power N in the map takes T² N / 2
    from every particle's likelihood. Where particles are few and their signal is little, either is as much as the
    classes differ by: the one would hold particles where chance put them, the other drive them into the largest class.
    """
    held = weights * (sample.energy @ maps.own.T) - sample.energy @ maps.shared.T
    bias: Array = held - sample.weight @ maps.noise.T / 2
    return bias


def _scores(
    sample: Sample, maps: _ClassMaps, weights: Array, about: tuple[Array, float] | None
) -> tuple[Array, tuple[Array, Array] | None]:
    """Log-likelihood ``(n, c)``, and where poses are searched the best ``(n, c, 3, 3)`` and ``(n, c, 3)``.

    `weights` are those that the maps were made with.
    """
    transforms = [padded_transform(one).numpy() for one in maps.volumes]
    shape = (len(sample), len(transforms))
    scores, matrices, places = np.empty(shape), np.empty((*shape, 3, 3)), np.empty((*shape, 3))
    for part in sample.pictures:

        def work(index: int, part: Pictures = part) -> None:
            number = part.numbers[index]
            pose = sample.matrices[number], sample.places[number]
            limit = None if about is None else (about[0][number], about[1])
            terms = part.terms(index)
            for column, transform in enumerate(transforms):
                found = best_in_class(transform, terms, pose, limit, sample.radius_px)
                scores[number, column], matrices[number, column], places[number, column] = found

        each(work, range(len(part)))
    return scores - _bias(sample, maps, weights), None if about is None else (matrices, places)


def _weights(scores: Array, temperature: float) -> tuple[Array, Array]:
    """Weights ``(n, c)``, and the logarithm ``(n,)`` of the mean likelihood."""
    top = scores.max(axis=1, keepdims=True)
    weights = np.exp((scores - top) / temperature)
    total = weights.sum(axis=1, keepdims=True)
    return weights / total, (top + temperature * np.log(total / scores.shape[1]))[:, 0]


def _result(
    particles: ParticleSet,
    reader: ParticleReader,
    sample: Sample,
    settings: ClassifySettings,
    focus: Tensor | None,
    weights: Array,
    changed: tuple[float, ...],
    likelihoods: tuple[float, ...],
) -> Classification:
    sizes = np.bincount(weights.argmax(axis=1), minlength=weights.shape[1])
    weights = weights[:, np.argsort(-sizes, kind="stable")]
    maps = torch.stack(_class_maps(sample, settings, focus, weights).volumes)
    width = reader.box_px * reader.pixel_size_ang
    classes, probability = weights.argmax(axis=1) + 1, weights.max(axis=1)
    matrices, positions = _poses(reader, sample, width / sample.box_px)
    members = []
    columns = (particles.split(part) for part in (classes, probability, matrices, positions))
    for member, number, likely, turned, placed in zip(particles.members, *columns, strict=True):
        posed = member.with_poses(turned, placed) if settings.align else member
        members.append(posed.with_changes(classes=number.astype(np.int64), scores={"ClassProbability": likely}))
    # the terms of both boxes are the same, so grey values follow the number of voxels
    volumes = crop_volume(maps, (reader.box_px,) * 3) * (sample.box_px / reader.box_px) ** 3
    return Classification(
        particles=replace(particles, members=tuple(members)),
        maps=volumes.numpy().astype(np.float32),
        resolution_ang=width / sample.shell,
        changed=changed,
        likelihoods=likelihoods,
    )


def _poses(reader: ParticleReader, sample: Sample, pixel_ang: float) -> tuple[Array, Array]:
    """Orientations and places in the tomograms."""
    matrices, positions = sample.matrices.copy(), reader.cut_out_ang()
    for part in sample.pictures:
        at = part.numbers
        matrices[at] = part.turns @ sample.matrices[at]
        positions[at] += np.einsum("pij,pj->pi", part.turns, sample.places[at]) * pixel_ang
    return matrices, positions
