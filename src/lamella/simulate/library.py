"""Templates by name: packaged models, the user's files, and bodies made up from their known dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.formats.atoms import Atoms, holds_atoms, read_atoms
from lamella.formats.mrc import read_mrc
from lamella.simulate.bodies import actin_segment, capsomer, ice_crystal, microtubule_segment, spike
from lamella.simulate.gaussians import Gaussians
from lamella.simulate.globs import globs_cloud
from lamella.simulate.matter import GOLD_POTENTIAL, MATTER_POTENTIAL
from lamella.simulate.packaged import models, read_packaged
from lamella.simulate.scattering import COARSE_VOXEL_ANG, ICE_POTENTIAL, atoms_cloud, scattering_lengths_ang
from lamella.simulate.templates import Template, ball_template, band_limit, box_size, cloud_template

__all__ = ["MADE_UP", "file_template", "gold_template", "ice_template", "made_up_template", "named_template"]

GOLD_ABSORPTION = 1.4e-4
"""Amplitude that gold takes away per V·Å of its potential: 0.35 through 100 Å, most by scattering past the aperture."""

MADE_UP: Mapping[str, Callable[[], Gaussians]] = MappingProxyType(
    {"actin": actin_segment, "capsomer": capsomer, "microtubule": microtubule_segment, "spike": spike}
)
"""Bodies without a packaged structure."""

MATTER_LEVEL = 0.1
"""Part of a map's highest values (99.9th percentile) from which a voxel counts as matter."""


def named_template(name: str, voxel_size_ang: float, b_factor_ang2: float = 0.0) -> Template:
    """A packaged model (see `models`), or one of `MADE_UP`.

    Raises
    ------
    SettingsError
        if there is no such model.
    """
    if name in MADE_UP and name not in models():
        return made_up_template(name, voxel_size_ang, b_factor_ang2)
    return cloud_template(name, globs_cloud(read_packaged(name), b_factor_ang2=b_factor_ang2), voxel_size_ang)


def made_up_template(
    name: str, voxel_size_ang: float, b_factor_ang2: float = 0.0, *, particle: bool = True
) -> Template:
    """One of `MADE_UP`."""
    cloud = MADE_UP[name]()
    widened = np.sqrt(cloud.sigma_ang**2 + b_factor_ang2 / (8 * np.pi**2))
    return cloud_template(name, Gaussians(cloud.places_ang, cloud.weights, widened), voxel_size_ang, particle=particle)


def file_template(path: Path | str, voxel_size_ang: float, b_factor_ang2: float = 0.0) -> Template:
    """A user's atomic model (PDB, mmCIF) or map (MRC).

    Atoms are centred on their centre of scattering. A map's voxel ``n // 2`` is the origin of the poses; what is below
    `MATTER_LEVEL` of its highest values is left out, and the rest scaled to the mean potential of matter.

    Raises
    ------
    FormatError, ImageError
        if the file is neither, holds nothing, or states no voxel size.
    """
    name = Path(path).name.split(".")[0]
    if holds_atoms(path):
        atoms = _centred(read_atoms(path))
        coarse = voxel_size_ang >= COARSE_VOXEL_ANG
        return cloud_template(name, atoms_cloud(atoms, b_factor_ang2=b_factor_ang2, coarse=coarse), voxel_size_ang)
    return _map_template(name, Path(path), voxel_size_ang)


def gold_template(diameter_ang: float, voxel_size_ang: float) -> Template:
    """A gold bead."""
    name = f"gold_{diameter_ang:g}"
    return ball_template(name, diameter_ang, GOLD_POTENTIAL, voxel_size_ang, absorption=GOLD_ABSORPTION)


def ice_template(radius_ang: float, voxel_size_ang: float, seed: int) -> Template:
    """A crystal of ice on the slab's surface, in the vacuum: faceted, of a shape that the seed decides."""
    size = box_size(1.3 * radius_ang, voxel_size_ang)
    inside = ice_crystal(radius_ang, voxel_size_ang, size, seed)
    return Template(
        name=f"ice_{radius_ang:.0f}",
        volume=band_limit((ICE_POTENTIAL * inside).astype(np.float32)),
        voxel_size_ang=voxel_size_ang,
        radius_ang=1.3 * radius_ang,
        damaged=False,
        particle=False,
    )


def _centred(atoms: Atoms) -> Atoms:
    centre = np.average(atoms.places_ang, axis=0, weights=np.maximum(scattering_lengths_ang(atoms), 1e-9))
    return replace(atoms, places_ang=atoms.places_ang - centre)


def _map_template(name: str, path: Path, voxel_size_ang: float) -> Template:
    values, voxel = read_mrc(path)
    if not voxel:
        raise ImageError(f"{path}: no voxel size in the header", mend="set the map's voxel size with `lamella convert`")
    if values.ndim != 3 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise ImageError(f"{path}: not a volume of finite numbers", mend="give a three-dimensional map")
    top = float(np.percentile(values, 99.9))
    kept = np.argwhere(values > MATTER_LEVEL * top) if top > 0 else np.empty((0, 3))
    if len(kept) == 0:
        raise ImageError(f"{path}: no positive matter", mend="give a map whose mass is positive (white), or invert it")
    middle = np.array(values.shape) // 2
    reach = int(np.abs(kept - middle).max()) + 2
    cube = np.zeros((2 * reach,) * 3, dtype=np.float64)
    levels = values[tuple(kept.T)].astype(np.float64)
    cube[tuple((kept - middle + reach).T)] = MATTER_POTENTIAL * levels / levels.mean()
    radius = float(np.linalg.norm(kept - middle, axis=1).max() * voxel)
    size = box_size(radius, voxel_size_ang)
    weights = _interpolation(len(cube), size, voxel_size_ang / voxel)
    for _ in range(3):  # along the last axis, which then moves to the front
        cube = np.moveaxis(cube @ weights.T, -1, 0)
    return Template(
        name=name,
        volume=band_limit(np.ascontiguousarray(cube, dtype=np.float32)),
        voxel_size_ang=voxel_size_ang,
        radius_ang=radius,
    )


def _interpolation(old: int, new: int, step: float) -> NDArray[np.float64]:
    """``(new, old)`` weights that sample a line's trigonometric polynomial every `step` about its middle ``old // 2``.

    Terms beyond the new Nyquist frequency are left out, and samples beyond the line's ends are 0.
    """
    at = (np.arange(new) - new // 2) * step + old // 2
    k = np.fft.fftfreq(old)
    k = k[np.abs(k) * step < 0.5] if step > 1 else k[np.abs(k) < 0.5]
    weights = np.cos(2 * np.pi * k[:, None, None] * (at[:, None] - np.arange(old))).sum(axis=0) / old
    weights[(at < 0) | (at > old - 1)] = 0
    return np.asarray(weights)
