"""`extract`: particles cut out of the tilt images."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError, ProjectError
from lamella.formats.images import open_images
from lamella.formats.particle_images import ParticleWriter
from lamella.formats.star import read_star
from lamella.particles.extract import Gold, particle_diameter_ang
from lamella.particles.extract import extract as cut_out
from lamella.particles.extract_box import PictureBox, choose_box
from lamella.particles.extract_settings import ExtractSettings
from lamella.records import Particles, Tomogram
from lamella.workflow.context import Context
from lamella.workflow.needs import Needs
from lamella.workflow.steps.particle_inputs import RAW_TABLE
from lamella.workflow.steps.reconstruct_gold import BEAD_DIAMETER, read_gold

__all__ = ["gold_of", "needs", "run"]

_LEFT_OUT = {
    "ExtractDuplicates": "too close to a better one",
    "ExtractNearGold": "too close to gold",
    "ExtractUnseen": "in too few views",
}


def needs(record: Particles, settings: ExtractSettings) -> Needs:
    """Room for the pictures."""
    if not len(record):
        return Needs()
    box = choose_box([record.tilt_series], settings, particle_diameter_ang(record, settings))
    views = float(len(record.tilt_series))
    one = (views if settings.kind == "stack" else 2.0 * box.box_px) * box.box_px**2 * (2 if settings.float16 else 4)
    return Needs(disk=len(record) * one, memory=4 * views * box.crop_from_px**2 * 4)


def run(record: Particles, settings: ExtractSettings, context: Context) -> Particles:
    """Cut the particles of one tomogram out of its tilt images.

    Raises
    ------
    InputError
        if there are no tilt images, or two particles have one name.
    ProjectError
        if the series is not aligned.
    """
    series = record.tilt_series
    if series.images is None:
        raise InputError(f"{record.name}: there are no tilt images", mend="run motion first")
    if series.geometry is None:
        raise ProjectError(f"{record.name}: the views are not aligned", mend="run align first")
    if not len(record):
        context.say("no particles")
        return record
    if series.defocus is None and series.imaging == "bright":
        context.say("the defocus is not known: pictures are not corrected for the contrast transfer")
    box = choose_box([series], settings, particle_diameter_ang(record, settings))
    sink = _Files(record.name, context, box, settings.float16)
    made = cut_out(
        record,
        open_images(series.images, context.root),
        settings,
        sink,
        box=box,
        gold=gold_of(record.tomogram, context.root) if settings.gold_distance else None,
        tomogram_number=_number(record.name, settings, context.root),
        progress=context.progress,
    )
    _tell(record, made, settings, box, context)
    return made


def gold_of(tomogram: Tomogram, root: Path) -> Gold | None:
    """The beads that `reconstruct` found in a tomogram; None where it looked for none, or found none.

    Raises
    ------
    FormatError
        if their table is gone.
    """
    if tomogram.gold is None:
        return None
    path = root / tomogram.gold
    places = read_gold(path)
    if places is None:
        return None
    tables = [table for table in read_star(path).values() if BEAD_DIAMETER in table]
    sizes: NDArray[np.float64] = tables[0].numbers(BEAD_DIAMETER) if tables else np.zeros(len(places))
    return Gold(places_ang=places, diameter_ang=sizes)


def _number(name: str, settings: ExtractSettings, root: Path) -> int:
    """Place of a tomogram among those of the project; one that `raw` does not hold gets a number by its name."""
    if settings.half_sets == "random":
        return 0
    table = next(iter(read_star(root / RAW_TABLE).values()))
    names = table.text("rlnTomoName")
    return names.index(name) if name in names else zlib.crc32(name.encode())


def _tell(before: Particles, made: Particles, settings: ExtractSettings, box: PictureBox, context: Context) -> None:
    context.say(
        f"{len(made)} of {len(before)} particles in {settings.kind}s of {box.box_px} px of {box.pixel_size_ang:.4g} Å"
    )
    for name, why in _LEFT_OUT.items():
        count = int(made.quality.get(name, 0))
        if count:
            context.say(f"{count} left out: {why}")
    context.measure(ExtractedParticles=len(made))
    if made.visible is not None and len(made):
        context.measure(ViewsPerParticle=float(made.visible.sum(axis=1).mean()))
    if not len(made):
        context.say("no particle is left")


@dataclass
class _Files:
    """Takes the pictures of one tomogram's particles: ``extract/SERIES/NUMBER_stack2d.mrcs``."""

    series: str
    context: Context
    box: PictureBox
    float16: bool

    def __post_init__(self) -> None:
        context = self.context
        self._write = ParticleWriter(
            folder=context.folder / self.series,
            root=context.root,
            pixel_size_ang=self.box.pixel_size_ang,
            float16=self.float16,
        )
        self._seen: set[str] = set()

    def __call__(
        self, name: str, pictures: NDArray[np.float32], weights: NDArray[np.float32] | None
    ) -> tuple[str, str | None]:
        """Write one particle, under a name that no other has."""
        names = self._write(name.removeprefix(f"{self.series}/"), pictures, weights)
        if names[0] in self._seen:
            raise InputError(
                f"{self.series}: two particles would be written to {names[0]}",
                mend="give every particle a name of its own (rlnTomoParticleName)",
            )
        self._seen.add(names[0])
        self.context.outputs += [self.context.root / entry for entry in names if entry is not None]
        return names
