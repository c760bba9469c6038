"""The pictures of particles as files: one MRC file per particle, named as RELION 5 names them.

``NAME_stack2d.mrcs`` holds the pictures of a particle's visible views, ``NAME_data.mrc`` a volume and
``NAME_weights.mrc`` its weights, NAME being the particle's (``TOMOGRAM/NUMBER``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, InputError
from lamella.formats.mrc import open_mrc, write_mrc
from lamella.records import ParticleImages, ParticleSet

__all__ = ["ParticleFiles", "ParticleWriter", "file_parts", "open_particles"]

Pixels = NDArray[np.float32]
Marks = NDArray[np.bool_]

_STACK, _VOLUME, _WEIGHTS = "stack2d.mrcs", "data.mrc", "weights.mrc"
_STRANGE = re.compile(r"[^\w.+-]+")


def open_particles(particles: ParticleSet, root: Path | str) -> ParticleFiles:
    """Open the pictures that a set of particles names; each file is read when it is asked for.

    Parameters
    ----------
    particles
        whose order is that of the source.
    root
        the folder that relative names start from.

    Raises
    ------
    InputError
        if particles of a tomogram have no pictures.
    """
    return ParticleFiles(particles, Path(root))


class ParticleFiles:
    """A `ParticleSource` of files."""

    def __init__(self, particles: ParticleSet, root: Path) -> None:
        self._root = root
        self._places: list[tuple[ParticleImages, int, Marks]] = []  # images of its member, place there, visible views
        for member in particles.members:
            if not len(member):
                continue
            if member.images is None:
                raise InputError(
                    f"{member.name}: its particles have no pictures",
                    mend="run extract, or name its record with --input",
                )
            all_of_them = np.ones((len(member), len(member.tilt_series)), dtype=bool)
            visible = all_of_them if member.visible is None else member.visible
            self._places += [(member.images, place, row) for place, row in enumerate(visible)]

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: int) -> Pixels:
        """Pictures ``(visible views, box, box)`` or volume ``(box, box, box)`` of one particle, float32.

        RELION writes the visible views alone; Warp all of them, of which the others hold nothing.

        Raises
        ------
        FormatError
            if the file is of another size than its table says.
        """
        images, place, visible = self._places[index]
        file = open_mrc(self._root / images.names[place])
        box = images.box_px
        if images.kind == "stack" and file.shape == (len(visible), box, box):
            return np.ascontiguousarray(file.read()[visible])
        wanted = (int(visible.sum()) if images.kind == "stack" else box, box, box)
        if file.shape != wanted:
            sizes = (" × ".join(map(str, shape)) for shape in (file.shape, wanted))
            raise FormatError(
                f"{images.names[place]}: {next(sizes)} pixels where its table says {next(sizes)}",
                mend="extract the particles again",
            )
        return file.read()

    def weights(self, index: int) -> Pixels:
        """The weights of one particle's volume, as they were written.

        Raises
        ------
        InputError
            if it has none.
        """
        images, place, _ = self._places[index]
        if images.weights is None:
            raise InputError(f"{images.names[place]}: it has no volume of weights", mend="extract with kind = volume")
        return open_mrc(self._root / images.weights[place]).read()


@dataclass(frozen=True, kw_only=True)
class ParticleWriter:
    """A `ParticleSink` that writes files.

    Attributes
    ----------
    folder
        that files go to: for the particle ``TS_01/12``, ``folder/TS_01/12_stack2d.mrcs``.
    root
        the folder that names in the record start from.
    pixel_size_ang
        of the pictures.
    float16
        write 16-bit floats; weights are always written in 32.
    """

    folder: Path
    root: Path
    pixel_size_ang: float
    float16: bool = False

    def __call__(self, name: str, pictures: Pixels, weights: Pixels | None) -> tuple[str, str | None]:
        """Write one particle; returns its files' names, relative to `root` where they lie inside."""
        place = self._place(name)
        path = place.with_name(f"{place.name}_{_STACK if weights is None else _VOLUME}")
        kind = "float16" if self.float16 else "float32"
        write_mrc(path, pictures, self.pixel_size_ang, kind, stack=weights is None)
        if weights is None:
            return self._name(path), None
        beside = place.with_name(f"{place.name}_{_WEIGHTS}")
        write_mrc(beside, weights, self.pixel_size_ang)
        return self._name(path), self._name(beside)

    def _place(self, name: str) -> Path:
        return self.folder.joinpath(*file_parts(name))

    def _name(self, path: Path) -> str:
        inside = path.resolve().is_relative_to(self.root.resolve())
        return path.resolve().relative_to(self.root.resolve()).as_posix() if inside else str(path)


def file_parts(name: str) -> list[str]:
    """Folders and name of a particle's files; names come from tables, so nothing in them may lead out of a folder.

    Raises
    ------
    InputError
        if nothing is left that can be a file's name.
    """
    parts = [_STRANGE.sub("_", part) for part in name.split("/") if part.strip(". ")]
    if not parts:
        raise InputError(f"a particle named {name!r}", mend="give particles names such as TS_01/1")
    return parts
