"""Matter as a cloud of Gaussians, which project and sample exactly.

The line integral of a three-dimensional Gaussian is a two-dimensional one, at the projected place and of the same
width. So a picture of the cloud has no error of interpolation, in any direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import InputError

__all__ = ["Gaussians", "project_gaussians", "render_volume"]

Array = NDArray[np.float64]

REACH = 5.0
"""Half width of a Gaussian's stamp in standard deviations: what lies beyond is 4e-6 of its height."""

LEAST_SIGMA = 0.75
"""Narrower Gaussians are widened to this, in pixels: sampled, they would show power from beyond Nyquist."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """A cloud of isotropic Gaussians.

    Attributes
    ----------
    places_ang
        ``(n, 3)`` centres xyz, Å.
    weights
        ``(n,)`` volume integral of each, V·Å³ where the cloud is an electrostatic potential.
    sigma_ang
        ``(n,)`` standard deviation of each, Å.
    """

    places_ang: Array
    weights: Array
    sigma_ang: Array

    def __post_init__(self) -> None:
        places = np.asarray(self.places_ang, dtype=np.float64).reshape(-1, 3)
        for name in ("weights", "sigma_ang"):
            values = np.broadcast_to(np.asarray(getattr(self, name), dtype=np.float64), len(places))
            object.__setattr__(self, name, np.ascontiguousarray(values))
        if (self.sigma_ang <= 0).any():
            raise InputError("a Gaussian without width", mend="give every Gaussian a standard deviation above 0 Å")
        object.__setattr__(self, "places_ang", places)

    def __len__(self) -> int:
        return len(self.places_ang)

    @classmethod
    def none(cls) -> Gaussians:
        """The empty cloud."""
        return cls(np.empty((0, 3)), np.empty(0), np.empty(0))

    @classmethod
    def joined(cls, clouds: Sequence[Gaussians]) -> Gaussians:
        """All clouds as one."""
        if not clouds:
            return cls.none()
        return cls(
            np.concatenate([cloud.places_ang for cloud in clouds]),
            np.concatenate([cloud.weights for cloud in clouds]),
            np.concatenate([cloud.sigma_ang for cloud in clouds]),
        )

    def moved(self, rotation: ArrayLike, shift_ang: ArrayLike) -> Gaussians:
        """The cloud turned by a matrix ``(3, 3)`` about the origin, then shifted by ``(3,)`` Å."""
        places = self.places_ang @ np.asarray(rotation, dtype=np.float64).T + np.asarray(shift_ang, dtype=np.float64)
        return Gaussians(places, self.weights, self.sigma_ang)

    def widened(self, least_sigma_ang: float) -> Gaussians:
        """The cloud with no Gaussian narrower than this; integrals are kept."""
        return Gaussians(self.places_ang, self.weights, np.maximum(self.sigma_ang, least_sigma_ang))


def project_gaussians(
    cloud: Gaussians,
    places_ang: ArrayLike,
    pixel_size_ang: float,
    shape_px: tuple[int, int],
    layers: NDArray[np.int64] | None = None,
    count: int = 1,
) -> NDArray[np.float32]:
    """Line integrals of a cloud.

    Parameters
    ----------
    cloud
        n Gaussians; widened to `LEAST_SIGMA` pixels where narrower.
    places_ang
        ``(n, 2)`` where each appears, (x, y) in Å from the image's centre pixel ``n // 2``.
    pixel_size_ang
        of the image.
    shape_px
        (height, width).
    layers, count
        ``(n,)`` which of `count` images each Gaussian goes to; None: all to the first.

    Returns
    -------
    images
        ``(count, height, width)`` unit of the weights per Å², sampled at the pixels' centres.
    """
    height, width = shape_px
    out = np.zeros((count, height, width), dtype=np.float32)
    places = np.asarray(places_ang, dtype=np.float64) / pixel_size_ang + (width // 2, height // 2)
    sigma = np.maximum(cloud.sigma_ang / pixel_size_ang, LEAST_SIGMA)
    chosen = np.zeros(len(cloud), dtype=np.int64) if layers is None else np.asarray(layers, dtype=np.int64)
    _splat_images(np.ascontiguousarray(places), cloud.weights / pixel_size_ang**2, sigma, chosen, out)
    return out


def render_volume(
    cloud: Gaussians,
    voxel_size_ang: float,
    shape_px: tuple[int, int, int],
    centre_px: tuple[float, float, float] | None = None,
) -> NDArray[np.float32]:
    """Sample a cloud on a grid.

    Parameters
    ----------
    cloud
        Gaussians; widened to `LEAST_SIGMA` voxels where narrower.
    voxel_size_ang
        edge of a voxel.
    shape_px
        (z, y, x).
    centre_px
        (x, y, z) index of the voxel at the cloud's origin; None: ``n // 2``.

    Returns
    -------
    volume
        ``(z, y, x)`` unit of the weights per Å³ (V for a potential).
    """
    out = np.zeros(shape_px, dtype=np.float32)
    centre = tuple(n // 2 for n in reversed(shape_px)) if centre_px is None else centre_px
    places = cloud.places_ang / voxel_size_ang + centre
    sigma = np.maximum(cloud.sigma_ang / voxel_size_ang, LEAST_SIGMA)
    _splat_volume(np.ascontiguousarray(places), cloud.weights / voxel_size_ang**3, sigma, out)
    return out


@numba.njit(nogil=True, cache=True)
def _profile(centre, sigma, size, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Normalised Gaussian at whole numbers into `out`; first index and number of them inside 0 … size − 1."""
    first = max(0, int(np.ceil(centre - REACH * sigma)))
    last = min(size - 1, int(np.floor(centre + REACH * sigma)))
    scale = 1.0 / (np.sqrt(2.0 * np.pi) * sigma)
    for index in range(first, last + 1):
        distance = (index - centre) / sigma
        out[index - first] = scale * np.exp(-0.5 * distance * distance)
    return first, max(0, last - first + 1)


@numba.njit(nogil=True, cache=True)
def _splat_images(places, weights, sigma, layers, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    height, width = out.shape[1:]
    longest = int(2 * REACH * sigma.max() + 3) if len(sigma) else 1
    along_x, along_y = np.empty(longest), np.empty(longest)
    for atom in range(len(places)):
        x0, nx = _profile(places[atom, 0], sigma[atom], width, along_x)
        y0, ny = _profile(places[atom, 1], sigma[atom], height, along_y)
        if nx == 0 or ny == 0:
            continue
        image = out[layers[atom]]
        for y in range(ny):
            row = weights[atom] * along_y[y]
            for x in range(nx):
                image[y0 + y, x0 + x] += row * along_x[x]


@numba.njit(nogil=True, cache=True)
def _splat_volume(places, weights, sigma, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    depth, height, width = out.shape
    longest = int(2 * REACH * sigma.max() + 3) if len(sigma) else 1
    along_x, along_y, along_z = np.empty(longest), np.empty(longest), np.empty(longest)
    for atom in range(len(places)):
        x0, nx = _profile(places[atom, 0], sigma[atom], width, along_x)
        y0, ny = _profile(places[atom, 1], sigma[atom], height, along_y)
        z0, nz = _profile(places[atom, 2], sigma[atom], depth, along_z)
        for z in range(nz):
            for y in range(ny):
                row = weights[atom] * along_z[z] * along_y[y]
                for x in range(nx):
                    out[z0 + z, y0 + y, x0 + x] += row * along_x[x]
