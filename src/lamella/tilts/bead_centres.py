"""Exact centres of beads: windows cut once at full resolution, a profile learned from all, each bead fitted.

The profile is that of all beads of the series; a view's own differs where its beads, and those of the views beside it
in tilt until there are enough, are seen to.
Beads near each other are taken off each other's windows; beads that overlap have no centre of their own and are left
out. Where it is asked for, centres are those of the beads' edges (`lamella.features.bead_edges`); what else is said of
a bead, its bound too, is still the fit's.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.features.bead_edges import edge_centres
from lamella.features.bead_noise import Leftover, NoiseShape, NoiseSpectrum
from lamella.features.bead_profile import (
    PROFILE_STEP_PX,
    BeadFit,
    ProfileSums,
    RadialProfile,
    Windows,
    ball_look,
    fit_windows,
)
from lamella.fourier import fast_size
from lamella.parallel import each
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource

__all__ = ["BeadWindows", "CentredBy", "Centres"]

Array = NDArray[np.float64]
CentredBy = Literal["profile", "edges"]
"""By what a bead's centre is told: all of its profile, or its edges."""

_COARSEST = 3  # bins of the noise's power, coarser than 7 px
_ENOUGH_BEADS = 60  # from which a profile is learned
_OVERLAP = 1.1  # diameters between two centres below which neither has a place of its own
_OFF = 0.35  # of the median depth: a bead that differs by more is not one, or not alone
_FAINT = 0.4  # of the usual contrast of all views
_MISFIT = 3.0  # times the median misfit


@dataclass(frozen=True, eq=False)
class Centres:
    """Fitted centres of p beads in n views; NaN or 0 where there is none.

    Attributes
    ----------
    places_px
        ``(n, p, 2)``.
    variance_px2
        ``(n, p)`` Fisher's bound on the variance of a coordinate, mean of the two.
    depth, misfit
        ``(n, p)`` see `BeadFit`.
    good
        ``(n, p)`` where a bead stands alone, is as deep as the others of its view and looks like them.
    """

    places_px: Array
    variance_px2: Array
    depth: Array
    misfit: Array
    good: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _View:
    """The beads of one view."""

    number: int
    beads: NDArray[np.int64]
    windows: Windows
    fit: BeadFit
    alone: NDArray[np.bool_]
    noise: NoiseSpectrum
    profile: RadialProfile
    left: Leftover | None = None


class BeadWindows:
    """Windows round beads in all views.

    Parameters
    ----------
    images
        the tilt images, at full resolution.
    places_px
        ``(n, p, 2)`` where beads are about, pixels; NaN where none is to be looked for.
    diameter_px
        of the beads.
    like
        earlier windows of the same series, whose profiles and noise are where this begins; None: a ball's.
    progress
        told the fraction of the views that are read.
    """

    def __init__(
        self,
        images: ImageSource,
        places_px: Array,
        diameter_px: float,
        like: BeadWindows | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.shape, self.diameter = places_px.shape[:2], diameter_px
        radius = diameter_px / 2
        self.noise_shape: NoiseShape = like.noise_shape if like else NoiseShape.even()
        self.reach = radius + max(0.5 * radius, 3.0), radius + max(0.9 * radius, 6.0)
        size = fast_size(2 * int(np.ceil(self.reach[1] + 3)))
        look = ball_look(radius, self.reach[1])

        def one(number: int) -> _View:
            beads = np.flatnonzero(np.isfinite(places_px[number, :, 0]))
            places = places_px[number, beads]
            windows = Windows.cut(np.asarray(images.view(number), dtype=np.float32), places, size)
            fit, variance = _first_guess(windows, places, radius)
            noise, profile = NoiseSpectrum.white(variance), look
            if like:
                noise, profile = like.views[number].noise, like.views[number].profile
            return _View(number, beads, windows, fit, _alone(places, diameter_px), noise, profile)

        self.views: list[_View] = each(one, range(self.shape[0]), progress, "cutting out beads")

    def centred(
        self,
        tilt_deg: Array,
        by: CentredBy = "profile",
        rounds: int = 1,
        progress: Progress = no_progress,
    ) -> Centres:
        """Fit everything: first with the profiles there are, then with profiles learned.

        Parameters
        ----------
        tilt_deg
            ``(n,)``: views near in tilt share what they learn.
        by
            what the centres are those of.
        rounds
            times that profile and noise are learned anew.
        progress
            told the fraction done.
        """
        for number in range(rounds + 1):
            if number:
                self._learn(tilt_deg)
            self.views = each(self._fitted, self.views)
            progress((number + 1) / (rounds + 1), "fitting beads")
        if by == "edges":
            self.views = each(self._by_edges, self.views)
        return self._gathered()

    def standing_out(self) -> tuple[float, float]:
        """How far beads stand out, in standard deviations of coarse detail over a bead, and the spread of contrasts.

        The first is large for beads, whatever the dose, and small for edges and texture; the second, the range of the
        middle four fifths over the median, is small for beads, which are all of one size.
        """
        signals, contrasts = [], []
        for view in self.views:
            if len(view.beads):
                distance = np.arange(len(view.profile.values)) * PROFILE_STEP_PX
                energy = 2 * np.pi * float((view.profile.values.numpy() ** 2 * distance).sum()) * PROFILE_STEP_PX
                coarse = float(view.noise.power[:_COARSEST].mean())
                signals.append(np.median(np.abs(view.fit.depth)) * np.sqrt(energy / coarse))
                contrasts.append(_contrast(view) / np.median(_contrast(view)[_known(view)]))
        if not signals:
            return 0.0, np.inf
        low, high = np.percentile(np.concatenate(contrasts), [10, 90])
        return float(np.median(signals)), float(high - low)

    def profiles(self) -> list[RadialProfile]:
        """The profile of each view."""
        return [view.profile for view in self.views]

    def _fitted(self, view: _View) -> _View:
        if not len(view.beads):
            return view
        cleaned = _without_others(view, self.reach[1])
        fit, left = fit_windows(cleaned, view.fit, view.profile, view.noise, self.noise_shape, self.reach)
        # a fit that ran away begins again where it was, and is not believed
        lost = ~(np.linalg.norm(fit.centres_px - view.fit.centres_px, axis=-1) < 0.35 * self.diameter)
        lost |= ~np.isfinite(fit.bound_px2).all(axis=(1, 2))
        fit = _where(lost, view.fit, fit)
        alone = _alone(fit.centres_px, self.diameter) & ~lost
        fitted = replace(view, fit=fit, alone=alone, left=left)
        return replace(fitted, noise=NoiseSpectrum.measured(left, _believed(fitted)))

    def _by_edges(self, view: _View) -> _View:
        """A view with its beads where their edges are; those whose edges are not found are not believed."""
        if not len(view.beads):
            return view
        cleaned = _without_others(view, self.reach[1])
        centres, found = edge_centres(cleaned, view.fit.centres_px, view.profile, self.diameter, self.reach[0])
        return replace(view, fit=replace(view.fit, centres_px=centres), alone=view.alone & found)

    def _learn(self, tilt_deg: Array) -> None:
        """Learn the look of all beads, how each group of views differs from it, and the noise near beads."""

        def sums(view: _View) -> ProfileSums:
            cleaned = _without_others(view, self.reach[1])
            return ProfileSums.of(cleaned, view.fit, self.reach[1], _believed(view))

        own = each(sums, self.views)
        common = functools.reduce(operator.add, own).knots()
        left = [(view.left, _believed(view)) for view in self.views if view.left is not None]
        squares = np.concatenate([one.squares[like] for one, like in left])
        if not len(squares):
            return  # nothing to learn from
        pixels = np.concatenate([one.pixels[like] for one, like in left])
        self.noise_shape = NoiseShape.measured(squares.sum(axis=0), pixels.sum(axis=0), self.diameter / 2)
        learned = []
        for view in self.views:
            total = own[view.number]
            for other in np.argsort(np.abs(tilt_deg - tilt_deg[view.number]), kind="stable")[1:]:
                if total.count >= _ENOUGH_BEADS:
                    break
                total = total + own[int(other)]
            learned.append(replace(view, profile=total.own_profile(common, float(view.noise.power.mean()))))
        self.views = learned

    def _gathered(self) -> Centres:
        places, variance = np.full((*self.shape, 2), np.nan), np.zeros(self.shape)
        contrasts = [float(np.median(_contrast(view)[_known(view)])) for view in self.views if len(view.beads)]
        usual = float(np.median(contrasts)) if contrasts else np.nan
        depth, misfit, good = np.zeros(self.shape), np.zeros(self.shape), np.zeros(self.shape, dtype=bool)
        for view in self.views:
            at = view.number, view.beads
            places[at] = view.fit.centres_px
            variance[at] = np.trace(view.fit.bound_px2, axis1=1, axis2=2) / 2
            depth[at], misfit[at], good[at] = view.fit.depth, view.fit.misfit, _believed(view, usual)
        return Centres(places, variance, depth, misfit, good)


def _first_guess(windows: Windows, places: Array, radius: float) -> tuple[BeadFit, float]:
    """Depth and ground from means within and around, and the variance of a pixel from differences of neighbours."""
    x, y = windows.offsets(places)
    distance = torch.hypot(x, y)

    def mean(chosen: torch.Tensor) -> Array:
        chosen = chosen & windows.inside
        out = (windows.pixels * chosen).sum(dim=(1, 2)) / chosen.sum(dim=(1, 2)).clamp_min(1)
        return np.asarray(out.double().numpy())

    within, around = mean(distance < 0.5 * radius), mean((distance > 1.2 * radius) & (distance < 1.8 * radius))
    count = len(windows)
    ground = np.stack([around, np.zeros(count), np.zeros(count)], axis=-1)
    bound = np.broadcast_to(np.eye(2), (count, 2, 2)).copy()
    step = windows.pixels[:, :, 1:] - windows.pixels[:, :, :-1]
    variance = float((step.abs().median() / 0.6745) ** 2 / 2) if count else 1.0
    return BeadFit(places.copy(), within - around, ground, bound, np.ones(count)), max(variance, 1e-20)


def _alone(places: Array, diameter: float) -> NDArray[np.bool_]:
    """Whether no other bead of the view overlaps."""
    if len(places) < 2:
        return np.ones(len(places), dtype=bool)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart.min(axis=1) > _OVERLAP * diameter)


def _believed(view: _View, usual: float = np.nan) -> NDArray[np.bool_]:
    """Beads that stand alone, are like the others of their view, and not unlike the `usual` contrast of all views."""
    if not len(view.beads):
        return np.zeros(0, dtype=bool)
    contrast, misfit = _contrast(view), float(np.median(view.fit.misfit[_known(view)]))
    here = float(np.median(contrast[_known(view)]))
    like = (np.abs(contrast - here) <= _OFF * abs(here)) & (view.fit.misfit <= _MISFIT * misfit)
    if np.isfinite(usual):
        like &= (contrast / usual > _FAINT) & (contrast / usual < 1 / _FAINT)
    return np.asarray(view.alone & like)


def _known(view: _View) -> NDArray[np.bool_]:
    """The beads that stand alone, or all where none does."""
    return view.alone if view.alone.any() else np.ones(len(view.beads), dtype=bool)


def _contrast(view: _View) -> Array:
    """``(p,)`` depth of the beads; over the ground's intensity where that is transmitted intensity.

    Beads take a share of what comes through: over carbon they are less deep.
    """
    depth, level, known = view.fit.depth, view.fit.ground[:, 0], _known(view)
    if np.median(level[known]) > np.median(-depth[known]) > 0:
        depth = depth / np.maximum(level, 0.2 * np.median(level[known])) * np.median(level[known])
    return depth


def _without_others(view: _View, reach: float) -> Windows:
    """The windows of a view with every other bead's model taken off."""
    centres, size = view.fit.centres_px, view.windows.size
    apart = np.abs(centres[:, None] - centres[None]).max(axis=-1)
    np.fill_diagonal(apart, np.inf)
    mine, other = np.nonzero(apart < size / 2 + reach)
    if not len(mine):
        return view.windows
    chosen = torch.from_numpy(mine)
    x, y = Windows(view.windows.pixels[chosen], view.windows.corners[mine], view.windows.inside[chosen]).offsets(
        centres[other]
    )
    look, _ = view.profile.at(torch.hypot(x, y))
    depth = torch.from_numpy(view.fit.depth[other]).float()[:, None, None]
    pixels = view.windows.pixels.index_add(0, chosen, look * depth, alpha=-1)
    return replace(view.windows, pixels=pixels)


def _where(chosen: NDArray[np.bool_], first: BeadFit, second: BeadFit) -> BeadFit:
    """`first` where chosen, else `second`."""

    def pick(name: str) -> Array:
        a, b = getattr(first, name), getattr(second, name)
        return np.asarray(np.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b))

    return BeadFit(*[pick(name) for name in ("centres_px", "depth", "ground", "bound_px2", "misfit")])
