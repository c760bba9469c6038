"""`initial-model`: a first map from particles of unknown orientation."""

from __future__ import annotations

from dataclasses import replace

from lamella.formats.particle_images import open_particles
from lamella.particles.initial_model import initial_model
from lamella.particles.model_settings import ModelSettings
from lamella.records import ParticleSet
from lamella.workflow.context import Context
from lamella.workflow.steps.average_files import picture_size, write_average
from lamella.workflow.steps.class_maps import tell_classes, write_class_maps

__all__ = ["run"]


def run(record: ParticleSet, settings: ModelSettings, context: Context) -> ParticleSet:
    """Find first maps and poses; the largest class's map is the record's.

    Raises
    ------
    InputError
        if there are no pictures, or fewer particles than make an average of each class.
    """
    _, pixel = picture_size(record)
    found = initial_model(record, open_particles(record, context.root), settings, progress=context.progress)
    written = write_average(context, found.maps[found.largest], None, pixel, settings.symmetry)
    if settings.classes > 1:
        written = replace(written, classes=write_class_maps(context, found.maps, pixel))
        tell_classes(found.particles, settings.classes, context)
    context.say(f"{len(record)} particles; the map holds detail up to {found.resolution_ang:.0f} Å")
    if settings.symmetry.upper() != "C1":
        context.say(f"the axes of {settings.symmetry} were found at a self-correlation of {found.self_correlation:.2f}")
        context.measure(SelfCorrelation=found.self_correlation)
    context.measure(ModelResolutionAngst=found.resolution_ang, ModelParticles=len(record))
    return replace(found.particles, map=written)
