"""Cut particles out of tilt images: a stack of pictures for each, or a pseudo-subtomogram made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError, InputError, SettingsError
from lamella.parallel import each, part_of
from lamella.particles.duplicates import apart, away_from_gold
from lamella.particles.extract_box import PictureBox, choose_box
from lamella.particles.extract_pictures import PictureCutter
from lamella.particles.extract_settings import ExtractSettings
from lamella.particles.half_sets import with_half_sets
from lamella.particles.views import SeriesTransfer, view_places, visible_views
from lamella.particles.visibility import visible_marks
from lamella.particles.volumes import VolumeMaker
from lamella.progress import Progress, no_progress
from lamella.records import PARTICLE_DIAMETER, ImageSource, ParticleImages, Particles, ParticleSink
from lamella.runtime import free_memory_bytes

__all__ = ["Gold", "TiltPictures", "extract", "particle_diameter_ang"]

Pixels = NDArray[np.float32]
Array = NDArray[np.float64]

_SHARE_OF_FREE = 0.2
_BYTES_AT_ONCE = 1 << 30
SCORE = "PickScore"


@dataclass(frozen=True, kw_only=True, eq=False)
class Gold:
    """The gold beads of a tomogram: places ``(m, 3)``, Å from its centre voxel, and diameters ``(m,)``, Å."""

    places_ang: Array
    diameter_ang: Array


def extract(
    particles: Particles,
    images: ImageSource,
    settings: ExtractSettings,
    sink: ParticleSink,
    *,
    box: PictureBox | None = None,
    gold: Gold | None = None,
    tomogram_number: int = 0,
    progress: Progress = no_progress,
) -> Particles:
    """Cut the particles of one tomogram out of its tilt images.

    Parameters
    ----------
    particles
        where they are now, however they came there: picked, imported or refined.
    images
        the tilt images of their series, unweighted by dose.
    settings
        sizes, limits and what is made.
    sink
        takes each particle's pictures.
    box
        of the pictures, where several tomograms share one (`choose_box`); None: chosen for this one.
    gold
        beads to keep away from, where they are known.
    tomogram_number
        place of this tomogram among all, from 0, for half sets of whole tomograms.
    progress
        told how far the work is.

    Returns
    -------
    Particles
        those that have pictures: their coordinates are where they were cut out, their origins 0, A = A_sub · A_ang as
        before; visible views, half sets and the pictures' names. `quality` counts those left out, by reason.

    Raises
    ------
    InputError
        if the images are not those of the series, or no particle is left.
    SettingsError
        if the diameter is not known, or the sizes contradict each other.
    """
    series = particles.tilt_series
    if images.shape != (len(series), *series.image_shape_px):
        raise ImageError(
            f"{series.name}: images of {images.shape} for a series of {(len(series), *series.image_shape_px)}",
            mend="give the images that the record names",
        )
    diameter = particle_diameter_ang(particles, settings)
    box = box or choose_box([series], settings, diameter)
    chosen, left_out = _choose(particles, box, settings, gold)
    if not len(chosen):
        return chosen.with_changes(quality=left_out)
    chosen = with_half_sets(chosen, settings.half_sets, settings.seed, tomogram_number)
    maker = VolumeMaker(chosen, box) if settings.kind == "volume" else None
    cut = _cut_out(chosen, TiltPictures(chosen, images, box), maker, settings, sink, progress)
    left_out["ExtractBlankViews"] = cut.blank_views
    left_out["ExtractUnseen"] += float((~cut.kept).sum())
    found = ParticleImages(
        names=tuple(cut.names),
        kind=settings.kind,
        pixel_size_ang=box.pixel_size_ang,
        box_px=box.box_px,
        weights=tuple(cut.weights) or None,
    )
    chosen = chosen.with_changes(visible=cut.marks).select(cut.kept)
    return chosen.with_changes(images=found, quality=left_out | {PARTICLE_DIAMETER: diameter})


@dataclass(kw_only=True)
class _Cut:
    """What came of the cutting: which views and particles hold something, and what their files are called."""

    marks: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    names: list[str]
    weights: list[str]

    blank_views: float = 0.0


def _cut_out(
    particles: Particles,
    pictures: TiltPictures,
    maker: VolumeMaker | None,
    settings: ExtractSettings,
    sink: ParticleSink,
    progress: Progress,
) -> _Cut:
    n = len(particles)
    marks = np.zeros((n, len(particles.tilt_series)), dtype=bool)
    cut = _Cut(marks=marks, kept=np.ones(n, dtype=bool), names=[], weights=[])
    for first, last in pictures.batches():
        stacks = pictures.read_many(first, last, part_of(progress, first / n, last / n))
        for index, (stack, seen) in enumerate(stacks, start=first):
            views = visible_views(particles, index)[seen]
            marks[index, views] = True
            cut.blank_views += float((~seen).sum())
            cut.kept[index] = len(views) >= settings.min_visible
            if cut.kept[index]:
                made, weights = (stack[seen], None) if maker is None else maker.make(index, stack[seen], views)
                name, beside = sink((particles.names or ())[index], made, weights)
                cut.names.append(name)
                cut.weights += [] if beside is None else [beside]
    return cut


def particle_diameter_ang(particles: Particles, settings: ExtractSettings) -> float:
    """The diameter that the settings state, or that of the picks.

    Raises
    ------
    SettingsError
        if neither is there.
    """
    if settings.diameter != "auto":
        return float(settings.diameter)
    if PARTICLE_DIAMETER in particles.quality:
        return float(particles.quality[PARTICLE_DIAMETER])
    raise SettingsError(f"{particles.name}: nothing says how large the particle is", mend="set extract.diameter, in Å")


def _choose(
    particles: Particles, box: PictureBox, settings: ExtractSettings, gold: Gold | None
) -> tuple[Particles, dict[str, float]]:
    """The particles that are cut out, at their places of now, and how many are left out for which reason."""
    positions = particles.positions_ang()
    third = box.diameter_ang / 3
    distance = third if settings.duplicate_distance == "auto" else float(settings.duplicate_distance)
    single = apart(positions, particles.scores.get(SCORE), distance)
    clean = np.ones(len(particles), dtype=bool)
    if gold is not None:
        clean = away_from_gold(positions, box.diameter_ang, gold.places_ang, gold.diameter_ang, settings.gold_distance)
    marks = visible_marks(particles, box, settings)
    seen = marks.sum(axis=1) >= settings.min_visible
    counts = {
        "ExtractDuplicates": float((~single).sum()),
        "ExtractNearGold": float((single & ~clean).sum()),
        "ExtractUnseen": float((single & clean & ~seen).sum()),
    }
    placed = particles.with_changes(
        coordinates_ang=positions, origin_ang=np.zeros_like(positions), visible=marks, images=None
    )
    return placed.select(single & clean & seen), counts


class TiltPictures:
    """The pictures of one tomogram's particles, cut out of its tilt images when they are asked for.

    A `ParticleSource`, which reads the images anew for each particle: many are read at once with `read_many`.

    Parameters
    ----------
    particles
        of one tomogram.
    images
        its tilt images.
    box
        of the pictures.
    """

    def __init__(self, particles: Particles, images: ImageSource, box: PictureBox) -> None:
        series = particles.tilt_series
        self._particles, self._images, self._box = particles, images, box
        self._positions = particles.positions_ang()
        self._places = view_places(series, self._positions)
        self._cutter = PictureCutter(
            box=box,
            transfer=SeriesTransfer(series, box.crop_from_px, box.pixel_size_ang),
            sign=-1 if series.imaging == "bright" else 1,
        )

    def __len__(self) -> int:
        return len(self._particles)

    def read(self, index: int) -> Pixels:
        """Pictures ``(visible views, box, box)`` of one particle; those that hold nothing are 0."""
        return self.read_many(index, index + 1)[0][0]

    def batches(self) -> list[tuple[int, int]]:
        """First and last (past the end) particle of batches that fit into memory."""
        one = len(self._particles.tilt_series) * self._box.box_px**2 * 4
        at_once = int(max(1, min(_BYTES_AT_ONCE, _SHARE_OF_FREE * free_memory_bytes()) // one))
        return [(first, min(first + at_once, len(self))) for first in range(0, len(self), at_once)]

    def read_many(
        self, first: int, last: int, progress: Progress = no_progress
    ) -> list[tuple[Pixels, NDArray[np.bool_]]]:
        """Pictures of several particles, every image read once.

        Returns
        -------
        list
            for each particle its pictures ``(visible views, box, box)`` and which of them hold something.
        """
        box = self._box.box_px
        views = [visible_views(self._particles, index) for index in range(first, last)]
        stacks = [(np.zeros((len(seen), box, box), np.float32), np.zeros(len(seen), bool)) for seen in views]
        wanted: dict[int, list[tuple[int, int]]] = {}
        for number, seen in enumerate(views):
            for place, view in enumerate(seen.tolist()):
                wanted.setdefault(view, []).append((number, place))

        def cut(view: int) -> None:
            rows = np.array([first + number for number, _ in wanted[view]])
            image = self._images.view(view)
            pictures, spread = self._cutter.cut(image, view, self._places[view, rows], self._positions[rows])
            for (number, place), picture, noise in zip(wanted[view], pictures, spread, strict=True):
                stacks[number][0][place], stacks[number][1][place] = picture, noise > 0

        if not wanted:
            raise InputError(f"{self._particles.name}: no view shows any of its particles", mend="check their places")
        height, width = self._particles.tilt_series.image_shape_px
        each(cut, sorted(wanted), progress, "cutting out", bytes_of_one=8.0 * height * width + (1 << 26))
        return stacks
