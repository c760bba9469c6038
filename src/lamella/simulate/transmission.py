"""How much of the beam each pixel gets through the ice and the film, and the film's own picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from lamella.geometry import TiltGeometry
from lamella.simulate.mount import MountedSpecimen
from lamella.simulate.settings import SimulateSettings

__all__ = ["FilmPicture", "film_picture", "ice_transmission", "specimen_points"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]

_COARSE = 33  # nodes each way of smooth maps
_LEAST_SLANT = 0.05
_ROUNDS = 6  # until a bent surface is found


@dataclass(frozen=True, kw_only=True, eq=False)
class FilmPicture:
    """The film in one view, on the padded image.

    Attributes
    ----------
    transmission
        ``(h, w)`` share of the electrons that it lets into the image.
    potential
        ``(h, w)`` projected potential, V·Å.
    depth_ang
        of its middle, under the image's centre.
    """

    transmission: Image
    potential: Image
    depth_ang: float


def specimen_points(geometry: TiltGeometry, q_ang: Array, z_at: Callable[[Array], Array] | float) -> Array:
    """Specimen points ``(..., 3)`` that one view shows at ``(..., 2)``, on a plane z or a surface z(x, y)."""
    if not callable(z_at):
        return np.asarray(geometry.back_project(q_ang[None], z_at)[0])
    points = geometry.back_project(q_ang[None], 0.0)[0]
    for _ in range(_ROUNDS):
        points = geometry.back_project(q_ang[None], z_at(points[..., :2]))[0]
    return np.asarray(points)


def pixel_places(shape_px: tuple[int, int], pixel_size_ang: float, nodes: int | None = None) -> Array:
    """Image points ``(rows, columns, 2)`` in Å from the centre pixel: of all pixels, or of a grid over them."""
    y, x = ((np.arange(size) if nodes is None else np.linspace(0, size - 1, nodes)) - size // 2 for size in shape_px)
    return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1) * pixel_size_ang


def ice_transmission(
    mounted: MountedSpecimen, geometry: TiltGeometry, settings: SimulateSettings, shape_px: tuple[int, int]
) -> Image:
    """``(h, w)`` share of the electrons that the ice lets into the image: exp(−path / mean free path).

    The path is that of the slab where the beam passes it: a bent slab is thicker where it leans away.
    `geometry` is that of one view.
    """
    if settings.mean_free_path == 0:
        return np.ones(shape_px, dtype=np.float32)
    q = pixel_places(shape_px, settings.pixel_size, _COARSE)
    source = mounted.source

    def surface(xy: Array) -> Array:
        return source.midplane_z_at(mounted.own_xy(xy))

    points = specimen_points(geometry.with_terms(field=None), q, surface)
    thickness = source.thickness_at(mounted.own_xy(points[..., :2]))
    # The beam runs along d; through a slab whose middle rises by s for each Å of d's way it goes thickness / |d_z - s|.
    beam = geometry.rotations()[0, 2]
    rise = (surface(points[..., :2] + beam[:2]) - surface(points[..., :2] - beam[:2])) / 2
    slant = np.maximum(np.abs(beam[2] - rise), _LEAST_SLANT)
    coarse = np.exp(-thickness / slant / settings.mean_free_path)
    if np.ptp(coarse) < 1e-9:
        return np.full(shape_px, coarse[0, 0], dtype=np.float32)
    fine = zoom(coarse, (shape_px[0] / _COARSE, shape_px[1] / _COARSE), order=1, grid_mode=False)
    return np.ascontiguousarray(fine[: shape_px[0], : shape_px[1]], dtype=np.float32)


def film_picture(
    mounted: MountedSpecimen, geometry: TiltGeometry, settings: SimulateSettings, shape_px: tuple[int, int]
) -> FilmPicture | None:
    """The film as one view shows it, or None where it shows none."""
    film = mounted.source.film
    if film is None:
        return None
    plain = geometry.with_terms(field=None)
    z = film.z_ang + mounted.shift_ang[2]
    corners = mounted.own_xy(specimen_points(plain, pixel_places(shape_px, settings.pixel_size, 65), z)[..., :2])
    if film.coverage(corners).max() == 0:
        return None
    slant = max(abs(float(geometry.rotations()[0, 2, 2])), _LEAST_SLANT)
    path = np.empty(shape_px, dtype=np.float32)
    potential = np.empty(shape_px, dtype=np.float32)
    places = pixel_places(shape_px, settings.pixel_size)
    for first in range(0, shape_px[0], 256):  # a band at a time: places in float64 are large
        rows = slice(first, first + 256)
        xy = mounted.own_xy(specimen_points(plain, places[rows], z)[..., :2])
        path[rows] = film.coverage(xy) * film.thickness_ang / slant
        potential[rows] = film.texture(xy) * path[rows]
    return FilmPicture(
        transmission=np.exp(-path / np.float32(film.material.mean_free_path_ang)),
        potential=potential,
        depth_ang=float(z * geometry.rotations()[0, 2, 2]),
    )
