"""Template matching of one block of a tomogram: the best orientation of a template at every voxel.

The score is the correlation of the tomogram with the template over the template's norm and the tomogram's local
deviation (Roseman 2003, Ultramicroscopy 94:225), in units of what noise alone gives. Both are whitened, and the
template is weighted by what the tomogram's views show of it: a matched filter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.kernels.template_search import Band, keep_best, keep_best_torch, slice_pair, slice_pair_torch
from lamella.particles.template_cube import TemplateCube
from lamella.particles.template_weights import SearchWeights
from lamella.progress import Progress, no_progress

__all__ = ["BlockSearch", "Scores"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

_BANDS = 5
_QUIET = 0.05  # of the median local variance: emptier places hold no specimen
_COVERED = 0.2  # part of the sphere around a voxel that must lie in the tomogram


@dataclass(frozen=True, eq=False)
class Scores:
    """The best of all orientations at each voxel of a block, and its number; both are changed as a search goes on."""

    best: Tensor
    which: Tensor

    @classmethod
    def none(cls, shape: tuple[int, int, int], device: str = "cpu") -> Scores:
        """Before any orientation."""
        best = torch.full(shape, -torch.inf, device=device)
        return cls(best, torch.zeros(shape, dtype=torch.int32, device=device))


class BlockSearch:
    """A block of a tomogram, ready to be compared with templates.

    Parameters
    ----------
    block
        ``(z, y, x)`` float32, mass positive, of mean 0, on the voxels of the search; padded so that nothing comes round
        its edges.
    inside
        ``(z, y, x)`` from 0 in the padding to 1 in the tomogram.
    voxel_ratio
        voxel of the search over the tomogram's.
    radius_px
        of the sphere in which the local deviation is measured, voxels of the search: the template's.
    weights
        see `SearchWeights`.
    highest_px
        greatest frequency that is compared, cycles per voxel of the search.
    device
        ``cpu`` or a torch device.

    Attributes
    ----------
    whitened
        ``(z, y, x)`` the block, whitened and of unit deviation.
    deviation
        ``(z, y, x)`` of a correlation at each voxel: of `whitened` around it, times the root of the sphere's part that
        lies in the tomogram, as only that part of a template meets noise; inf where there is no specimen.
    """

    def __init__(
        self,
        block: Tensor,
        inside: Tensor,
        voxel_ratio: float,
        radius_px: float,
        weights: SearchWeights,
        highest_px: float,
        device: str = "cpu",
    ) -> None:
        self.device, self.ratio, self.highest = device, voxel_ratio, highest_px
        self.shape = (int(block.shape[0]), int(block.shape[1]), int(block.shape[2]))
        self.band = Band.of(self.shape, highest_px)
        amplitude, power = weights.at(self.band.frequencies() / voxel_ratio)
        whiten = np.where(np.abs(amplitude) > 1e-4, 1 / np.sqrt(power), 0).astype(np.float32)
        whiten[0] = 0.0  # the mean
        self._flat = self._here(self.band.flat())
        multiplicity = self._here(self.band.multiplicity())
        terms = torch.fft.rfftn(block.to(device)).reshape(-1)[self._flat] * self._here(whiten)
        terms = self._locally_whitened(terms, inside.to(device), radius_px)
        left = float((multiplicity * (terms.real**2 + terms.imag**2)).double().sum())
        terms *= float(np.sqrt(block.numel() * max(float(inside.sum()), 1.0) / max(left, 1e-30)))
        self.whitened = self._volume(terms)
        deviation, share = self._local_deviation(self.whitened, inside.to(device), radius_px)
        self.deviation = deviation * share.sqrt()
        # white noise of unit variance has the power voxels² / terms in each of so many terms
        self._unit = float(multiplicity[self._here(whiten) > 0].double().sum()) ** 0.5
        self._data = terms * self._here(amplitude * whiten)
        self._squares = self._here((amplitude * whiten) ** 2)
        self._buffer = torch.zeros(self.shape, dtype=torch.complex64, device=device)
        self._loop = self._on_cpu if device == "cpu" else _TorchLoop(self, multiplicity)

    def search(
        self,
        cube: TemplateCube,
        orientations: Array,
        scores: Scores | None = None,
        first: int = 0,
        progress: Progress = no_progress,
    ) -> Scores:
        """Compare the block with a template in orientations ``(k, 3, 3)``.

        Parameters
        ----------
        cube
            the template.
        scores
            of orientations before these, to go on with; changed. None begins anew.
        first
            number of the first of these orientations.

        Returns
        -------
        Scores
            not yet over the local deviation: see `normalised`.
        """
        scores = Scores.none(self.shape, self.device) if scores is None else scores
        matrices = cube.matrices(orientations, self.shape, self.ratio)
        for start in range(0, len(matrices), 2):
            pair = matrices[[start, min(start + 1, len(matrices) - 1)]]
            self._loop(cube.samples, pair, first + start, scores)
            progress(min(1.0, (start + 2) / len(matrices)), "comparing with the template")
        # an odd last one was compared with itself under a number that does not exist
        scores.which.clamp_(max=first + len(matrices) - 1)
        return scores

    def normalised(self, scores: Scores) -> Tensor:
        """``(z, y, x)`` scores in deviations of noise; −inf where there is no specimen."""
        out = scores.best / self.deviation
        return torch.where(torch.isfinite(self.deviation), out, -torch.inf)

    def _on_cpu(self, samples: NDArray[np.complex64], matrices: Array, number: int, scores: Scores) -> None:
        norms = slice_pair(
            samples, self.band, self._data.numpy(), self._squares.numpy(), matrices, self._buffer.numpy()
        )
        found = torch.fft.ifftn(self._buffer)
        keep_best(found.numpy(), self.scales(norms), number, scores.best.numpy(), scores.which.numpy())

    def scales(self, norms: Array) -> Array:
        """What correlations are multiplied by so that noise gives unit deviation."""
        scales: Array = self._unit / np.sqrt(np.maximum(norms, 1e-30))
        return scales

    def _here(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _volume(self, terms: Tensor) -> Tensor:
        depth, height, width = self.shape
        half = torch.zeros(depth * height * (width // 2 + 1), dtype=torch.complex64, device=self.device)
        half[self._flat] = terms
        volume: Tensor = torch.fft.irfftn(half.reshape(depth, height, -1), s=self.shape)
        return volume

    def _locally_whitened(self, terms: Tensor, inside: Tensor, radius_px: float) -> Tensor:
        """The terms after each band of frequencies was divided by its own local deviation.

        Beside dense bodies (ribosomes, membranes, carbon) low frequencies are stronger than the mean spectrum says, and
        any lump would score. Bands overlap as triangles, so that they add up to one.
        """
        length = np.sqrt((self.band.frequencies() ** 2).sum(axis=1)) / self.highest
        place = self._here((length * _BANDS - 0.5).clip(0, _BANDS - 1).astype(np.float32))
        total = torch.zeros(self.shape, device=self.device)
        for number in range(_BANDS):
            weight = (1 - (place - number).abs()).clamp_min(0)
            part = self._volume(terms * weight)
            part /= self._local_deviation(part, inside, radius_px)[0]
            total += part * (weight**2).sum().sqrt()
        whitened: Tensor = torch.fft.rfftn(total).reshape(-1)[self._flat]
        return whitened

    def _local_deviation(self, values: Tensor, inside: Tensor, radius_px: float) -> tuple[Tensor, Tensor]:
        """Deviation in the sphere around each voxel, and the part of the sphere that lies in the tomogram."""
        kernel = torch.fft.rfftn(_ball(self.shape, radius_px).to(self.device))
        sphere = kernel[0, 0, 0].real

        def mean(volume: Tensor) -> Tensor:
            smooth: Tensor = torch.fft.irfftn(torch.fft.rfftn(volume) * kernel, s=self.shape) / sphere
            return smooth

        share = mean(inside)
        covered = (share > _COVERED) & (inside > 0)
        share = share.clamp_min(_COVERED)
        variance = mean(values**2) / share - (mean(values) / share) ** 2
        floor = _QUIET * float(variance[covered].median()) if bool(covered.any()) else 1.0
        return torch.where(covered, variance.clamp_min(floor).sqrt(), torch.inf), share.clamp_max(1.0)


class _TorchLoop:
    """One pair of orientations on any device."""

    def __init__(self, search: BlockSearch, multiplicity: Tensor) -> None:
        self.search, self.multiplicity = search, multiplicity
        device = search.device
        places = search.band.places()
        self.places = torch.from_numpy(places).float().to(device)
        size = np.array(search.shape[::-1])
        whole = [
            torch.from_numpy((z * size[1] + y) * size[0] + x).to(device)
            for x, y, z in ((np.mod(sign * places, size)).T for sign in (1, -1))
        ]
        self.plus, self.minus = whole
        self.twice = multiplicity > 1

    def __call__(self, samples: NDArray[np.complex64], matrices: Array, number: int, scores: Scores) -> None:
        search = self.search
        cube = torch.from_numpy(samples).to(search.device)
        turns = torch.from_numpy(matrices).float().to(search.device)
        (one, two), norms = slice_pair_torch(cube, self.places, search._data, search._squares, self.multiplicity, turns)
        flat = search._buffer.reshape(-1)
        flat[self.minus[self.twice]] = (one.conj() + 1j * two.conj())[self.twice]
        flat[self.plus] = one + 1j * two
        found = torch.fft.ifftn(search._buffer)
        scale = torch.from_numpy(search.scales(norms.cpu().numpy())).float().to(search.device)
        keep_best_torch(found, scale, number, scores.best, scores.which)


def _ball(shape: tuple[int, int, int], radius_px: float) -> Tensor:
    """A ball around voxel 0, with an edge of a voxel."""
    square: Tensor | float = 0.0
    for axis, size in enumerate(shape):
        line = torch.arange(size, dtype=torch.float32)
        line = torch.minimum(line, size - line)
        square = square + line.reshape([-1 if other == axis else 1 for other in range(3)]) ** 2
    return (radius_px + 0.5 - torch.sqrt(torch.as_tensor(square))).clamp(0, 1)
