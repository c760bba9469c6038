"""A template's transform on a fine grid around frequency 0, to be read at any orientation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.fourier import fast_size

__all__ = ["TemplateCube"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TemplateCube:
    """Samples of a template's transform.

    Attributes
    ----------
    samples
        ``(c, c, c)`` complex64, zyx, frequency 0 in the middle c // 2; the phase's origin is the template's.
    per_cycle
        samples for a frequency of 1 cycle per voxel of the template.
    """

    samples: NDArray[np.complex64]
    per_cycle: float

    @classmethod
    def of(cls, volume: NDArray[np.float32], highest_px: float) -> TemplateCube:
        """Of a cube of even edge whose origin is its middle voxel, up to a frequency in cycles per voxel.

        Notes
        -----
        Trilinear reading multiplies what the samples stand for by a sinc² in real space. The volume is divided by it in
        a field twice as large, where it is 0.41 at the farthest along an axis; images of it beyond the field are what
        the reading errs by, 2 % of a volume's rms that fills its box.
        """
        edge = volume.shape[0]
        field = fast_size(2 * edge)
        line = np.sinc((np.arange(edge) - edge // 2) / field) ** 2
        padded = np.zeros((field,) * 3, np.float32)
        padded[:edge, :edge, :edge] = volume / (line[:, None, None] * line[:, None] * line)
        padded = np.roll(padded, -(edge // 2), axis=(0, 1, 2))
        terms = torch.fft.fftn(torch.from_numpy(padded)).numpy()
        reach = min(math.ceil(highest_px * field) + 2, field // 2 - 1)
        keep = np.arange(-reach, reach + 1)
        return cls(np.ascontiguousarray(terms[np.ix_(keep, keep, keep)]), float(field))

    def matrices(self, orientations: Array, shape: tuple[int, int, int], voxel_ratio: float) -> Array:
        """``(k, 3, 3)`` from the places (x, y, z) of terms of a volume to samples, for orientations ``(k, 3, 3)``.

        Parameters
        ----------
        shape
            (z, y, x) of the volume.
        voxel_ratio
            its voxel over the template's.
        """
        # the term at frequency k of the turned template is the template's own at Aᵀ · k
        scale = self.per_cycle / voxel_ratio / np.array(shape[::-1], np.float64)
        out: Array = np.swapaxes(orientations, -1, -2) * scale
        return out
