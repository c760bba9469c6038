"""Tilt images on a finer grid, filtered on the way, so that four taps per axis read them at any place.

An image is Fourier transformed once; its spectrum is cut at the Nyquist frequency of the voxels (Fourier cropping: bin
by any factor, whole or not, with pixel 0 kept), multiplied by the filters, and transformed back onto a grid about 1.2
times finer than the voxels. What is stored covers the image's own field and the few samples that taps reach beyond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from lamella.geometry import TiltGeometry
from lamella.kernels.image_grid import ImageGrid
from lamella.kernels.rows import RowPlan
from lamella.kernels.sharing import Sharing, share_row

__all__ = [
    "ImageGrid",
    "ViewFilter",
    "filtered_spectrum",
    "frequencies",
    "sample_image",
    "samples_of",
    "unsample_image",
    "view_filter",
]

Image = NDArray[np.float32]

_ROWS = 256  # transformed at a time
_COLUMNS = 128  # the same
_TABLE = 2048  # entries of a filter's table over 0 … _HIGHEST
_EDGE = np.float32(0.500001)  # cycles per voxel; nothing beyond it is kept along u and v
_HIGHEST = 0.75  # cycles per voxel, beyond the corner of the band
_ALONE = Sharing(
    view=0,
    slopes=np.zeros((0, 2), np.float32),
    paths=np.zeros(0, np.float32),
    kept=np.ones((1, 0), np.float32),
    highest=1.0,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewFilter:
    """What a spectrum is multiplied by: ``along_u(|ku|) · along_v(|kv|) · radial(|k|) · shared(ku, kv) · slow · fast``.

    Attributes
    ----------
    direction
        ``(2, 2)`` (ku, kv) in cycles per voxel per Fourier index along the slow and the fast axis.
    along_u, along_v, radial
        tables over `frequencies()`.
    slow, fast
        deapodisation of the grid's taps by Fourier index.
    shared
        weights by how many views see a frequency; None: 1.
    """

    direction: NDArray[np.float64]
    along_u: NDArray[np.float32]
    along_v: NDArray[np.float32]
    radial: NDArray[np.float32] | None
    slow: NDArray[np.float32]
    fast: NDArray[np.float32]
    shared: Sharing | None = None


def frequencies() -> NDArray[np.float64]:
    """Frequencies of the entries of a filter's table, cycles per voxel."""
    return np.linspace(0, _HIGHEST, _TABLE)


def view_filter(
    grid: ImageGrid,
    geometry: TiltGeometry,
    plan: RowPlan,
    view: int,
    *,
    along_u: NDArray[np.float64] | None = None,
    radial: NDArray[np.float64] | None = None,
    shared: Sharing | None = None,
) -> ViewFilter:
    """The filter of one view: its deapodisation and band limit, times functions of |ku| and |k| at `frequencies()`."""
    frequency = frequencies()
    across, along = np.ones_like(frequency), np.ones_like(frequency)
    if plan.taps_u is not None:
        across /= plan.taps_u.transform(np.minimum(frequency, 0.5) * abs(plan.spacing_u[view]))
    if plan.taps_v is not None:
        along /= plan.taps_v.transform(np.minimum(frequency, 0.5) * plan.spacing_v[view])
    if along_u is not None:
        across *= along_u
    turn = np.deg2rad(geometry.z_rot_deg[view])
    m = geometry.magnification[view]
    cos, sin = m * np.cos(turn), m * np.sin(turn)
    # ku = m (cos kx + sin ky), kv = m (−sin kx + cos ky), in the grid's order of axes
    direction = np.array([[cos, sin], [-sin, cos]] if grid.swapped else [[sin, cos], [cos, -sin]])
    steps = [grid.binning / n for n in grid.padded]  # cycles per voxel per Fourier index
    slow, fast = (
        1 / taps.transform(np.arange(m + 1) / n) for taps, m, n in zip(grid.taps, grid.band, grid.fine, strict=True)
    )
    area = grid.fine[0] * grid.fine[1] / (grid.padded[0] * grid.padded[1])  # irfft2 divides by the finer grid's size
    return ViewFilter(
        direction=direction * np.array(steps)[None],
        along_u=across.astype(np.float32),
        along_v=along.astype(np.float32),
        radial=None if radial is None else radial.astype(np.float32),
        slow=(area * slow).astype(np.float32),
        fast=fast.astype(np.float32),
        shared=shared,
    )


def sample_image(padded: Tensor, grid: ImageGrid, what: ViewFilter, out: Tensor | None = None) -> Tensor:
    """An extended image ``grid.padded``, filtered and on the finer grid: ``grid.stored``, into `out` if given."""
    return samples_of(filtered_spectrum(padded, grid, what), grid, out=out)


def filtered_spectrum(padded: Tensor, grid: ImageGrid, what: ViewFilter) -> Tensor:
    """Spectrum ``(fine[0], band[1] + 1)`` of an extended image on the finer grid, times the filter; 0 beyond it."""
    columns = grid.band[1] + 1  # only these are transformed along the slow axis
    spectrum = torch.fft.rfft(padded, dim=1)[:, :columns]
    del padded  # here and below: whole images at once are what costs memory
    spectrum = torch.fft.fft(spectrum, dim=0)
    fine = torch.zeros(grid.fine[0], columns, dtype=torch.complex64, device=spectrum.device)
    _multiply(spectrum, fine, grid, what, 1.0)
    return fine


def samples_of(
    fine: Tensor, grid: ImageGrid, factor: Callable[[slice], Tensor] | None = None, out: Tensor | None = None
) -> Tensor:
    """The stored samples of a spectrum from `filtered_spectrum`, which is kept.

    Parameters
    ----------
    factor
        gives what some columns of the spectrum are multiplied by before, real, of their shape.
    out
        ``grid.stored``, to be filled.
    """
    columns = fine.shape[1]
    wide = columns if factor is None else _COLUMNS
    rows = grid.stored[0]
    inner = torch.empty(rows, columns, dtype=fine.dtype, device=fine.device)
    for start in range(0, columns, wide):
        part = slice(start, min(start + wide, columns))
        terms = fine[:, part] if factor is None else fine[:, part] * factor(part)
        inner[:, part] = torch.fft.ifft(terms, dim=0)[grid.crop[0]]
    if out is None:
        out = torch.empty(grid.stored, device=fine.device)
    for start in range(0, rows, _ROWS):
        values = torch.fft.irfft(inner[start : start + _ROWS], n=grid.fine[1], dim=1)
        out[start : start + _ROWS] = values[:, grid.crop[1]]
    return out


def unsample_image(stored: Tensor, grid: ImageGrid, what: ViewFilter) -> Tensor:
    """The exact transpose of `sample_image`: from ``grid.stored`` to ``grid.padded``."""
    columns = grid.band[1] + 1
    whole = torch.zeros(grid.fine, dtype=torch.float32, device=stored.device)
    whole[grid.crop] = stored
    spectrum = torch.fft.fft(torch.fft.rfft(whole, dim=1)[:, :columns], dim=0)
    coarse = torch.zeros(grid.padded[0], columns, dtype=torch.complex64, device=stored.device)
    # the inverse transforms divide by different sizes, which the filter holds for the way there
    area = (grid.padded[0] * grid.padded[1]) / (grid.fine[0] * grid.fine[1])
    _multiply(spectrum, coarse, grid, what, area)
    out: Tensor = torch.fft.irfft(torch.fft.ifft(coarse, dim=0), n=grid.padded[1], dim=1)
    return out


def _multiply(source: Tensor, target: Tensor, grid: ImageGrid, what: ViewFilter, scale: float) -> None:
    """Put the band of `source` times the filter into `target`, both in FFT order along the slow axis."""
    if source.device.type == "cpu":
        radial = what.radial if what.radial is not None else np.empty(0, np.float32)
        shared = what.shared if what.shared is not None else _ALONE
        _multiply_numba(
            source.numpy(), target.numpy(), what.direction, what.along_u, what.along_v, radial, what.slow, what.fast,
            scale, shared.view, shared.slopes, shared.paths, shared.kept, shared.highest, shared.rounds,
        )  # fmt: skip
    else:
        _multiply_torch(source, target, grid, what, scale)


def _multiply_torch(source: Tensor, target: Tensor, grid: ImageGrid, what: ViewFilter, scale: float) -> None:
    high_a, high_b = grid.band
    index_a = torch.cat([torch.arange(high_a + 1), torch.arange(-high_a, 0)]).to(source.device)
    index_b = torch.arange(high_b + 1, device=source.device)
    ku, kv = (float(d[0]) * index_a[:, None] + float(d[1]) * index_b[None] for d in what.direction)
    weight = 1.0 if what.shared is None else what.shared.weights(ku.float(), kv.float())
    ku, kv = ku.abs(), kv.abs()
    inside = torch.maximum(ku, kv) <= float(_EDGE)
    factor = _look_up(what.along_u, ku) * _look_up(what.along_v, kv) * inside
    if what.radial is not None:
        factor = factor * _look_up(what.radial, torch.hypot(ku, kv))
    factor = factor * weight
    factor *= scale * torch.from_numpy(what.slow).to(source.device)[index_a.abs()][:, None]
    factor *= torch.from_numpy(what.fast).to(source.device)[None]
    target[index_a % target.shape[0]] = source[index_a % source.shape[0]] * factor


def _look_up(table: NDArray[np.float32], frequency: Tensor) -> Tensor:
    values = torch.from_numpy(table).to(frequency.device)
    place = (frequency * ((_TABLE - 1) / _HIGHEST)).clamp(max=_TABLE - 1.001)
    low = place.long()
    found: Tensor = values[low] + (place - low) * (values[low + 1] - values[low])
    return found


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _multiply_numba(  # type: ignore[no-untyped-def]
    source, target, direction, along_u, along_v, radial, slow, fast, scale, view, slopes, paths, kept, highest, rounds
):
    high_a, high_b = len(slow) - 1, len(fast) - 1
    per_step = np.float32((_TABLE - 1) / _HIGHEST)
    top = np.float32(_TABLE - 1.001)
    ub, vb = np.float32(direction[0, 1]), np.float32(direction[1, 1])
    weights = np.ones(high_b + 1, np.float32)
    for i in range(-high_a, high_a + 1):
        row_in, row_out = source[i % source.shape[0]], target[i % target.shape[0]]
        ua, va = np.float32(direction[0, 0] * i), np.float32(direction[1, 0] * i)
        common = np.float32(slow[abs(i)] * scale)
        if len(paths):
            share_row((ua, va), (ub, vb), high_b + 1, view, slopes, paths, kept, highest, rounds, weights)
        for j in range(high_b + 1):
            ku, kv = ua + ub * np.float32(j), va + vb * np.float32(j)
            if abs(ku) > _EDGE or abs(kv) > _EDGE:
                row_out[j] = 0
                continue
            place_u = min(abs(ku) * per_step, top)
            low_u = np.int32(place_u)
            factor = along_u[low_u] + (place_u - np.float32(low_u)) * (along_u[low_u + 1] - along_u[low_u])
            place_v = min(abs(kv) * per_step, top)
            low_v = np.int32(place_v)
            factor *= along_v[low_v] + (place_v - np.float32(low_v)) * (along_v[low_v + 1] - along_v[low_v])
            if len(radial):
                place = min(np.sqrt(ku * ku + kv * kv) * per_step, top)
                low = np.int32(place)
                factor *= radial[low] + (place - np.float32(low)) * (radial[low + 1] - radial[low])
            row_out[j] = row_in[j] * (factor * weights[j] * common * fast[j])
