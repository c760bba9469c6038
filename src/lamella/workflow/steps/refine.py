"""`refine`: orientations and places of the particles, and their average in two half sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import SettingsError
from lamella.formats.particle_images import open_particles
from lamella.fourier import soft_mask
from lamella.geometry import point_group
from lamella.particles.average import average
from lamella.particles.convergence import resolved_shell
from lamella.particles.half_sets import check_half_sets
from lamella.particles.map_fsc import half_map_fsc
from lamella.particles.model_settings import MODEL_PROBABILITY
from lamella.particles.particle_size import stated_diameter_ang
from lamella.particles.refine import RefineResult, refine
from lamella.particles.refine_maps import half_correlation
from lamella.particles.refine_settings import RefineSettings
from lamella.particles.refine_setup import chosen_particles
from lamella.progress import Progress
from lamella.records import Map, ParticleSet, ParticleSource
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs
from lamella.workflow.steps.average_files import on_pictures, picture_size, write_average
from lamella.workflow.steps.particle_inputs import file_of
from lamella.workflow.steps.refine_iterations import Iterations

__all__ = ["map_of", "needs", "run"]

Volume = NDArray[np.float32]
Halves = tuple[Volume, Volume]

_TOLERANCE = 0.5
"""Shells by which the halves' agreement may fall before a refinement counts as worse than its start."""


_SAME_ROTATION = 1e-6
_PADDED_BYTES = 48
"""Per voxel of the doubled box: sums and weights of two half sets, and both references' transforms."""


def needs(record: ParticleSet, settings: RefineSettings) -> Needs:
    """Room for the maps of every iteration, and for the padded sums of two half sets."""
    box, _ = picture_size(record)
    maps = 3 + (2 * settings.iterations if settings.keep_iterations else 0)
    return Needs(disk=4.0 * maps * box**3, memory=_PADDED_BYTES * 8.0 * box**3)


def run(record: ParticleSet, settings: RefineSettings, context: Context) -> ParticleSet:
    """Refine all particles, and write the map, its halves and their correlation.

    A run that was stopped goes on at its last iteration. A refinement whose half maps agree less far than they did in
    the poses that it began with is refused: those poses stay, with the average that they make.

    Raises
    ------
    InputError
        if there are no particles, pictures or two half sets, or a reference does not fit.
    SettingsError
        if a first model without the symmetry is to be refined with it.
    """
    box, pixel = picture_size(record)
    check_half_sets(record)
    source = open_particles(record, context.root)
    reference = _reference(record, settings, context, box, pixel)
    mask = on_pictures(file_of(settings.mask, context.root), box, pixel, "refine.mask") if settings.mask else None
    mask = None if mask is None else mask.clip(0, 1)
    chosen, pictures = chosen_particles(record, source, settings.classes)
    iterations = Iterations(context, chosen, box, pixel, settings.symmetry, keep=settings.keep_iterations)
    state = iterations.last()
    if state is not None:
        context.say(f"goes on after iteration {state.iteration}, where it was stopped")
    result = refine(
        record,
        source,
        reference,
        settings,
        mask=mask,
        state=state,
        on_iteration=iterations.add,
        progress=context.part("", (0.0, 0.94)),
    )
    _tell(result, settings, context)
    particles = _better(chosen, pictures, result, settings, context)
    iterations.finish()
    return particles


def _reference(
    record: ParticleSet, settings: RefineSettings, context: Context, box: int, pixel: float
) -> Volume | None:
    """The first reference on the pictures' grid: the one named, else the record's map, else none."""
    if settings.reference:
        return on_pictures(file_of(settings.reference, context.root), box, pixel, "refine.reference")
    if record.map is not None:
        _check_axes(record, record.map.symmetry, settings.symmetry)
        name = map_of(record.map, settings.classes)
        context.say(f"begins with {name}, no finer than {settings.low_pass:g} Å")
        return on_pictures(context.root / name, box, pixel, "the record's map")
    context.say(f"begins with the average of the poses given, no finer than {settings.low_pass:g} Å")
    return None


def _check_axes(record: ParticleSet, found: str, asked: str) -> None:
    """The frame of a first model is anyone's guess but for the axes that were looked for in it."""
    if not any(MODEL_PROBABILITY in member.scores for member in record.members):
        return
    known = point_group(found)
    if not all(np.abs(known - rotation).max(axis=(1, 2)).min() < _SAME_ROTATION for rotation in point_group(asked)):
        raise SettingsError(
            f"refine.symmetry is {asked}, but the first model was made with {found}: its axes lie anywhere",
            mend=f"set initial-model.symmetry to {asked}",
        )


def map_of(known: Map, classes: str) -> str:
    """File of the map of a class, where one alone is named; else of the map of all.

    Classes of a first model have frames of their own, so that its particles are at home in no other map.
    """
    if classes.strip().isdecimal() and 0 < int(classes) <= len(known.classes):
        return known.classes[int(classes) - 1]
    return known.volume


def _better(
    chosen: ParticleSet, pictures: ParticleSource, result: RefineResult, settings: RefineSettings, context: Context
) -> ParticleSet:
    """The refined particles and their maps, or those of before where their halves agree further.

    Like is compared with like: the average of the poses given with that of the refined ones, each pose taken as
    certain. Where poses are uncertain, the maps of the refinement, which weigh them by their probability, may agree
    further than the average; the better of the two is written.
    """
    box, pixel = picture_size(chosen)
    sphere = _sphere(chosen, settings, box, pixel)

    def judged(halves: Halves) -> float:
        one, two = (torch.from_numpy(half) for half in halves)
        return box * pixel / resolved_shell(half_correlation(one, two, sphere))

    def written(whole: Volume, halves: Halves) -> Map:
        found = write_average(context, whole, halves, pixel, settings.symmetry)
        if found.resolution_ang is not None:
            context.say(f"half maps agree to {found.resolution_ang:.1f} Å (FSC 0.143)")
            context.measure(MapResolutionAngst=found.resolution_ang)
        return found

    of_refinement = (result.half1, result.half2)
    before = None
    if settings.search != "global":
        before = _average(chosen, pictures, settings, context.part("the poses given", (0.94, 0.97)))
    after = _average(result.particles, pictures, settings, context.part("the poses found", (0.97, 1.0)))
    weighed_ang = judged(of_refinement)
    if after is None:
        return replace(result.particles, map=written(result.whole, of_refinement))
    found_ang = judged(after[1])
    if before is not None:
        given_ang = judged(before[1])
        start = half_map_fsc(*before[1], pixel, settings.symmetry)
        context.measure(StartResolutionAngst=start.resolution_ang() or start.finest_ang)
        if box * pixel / min(found_ang, weighed_ang) < box * pixel / given_ang - _TOLERANCE:
            context.say(
                f"undone: within the sphere the half maps agreed to {given_ang:.1f} Å in the poses given, and to "
                f"{found_ang:.1f} Å after refining; the poses given stay"
            )
            context.measure(RefineUndone=1)
            return replace(chosen, map=written(*before))
    if weighed_ang < found_ang:
        return replace(result.particles, map=written(result.whole, of_refinement))
    return replace(result.particles, map=written(*after))


def _average(
    particles: ParticleSet, pictures: ParticleSource, settings: RefineSettings, progress: Progress
) -> tuple[Volume, Halves] | None:
    """Map and half maps of the poses as they are; None of volumes, which are not averaged, and where there are none."""
    stacks = all(one.images is not None and one.images.kind == "stack" for one in particles.members if len(one))
    turned = any(np.any(one.angles_deg) or np.any(one.subtomogram_deg) for one in particles.members)
    if not stacks or not turned:
        return None
    made = average(particles, pictures, symmetry=settings.symmetry, progress=progress)
    return None if made.half1 is None or made.half2 is None else (made.whole, (made.half1, made.half2))


def _sphere(particles: ParticleSet, settings: RefineSettings, box: int, pixel: float) -> torch.Tensor:
    """A soft sphere of the particle's diameter."""
    diameter = stated_diameter_ang(particles, settings.diameter, "refine")
    edge = max(0.08 * diameter / pixel, 3.0)
    return soft_mask((box,) * 3, min(diameter / pixel / 2, box / 2 - edge), edge)


def _tell(result: RefineResult, settings: RefineSettings, context: Context) -> None:
    last = result.history[-1]
    context.say(
        f"{len(result.particles)} particles, {len(result.history)} iterations; within the sphere half maps agree to "
        f"{result.resolution_ang:.1f} Å"
    )
    context.measure(
        RefinedParticles=len(result.particles),
        Iterations=len(result.history),
        AngleErrorDeg=last.angle_error_deg,
        AngleChangeDeg=last.angle_change_deg,
        Certainty=last.certainty,
    )
    if len(result.history) == settings.iterations:
        context.say("ended at refine.iterations, before poses and resolution stood still")
