"""`classify`: the particles sorted by the maps that they make."""

from __future__ import annotations

from dataclasses import replace

from lamella.formats.particle_images import open_particles
from lamella.particles.classify import classify
from lamella.particles.classify_settings import ClassifySettings
from lamella.records import ParticleSet
from lamella.workflow.context import Context
from lamella.workflow.steps.average_files import on_pictures, picture_size, write_average
from lamella.workflow.steps.class_maps import tell_classes, write_class_maps
from lamella.workflow.steps.particle_inputs import file_of

__all__ = ["run"]


def run(record: ParticleSet, settings: ClassifySettings, context: Context) -> ParticleSet:
    """Sort the particles; the record keeps its map and halves and gets the classes' maps beside them.

    Raises
    ------
    InputError
        if there are no pictures, fewer particles than classes, or the mask does not fit.
    """
    box, pixel = picture_size(record)
    mask = on_pictures(file_of(settings.mask, context.root), box, pixel, "classify.mask") if settings.mask else None
    found = classify(
        record,
        open_particles(record, context.root),
        settings,
        mask=None if mask is None else mask.clip(0, 1),
        progress=context.progress,
    )
    names = write_class_maps(context, found.maps, pixel)
    tell_classes(found.particles, settings.classes, context)
    last = 100 * found.changed[-1]
    context.say(
        f"compared up to {found.resolution_ang:.0f} Å; {last:.1f}% changed class in the last of "
        f"{len(found.changed)} iterations"
    )
    context.measure(ClassifyResolutionAngst=found.resolution_ang, ChangedClass=found.changed[-1])
    written = record.map
    if written is None:
        written = write_average(context, found.maps[0], None, pixel, settings.symmetry)
    if (written.box_px, round(written.voxel_size_ang, 4)) != (box, round(pixel, 4)):
        context.say(f"the record's map has other voxels than the classes' ({box} voxels of {pixel:.2f} Å)")
    return replace(found.particles, map=replace(written, classes=names))
