"""Follow patches of the specimen through the views.

A patch is a window about a specimen point, cut from each view in the specimen's plane, where the geometry known so far
predicts it: tilt, axis, shift and the point's depth are undone, and what is left is the error of the prediction.
Views of a patch are correlated in pairs, neighbours in tilt and views a few steps apart; each frequency counts
by what the series itself says of it (the coherence of neighbouring views), and by what a slab lets two views share. A
patch's places in all views follow from all its pairs at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.fourier import find_peak, frequency_grid, radial_average, soft_mask
from lamella.geometry import TiltGeometry
from lamella.parallel import each
from lamella.progress import Progress, no_progress
from lamella.records.tracks import Tracks
from lamella.tilts.links import neighbour_links, solve_links
from lamella.tilts.slab import slab_correlation, view_slopes
from lamella.tilts.working import Grid, WorkingImages, plane_matrices

__all__ = ["PatchPlan", "Spectrum", "break_tracks", "follow_patches", "patch_grid", "patch_spectrum"]

Array = NDArray[np.float64]

_LEAST_COVERED = 0.75  # of a patch inside the image, or it is not seen in that view
_THINNEST_ANG = 150.0  # slab that is tried, and up to 64 times as thick
_FINEST = 0.3  # cycles per working pixel: finer detail is noise, and interpolation harms it


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchPlan:
    """Which patches are followed, and how.

    Attributes
    ----------
    points_ang
        ``(p, 3)`` their centres in the specimen.
    size_px
        edge of a patch, working pixels.
    reach_px
        how far from the prediction a peak is looked for, working pixels.
    steps
        how many views apart in tilt the linked views lie.
    thickness_ang
        of the slab, by which views far apart share only coarse detail; 0 estimates it.
    """

    points_ang: Array
    size_px: int
    reach_px: float
    steps: tuple[int, ...] = (1, 2, 3, 5)
    thickness_ang: float = 0.0


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


def patch_grid(geometry: TiltGeometry, field_ang: tuple[float, float], size_ang: float, spacing_ang: float) -> Array:
    """``(p, 3)`` centres of patches at z = 0 on a grid that covers what the least tilted view sees.

    The grid is centred and as even as the field allows, patches at most `spacing_ang` apart.
    """
    least = int(np.argmin(np.abs(geometry.y_tilt_deg)))
    places = []
    for width in field_ang:
        room = max(width - size_ang, 0.0)
        count = int(np.ceil(room / spacing_ang)) + 1
        places.append((np.arange(count) - (count - 1) / 2) * (room / max(count - 1, 1)))
    x, y = np.meshgrid(*places)
    seen = np.stack([x.ravel(), y.ravel()], axis=-1)
    plane = plane_matrices(geometry)[least]
    centres = (seen - geometry.shifts_ang()[least]) @ np.linalg.inv(plane).T
    return np.concatenate([centres, np.zeros((len(centres), 1))], axis=1)


def follow_patches(
    images: WorkingImages,
    geometry: TiltGeometry,
    plan: PatchPlan,
    spectrum: Spectrum | None = None,
    progress: Progress = no_progress,
) -> Tracks:
    """Tracks of patches.

    Parameters
    ----------
    images
        working images.
    geometry
        what predicts the patches.
    plan
        which patches, and how.
    spectrum
        from `patch_spectrum`; measured where left out.
    progress
        told the fraction of the patches that are done.

    Returns
    -------
    Tracks
        with weights from the error of each place: curvature of the correlation peaks, carried through the
        solve over links, in units of Å⁻².
    """
    spectrum = spectrum or patch_spectrum(images, geometry, plan)
    places = geometry.project(plan.points_ang)  # (n, p, 2)
    plane = plane_matrices(geometry)
    observations = np.full(places.shape, np.nan)
    weights = np.zeros(places.shape[:2])
    follower = _Follower(images, geometry, plan, spectrum)
    followed = each(
        lambda point: follower.follow(places[:, point]), range(len(plan.points_ang)), progress, "following patches"
    )
    for point, (seen, moved, variance) in enumerate(followed):
        observations[seen, point] = places[seen, point] + np.einsum("nij,nj->ni", plane[seen], moved[seen])
        in_image = np.einsum("nij,nj->ni", plane[seen] ** 2, variance[seen])
        weights[seen, point] = 2 / in_image.sum(axis=-1)
    return Tracks.observed(observations, weights, kind="patches")


def break_tracks(tracks: Tracks, tilt_deg: Array, span_deg: float) -> Tracks:
    """Break tracks into overlapping pieces, each a point of its own.

    A patch is no point: what of its depth it shows changes with the tilt, slowly, so that over a wide range its track
    bends as no point's does. Over a part of the range it is one to within the noise. The pieces overlap by three
    quarters; an observation's weight is shared out among the pieces that hold it.

    Parameters
    ----------
    tracks
        of patches.
    tilt_deg
        ``(n,)`` of the views.
    span_deg
        range of tilts of a piece; tracks come back as they are where it covers them.
    """
    low, high = float(np.min(tilt_deg)), float(np.max(tilt_deg))
    if high - low <= span_deg:
        return tracks
    count = int(np.ceil((high - low - span_deg) / (span_deg / 4))) + 1
    starts = np.linspace(low, high - span_deg, count)
    held = (tilt_deg >= starts[:, None] - 1e-6) & (tilt_deg <= starts[:, None] + span_deg + 1e-6)  # (pieces, n)
    shared = tracks.weights / held.sum(axis=0)[:, None]
    seen_at = np.where(held[:, :, None, None], tracks.observations_ang, np.nan)
    weights = np.where(held[:, :, None], shared, 0.0)
    labels = np.tile(tracks.labels, count)
    return Tracks.observed(np.concatenate(list(seen_at), axis=1), np.concatenate(list(weights), axis=1), labels, tracks.kind)


def patch_spectrum(
    images: WorkingImages, geometry: TiltGeometry, plan: PatchPlan, patches: int = 12, finest: float = _FINEST
) -> Spectrum:
    """Power, coherence and thickness under a geometry, from some of the patches.

    The coherence is of views as they lie now: where shifts are still wrong by d, detail finer than about 4 d has none,
    so that an alignment that starts from coarse detail goes to fine detail by itself.

    Notes
    -----
    The cross spectra of neighbouring views are fitted by γ(|k|) · D(kx · distance of the slices), with D the slab's
    correlation (`slab_correlation`). For each thickness the best γ is a ratio of sums over rings; the thickness is the
    one that leaves the least squares.
    """
    cutter = _Cutter(images, geometry, plan.size_px)
    order = np.argsort(geometry.y_tilt_deg, kind="stable")
    first, second = order[:-1], order[1:]
    chosen = np.unique(np.linspace(0, len(plan.points_ang) - 1, patches).round().astype(int))
    places = geometry.project(plan.points_ang[chosen])
    shape = (plan.size_px, plan.size_px)
    power = torch.zeros(cutter.rfft_shape)
    shared = torch.zeros(len(first), *cutter.rfft_shape)
    count, pairs = 0, torch.zeros(len(first), 1, 1)
    for point in range(len(chosen)):
        terms, seen = cutter.cut(places[:, point])
        terms = terms * torch.from_numpy(seen)[:, None, None]
        power += (terms.abs() ** 2).sum(dim=0)
        count += int(seen.sum())
        shared += (terms[first] * terms[second].conj()).real
        pairs += torch.from_numpy(seen[first] & seen[second])[:, None, None]
    frequency, curve = radial_average(power.double() / max(count, 1), shape)
    k = frequency_grid(shape)
    ring = (k / float(frequency[1] - frequency[0])).round().long().clamp(max=len(frequency) - 1)
    even = _smoothed(curve).clamp_min(1e-20)[ring].float()
    # slow changes of brightness are no detail
    usable = (k <= finest) * (1 - torch.exp(-0.5 * (k * plan.size_px / 1.5) ** 2))
    slopes = view_slopes(geometry)
    distances = torch.from_numpy(np.abs(slopes[first] - slopes[second])).float()
    fits = _SlabFit(shared / even, pairs, distances, ring, k <= finest, cutter.spacing_ang)
    thickness = plan.thickness_ang or fits.best_thickness_ang()
    coherence = _smoothed(fits.coherence(thickness)).clamp(0, 0.95)
    # beyond the frequency where the views first share nothing, what seems shared is chance
    dead = torch.nonzero((coherence < 0.01) & (frequency > 3 / plan.size_px))
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


class _Cutter:
    """Cuts windowed patches in the specimen's plane and transforms them."""

    def __init__(self, images: WorkingImages, geometry: TiltGeometry, size_px: int) -> None:
        self.images = images
        self.spacing_ang = max(images.pixel_ang)
        self.grid = Grid.centred(size_px, size_px, self.spacing_ang)
        self.plane = plane_matrices(geometry)
        self.window = soft_mask((size_px, size_px), 0.28 * size_px, 0.2 * size_px)
        self.rfft_shape = (size_px, size_px // 2 + 1)

    def cut(self, places_ang: Array) -> tuple[Tensor, NDArray[np.bool_]]:
        """``(n, s, s // 2 + 1)`` transforms of one patch about ``(n, 2)`` image points, and where it is seen."""
        values, inside = self.images.sample(range(len(places_ang)), self.grid, self.plane, places_ang)
        weight = inside * self.window
        total = weight.sum(dim=(-2, -1))
        mean = (values * weight).sum(dim=(-2, -1)) / total.clamp_min(1e-6)
        patch = (values - mean[:, None, None]) * weight
        deviation = (patch**2).sum(dim=(-2, -1)).sqrt()
        terms = torch.fft.rfft2(patch / deviation.clamp_min(1e-12)[:, None, None])
        seen = (total >= _LEAST_COVERED * self.window.sum()) & (deviation > 1e-6)
        return terms, seen.numpy()


class _Follower:
    """Links the views of a patch."""

    def __init__(self, images: WorkingImages, geometry: TiltGeometry, plan: PatchPlan, spectrum: Spectrum) -> None:
        self.plan, self.n = plan, len(geometry)
        self.cutter = _Cutter(images, geometry, plan.size_px)
        self.order = np.argsort(geometry.y_tilt_deg, kind="stable")
        size = plan.size_px
        # nothing finer than what views share is carried along: the correlations are that much smaller
        k = frequency_grid((size, size))
        finest = float(k[spectrum.coherence > 0].max()) if (spectrum.coherence > 0).any() else 0.0
        self.half = min(max(int(np.ceil(size * finest)) + 2, 12), size // 2)
        self.coherence, self.power = self._low(spectrum.coherence), self._low(spectrum.power)
        frequency_x = np.fft.rfftfreq(size, self.cutter.spacing_ang).astype(np.float64)[: self.half + 1]
        slab = slab_correlation(view_slopes(geometry), frequency_x, spectrum.thickness_ang)
        self.slab = torch.from_numpy(slab).float()
        k_x, k_y = torch.fft.rfftfreq(size), torch.fft.fftfreq(size)[:, None]
        whole = (size, size // 2 + 1)
        self.squares = torch.stack([self._low((k**2).expand(whole)) for k in (k_x, k_y)])
        self.twice = torch.full((self.half + 1,), 2.0)
        self.twice[0] = 1
        # pixels under the window, over pixels of the patch: neighbouring frequencies are not independent
        self.independent = float((self.cutter.window**2).mean())

    def _low(self, values: Tensor) -> Tensor:
        """``(..., 2 half, half + 1)`` the low frequencies of an rfft; those at the new Nyquist are left out."""
        rows = torch.cat([values[..., : self.half, :], values[..., -self.half :, :]], dim=-2)[..., : self.half + 1]
        rows = rows.clone()
        rows[..., self.half, :] = 0
        rows[..., -1] = 0
        return rows

    def follow(self, places_ang: Array) -> tuple[NDArray[np.bool_], Array, Array]:
        """Where a patch is seen ``(n,)``, how far it lies from its places ``(n, 2)``, and the variance of that, Å."""
        terms, covered = self.cutter.cut(places_ang)
        terms = self._low(terms)
        kept = self.order[covered[self.order]]
        pairs = neighbour_links(kept, self.plan.steps)
        if not len(pairs):
            return np.zeros(self.n, dtype=bool), np.zeros((self.n, 2)), np.full((self.n, 2), np.inf)
        moved, information = self._correlate(terms, pairs)
        spacing = self.cutter.spacing_ang
        solution = solve_links(pairs, moved * spacing, information / spacing**2, self.n, tolerance=0.7 * spacing)
        trusted = np.zeros(self.n)
        np.add.at(trusted, pairs[:, 0], solution.robust_weights)
        np.add.at(trusted, pairs[:, 1], solution.robust_weights)
        seen = covered & np.isfinite(solution.variances).all(axis=1) & (trusted > 0.5)
        return seen, solution.places, np.maximum(solution.variances, (0.02 * spacing) ** 2)

    def _correlate(self, terms: Tensor, pairs: NDArray[np.int64]) -> tuple[Array, Array]:
        """``(l, 2)`` (x, y) by which the second of each pair has to move, and its inverse variance, px and px⁻²."""
        first, second = torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1])
        shared = self.slab[:, first, second].T[:, None] * self.coherence  # (l, 2 half, half + 1)
        # the weight of maximum likelihood for a shift between noisy copies (Hannan & Thomson 1973)
        gain = shared / (1 - shared**2)
        product = terms[first] * terms[second].conj() * (gain / self.power.clamp_min(1e-20))
        size, coarser = self.plan.size_px, 2 * self.half
        correlation = torch.fft.irfft2(product, s=(coarser, coarser)) * coarser**2
        step = size / coarser
        shift, height = find_peak(correlation, max(self.plan.reach_px / step, 1.5))
        moved = shift.flip(-1).double().numpy() * step
        # Σ k² γ² / (1 − γ²), by how much of the coherence that was expected is there
        agreed = gain * shared * self.twice
        there = (height / agreed.sum(dim=(-2, -1)).clamp_min(1e-20)).clamp(0.0, 4.0)
        curvature = (self.squares[None] * agreed[:, None]).sum(dim=(-2, -1))  # (l, 2)
        information = 4 * np.pi**2 * curvature * there[:, None] ** 2 * self.independent
        # where views share nothing there is no peak, and no place
        return np.nan_to_num(moved, nan=0.0), np.nan_to_num(information.double().numpy(), nan=0.0)
