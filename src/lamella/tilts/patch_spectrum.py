"""What the patches of a series hold at each frequency: power, the part that views share, and through what thickness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamella.fourier import frequency_grid, radial_average
from lamella.tilts.film_plane import FilmPlanes
from lamella.tilts.slab import view_slopes

__all__ = ["Spectrum", "patch_spectrum"]

_THINNEST_ANG = 150.0  # slab that is tried, and up to 64 times as thick
_FINEST = 0.3  # cycles per working pixel: finer detail is noise, and interpolation harms it


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What the patches of a series hold at each frequency, ``(s, s // 2 + 1)`` in the layout of an rfft.

    Attributes
    ----------
    power
        of a windowed patch, signal and noise.
    coherence
        the part of it that two views would share if they saw the same slice, 0…1.
    thickness_ang
        of the slab that explains how much less neighbouring views share.
    """

    power: Tensor
    coherence: Tensor
    thickness_ang: float

    def certainty(self, planes: FilmPlanes) -> float:
        """Height of the median neighbours' correlation peak over its noise, for patches of the planes' size.

        It grows with a patch's edge. Much below 10 the highest peak is often not the right one.
        """
        slopes = np.sort(view_slopes(planes.geometry))
        apart = float(np.median(np.diff(slopes)))
        frequency_x = torch.fft.rfftfreq(planes.size_px, planes.spacing_ang)
        slab = torch.exp(-2 * torch.pi**2 * self.thickness_ang**2 / 12 * (apart * frequency_x) ** 2)
        squared = (self.coherence * slab).square()
        there = squared / (1 - squared)
        both = 2 * there.sum() - there[:, 0].sum()  # the half that an rfft leaves out
        return float(np.sqrt(2 * float(both) * float((planes.window**2).mean())))


def patch_spectrum(
    planes: FilmPlanes, thickness_ang: float = 0.0, *, patches: int = 12, finest: float = _FINEST
) -> Spectrum:
    """Power, coherence and thickness, from some of the patches.

    Parameters
    ----------
    planes
        the views, laid out by the geometry known so far.
    thickness_ang
        of the slab; 0 estimates it.
    patches
        how many are looked at.
    finest
        cycles per pixel beyond which nothing counts.

    The coherence is of views as they lie now: where shifts are still wrong by d, detail finer than about 4 d has none,
    so that an alignment that starts from coarse detail goes to fine detail by itself.

    Notes
    -----
    The cross spectra of neighbouring views are fitted by γ(|k|) · D(kx · distance of the slices), with D the slab's
    correlation (`slab_correlation`). For each thickness the best γ is a ratio of sums over rings; the thickness is the
    one that leaves the least squares.
    """
    size, geometry = planes.size_px, planes.geometry
    order = np.argsort(geometry.y_tilt_deg, kind="stable")
    first, second = order[:-1], order[1:]
    shape = (size, size)
    power = torch.zeros(size, size // 2 + 1)
    shared = torch.zeros(len(first), size, size // 2 + 1)
    count, pairs = 0, torch.zeros(len(first), 1, 1)
    for point in np.unique(np.linspace(0, len(planes) - 1, patches).round().astype(int)):
        window = planes.cut(int(point))
        terms, seen = torch.fft.rfft2(window.values), window.seen
        power += (terms.real.square() + terms.imag.square()).sum(dim=0)
        count += int(seen.sum())
        shared += (terms[first] * terms[second].conj()).real
        pairs += torch.from_numpy(seen[first] & seen[second])[:, None, None]
    frequency, curve = radial_average(power.double() / max(count, 1), shape)
    k = frequency_grid(shape)
    ring = (k / float(frequency[1] - frequency[0])).round().long().clamp(max=len(frequency) - 1)
    even = _smoothed(curve).clamp_min(1e-20)[ring].float()
    # slow changes of brightness are no detail
    usable = (k <= finest) * (1 - torch.exp(-0.5 * (k * size / 1.5) ** 2))
    slopes = view_slopes(geometry)
    distances = torch.from_numpy(np.abs(slopes[first] - slopes[second])).float()
    fits = _SlabFit(shared / even, pairs, distances, ring, k <= finest, planes.spacing_ang)
    thickness = thickness_ang or fits.best_thickness_ang()
    coherence = _smoothed(fits.coherence(thickness)).clamp(0, 0.95)
    # beyond the frequency where the views first share nothing, what seems shared is chance
    dead = torch.nonzero((coherence < 0.01) & (frequency > 3 / size))
    if len(dead):
        coherence[int(dead[0]) :] = 0
    return Spectrum(even, (coherence[ring] * usable).float(), thickness)


class _SlabFit:
    """Least-squares fit of neighbours' cross spectra by a slab's."""

    def __init__(
        self, shared: Tensor, pairs: Tensor, distances: Tensor, ring: Tensor, band: Tensor, spacing_ang: float
    ) -> None:
        self.shared, self.pairs, self.distances, self.ring, self.band = shared, pairs, distances, ring, band
        self.frequency_x = torch.fft.rfftfreq(ring.shape[0], spacing_ang)

    def _sums(self, thickness_ang: float) -> tuple[Tensor, Tensor]:
        """Over each ring: data times model, and the model's square, each pair counted as often as it was seen."""
        apart = self.distances[:, None] * self.frequency_x
        model = torch.exp(-2 * torch.pi**2 * thickness_ang**2 / 12 * apart**2)[:, None]  # (pairs, 1, f)
        found = torch.zeros(int(self.ring.max()) + 1, dtype=torch.float64)
        norm = torch.zeros_like(found)
        found.index_add_(0, self.ring.flatten(), ((self.shared * model).sum(dim=0) * self.band).flatten().double())
        squares = (self.pairs * model**2).sum(dim=0).expand(self.ring.shape) * self.band
        norm.index_add_(0, self.ring.flatten(), squares.flatten().double())
        return found, norm

    def coherence(self, thickness_ang: float) -> Tensor:
        """γ of each ring for one thickness."""
        found, norm = self._sums(thickness_ang)
        return found / norm.clamp_min(1e-12)

    def best_thickness_ang(self) -> float:
        """The thickness of the least squares left, among steps of a sixth of an octave."""
        tries = _THINNEST_ANG * 2 ** (torch.arange(0, 6.01, 1 / 6))
        gains = []
        for thickness in tries:
            found, norm = self._sums(float(thickness))
            gains.append(float((found.clamp_min(0) ** 2 / norm.clamp_min(1e-12)).sum()))
        return float(tries[int(np.argmax(gains))])


def _smoothed(curve: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool1d(curve[None, None].double(), 3, 1, 1, count_include_pad=False)[0, 0]
