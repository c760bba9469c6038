"""Loops over the Fourier transforms of two half volumes: which terms the views measured, and sums over shells."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["pair_sums", "pair_sums_reference", "shell_places", "shell_places_reference"]

Float = NDArray[np.float64]
Places = NDArray[np.int32]
Terms = NDArray[np.complex64]


def shell_places(shape: tuple[int, int, int], normals: Float, half_step: float, half_width: float) -> Places:
    """The shell of each term of an rfft that some view measured, −1 for all others.

    Parameters
    ----------
    shape
        (z, y, x) of the real volume.
    normals
        ``(n, 3)`` xyz, unit vectors along the beam of each view; a view measures the plane across it.
    half_step
        sine of the angle from such a plane within which a term counts as measured.
    half_width
        distance from such a plane, cycles/px, within which it does so as well: a slab of T pixels spreads every plane
        to a thickness of 1/T.

    Returns
    -------
    places
        ``(z, y, x // 2 + 1)`` shells of a width of 1 / the longest side; −1 beyond Nyquist too.
    """
    places = np.empty((shape[0], shape[1], shape[2] // 2 + 1), np.int32)
    _shell_places(places, shape, np.ascontiguousarray(normals, np.float64), half_step, half_width)
    return places


@njit(cache=True, nogil=True)
def _shell_places(places, shape, normals, half_step, half_width):  # type: ignore[no-untyped-def]  # pragma: no cover
    nz, ny, nx = shape
    longest = max(nz, max(ny, nx))
    last = longest // 2
    for i in range(nz):
        kz = (i if i < (nz + 1) // 2 else i - nz) / nz
        for j in range(ny):
            ky = (j if j < (ny + 1) // 2 else j - ny) / ny
            nearest = 0
            for k in range(nx // 2 + 1):
                kx = k / nx
                length = np.sqrt(kx * kx + ky * ky + kz * kz)
                shell = int(np.rint(length * longest))
                if shell > last:
                    places[i, j, k] = -1
                    continue
                reach = max(half_step * length, half_width)
                found = False
                for turn in range(len(normals)):  # the view that measured the neighbour is asked first
                    v = nearest + turn
                    v = v - len(normals) if v >= len(normals) else v
                    if abs(normals[v, 0] * kx + normals[v, 1] * ky + normals[v, 2] * kz) <= reach:
                        nearest = v
                        found = True
                        break
                places[i, j, k] = shell if found else -1


def shell_places_reference(shape: tuple[int, int, int], normals: Float, half_step: float, half_width: float) -> Places:
    """`shell_places` in plain numpy, to hold it to."""
    nz, ny, nx = shape
    k = np.stack(np.meshgrid(np.fft.fftfreq(nz), np.fft.fftfreq(ny), np.fft.rfftfreq(nx), indexing="ij"))
    length = np.sqrt((k**2).sum(axis=0))
    shell = np.rint(length * max(shape)).astype(np.int32)
    distance = np.abs(np.tensordot(normals[:, ::-1], k, axes=1)).min(axis=0)
    measured = distance <= np.maximum(half_step * length, half_width)
    return np.where(measured & (shell <= max(shape) // 2), shell, -1).astype(np.int32)


def pair_sums(a: Terms, b: Terms, places: Places, even_width: bool, out: Float) -> None:
    """Add Re A·B*, |A|², |B|² and the number of terms to `out`.

    Parameters
    ----------
    a, b
        ``(z, y, x // 2 + 1)`` rffts of two real volumes.
    places
        shell of each term, −1 for none.
    even_width
        whether x is even, so that the last column stands once in the whole transform as the first does.
    out
        ``(4, s)``; terms that stand for two of the whole transform count twice.
    """
    _pair_sums(a, b, places, even_width, out)


@njit(cache=True, nogil=True, fastmath=True)
def _pair_sums(a, b, places, even_width, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    last = a.shape[2] - 1
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            for k in range(a.shape[2]):
                shell = places[i, j, k]
                if shell < 0:
                    continue
                weight = 1.0 if k == 0 or (even_width and k == last) else 2.0
                p, q = a[i, j, k], b[i, j, k]
                out[0, shell] += weight * (p.real * q.real + p.imag * q.imag)
                out[1, shell] += weight * (p.real * p.real + p.imag * p.imag)
                out[2, shell] += weight * (q.real * q.real + q.imag * q.imag)
                out[3, shell] += weight


def pair_sums_reference(a: Terms, b: Terms, places: Places, even_width: bool, out: Float) -> None:
    """`pair_sums` in plain numpy, to hold it to."""
    weight = np.full(a.shape, 2.0)
    weight[..., 0] = 1.0
    if even_width:
        weight[..., -1] = 1.0
    chosen = places >= 0
    for row, values in enumerate(((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2, np.ones(a.shape))):
        out[row] += np.bincount(places[chosen], (weight * values)[chosen], minlength=out.shape[1])
