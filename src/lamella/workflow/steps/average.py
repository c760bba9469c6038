"""`average`: the average of particles as they are turned and placed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from lamella.errors import InputError, SettingsError
from lamella.formats.images import open_images, split_name
from lamella.formats.particle_images import ParticleWriter, open_particles
from lamella.particles.average import average
from lamella.particles.average_settings import AverageSettings
from lamella.particles.extract import extract, particle_diameter_ang
from lamella.particles.extract_box import PictureBox, choose_box
from lamella.particles.extract_settings import ExtractSettings
from lamella.particles.refine_setup import chosen_particles
from lamella.records import PARTICLE_DIAMETER, Particles, ParticleSet
from lamella.workflow.context import Context
from lamella.workflow.steps.average_files import picture_size, write_average

__all__ = ["run"]

_PICTURES = "pictures"
_ALIKE = 1e-3
_NEAREST_ANG = 1e-3  # particles at one place are averaged as often as they are named


def run(record: ParticleSet, settings: AverageSettings, context: Context) -> ParticleSet:
    """Average particles, and each half set of them.

    Extracted pictures are taken where they are of the voxel that is asked for; else they are cut out of the tilt images
    anew, at the particles' places of now, and not kept. Where the tilt images are not there, as for particles that
    another program cut out, their pictures are taken as they are.

    Raises
    ------
    InputError
        if there are no particles, or nothing to cut them out of.
    """
    if not len(record):
        raise InputError(f"{record.name}: there are no particles", mend="pick some, or name another --input")
    folder = context.folder / _PICTURES
    shutil.rmtree(folder, ignore_errors=True)
    try:
        particles, share = record, 0.0
        if _ready(record) and not _views_are_there(record, context.root):
            context.say("the tilt images are not there: the particles' pictures are averaged as they are")
        elif not _fits(record, settings):
            share = 0.6
            particles = _cut_out(record, settings, context, folder, share)
        pictures = open_particles(particles, context.root)
        particles, source = chosen_particles(particles, pictures, settings.classes)
        made = average(particles, source, symmetry=settings.symmetry, progress=context.part("", (share, 1.0)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    box, voxel = made.whole.shape[0], made.voxel_size_ang
    halves = None if made.half1 is None or made.half2 is None else (made.half1, made.half2)
    found = write_average(context, made.whole, halves, voxel, settings.symmetry)
    context.say(f"{sum(made.particles)} particles in {box} voxels of {voxel:.4g} Å")
    if found.resolution_ang is None:
        context.say("all particles are in one half set: there are no half maps")
    else:
        context.say(f"half maps agree to {found.resolution_ang:.1f} Å (FSC 0.143)")
        context.measure(MapResolutionAngst=found.resolution_ang)
    context.measure(AveragedParticles=sum(made.particles))
    return replace(record, map=found)


def _ready(record: ParticleSet) -> bool:
    """Whether all particles have pictures that can be averaged."""
    pictures = [member.images for member in record.members if len(member)]
    return all(one is not None and one.kind == "stack" and one.premultiplied for one in pictures)


def _views_are_there(record: ParticleSet, root: Path) -> bool:
    """Whether the tilt images of all particles can be read."""
    names = [name for member in record.members if len(member) for name in member.tilt_series.images or ("",)]
    files = {split_name(name)[1] for name in names}
    return all(file != "" and (root / file).is_file() for file in files)


def _fits(record: ParticleSet, settings: AverageSettings) -> bool:
    """Whether the extracted pictures can be averaged as they are."""
    if not _ready(record):
        return False
    holding = [member for member in record.members if len(member)]
    box, pixel = picture_size(record)
    wanted = {member.tilt_series.pixel_size_ang * settings.binning for member in holding}
    return all(abs(pixel / one - 1) < _ALIKE for one in wanted) and settings.box in (0, box)


def _cut_out(
    record: ParticleSet, settings: AverageSettings, context: Context, folder: Path, share: float
) -> ParticleSet:
    """The same particles with pictures of the size asked for, in a folder that does not stay; a share of the work."""
    box, how = _box(record, settings)
    members, done = [], 0
    for member in record.members:
        if not len(member):
            members.append(replace(member, images=None))
            continue
        series = member.tilt_series
        if series.images is None:
            raise InputError(f"{member.name}: there are no tilt images to cut out of", mend="run motion first")
        begin, end = done / len(record), (done + len(member)) / len(record)
        sink = ParticleWriter(folder=folder / f"{len(members)}", root=context.root, pixel_size_ang=box.pixel_size_ang)
        numbered = replace(member, names=tuple(f"{number}" for number in range(1, len(member) + 1)))
        part = context.part(f"cutting out {member.name}", (share * begin, share * end))
        made = extract(numbered, open_images(series.images, context.root), how, sink, box=box, progress=part)
        if len(made) < len(member):
            context.say(f"{member.name}: {len(member) - len(made)} particles are in no view")
        members.append(made)
        done += len(member)
    return replace(record, members=tuple(members))


def _box(record: ParticleSet, settings: AverageSettings) -> tuple[PictureBox, ExtractSettings]:
    """The pictures' sizes, and the settings that cut them out and leave nothing out."""
    holding = [member for member in record.members if len(member)]
    how = ExtractSettings(
        binning=settings.binning,
        box=settings.box or _box_of(holding, settings.binning) or "auto",
        diameter=settings.diameter or "auto",
        duplicate_distance=_NEAREST_ANG,
    )
    if how.diameter == "auto" and how.box != "auto":
        known = [member for member in holding if PARTICLE_DIAMETER in member.quality]
        if not known:  # a box says how large the particle may be
            edge = float(how.box) * holding[0].tilt_series.pixel_size_ang * settings.binning
            how = how.model_copy(update={"diameter": 0.6 * edge})
    try:
        diameter = max(particle_diameter_ang(member, how) for member in holding)
    except SettingsError as error:
        raise SettingsError(error.problem, mend="give --diameter, in Å, or --box, in pixels") from None
    return choose_box([member.tilt_series for member in holding], how, diameter), how


def _box_of(holding: list[Particles], binning: float) -> int:
    """Pixels of the field that the extracted pictures have; 0 without such."""
    images = holding[0].images
    if images is None:
        return 0
    edge = images.box_px * images.pixel_size_ang / (holding[0].tilt_series.pixel_size_ang * binning)
    return 2 * round(edge / 2)
