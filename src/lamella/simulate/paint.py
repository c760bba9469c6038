"""The noise-free volume of a specimen: every body painted where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np
from numpy.typing import NDArray

from lamella.simulate.gaussians import render_volume
from lamella.simulate.templates import resampled

if TYPE_CHECKING:
    from lamella.simulate.specimen import Specimen

__all__ = ["paint_specimen"]

Volume = NDArray[np.float32]


def paint_specimen(specimen: Specimen, voxel_size_ang: float, shape_px: tuple[int, int, int]) -> Volume:
    """Potential in V on a grid ``(z, y, x)`` whose voxel ``n // 2`` is the specimen's centre.

    Each template is low-passed to the grid's Nyquist frequency and interpolated from samples of twice its fineness.
    """
    out = render_volume(specimen.cloud, voxel_size_ang, shape_px)
    bodies, rotations = specimen.bodies, specimen.bodies.rotations()
    for number, template in enumerate(specimen.templates):
        here = np.flatnonzero(bodies.template == number)
        if len(here) == 0:
            continue
        fine = resampled(template, voxel_size_ang, oversampling=2)
        _paint(
            fine.volume,
            voxel_size_ang / fine.voxel_size_ang,
            np.ascontiguousarray(rotations[here]),
            bodies.places_ang[here] / voxel_size_ang,
            (template.radius_ang + 2 * voxel_size_ang) / voxel_size_ang,
            out,
        )
    return out


@numba.njit(nogil=True, cache=True)
def _paint(model, ratio, rotations, places, reach, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Add a model (samples `ratio` times finer than `out`) at each pose, by trilinear interpolation."""
    depth, height, width = out.shape
    size = model.shape[0]
    middle = size // 2
    for body in range(len(places)):
        turn = rotations[body]
        cx, cy, cz = places[body, 0] + width // 2, places[body, 1] + height // 2, places[body, 2] + depth // 2
        for z in range(max(0, int(np.ceil(cz - reach))), min(depth, int(cz + reach) + 1)):
            for y in range(max(0, int(np.ceil(cy - reach))), min(height, int(cy + reach) + 1)):
                for x in range(max(0, int(np.ceil(cx - reach))), min(width, int(cx + reach) + 1)):
                    dx, dy, dz = x - cx, y - cy, z - cz
                    if dx * dx + dy * dy + dz * dz > reach * reach:
                        continue
                    u = (turn[0, 0] * dx + turn[1, 0] * dy + turn[2, 0] * dz) * ratio + middle
                    v = (turn[0, 1] * dx + turn[1, 1] * dy + turn[2, 1] * dz) * ratio + middle
                    w = (turn[0, 2] * dx + turn[1, 2] * dy + turn[2, 2] * dz) * ratio + middle
                    i, j, k = int(np.floor(u)), int(np.floor(v)), int(np.floor(w))
                    if i < 0 or j < 0 or k < 0 or i + 1 >= size or j + 1 >= size or k + 1 >= size:
                        continue
                    a, b, c = u - i, v - j, w - k
                    lower = (model[k, j, i] * (1 - a) + model[k, j, i + 1] * a) * (1 - b)
                    lower += (model[k, j + 1, i] * (1 - a) + model[k, j + 1, i + 1] * a) * b
                    upper = (model[k + 1, j, i] * (1 - a) + model[k + 1, j, i + 1] * a) * (1 - b)
                    upper += (model[k + 1, j + 1, i] * (1 - a) + model[k + 1, j + 1, i + 1] * a) * b
                    out[z, y, x] += lower * (1 - c) + upper * c
