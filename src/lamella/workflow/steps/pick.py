"""`pick`: particles in the tomograms, by a template, from a file, or laid over a shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lamella.errors import InputError, SettingsError
from lamella.formats.images import open_volume
from lamella.formats.pick_scores import write_pick_scores
from lamella.formats.points import read_points
from lamella.particles.pick import PickResult
from lamella.particles.pick import pick as match
from lamella.particles.pick_settings import PickSettings
from lamella.particles.shapes import pick_shape
from lamella.particles.template import Template
from lamella.records import PARTICLE_DIAMETER, Particles, Tomogram, VolumeSource
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.steps.extract import gold_of
from lamella.workflow.steps.particle_inputs import file_of
from lamella.workflow.steps.pick_state import SearchFile
from lamella.workflow.steps.pick_template import read_template
from lamella.workflow.tables import read_record, tomogram_of

__all__ = ["SCORES", "needs", "run"]

SCORES = "_scores.star"
"""Ending of the file of a tomogram's histogram of scores."""

_KEPT = 3.0  # score volumes' room that the search's state may take beside them, less on coarser voxels
_BIN = 0.5  # deviations of noise
_CONTOUR = "PickContour"  # column of `read_points`
_NAMES = "names of their own were given to them: those in the file repeat, or belong to another tomogram"


def needs(record: Tomogram, settings: PickSettings) -> Needs:
    """Room for the score volume and the search's state, and the memory that the search is allowed."""
    if settings.method != "template":
        return Needs()
    voxels = float(np.prod(record.size_px)) / record.binning**3
    memory = 0.0 if settings.memory == "auto" else settings.memory * 2**30
    return Needs(disk=_KEPT * 4 * voxels, memory=memory)


def run(record: Tomogram, settings: PickSettings, context: Context) -> Particles:
    """Pick in one tomogram.

    Raises
    ------
    SettingsError
        if the method's template or coordinates are not named.
    InputError
        if there is no reconstruction, or a file does not fit.
    """
    if settings.method == "template":
        return _by_template(record, settings, context)
    if not settings.coordinates:
        raise SettingsError(f"pick.method = {settings.method} has no points", mend="give pick.coordinates, a file")
    points = _points(record, settings, context)
    if settings.method == "import":
        return _imported(points, settings, context)
    return _over_shapes(points, settings, context)


def _by_template(record: Tomogram, settings: PickSettings, context: Context) -> Particles:
    if not settings.template:
        raise SettingsError("pick has no template", mend="give pick.template, a map (MRC) or an atomic model")
    volume = _volume(record, settings, context)
    template = read_template(record, settings, context)
    beads = gold_of(record, context.root)
    search = SearchFile(context)
    with context.new_mrc("_score.mrc", volume.shape, record.voxel_size_ang) as writer:
        found = match(
            record,
            volume,
            template,
            settings,
            writer,
            gold_ang=None if beads is None else np.column_stack([beads.places_ang, beads.diameter_ang]),
            exclusion_mask=_exclusion(record, volume, settings, context),
            keeper=search,
            device=context.device,
            progress=context.progress,
        )
    _tell(found, template, context)
    _write_scores(found, context)
    search.finish()
    return found.particles


def _volume(record: Tomogram, settings: PickSettings, context: Context) -> VolumeSource:
    """The measured reconstruction, or the denoised one where that is asked for."""
    name = record.measured_volumes[0]
    if settings.volume == "denoised":
        if record.denoised is None:
            raise InputError(f"{record.name}: there is no denoised volume", mend="run denoise, or pick in the measured")
        name = record.denoised
        context.say("searched in the denoised tomogram: its noise is not what scores are measured by")
    return open_volume(name, context.root)


def _exclusion(record: Tomogram, volume: VolumeSource, settings: PickSettings, context: Context) -> VolumeSource | None:
    if not settings.exclusion_mask:
        return None
    path = file_of(settings.exclusion_mask, context.root) / f"{record.name}.mrc"
    if not path.is_file():
        context.say(f"no exclusion mask {path.name}: nothing is excluded")
        return None
    mask = open_volume(str(path), context.root)
    if mask.shape != volume.shape:
        raise InputError(
            f"{path}: {mask.shape} voxels for a tomogram of {volume.shape}", mend="draw it in this tomogram"
        )
    return mask


def _tell(found: PickResult, template: Template, context: Context) -> None:
    count = len(found.particles)
    expected = f", of which {found.expected_false:.2g} by chance" if np.isfinite(found.expected_false) else ""
    context.say(
        f"{count} particles score above {found.threshold:.2f}{expected}; {found.orientations} orientations of a "
        f"template of {template.diameter_ang:.0f} Å"
    )
    for text in found.notes:
        context.say(text)
    context.measure(PickedParticles=count, PickThreshold=found.threshold, PickOrientations=found.orientations)
    if found.hand is not None:
        context.say(found.hand.sentence())
        context.measure(HandScore=found.hand.own, MirroredHandScore=found.hand.mirrored, HandMargin=found.hand.margin)
    if np.isfinite(found.expected_false):
        context.measure(ExpectedFalseParticles=found.expected_false)


def _write_scores(found: PickResult, context: Context) -> None:
    """The histogram of all peaks that were compared, picked or not, for the report."""
    if not len(found.peaks):
        return
    low, high = np.floor(found.peaks.min() / _BIN), np.ceil(found.peaks.max() / _BIN)
    edges = _BIN * np.arange(low, high + 2)
    peaks, _ = np.histogram(found.peaks, edges)
    noise = None if found.noise is None else -np.diff(found.noise.expected(edges))
    with context.new_file(SCORES) as path:
        write_pick_scores(path, edges[:-1], peaks.astype(np.float64), noise)


def _points(record: Tomogram, settings: PickSettings, context: Context) -> Particles:
    """The points of a file that are in this tomogram; the file may hold those of others of the same record."""
    tomograms = [record]
    if context.source:
        project = Project(context.root)
        all_of = [tomogram_of(one) for one in read_record(project, RecordName.parse(context.source))]
        tomograms = [record if one.name == record.name else one for one in all_of]
    found = read_points(file_of(settings.coordinates, context.root), tomograms, context.root)
    return next(member for member in found.members if member.name == record.name)


def _imported(points: Particles, settings: PickSettings, context: Context) -> Particles:
    """Points as particles of this project: named by it, without what another program cut out."""
    record = points.tomogram
    names = points.names or ()
    own = f"{record.name}/"
    if len(set(names)) < len(names) or not all(name.startswith(own) for name in names):
        names = tuple(f"{own}{number}" for number in range(1, len(points) + 1))
        context.say(_NAMES)
    half = np.array(record.size_px) * record.tilt_series.pixel_size_ang / 2
    outside = int((np.abs(points.positions_ang()) > half).any(axis=1).sum())
    if outside:
        context.say(f"{outside} particles lie outside the tomogram")
    diameter = {} if settings.diameter == "auto" else {PARTICLE_DIAMETER: float(settings.diameter)}
    context.say(f"{len(points)} particles from {Path(settings.coordinates).name}")
    context.measure(PickedParticles=len(points))
    return replace(points, names=names, images=None, quality={**points.quality, **diameter})


def _over_shapes(points: Particles, settings: PickSettings, context: Context) -> Particles:
    """Particles laid over what the points describe; each contour of a model is a shape of its own."""
    if not len(points):
        context.say("no points in this tomogram")
        return replace(points, images=None)
    if settings.spacing != "auto":
        spacing = float(settings.spacing)
    elif settings.diameter != "auto":
        spacing = float(settings.diameter) / 2
    else:
        raise SettingsError(
            "how far apart particles stand is not known", mend="set pick.spacing or pick.diameter, in Å"
        )
    contours = points.scores.get(_CONTOUR)
    made = pick_shape(
        points.tomogram,
        points.positions_ang(),
        settings,
        objects=None if contours is None else contours.astype(np.int64),
        spacing_ang=spacing,
        progress=context.progress,
    )
    context.say(f"{len(made)} particles over the {settings.method} that {len(points)} points describe")
    context.measure(PickedParticles=len(made))
    diameter = {} if settings.diameter == "auto" else {PARTICLE_DIAMETER: float(settings.diameter)}
    return replace(made, quality={**made.quality, **diameter})
