"""The template that `pick` looks for, from a map or an atomic model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, InputError
from lamella.formats.atoms import holds_atoms
from lamella.formats.mrc import open_mrc
from lamella.particles.pick_settings import PickSettings
from lamella.particles.template import Template, measured_diameter_ang, prepare_template
from lamella.records import Tomogram
from lamella.simulate.library import file_template
from lamella.workflow.context import Context
from lamella.workflow.steps.particle_inputs import file_of

__all__ = ["read_template"]

Volume = NDArray[np.float32]

_FINEST_ANG = 2.0  # voxel of a map that is made of atoms
_UNLIKE = 1.4  # measured over stated diameter, from which the voxel size is in doubt
_ALIKE = 0.02


def read_template(record: Tomogram, settings: PickSettings, context: Context) -> Template:
    """The template on a tomogram's voxels.

    Raises
    ------
    FormatError
        if the file is missing, neither a map nor atoms, or states no voxel size.
    InputError
        if map and mask are of different sampling, or the map does not fit (see `prepare_template`).
    """
    path = file_of(settings.template, context.root)
    if not path.is_file():
        raise FormatError(f"pick.template: {path} is not there", mend="name a map (MRC) or an atomic model")
    if holds_atoms(path):
        model = file_template(path, max(_FINEST_ANG, record.voxel_size_ang / 3))
        volume, voxel = model.volume, model.voxel_size_ang
    else:
        volume, voxel = _read(path, "pick.template")
    mask = None
    if settings.mask:
        mask, mask_voxel = _read(file_of(settings.mask, context.root), "pick.mask")
        if mask.shape != volume.shape or abs(mask_voxel / voxel - 1) > _ALIKE:
            raise InputError(
                f"pick.mask: {mask.shape[0]} voxels of {mask_voxel:g} Å, the template {volume.shape[0]} of {voxel:g} Å",
                mend="make it on the template's voxels: lamella convert --pixel-size --box",
            )
    diameter = None if settings.diameter == "auto" else float(settings.diameter)
    if diameter is not None:
        _doubt(volume, voxel, diameter, context)
    return prepare_template(
        volume,
        voxel,
        record.voxel_size_ang,
        diameter_ang=diameter,
        mask=mask,
        resolution_ang=0.0 if settings.resolution == "auto" else float(settings.resolution),
    )


def _read(path: Path, what: str) -> tuple[Volume, float]:
    file = open_mrc(path)
    if file.pixel_size_ang is None:
        raise FormatError(f"{what}: {path} states no voxel size", mend="state it: lamella convert --input-pixel-size")
    return file.block(*(slice(0, n) for n in file.shape)), file.pixel_size_ang


def _doubt(volume: Volume, voxel_ang: float, stated_ang: float, context: Context) -> None:
    """Say where a map is of another size than its particle is said to be: its header's voxel may be wrong."""
    measured = measured_diameter_ang(volume, voxel_ang)
    if not 1 / _UNLIKE < measured / stated_ang < _UNLIKE:
        context.say(
            f"the template measures {measured:.0f} Å in voxels of {voxel_ang:g} Å, and pick.diameter is "
            f"{stated_ang:g} Å: is its voxel size right?"
        )
