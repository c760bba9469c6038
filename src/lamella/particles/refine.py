"""Gold-standard refinement: from rough poses to the map that two independent half sets agree on.

Each half set is compared with its own reference only. An iteration finds the posterior of every particle's pose
(`expect`), adds the pictures in all poses that count, measures what noise they left unexplained, and regularises both
maps by how far they agree. Detail is compared up to a few shells beyond the resolution, and the search follows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lamella.errors import InputError
from lamella.fourier import frequency_grid
from lamella.geometry.angular_grid import rotation_angle_deg
from lamella.kernels.central_slices import padded_transform, take_terms
from lamella.parallel import each
from lamella.particles.convergence import IterationNumbers, converged, highest_shell, resolved_shell
from lamella.particles.expectation import Posterior, expect, grid_scores
from lamella.particles.likelihood import ParticleTerms, PictureIndex, picture_index
from lamella.particles.noise import NoiseSums, noise_of, power_of_noise
from lamella.particles.refine_maps import MapSums, half_correlation, signal_to_noise
from lamella.particles.refine_settings import RefineSettings
from lamella.particles.refine_setup import RefineSetup, chosen_particles, prepare_refinement
from lamella.particles.refine_state import RefineState
from lamella.particles.sampling import Grids, first_range, next_range, settled
from lamella.progress import Progress, no_progress
from lamella.records import ParticleSet, ParticleSource
from lamella.runtime import threads

__all__ = ["RefineResult", "refine"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_SCALED_WITH = 48  # particles whose best nodes say how the first reference's grey values compare with the pictures
_SCALED_WITH_GLOBALLY = 6
_BATCH = 8  # particles per thread that are in memory at once


@dataclass(frozen=True, kw_only=True, eq=False)
class RefineResult:
    """A refined set of particles and its maps.

    Attributes
    ----------
    particles
        with their poses, in the order given (of the classes chosen); the score ``RefineCertainty`` is the part of a
        particle's posterior at its best peak.
    half1, half2
        ``(b, b, b)`` maps of the half sets, neither filtered nor masked, on the pictures' pixels.
    whole
        ``(b, b, b)`` map of all particles, regularised.
    fsc
        ``(b // 2 + 1,)`` correlation of the half maps within the sphere, for shells k / (b · pixel).
    resolution_ang
        where it falls below 0.143.
    history
        numbers of each iteration.
    """

    particles: ParticleSet
    half1: Floats
    half2: Floats
    whole: Floats
    fsc: Array
    resolution_ang: float
    history: tuple[IterationNumbers, ...]


def refine(
    particles: ParticleSet,
    source: ParticleSource,
    reference: ArrayLike | None,
    settings: RefineSettings,
    *,
    mask: ArrayLike | None = None,
    state: RefineState | None = None,
    on_iteration: Callable[[RefineState], None] | None = None,
    progress: Progress = no_progress,
) -> RefineResult:
    """Refine orientations and places of particles, and make their average.

    Parameters
    ----------
    particles
        with pictures and half sets (`extract`).
    source
        of their pictures, in their order.
    reference
        ``(b, b, b)`` first reference on the pictures' pixels and box, mass positive; None: the average in the
        poses given. Both half sets begin from it, low-passed; from then on each has its own.
    settings
        see `RefineSettings`.
    mask
        ``(b, b, b)`` soft solvent mask, 0 … 1; None: a sphere of the diameter.
    state
        to go on from: what `on_iteration` was given last by a run of the same input.
    on_iteration
        is given the state after each iteration.
    progress
        told after each particle, as part of the iterations that may still come.

    Raises
    ------
    InputError
        if there are no two half sets or pictures, or arrays do not fit them.
    SettingsError
        if the diameter is not known, or settings contradict each other.
    """
    particles, source = chosen_particles(particles, source, settings.classes)
    setup = prepare_refinement(particles, source, settings, mask)
    state = _first_state(setup, reference) if state is None else _checked(state, setup)
    while not state.finished:
        state = _iterate(setup, state, progress)
        if on_iteration is not None:
            on_iteration(state)
    return _result(setup, particles, state)


def _first_state(setup: RefineSetup, reference: ArrayLike | None) -> RefineState:
    reader, settings = setup.reader, setup.settings
    box, pixel = reader.box_px, reader.pixel_size_ang
    shell = int(np.clip(round(box * pixel / settings.low_pass), 2, box // 2 - 1))
    noise = _first_noise(setup)
    if reference is not None:
        given = torch.from_numpy(_checked_reference(reference, box))
        maps = torch.stack([given, given])
    else:
        if setup.everywhere:
            raise InputError(
                "neither a reference nor orientations to make one from",
                mend="give refine.reference, or run initial-model first",
            )
        sums = _average(setup, noise)
        # one for both: references of their own would turn the two halves' frames apart
        maps = torch.stack([sums[0].plus(sums[1]).unfiltered()] * 2)
    references = torch.stack([_low_passed(one, box * pixel / settings.low_pass) * setup.solvent for one in maps])
    step = None if settings.angle_step == "auto" else float(settings.angle_step)
    reach = None if settings.angle_range == "auto" else float(settings.angle_range)
    search = first_range(
        box / shell, setup.diameter_px, everywhere=setup.everywhere, angle_range_deg=reach, angle_step_deg=step,
        shift_range_px=setup.shift_range_px,
    )  # fmt: skip
    return RefineState(
        iteration=0,
        matrices=setup.matrices,
        positions_ang=setup.positions_ang,
        certainty=np.ones(len(reader)),
        settled=np.zeros(len(reader), dtype=bool),
        half_maps=maps.numpy().astype(np.float32),
        references=references.numpy().astype(np.float32),
        whole=maps.mean(dim=0).numpy().astype(np.float32),
        noise=noise,
        fsc=np.zeros(box // 2 + 1),
        highest_shell=shell,
        search=search,
        absolute=reference is None,
    )


def _iterate(setup: RefineSetup, state: RefineState, progress: Progress) -> RefineState:
    """One iteration: expectation, maximisation, and what the next one compares."""
    grids = Grids(state.search, setup.settings.symmetry, setup.diameter_px / 2)
    compared, whole = _indices(setup, state.highest_shell)
    transforms = [padded_transform(torch.from_numpy(one)).numpy() for one in state.references]
    if not state.absolute:
        transforms = _scaled(setup, state, grids, compared, transforms)
    count, box = len(setup.reader), setup.reader.box_px
    sums = [MapSums(box, setup.group) for _ in range(2)]
    power = np.zeros((2, *state.noise.shape[1:], 2))
    found: list[Posterior] = []

    def work(index: int) -> tuple[Posterior, ParticleTerms, NoiseSums]:
        half = int(setup.half[index])
        noise = state.noise[half, setup.tomogram[index]]
        spectra = setup.reader.read(index)
        place = setup.place_px(state.positions_ang, index)
        if state.settled[index]:
            search = grids.only(state.matrices[index], place)
        else:
            search = grids.about(state.matrices[index], place, setup.matrices[index], setup.most_angle_deg)
        terms = spectra.at(compared).over_noise(noise)
        posterior = expect(transforms[half], terms, search, setup.prior(index))
        all_terms = spectra.at(whole)
        left = noise_of(all_terms, transforms[half], posterior.best.matrix, posterior.best.place_px)
        return posterior, all_terms.over_noise(noise), left

    batch = _BATCH * threads()
    for first in range(0, count, batch):
        chosen = range(first, min(first + batch, count))
        for index, (posterior, terms, left) in zip(chosen, each(work, chosen), strict=True):
            half = int(setup.half[index])
            sums[half].add(terms, posterior.matrices, posterior.places_px, posterior.weights)
            power[half, setup.tomogram[index], :, 0] += left.power
            power[half, setup.tomogram[index], :, 1] += left.squares
            found.append(posterior)
        done = (state.iteration + chosen.stop / count) / setup.settings.iterations
        progress(min(done, 1.0), f"iteration {state.iteration + 1}")
    return _next_state(setup, state, sums, power, found, grids)


def _is_last(setup: RefineSetup, state: RefineState) -> bool:
    return state.closing or state.iteration + 1 >= setup.settings.iterations


def _next_state(
    setup: RefineSetup, state: RefineState, sums: list[MapSums], power: Array, found: list[Posterior], grids: Grids
) -> RefineState:
    box, pixel = setup.reader.box_px, setup.reader.pixel_size_ang
    halves = [one.unfiltered() for one in sums]
    fsc = half_correlation(halves[0], halves[1], setup.sphere)
    ssnr = signal_to_noise(fsc)
    references = [one.regularised(ssnr) * setup.solvent for one in sums]
    matrices = np.stack([one.best.matrix for one in found])
    places = np.stack([one.best.place_px for one in found])
    positions = setup.cut_out_ang + places * pixel
    shell = resolved_shell(fsc)
    errors = np.median([one.errors for one in found], axis=0)
    turns = rotation_angle_deg(state.matrices, matrices, setup.settings.symmetry)
    moves = np.linalg.norm(positions - state.positions_ang, axis=1) / pixel
    certainty = np.array([one.certainty for one in found])
    numbers = IterationNumbers(
        resolution_ang=box * pixel / shell,
        shell=shell,
        compared_ang=box * pixel / state.highest_shell,
        angle_change_deg=float(np.median(turns)),
        shift_change_px=float(np.median(moves)),
        angle_error_deg=float(errors[0]),
        shift_error_px=float(errors[1]),
        certainty=float(certainty.mean()),
        orientations=grids.counts[0],
        places=grids.counts[1],
        angle_step_deg=state.search.angle_step_deg,
    )
    history = (*state.history, numbers)
    highest = highest_shell(fsc)
    iteration = state.iteration + 1
    return replace(
        state,
        iteration=iteration,
        finished=_is_last(setup, state),
        closing=converged(history),
        matrices=matrices,
        positions_ang=positions,
        certainty=certainty,
        settled=settled(state.search, turns, moves, certainty),
        half_maps=torch.stack(halves).numpy(),
        references=torch.stack(references).numpy().astype(np.float32),
        whole=sums[0].plus(sums[1]).regularised(signal_to_noise(fsc, whole=True)).numpy(),
        noise=power_of_noise(power[..., 0], power[..., 1]),
        fsc=fsc,
        highest_shell=highest,
        search=next_range(state.search, box / highest, setup.diameter_px),
        absolute=True,
        history=history,
    )


def _indices(setup: RefineSetup, shell: int) -> tuple[PictureIndex, PictureIndex]:
    """Terms that are compared, and all of them, which are added to the maps."""
    box, volume = setup.reader.box_px, setup.reader.volume
    return picture_index(box, shell, volume=volume), picture_index(box, box // 2, volume=volume)


def _first_noise(setup: RefineSetup) -> Array:
    """Noise of each half set and tomogram, as if the pictures held nothing else."""
    shells = setup.reader.box_px // 2 + 1
    _, whole = _indices(setup, 2)
    sums = np.zeros((2, int(setup.tomogram.max()) + 1, shells, 2))
    eye, nowhere = np.eye(3), np.zeros(3)
    found = each(lambda i: noise_of(setup.reader.read(i).at(whole), None, eye, nowhere), range(len(setup.reader)))
    for index, one in enumerate(found):
        sums[setup.half[index], setup.tomogram[index], :, 0] += one.power
        sums[setup.half[index], setup.tomogram[index], :, 1] += one.squares
    return power_of_noise(sums[..., 0], sums[..., 1])


def _average(setup: RefineSetup, noise: Array) -> list[MapSums]:
    """Sums of both half sets in the poses given."""
    _, whole = _indices(setup, 2)
    sums = [MapSums(setup.reader.box_px, setup.group) for _ in range(2)]
    for index in range(len(setup.reader)):
        half = int(setup.half[index])
        terms = setup.reader.read(index).at(whole).over_noise(noise[half, setup.tomogram[index]])
        place = setup.place_px(setup.positions_ang, index)
        sums[half].add(terms, setup.matrices[index][None], place[None], np.ones(1))
    return sums


def _scaled(
    setup: RefineSetup,
    state: RefineState,
    grids: Grids,
    compared: PictureIndex,
    transforms: list[NDArray[np.complex64]],
) -> list[NDArray[np.complex64]]:
    """The first references times the factor that fits the pictures of some particles at their best nodes."""
    scaled = []
    limit = _SCALED_WITH_GLOBALLY if state.search.everywhere else _SCALED_WITH

    def fit(half: int, index: int) -> tuple[float, float]:
        noise = state.noise[half, setup.tomogram[index]]
        terms = setup.reader.read(index).at(compared).over_noise(noise)
        terms = terms.up_to(round(setup.reader.box_px / state.search.detail_px))
        place = setup.place_px(state.positions_ang, index)
        search = grids.about(state.matrices[index], place, setup.matrices[index], setup.most_angle_deg)
        scores, places = grid_scores(transforms[half], terms, replace(search, any_scale=True), setup.prior(index))
        node = int(scores.argmax())
        slices = take_terms(transforms[half], terms.at.index, terms.frames @ search.matrices[node], setup.reader.box_px)
        cross = np.vdot(terms.moved(search.places_px[places[node]]), slices).real
        return float(cross), float(np.vdot(terms.squares, np.abs(slices) ** 2))

    for half, transform in enumerate(transforms):
        members = np.flatnonzero(setup.half == half)
        chosen = members[np.linspace(0, len(members) - 1, min(limit, len(members))).astype(np.int64)].tolist()
        cross, power = np.array(each(partial(fit, half), chosen)).sum(axis=0)
        if not cross > 0:
            raise InputError("the reference does not correlate with the pictures", mend="see that its mass is positive")
        scaled.append(transform * np.complex64(cross / power))
    return scaled


def _low_passed(volume: Tensor, shell: float) -> Tensor:
    """Without shells beyond one; a raised cosine over two shells about it keeps the edge from ringing."""
    shape = tuple(volume.shape)
    beyond = (frequency_grid(shape) * shape[0] - shell + 1).clamp(0, 2) / 2
    terms = torch.fft.rfftn(volume) * (0.5 * (1 + torch.cos(torch.pi * beyond)))
    low: Tensor = torch.fft.irfftn(terms, s=shape)
    return low.float()


def _checked_reference(reference: ArrayLike, box: int) -> Floats:
    values = np.asarray(reference, dtype=np.float32)
    if values.shape != (box,) * 3:
        raise InputError(
            f"a reference of {values.shape} voxels for pictures of {box} px",
            mend="bring it to the pictures' pixel and box with `lamella convert`",
        )
    if not np.isfinite(values).all() or not np.ptp(values) > 0:
        raise InputError("a reference that is constant or holds numbers that are not finite", mend="give a map")
    return values


def _checked(state: RefineState, setup: RefineSetup) -> RefineState:
    if len(state.matrices) != len(setup.reader) or state.fsc.shape != (setup.reader.box_px // 2 + 1,):
        raise InputError(
            f"a saved state of {len(state.matrices)} particles for {len(setup.reader)}",
            mend="begin the refinement anew, or give the particles that it was made of",
        )
    return state


def _result(setup: RefineSetup, particles: ParticleSet, state: RefineState) -> RefineResult:
    members = []
    parts = (particles.split(part) for part in (state.matrices, state.positions_ang, state.certainty))
    for member, matrices, positions, certainty in zip(particles.members, *parts, strict=True):
        placed = member.with_poses(matrices, positions)
        members.append(placed.with_changes(scores={"RefineCertainty": certainty}))
    last = state.history[-1]
    return RefineResult(
        particles=replace(particles, members=tuple(members)),
        half1=state.half_maps[0],
        half2=state.half_maps[1],
        whole=state.whole,
        fsc=state.fsc,
        resolution_ang=last.resolution_ang,
        history=state.history,
    )
