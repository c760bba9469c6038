"""Classic subtomograms for RELION 3: volumes that are not premultiplied, each with its transfer in a volume of its own.

A subtomogram has the frame of A_sub; RELION 3 composes rlnAngleRot/Tilt/Psi and rlnOriginX/Y/ZAngst within it as
RELION 5 does, so they are those of the record. Mass is positive. rlnCtfImage is a whole transform, ``(n, n, n)`` real
numbers with the origin at voxel n // 2. Pixel size and box stand in data_optics, as RELION 3.1 wants them, and beside
each particle (rlnMagnification, rlnDetectorPixelSize), as RELION 3.0 does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.formats.mrc import write_mrc
from lamella.formats.particle_images import file_parts
from lamella.formats.relion_tilt_series import OPTICS, relative_name
from lamella.formats.star import StarTable, number_text, write_star
from lamella.records import ParticleSet

__all__ = ["Subtomograms", "whole_transform", "write_relion3"]

Pixels = NDArray[np.float32]

_MAGNIFICATION = 10_000.0
_ANGLES, _ORIGIN = (
    ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"),
    ("rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst"),
)


@dataclass(frozen=True, kw_only=True)
class Subtomograms:
    """Takes subtomograms and writes them as files: ``FOLDER/subtomograms/TOMOGRAM/NUMBER.mrc`` and ``…_ctf.mrc``.

    Attributes
    ----------
    folder
        of the star.
    root
        the folder that names in the star start from, in which RELION is run.
    voxel_size_ang
        of the volumes.
    """

    folder: Path
    root: Path
    voxel_size_ang: float

    def __call__(self, name: str, volume: Pixels, transfer: Pixels) -> tuple[str, str]:
        """Write one particle's ``(n, n, n)`` volume and ``(n, n, n // 2 + 1)`` transfer, origin at index 0.

        Returns the names of both files.
        """
        place = self.folder.joinpath("subtomograms", *file_parts(name))
        files = place.with_name(f"{place.name}.mrc"), place.with_name(f"{place.name}_ctf.mrc")
        write_mrc(files[0], volume, self.voxel_size_ang)
        write_mrc(files[1], whole_transform(transfer), self.voxel_size_ang)
        return relative_name(files[0], self.root), relative_name(files[1], self.root)


def whole_transform(half: Pixels) -> Pixels:
    """``(n, n, n)`` with the origin at n // 2, of the real and even half ``(n, n, n // 2 + 1)`` with it at index 0."""
    n = half.shape[0]
    mates = np.roll(half[::-1, ::-1], 1, axis=(0, 1))  # of −z, −y
    whole = np.concatenate([half, mates[..., 1 : n - half.shape[2] + 1][..., ::-1]], axis=2)
    shifted: Pixels = np.ascontiguousarray(np.fft.fftshift(whole), dtype=np.float32)
    return shifted


def write_relion3(
    star: Path, particles: ParticleSet, files: Sequence[tuple[str, str]], box_px: int, voxel_size_ang: float
) -> None:
    """Write the table of subtomograms, which relion_reconstruct and relion_refine of RELION 3 read.

    Parameters
    ----------
    star
        the file.
    particles
        in whose order `files` are.
    files
        the volume and the transfer of each.
    box_px, voxel_size_ang
        of the volumes.

    Raises
    ------
    InputError
        if a voltage is not known: RELION asks for it.
    """
    members = [one for one in particles.members if len(one)]
    groups = list(dict.fromkeys((one.tilt_series.optics_group, one.tilt_series.optics) for one in members))
    optics: dict[str, list[str]] = {}
    for number, (name, known) in enumerate(groups, start=1):
        if known.voltage_kv is None:
            raise InputError(f"optics group {name}: no voltage is known", mend="import the series with --voltage")
        row = {"rlnOpticsGroup": str(number), "rlnOpticsGroupName": name}
        row |= {label: number_text(getattr(known, entry)) for label, entry in OPTICS.items()}
        row |= {"rlnImagePixelSize": number_text(voxel_size_ang), "rlnImageSize": str(box_px)}
        row |= {"rlnImageDimensionality": "3", "rlnCtfDataAreCtfPremultiplied": "0"}
        for label, value in row.items():
            optics.setdefault(label, []).append(value)
    columns: dict[str, list[str]] = {}
    named = iter(files)
    for one in members:
        corner = one.coordinates_ang / one.tilt_series.pixel_size_ang + np.array(one.tomogram.size_px) / 2
        group = groups.index((one.tilt_series.optics_group, one.tilt_series.optics)) + 1
        for place in range(len(one)):
            volume, transfer = next(named)
            row = {"rlnMicrographName": one.name, "rlnTomoParticleName": (one.names or ())[place]}
            row |= {f"rlnCoordinate{axis}": number_text(corner[place, i]) for i, axis in enumerate("XYZ")}
            row |= {"rlnImageName": volume, "rlnCtfImage": transfer, "rlnOpticsGroup": str(group)}
            row |= _row_numbers(_ANGLES, one.angles_deg, place) | _row_numbers(_ORIGIN, one.origin_ang, place)
            row |= {"rlnMagnification": number_text(_MAGNIFICATION)}
            row |= {"rlnDetectorPixelSize": number_text(voxel_size_ang * _MAGNIFICATION / 1e4)}
            row |= {"rlnClassNumber": "1" if one.classes is None else str(one.classes[place])}
            if all(other.half_set is not None for other in members) and one.half_set is not None:
                row["rlnRandomSubset"] = str(one.half_set[place])
            for label, value in row.items():
                columns.setdefault(label, []).append(value)
    tables = [StarTable("optics", _frozen(optics)), StarTable("particles", _frozen(columns))]
    write_star(star, tables)


def _row_numbers(labels: Sequence[str], values: NDArray[np.float64] | None, place: int) -> dict[str, str]:
    row = np.zeros(len(labels)) if values is None else values[place]
    return {label: number_text(value) for label, value in zip(labels, row, strict=True)}


def _frozen(columns: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {label: tuple(values) for label, values in columns.items()}
