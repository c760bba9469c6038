"""Which frequencies two half tomograms measure, and how noisy they are there: what support is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import ImageError
from lamella.fourier import frequency_axes, frequency_grid, resolution_at, shell_frequency, shell_sums
from lamella.geometry import TiltGeometry
from lamella.records import VolumeSource

__all__ = ["Band", "measure_band", "measured_region"]

Array = NDArray[np.float64]
Size = tuple[int, int, int]

_EDGE = 64  # voxels along the edge of a block whose spectrum is taken
_PER_AXIS = 3
_THRESHOLD = 0.3  # FSC of the halves down to which frequencies are judged
_BACKGROUND_WIDTHS = 2.0  # what is smoother than this many windows is background, not structure
_COARSEST_WINDOWS = 0.75  # wavelength, in windows' full widths, that is judged whatever the halves say
_EDGE_WIDTH = 0.15  # of the band's end, relative
_SAME = 1e-10  # power of the halves' difference over their own, which rounding leaves of two copies
_REACH = 1.2  # of the distance between neighbouring slices, to either side of one


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """The filter under which halves are compared: noise whitened, measured frequencies alone.

    Attributes
    ----------
    frequency, fsc, noise
        ``(s,)`` of each shell: cycles/px, correlation of the halves, power of one half's noise (its variance, were it
        white).
    highest
        cycles/px where the band ends.
    background_px
        Gaussian width of what is taken away.
    normals
        ``(n, 3)`` direction xyz of each view's beam in the specimen's frame, or None where no geometry is known.
    spacing_rad
        ``(n,)`` angle from each view's slice that counts as measured.
    """

    frequency: Array
    fsc: Array
    noise: Array
    highest: float
    background_px: float
    normals: Array | None
    spacing_rad: Array | None

    def weights(self, shape: Size, device: torch.device) -> tuple[Tensor, Tensor]:
        """Factors of the samples of an rfft of `shape`: of the band with whitened noise, and of the band alone."""
        k = frequency_grid(shape, device)
        ramp = ((k / self.highest - 1 + _EDGE_WIDTH) / (2 * _EDGE_WIDTH)).clamp(0, 1)
        band = 0.5 + 0.5 * torch.cos(torch.pi * ramp)
        band *= self.structure(shape, device)
        if self.normals is not None and self.spacing_rad is not None:
            band *= measured_region(shape, self.normals, self.spacing_rad, device)
        known = np.interp(k.cpu().numpy(), self.frequency, 1 / np.sqrt(self.noise)).astype(np.float32)
        return band * torch.from_numpy(known).to(device), band

    def structure(self, shape: Size, device: torch.device) -> Tensor:
        """Factor that takes the smooth background away."""
        return -torch.expm1(-2 * (np.pi * self.background_px * frequency_grid(shape, device)) ** 2)


def measure_band(even: VolumeSource, odd: VolumeSource, window_px: float, geometry: TiltGeometry | None = None) -> Band:
    """Shell correlation and noise of two halves, from up to 27 blocks spread over them.

    Parameters
    ----------
    even, odd
        the half tomograms as they were reconstructed, `(z, y, x)`.
    window_px
        standard deviation of the windows in which support is judged.
    geometry
        of the views; leaves the missing wedge out.

    Raises
    ------
    ImageError
        if the halves do not differ: then nothing tells what is noise.
    """
    size = [min(_EDGE, n - n % 2 if n > 1 else 1) for n in even.shape]
    edge: Size = (size[0], size[1], size[2])
    taper = torch.ones(())
    for axis, n in enumerate(edge):
        line = torch.from_numpy(np.hanning(n + 2)[1:-1].astype(np.float32))
        taper = taper * line.reshape([-1 if other == axis else 1 for other in range(3)])
    normals, spacing = (None, None) if geometry is None else _slices(geometry)
    region = torch.ones(())
    if normals is not None and spacing is not None:
        region = measured_region(edge, normals, spacing, torch.device("cpu"))
    sums = torch.zeros(4, max(edge) // 2 + 1, dtype=torch.float64)
    count = shell_sums(region.expand(frequency_grid(edge).shape).contiguous(), edge)
    blocks = _blocks(even.shape, edge)
    for block in blocks:
        a, b = (
            torch.fft.rfftn(taper * (part - part.mean()))
            for part in (torch.from_numpy(np.array(source.block(*block), dtype=np.float32)) for source in (even, odd))
        )
        terms = (a * b.conj()).real, a.abs() ** 2, b.abs() ** 2, (a - b).abs() ** 2 / 2
        sums += torch.stack([shell_sums(region * term, edge) for term in terms])
    cross, one, two, noise = sums.numpy()
    if noise.sum() <= _SAME * (one + two).sum() and (one + two).sum() > 0:
        raise ImageError(
            "the even and the odd half tomogram are the same file content: they show no noise to judge by",
            mend="name two halves of different frames or tilts; `lamella reconstruct` writes them",
        )
    fsc = cross / np.sqrt(np.maximum(one * two, np.finfo(float).tiny))
    power = noise / np.maximum(count.numpy(), 1) / (len(blocks) * float((taper**2).sum()))
    frequency = shell_frequency(edge).numpy()
    reached = resolution_at(frequency, fsc, _THRESHOLD, 1.0)
    widest = 2.355 * window_px * _COARSEST_WINDOWS
    return Band(
        frequency=frequency,
        fsc=fsc,
        noise=np.maximum(power, 1e-12 * max(float(power.max()), np.finfo(float).tiny)),
        highest=min(0.5, max(1 / reached, 1 / widest)),
        background_px=_BACKGROUND_WIDTHS * window_px,
        normals=normals,
        spacing_rad=spacing,
    )


def measured_region(shape: Size, normals: Array, spacing_rad: Array, device: torch.device) -> Tensor:
    """1 in the samples of an rfft of `shape` that some view measures, 0 in the missing wedge, soft between them.

    A view measures the slice through the origin across its beam, and what lies within half its neighbours' distance
    of it; no slice is thinner than a sample.
    """
    z, y, x = (line.float() for line in frequency_axes(shape, device))
    k = frequency_grid(shape, device)
    measured = torch.zeros_like(k)
    thin = 1.0 / max(shape)
    for (nx, ny, nz), spacing in zip(normals.tolist(), spacing_rad.tolist(), strict=True):
        distance = (x * nx + y * ny + z * nz).abs()
        half = (k * float(np.sin(spacing))).clamp(min=thin)
        torch.maximum(measured, (1.5 - distance / half).clamp(0, 1), out=measured)
    return measured


def _slices(geometry: TiltGeometry) -> tuple[Array, Array]:
    """Each view's beam in the specimen's frame, and how far from its slice the data reach."""
    normals: Array = geometry.rotations()[:, 2]
    alike = np.abs(normals @ normals.T).clip(0, 1)
    np.fill_diagonal(alike, 0.0)
    nearest = np.arccos(alike.max(axis=1)) if len(normals) > 1 else np.zeros(1)
    typical = float(np.median(nearest))
    return normals, np.full(len(normals), _REACH * typical / 2)


def _blocks(shape: Sequence[int], edge: Size) -> list[tuple[slice, slice, slice]]:
    starts = []
    for n, size in zip(shape, edge, strict=True):
        count = min(_PER_AXIS, max(1, n // size))
        places = np.linspace(0, n - size, count + 2)[1:-1] if count < _PER_AXIS else np.linspace(0, n - size, count)
        starts.append(sorted({int(place) for place in places}))
    return [(slice(z, z + edge[0]), slice(y, y + edge[1]), slice(x, x + edge[2])) for z, y, x in product(*starts)]
