"""An opaque or half-opaque film that supports the ice and enters the field of view."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

__all__ = ["CARBON", "GOLD", "Film", "FilmMaterial"]

Array = NDArray[np.float64]

TILE = 512
"""Edge of the periodic tile of the film's grain, in steps of `GRAIN_ANG`."""
GRAIN_ANG = 4.0
EDGE_WAVES = 12


@dataclass(frozen=True, kw_only=True)
class FilmMaterial:
    """What a film is made of.

    Attributes
    ----------
    potential_v
        mean inner potential, V.
    mean_free_path_ang
        over which 1/e of the electrons stay in the image: inelastic scattering where an energy filter takes them out,
        elastic scattering past the aperture in heavy matter.
    grain_v
        rms of the potential averaged over a cube of `GRAIN_ANG`, V.
    """

    potential_v: float
    mean_free_path_ang: float
    grain_v: float


CARBON = FilmMaterial(potential_v=9.0, mean_free_path_ang=1600.0, grain_v=1.2)
"""Amorphous carbon: 9 V (Wanner et al. 2006), 160 nm for inelastic scattering at 300 kV (Rice et al. 2018)."""
GOLD = FilmMaterial(potential_v=28.0, mean_free_path_ang=120.0, grain_v=3.0)
"""Polycrystalline gold."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """A flat film parallel to the slab, which covers part of it.

    Attributes
    ----------
    normal_deg
        directions, from x towards y, in which the film lies beyond its edges; two or more edges make a corner, where
        it is enough to be beyond one.
    distance_ang
        from the specimen's centre to each edge.
    z_ang
        height of the film's middle.
    thickness_ang
        of the film.
    material
        what it is made of.
    roughness_ang
        rms of the edge about its line.
    softness_ang
        width over which the film thins out at its edge.
    seed
        of its grain and its edge.
    """

    normal_deg: tuple[float, ...]
    distance_ang: tuple[float, ...]
    z_ang: float
    thickness_ang: float
    material: FilmMaterial = CARBON
    roughness_ang: float = 60.0
    softness_ang: float = 40.0
    seed: int = 0
    _tile: NDArray[np.float32] = field(init=False, repr=False)
    _waves: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, 11])
        tile = rng.normal(size=(TILE, TILE))
        # Neighbours of an amorphous network are not independent: less power at the lowest frequencies.
        k = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE))
        tile = np.fft.irfft2(np.fft.rfft2(tile) * np.minimum(1.0, 0.3 + 2.8 * k), s=tile.shape)
        object.__setattr__(self, "_tile", (tile / tile.std()).astype(np.float32))
        waves = np.stack(
            [
                rng.uniform(1 / 4000, 1 / 300, EDGE_WAVES) * 2 * np.pi,
                rng.uniform(0, 2 * np.pi, EDGE_WAVES),
                rng.normal(size=EDGE_WAVES) * self.roughness_ang * np.sqrt(2 / EDGE_WAVES),
            ]
        )
        object.__setattr__(self, "_waves", waves)

    def beyond_ang(self, xy_ang: ArrayLike) -> Array:
        """How far inside the film points ``(..., 2)`` lie, Å; negative outside."""
        xy = np.asarray(xy_ang, dtype=np.float64)
        inside = np.full(xy.shape[:-1], -np.inf)
        rate, phase, height = self._waves
        for angle, distance in zip(np.deg2rad(self.normal_deg), self.distance_ang, strict=True):
            across = xy[..., 0] * np.cos(angle) + xy[..., 1] * np.sin(angle)
            along = xy[..., 1] * np.cos(angle) - xy[..., 0] * np.sin(angle)
            edge = distance + sum(h * np.sin(r * along + p) for r, p, h in zip(rate, phase, height, strict=True))
            inside = np.maximum(inside, across - edge)
        return inside

    def coverage(self, xy_ang: ArrayLike) -> Array:
        """Fraction 0 … 1 of the film's thickness at points ``(..., 2)`` of its plane."""
        along = np.clip(self.beyond_ang(xy_ang) / self.softness_ang + 0.5, 0, 1)
        return np.asarray(along * along * (3 - 2 * along))

    def texture(self, xy_ang: ArrayLike) -> Array:
        """Mean potential through the film at points ``(..., 2)``, V: the material's and its grain.

        The projected potential is this times coverage times thickness (over the cosine of the tilt).
        """
        xy = np.asarray(xy_ang, dtype=np.float64) / GRAIN_ANG
        grain = map_coordinates(self._tile, [xy[..., 1] % TILE, xy[..., 0] % TILE], order=1, mode="grid-wrap")
        # A column of N independent grains averages their potential.
        rms = self.material.grain_v / np.sqrt(max(1.0, self.thickness_ang / GRAIN_ANG))
        return np.asarray(self.material.potential_v + rms * grain, dtype=np.float64)
