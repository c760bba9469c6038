"""Resolution by direction: shell correlation within cones, and how round the resolved part of Fourier space is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.fourier import frequency_axes, resolved_shells
from lamella.geometry import healpix_directions
from lamella.records.map_fsc import GOLD_STANDARD

__all__ = ["DirectionalFsc", "directional_fsc", "sphericity"]

Volume = NDArray[np.float32]
Array = NDArray[np.float64]

_HALF_ANGLE_DEG = 20.0  # of a cone (Tan et al. 2017)
_ORDER = 3  # of the HEALPix grid of cones: 768 directions, 7° apart
_BIN_DEG = 4.0  # of the bins that samples are gathered in first
_FIRST_SHELL = 5  # in shells below, a cone holds fewer than ten independent samples


@dataclass(frozen=True, kw_only=True, eq=False)
class DirectionalFsc:
    """Correlation of two half maps by direction.

    Attributes
    ----------
    directions
        ``(d, 3)`` unit vectors x, y, z of the cones' axes, over the whole sphere.
    rot_tilt_deg
        ``(d, 2)`` the same as angles.
    frequency_per_ang
        ``(s,)`` of the shells.
    correlation
        ``(d, s)``.
    resolution_ang
        ``(d,)`` where each falls below 0.143 for good (`resolved_shells`).
    sphericity
        of the surface of those frequencies: 1 for a sphere.
    """

    directions: Array
    rot_tilt_deg: Array
    frequency_per_ang: Array
    correlation: Array
    resolution_ang: Array
    sphericity: float


def directional_fsc(half1: Volume, half2: Volume, voxel_size_ang: float, independent: float = 1.0) -> DirectionalFsc:
    """Correlate two (masked) half maps within cones of 20° half angle about 768 directions.

    Parameters
    ----------
    half1, half2
        ``(n, n, n)``, under a soft mask.
    voxel_size_ang
        Å.
    independent
        part of the terms that are independent (`independent_part` of the mask).

    Notes
    -----
    Tan et al., Nature Methods 14, 793 (2017). Their sphericity, π^⅓ (6 V)^⅔ / A of the volume V and the area A, is
    taken of the surface whose distance from the origin is the frequency resolved in that direction, over the unit
    sphere's own on the same triangles. Sums of three neighbouring shells (weights 1, 2, 1) make each curve less noisy;
    in the first shells, where a cone holds fewer than ten samples, the whole shell's correlation stands for it.
    """
    size = half1.shape[0]
    angles = healpix_directions(_ORDER)
    directions = _vectors(angles)
    sums, centres = _gathered(half1, half2)
    within = (np.abs(directions @ centres.T) >= np.cos(np.radians(_HALF_ANGLE_DEG))).astype(np.float64)
    cross, first, second, terms = (_smoothed(_in_cones(part, within)) for part in sums)
    powers = np.sqrt(first * second)
    correlation = np.divide(cross, powers, out=np.zeros_like(cross), where=powers > 0)
    frequency = np.arange(size // 2 + 1) / (size * voxel_size_ang)
    shells = [
        resolved_shells(curve, GOLD_STANDARD, numbers * independent).last
        for curve, numbers in zip(correlation, terms, strict=True)
    ]
    resolution = 1 / np.interp(shells, np.arange(len(frequency)), frequency)
    return DirectionalFsc(
        directions=directions,
        rot_tilt_deg=angles,
        frequency_per_ang=frequency,
        correlation=correlation,
        resolution_ang=resolution,
        sphericity=sphericity(directions, 1 / resolution),
    )


def sphericity(directions: Array, radii: Array) -> float:
    """How round a surface around the origin is: π^⅓ (6 V)^⅔ / A, 1 for a sphere.

    Parameters
    ----------
    directions
        ``(d, 3)`` unit vectors, all around.
    radii
        ``(d,)`` distance of the surface from the origin in each, of any unit.
    """
    from scipy.spatial import ConvexHull

    triangles = ConvexHull(directions).simplices.astype(np.int64)
    return _roundness(directions * radii[:, None], triangles) / _roundness(directions, triangles)


def _roundness(points: Array, triangles: NDArray[np.int64]) -> float:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    volume = np.abs(np.einsum("ni,ni->n", a, np.cross(b, c))).sum() / 6
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    return float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area)


def _in_cones(sums: Array, within: Array) -> Array:
    """Sums ``(s, bins)`` gathered in cones, ``(d, s)``; of the first shells, the whole shell's."""
    gathered: Array = within @ sums.T
    gathered[:, :_FIRST_SHELL] = sums[:_FIRST_SHELL].sum(axis=1)
    return gathered


def _smoothed(sums: Array) -> Array:
    """Sums ``(d, s)`` of neighbouring shells together, with weights 1, 2, 1; shell 0 stays out."""
    padded = np.pad(sums[:, 1:], ((0, 0), (1, 1)), mode="edge")
    return np.concatenate([sums[:, :1], (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4], axis=1)


def _vectors(rot_tilt_deg: Array) -> Array:
    rot, tilt = np.radians(rot_tilt_deg).T
    return np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)], axis=1)


def _gathered(half1: Volume, half2: Volume) -> tuple[tuple[Array, Array, Array, Array], Array]:
    """Re A·B*, |A|², |B|² and 1 summed over shells and small bins of direction, ``(s, bins)``; the bins' directions."""
    shape = half1.shape
    shells = shape[0] // 2 + 1
    a, b = (
        torch.fft.rfftn(torch.from_numpy(np.ascontiguousarray(half, np.float32))).numpy() for half in (half1, half2)
    )
    kz, ky, kx = (line.numpy() * shape[0] for line in frequency_axes(shape))
    length = np.sqrt(kz**2 + ky**2 + kx**2)
    shell = np.rint(length).astype(np.int64)
    direction, centres = _direction_bins(kz, ky, kx, length)
    kept = shell < shells
    index = shell[kept] * len(centres) + direction[kept]
    weight = np.broadcast_to(np.where((kx == 0) | (2 * kx == shape[0]), 1.0, 2.0), shell.shape)[kept]

    def summed(values: Volume) -> Array:
        sums = np.bincount(index, values[kept] * weight, minlength=shells * len(centres))
        return np.asarray(sums, dtype=np.float64).reshape(shells, len(centres))

    cross = a.real * b.real + a.imag * b.imag
    first, second = (summed(part.real**2 + part.imag**2) for part in (a, b))
    return (summed(cross), first, second, summed(np.ones_like(cross))), centres


def _direction_bins(kz: Array, ky: Array, kx: Array, length: Array) -> tuple[NDArray[np.int64], Array]:
    """The bin of each sample's direction, and the bins' middles: rings of 4°, each cut into parts of about 4°."""
    rings = round(180 / _BIN_DEG)
    middles = (np.arange(rings) + 0.5) * np.pi / rings
    parts = np.maximum(np.rint(2 * rings * np.sin(middles)), 1).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(parts)[:-1]])
    tilt = np.arccos(np.clip(kz / np.maximum(length, 1e-12), -1, 1))
    ring = np.minimum((tilt * rings / np.pi).astype(np.int64), rings - 1)
    turn = np.mod(np.arctan2(ky, kx + 0 * kz) / (2 * np.pi), 1)
    part = np.minimum((turn * parts[ring]).astype(np.int64), parts[ring] - 1)
    rot = np.concatenate([(np.arange(count) + 0.5) * 360 / count for count in parts])
    centres = _vectors(np.stack([rot, np.degrees(np.repeat(middles, parts))], axis=1))
    index: NDArray[np.int64] = starts[ring] + part
    return index, centres
