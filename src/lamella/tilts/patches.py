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

from lamella.fourier import frequency_grid
from lamella.geometry import TiltGeometry
from lamella.parallel import each
from lamella.progress import Progress, no_progress
from lamella.records.tracks import Tracks
from lamella.tilts.film_plane import FilmPlanes
from lamella.tilts.links import neighbour_links, solve_links
from lamella.tilts.patch_spectrum import Spectrum, patch_spectrum
from lamella.tilts.peaks import NearPeaks
from lamella.tilts.slab import slab_correlation, view_slopes
from lamella.tilts.working import plane_matrices

__all__ = ["PatchPlan", "break_tracks", "follow_patches", "patch_grid"]

Array = NDArray[np.float64]

_GOLDEN = 0.6180339887  # golden section: multiples of it spread evenly, however many there are
_SHORTEST = 0.4  # of the span: an end piece that is shorter stays with its neighbour


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchPlan:
    """How patches are followed.

    Attributes
    ----------
    reach_px
        how far from the prediction a peak is looked for, working pixels.
    steps
        how many views apart in tilt the linked views lie.
    thickness_ang
        of the slab, by which views far apart share only coarse detail; 0 estimates it.
    """

    reach_px: float
    steps: tuple[int, ...] = (1, 2, 3, 5)
    thickness_ang: float = 0.0


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
    planes: FilmPlanes, plan: PatchPlan, spectrum: Spectrum | None = None, progress: Progress = no_progress
) -> Tracks:
    """Tracks of patches.

    Parameters
    ----------
    planes
        the views, laid out about the patches by the geometry that predicts them.
    plan
        how they are followed.
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
    spectrum = spectrum or patch_spectrum(planes, plan.thickness_ang)
    places, plane = planes.places_ang, planes.plane
    observations = np.full(places.shape, np.nan)
    weights = np.zeros(places.shape[:2])
    follower = _Follower(planes, plan, spectrum)
    followed = each(follower.follow, range(len(planes)), progress, "following patches")
    for point, (seen, moved, variance) in enumerate(followed):
        observations[seen, point] = places[seen, point] + np.einsum("nij,nj->ni", plane[seen], moved[seen])
        in_image = np.einsum("nij,nj->ni", plane[seen] ** 2, variance[seen])
        weights[seen, point] = 2 / in_image.sum(axis=-1)
    return Tracks.observed(observations, weights)


def break_tracks(tracks: Tracks, tilt_deg: Array, span_deg: float) -> Tracks:
    """Break tracks into pieces, each a point of its own.

    A patch is no point: what of its depth it shows changes with the tilt, slowly, so that over a wide range its track
    bends as no point's does. Over a part of the range it is one to within the noise. Every observation stays in one
    piece, for a copy would tell leave-one-out what it leaves out; patches are broken at different tilts, so that no
    view's link to its neighbours is cut in all of them.

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
    offsets = span_deg * np.mod(np.arange(tracks.count) * _GOLDEN, 1.0)
    piece = np.floor((tilt_deg[:, None] - low + offsets) / span_deg + 1e-9).astype(np.int64)  # (n, p)
    for end, towards in ((piece.min(axis=0), 1), (piece.max(axis=0), -1)):
        at_end = piece == end
        tilts = np.where(at_end, tilt_deg[:, None], np.nan)
        short = np.nanmax(tilts, axis=0) - np.nanmin(tilts, axis=0) < _SHORTEST * span_deg
        piece = np.where(at_end & short, end + towards, piece)
    observations, weights, labels = [], [], []
    for number in range(int(piece.max()) + 1):
        held = piece == number
        some = held.any(axis=0)
        observations.append(np.where(held[..., None], tracks.observations_ang, np.nan)[:, some])
        weights.append(np.where(held, tracks.weights, 0.0)[:, some])
        labels.append(tracks.labels[some])
    return Tracks.observed(
        np.concatenate(observations, axis=1), np.concatenate(weights, axis=1), np.concatenate(labels), tracks.kind
    )


@dataclass(frozen=True, eq=False)
class _Pairing:
    """What correlating l pairs of views needs beside the patch."""

    filter: Tensor  # (l, 2 half, half + 1)
    expected: Array  # (l,) height of a peak of views that share as much as the spectrum says
    curvature: Array  # (l, 2) inverse variance (x, y) of such a peak's place, px⁻²


class _Follower:
    """Links the views of a patch."""

    def __init__(self, planes: FilmPlanes, plan: PatchPlan, spectrum: Spectrum) -> None:
        self.planes, self.plan, self.n = planes, plan, len(planes.geometry)
        self.order = np.argsort(planes.geometry.y_tilt_deg, kind="stable")
        self.size = size = planes.size_px
        # nothing finer than what views share is carried along: the correlations are that much smaller
        k = frequency_grid((size, size))
        finest = float(k[spectrum.coherence > 0].max()) if (spectrum.coherence > 0).any() else 0.0
        self.half = min(max(int(np.ceil(size * finest)) + 2, 12), size // 2)
        self.coherence, self.power = self._low(spectrum.coherence), self._low(spectrum.power)
        frequency_x = np.fft.rfftfreq(size, planes.spacing_ang).astype(np.float64)[: self.half + 1]
        slab = slab_correlation(view_slopes(planes.geometry), frequency_x, spectrum.thickness_ang)
        self.slab = torch.from_numpy(slab).float()
        k_x, k_y = torch.fft.rfftfreq(size), torch.fft.fftfreq(size)[:, None]
        whole = (size, size // 2 + 1)
        self.squares = torch.stack([self._low((k**2).expand(whole)) for k in (k_x, k_y)])
        self.twice = torch.full((self.half + 1,), 2.0)
        self.twice[0] = 1
        self.peaks = NearPeaks(size, self.half, finest, plan.reach_px)
        self.known: dict[bytes, _Pairing] = {}
        # pixels under the window, over pixels of the patch: neighbouring frequencies are not independent
        self.independent = float((planes.window**2).mean())

    def _low(self, values: Tensor) -> Tensor:
        """``(..., 2 half, half + 1)`` the low frequencies of an rfft; those at the new Nyquist are left out."""
        rows = torch.cat([values[..., : self.half, :], values[..., -self.half :, :]], dim=-2)[..., : self.half + 1]
        rows = rows.clone()
        rows[..., self.half, :] = 0
        rows[..., -1] = 0
        return rows

    def follow(self, point: int) -> tuple[NDArray[np.bool_], Array, Array]:
        """Where a patch is seen ``(n,)``, how far it lies from its windows' centres ``(n, 2)``, and its variance, Å."""
        windows = self.planes.cut(point)
        terms = self._low(torch.fft.rfft2(windows.values))
        kept = self.order[windows.seen[self.order]]
        pairs = neighbour_links(kept, self.plan.steps)
        if not len(pairs):
            return np.zeros(self.n, dtype=bool), np.zeros((self.n, 2)), np.full((self.n, 2), np.inf)
        moved, information = self._correlate(terms, pairs)
        information *= windows.covered[pairs].min(axis=1)[:, None]
        spacing = self.planes.spacing_ang
        solution = solve_links(pairs, moved * spacing, information / spacing**2, self.n, tolerance=0.7 * spacing)
        trusted = np.zeros(self.n)
        np.add.at(trusted, pairs[:, 0], solution.robust_weights)
        np.add.at(trusted, pairs[:, 1], solution.robust_weights)
        seen = windows.seen & np.isfinite(solution.variances).all(axis=1) & (trusted > 0.5)
        return seen, solution.places, np.maximum(solution.variances, (0.02 * spacing) ** 2)

    def _correlate(self, terms: Tensor, pairs: NDArray[np.int64]) -> tuple[Array, Array]:
        """``(l, 2)`` (x, y) by which the second of each pair has to move, and its inverse variance, px and px⁻²."""
        first, second = torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1])
        pairing = self._pairing(pairs)
        product = terms[first] * terms[second].conj() * pairing.filter
        moved, height = self.peaks.find(product)
        there = np.clip(height / pairing.expected, 0.0, 4.0)
        # where views share nothing there is no peak, and no place
        return moved, np.nan_to_num(pairing.curvature * there[:, None] ** 2, nan=0.0)

    def _pairing(self, pairs: NDArray[np.int64]) -> _Pairing:
        """What does not depend on the patch; most patches are seen in the same views."""
        key = pairs.tobytes()
        if key not in self.known:
            first, second = torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1])
            shared = self.slab[:, first, second].T[:, None] * self.coherence  # (l, 2 half, half + 1)
            # the weight of maximum likelihood for a shift between noisy copies (Hannan & Thomson 1973)
            gain = shared / (1 - shared**2)
            # Σ k² γ² / (1 − γ²), by how much of the coherence that was expected is there
            agreed = gain * shared * self.twice
            curvature = (self.squares[None] * agreed[:, None]).sum(dim=(-2, -1)).double().numpy()
            self.known = {
                key: _Pairing(
                    gain / self.power.clamp_min(1e-20),
                    agreed.sum(dim=(-2, -1)).clamp_min(1e-20).double().numpy(),
                    4 * np.pi**2 * curvature * self.independent,
                )
            }
        return self.known[key]
