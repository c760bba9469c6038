"""Pictures of rigid bodies: central slices of a template's Fourier transform, any orientation, no grid's error.

The projection of a volume along an axis is the inverse transform of the slice of its transform across that axis. The
transform is needed between its samples: the volume is divided by a window's transform, padded and transformed, and the
window then interpolates (gridding: O'Sullivan 1985, with the window of Kaiser and Bessel as Beatty et al. 2005 choose
it; Fessler & Sutton 2003 for its error, here below 3e-4 of a projection's norm).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import scipy.fft
import scipy.special
from numpy.typing import NDArray

from lamella.simulate.templates import Template

__all__ = ["TemplateSpectrum", "template_spectrum"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]

TAPS = 5
"""Samples of the transform, each way, that the window takes in."""
OVERSAMPLING = 1.5
_WING = TAPS // 2 + 1  # columns kept of the other half
_STEPS = 1024  # of the table of the window, per sample


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateSpectrum:
    """A template, ready to be projected in any direction.

    Attributes
    ----------
    size_px
        edge of the template's box, and of its projections.
    terms
        ``(n, n, n // 2 + 1 + 2 · wing)`` transform of the padded volume about its voxel ``size // 2``, the volume
        divided by the window's transform; the first term of a line has the frequency −wing.
    table
        the window at distances from 0, `_STEPS` to the sample.
    """

    size_px: int
    terms: NDArray[np.complex64]
    table: Image

    def project(self, rotation: Array, scale: float = 1.0) -> Image:
        """Sum along rotated z: ``(size, size)``, unit of the volume times voxels.

        Parameters
        ----------
        rotation
            ``(3, 3)``: the template's point r appears at (rotation · r)_xy from pixel ``size // 2``.
        scale
            magnification of the picture; line integrals are kept.
        """
        half = np.empty((self.size_px, self.size_px // 2 + 1), dtype=np.complex64)
        matrix = np.ascontiguousarray(rotation, dtype=np.float64) * scale
        _slice(self.terms, self.table, matrix, self.size_px, half)
        half *= np.float32(scale * scale)
        return np.asarray(scipy.fft.irfft2(half, s=(self.size_px, self.size_px), workers=1), dtype=np.float32)


def template_spectrum(template: Template) -> TemplateSpectrum:
    """Transform a template."""
    size = template.volume.shape[0]
    padded = 4 * scipy.fft.next_fast_len(math.ceil(size * OVERSAMPLING / 4), real=True)
    beta = math.pi * math.sqrt((TAPS * (size / padded)) ** 2 * (padded / size - 0.5) ** 2 - 0.8)
    place = (np.arange(size) - size // 2) / padded
    # transform of I0(β √(1 − (2 x / W)²)) over |x| ≤ W / 2
    root = np.sqrt((beta**2 - (math.pi * TAPS * place) ** 2).astype(np.complex128))
    window = TAPS * np.real(np.sinh(root) / root)
    line = (1 / window).astype(np.float32)
    cube = np.zeros((padded, padded, padded), dtype=np.float32)
    # voxel size // 2 goes to voxel 0, so that the transform is smooth
    index = (np.arange(size) - size // 2) % padded
    corrected = template.volume * line[:, None, None] * line[:, None] * line
    cube[np.ix_(index, index, index)] = corrected
    terms = scipy.fft.rfftn(cube, workers=1, overwrite_x=True)
    distance = np.arange(_STEPS * (TAPS + 1) // 2 + 2) / _STEPS
    inside = np.clip(1 - (2 * distance / TAPS) ** 2, 0, None)
    table = np.where(2 * distance < TAPS, scipy.special.i0(beta * np.sqrt(inside)), 0.0)
    return TemplateSpectrum(size_px=size, terms=_with_wings(terms), table=table.astype(np.float32))


def _with_wings(terms: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """The half transform with `_WING` columns more on both sides, which are conjugates of terms that are there."""
    n, half = terms.shape[0], terms.shape[2] - 1
    out = np.empty((n, n, half + 1 + 2 * _WING), dtype=np.complex64)
    out[:, :, _WING : _WING + half + 1] = terms
    opposite = np.ix_(-np.arange(n) % n, -np.arange(n) % n)
    for column in range(1, _WING + 1):
        out[:, :, _WING - column] = terms[:, :, column][opposite].conj()
        out[:, :, _WING + half + column] = terms[:, :, half - column][opposite].conj()
    return out


@numba.njit(nogil=True, cache=True, fastmath=True)
def _slice(terms, table, matrix, size, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Terms of the projection in the layout of rfft2, about pixel size // 2; 0 from Nyquist on."""
    n = terms.shape[0]
    ratio = n / size
    limit = (size / 2) ** 2
    wx, wy, wz = np.empty(TAPS, np.float32), np.empty(TAPS, np.float32), np.empty(TAPS, np.float32)
    for row in range(size):
        ky = row if row < size // 2 else row - size
        for kx in range(size // 2 + 1):
            if kx * kx + ky * ky >= limit:
                out[row, kx] = 0
                continue
            # frequency in the template's frame: transposed rotation times (kx, ky, 0)
            x = (matrix[0, 0] * kx + matrix[1, 0] * ky) * ratio
            y = (matrix[0, 1] * kx + matrix[1, 1] * ky) * ratio
            z = (matrix[0, 2] * kx + matrix[1, 2] * ky) * ratio
            conjugate = np.float32(1)
            if x < 0:
                x, y, z, conjugate = -x, -y, -z, np.float32(-1)
            first_x, first_y, first_z = (
                int(np.ceil(x - 0.5 * TAPS)),
                int(np.ceil(y - 0.5 * TAPS)),
                int(np.ceil(z - 0.5 * TAPS)),
            )
            for tap in range(TAPS):
                wx[tap] = _window(table, x - first_x - tap)
                wy[tap] = _window(table, y - first_y - tap)
                wz[tap] = _window(table, z - first_z - tap)
            column = first_x + _WING
            real, imaginary = np.float32(0), np.float32(0)
            for c in range(TAPS):
                plane = terms[(first_z + c + n) % n]
                for b in range(TAPS):
                    line = plane[(first_y + b + n) % n]
                    weight = wz[c] * wy[b]
                    for a in range(TAPS):
                        real += weight * wx[a] * line[column + a].real
                        imaginary += weight * wx[a] * line[column + a].imag
            sign = np.float32(1) if (row + kx) % 2 == 0 else np.float32(-1)  # the origin is pixel size // 2
            out[row, kx] = complex(real * sign, imaginary * sign * conjugate)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _window(table, distance):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    at = abs(distance) * _STEPS
    index = int(at)
    part = np.float32(at - index)
    return table[index] * (1 - part) + table[index + 1] * part
