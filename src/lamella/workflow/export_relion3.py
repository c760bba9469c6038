"""`lamella export --format relion3`: classic subtomograms with their transfer, made of the extracted pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.formats.particle_images import ParticleFiles, open_particles
from lamella.formats.relion3 import Subtomograms, write_relion3
from lamella.particles.extract_box import PictureBox
from lamella.particles.views import visible_views
from lamella.particles.volumes import VolumeMaker, whitened_volume
from lamella.progress import Progress, no_progress
from lamella.records import Note, ParticleImages, Particles, ParticleSet

__all__ = ["STAR", "export_relion3"]

STAR = "particles.star"

Pixels = NDArray[np.float32]


def export_relion3(
    particles: ParticleSet, folder: Path, root: Path, progress: Progress = no_progress
) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``FOLDER/particles.star`` and a volume and a transfer for each particle, for RELION 3 run in `root`.

    Parameters
    ----------
    particles
        extracted, as stacks of pictures or as volumes with their weights, all of one size.
    folder
        to write into.
    root
        the project's folder.
    progress
        told how far the work is.

    Raises
    ------
    InputError
        if there are no particles, some have no pictures, or those are of several sizes or cannot be divided by their
        transfer.
    """
    images = _same_size(particles)
    pictures = open_particles(particles, root)
    sink = Subtomograms(folder=folder, root=root, voxel_size_ang=images.pixel_size_ang)
    files: list[tuple[str, str]] = []
    for one in particles.members:
        if len(one):
            make = _maker(one, pictures, len(files))
            for place, name in enumerate(one.names or ()):
                files.append(sink(name, *whitened_volume(*make(place))))
                progress(len(files) / len(particles), "subtomograms")
    star = folder / STAR
    write_relion3(star, particles, files, images.box_px, images.pixel_size_ang)
    text = (
        f"{len(files)} subtomograms; start RELION in {root}, which their names begin at; their noise is white, not of "
        "variance 1 (--dont_check_norm)"
    )
    return (star,), (Note(kind="info", where=str(star), text=text),)


def _maker(one: Particles, pictures: ParticleFiles, before: int) -> Callable[[int], tuple[Pixels, Pixels]]:
    """What gives volume and weights of a tomogram's particle: read, or made of its stack."""
    images = one.images
    assert images is not None  # every one has pictures (`_same_size`)
    if images.kind == "volume":
        return lambda place: (pictures.read(before + place), pictures.weights(before + place))
    box = PictureBox(
        patch_px=images.box_px,
        crop_from_px=images.box_px,
        box_px=images.box_px,
        pixel_size_ang=images.pixel_size_ang,
        diameter_ang=images.box_px * images.pixel_size_ang,
    )
    maker = VolumeMaker(one, box)
    return lambda place: maker.make(place, pictures.read(before + place), visible_views(one, place))


def _same_size(particles: ParticleSet) -> ParticleImages:
    found = [one.images for one in particles.members if len(one)]
    if not found:
        raise InputError(f"{particles.name}: there are no particles", mend="name another record with --input")
    known = [images for images in found if images is not None]
    if len(known) < len(found):
        raise InputError(f"{particles.name}: some particles have no pictures", mend="run extract, or name its record")
    if len({(images.pixel_size_ang, images.box_px) for images in known}) > 1:
        raise InputError(f"{particles.name}: pictures of several sizes", mend="extract all particles with one binning")
    if any(not images.premultiplied or (images.kind == "volume" and images.weights is None) for images in known):
        raise InputError(
            f"{particles.name}: pictures that are not multiplied by their transfer, or without weights",
            mend="extract the particles with lamella",
        )
    return known[0]
