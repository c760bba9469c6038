"""From the spectra of all views to their defoci, the hand and the lie of the specimen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.parallel import each
from lamella.tilts.ctf_background import first_zero_spacing
from lamella.tilts.ctf_depth import Hand, Surface, judge_hand, measure_surface, surface_depth
from lamella.tilts.ctf_joint import JointFit, Sharing, fit_jointly
from lamella.tilts.ctf_lens import Lens
from lamella.tilts.ctf_search import Found, search
from lamella.tilts.ctf_settings import CtfSettings
from lamella.tilts.ctf_tiles import ViewSpectra
from lamella.tilts.ctf_view_fit import ViewFit, ViewState

__all__ = ["SERIES_SURE", "TELLS", "SeriesFit", "fit_series"]

Array = NDArray[np.float64]

SERIES_SURE = 0.95
"""Confidence from which the data's hand is taken."""
TELLS = 8.0
"""Log-likelihood of a view's rings over none from which its own fit is believed: noise gives half of it."""
_NEAR_ANG = 15000.0  # to both sides of the defocus that a session set
_HELD = 0.7  # of that: rings farther off may be those of another defocus
_BEYOND_DOUBT = 1 - 1e-6  # confidence from which a hand need not be heard with the other one's fit
_FIRST_RING = 0.75  # of the first zero's squared frequency: where the fit begins
_PHASES_DEG = np.arange(0.0, 180.0, 20.0)  # of a phase plate, tried in the search
_SMOOTH_TERMS = 3  # of the astigmatism's course over the views
_SHOWN = 16.0  # χ² by which a further term must improve the fit, beyond its number
_LEAST_TILT_DEG = 0.3  # offset of the specimen's plane below which it is left as the alignment has it
_SURFACE_ROUNDS = 2
_TURN_OF_BIN = 0.9  # rad: change of a ring's phase within a bin of the fit
_LEAST_RANGE_DEG = 20.0  # of tilts over which a course of the astigmatism can be told
_LEAST_BINS = 80


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesFit:
    """What was fitted to the views that have spectra.

    Attributes
    ----------
    fits, joint
        data, states and covariance.
    alone
        the same of each view by itself.
    lens
        with the amplitude contrast that was fitted or kept.
    hand
        what the data say of it, None where nothing.
    used_hand
        the sign with which the fit was made.
    plane, bent
        how the specimen lies: a plane, and with second-order terms; None where no tilt tells.
    used_surface
        which of them the fit holds.
    smooth
        whether the astigmatism changes over the views.
    contrast_fitted
        whether the lens's amplitude contrast comes from the data.
    gain
        ``(n,)`` log-likelihood of each view's rings over none.
    """

    fits: tuple[ViewFit, ...]
    joint: JointFit
    alone: JointFit
    lens: Lens
    hand: Hand | None
    used_hand: int
    plane: Surface | None
    bent: Surface | None
    used_surface: Surface | None
    smooth: bool
    contrast_fitted: bool
    gain: Array

    def defocus_ang(self) -> Array:
        """``(n,)`` mean defocus of each view."""
        return np.array([state.defocus_ang for state in self.joint.states])


def _found(views: Sequence[ViewSpectra], lens: Lens, settings: CtfSettings, near_ang: float | None) -> Found:
    """Where the rings are: about a stated defocus if they are there, clear of that range's ends."""
    whole, phases = (settings.min_defocus, settings.max_defocus), _phases(lens, settings)
    if near_ang is not None:
        near = (max(whole[0], near_ang - _NEAR_ANG), min(whole[1], near_ang + _NEAR_ANG))
        if near[1] - near[0] > _NEAR_ANG:
            found = search(views, lens, near, phases, joint=settings.joint)
            if found.certain and abs(float(np.median(found.defocus_ang)) - near_ang) < _HELD * _NEAR_ANG:
                return found
    return search(views, lens, whole, phases, joint=settings.joint)


def fit_series(
    views: Sequence[ViewSpectra],
    geometry: TiltGeometry,
    lens: Lens,
    settings: CtfSettings,
    *,
    hand: int,
    near_ang: float | None = None,
) -> SeriesFit | None:
    """Fit all views; None where there are no rings.

    Parameters
    ----------
    views, geometry
        spectra and geometry of the same views.
    hand
        what the record says; kept where the data cannot tell.
    near_ang
        defocus that the microscope was set to; sought about it first, and everywhere where no rings are found there.
    """
    found = _found(views, lens, settings, near_ang)
    if not found.certain:
        return None
    work = _Work(views, geometry, lens, settings, found)
    heard = {found.hand: work.begun(found.hand)}
    judged = judge_hand(*heard[found.hand], _each)
    if judged is not None and judged.confidence < _BEYOND_DOUBT:
        # The rings' strength as fitted leans towards the hand that it was fitted with: fit both, and compare.
        heard[-found.hand] = work.begun(-found.hand)
        judged = judge_hand(*heard[found.hand], _each, other=heard[-found.hand])
    sure = judged is not None and judged.confidence >= SERIES_SURE
    used = int(settings.hand) if settings.hand != "auto" else judged.sign if judged is not None and sure else hand
    fits, joint = heard[used] if used in heard else work.begun(used)
    plane, bent, surface = None, None, None
    if judged is not None and len(views) > 2:
        plane, bent, surface = work.surfaces(fits, joint)
        if surface is not None:
            joint = work.fit(fits, joint.states)
    smoother = work.smoother(fits, joint)
    if smoother is not None:
        joint = smoother
    alone = joint if len(views) == 1 else work.fit(fits, work.begin(fits), joint=False)
    if not settings.joint:
        joint = alone
    gain = np.array(
        [fit.gain(state, state.strength, np.zeros(1))[0] for fit, state in zip(fits, joint.states, strict=True)]
    )
    if gain.max() < TELLS:
        return None
    return SeriesFit(
        fits=tuple(fits), joint=joint, alone=alone, lens=work.lens_of(joint), hand=judged, used_hand=used,
        plane=plane, bent=bent, used_surface=surface, smooth=smoother is not None, contrast_fitted=work.fits_contrast,
        gain=gain,
    )  # fmt: skip


def _each(work: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
    return each(work, list(items))


def _phases(lens: Lens, settings: CtfSettings) -> Array:
    """Phases to try, rad."""
    shift = settings.phase_shift
    degrees = _PHASES_DEG if isinstance(shift, str) else np.array([shift])
    return np.asarray(lens.contrast_phase + np.deg2rad(degrees))


class _Work:
    """What all fits of a series have in common."""

    def __init__(
        self,
        views: Sequence[ViewSpectra],
        geometry: TiltGeometry,
        lens: Lens,
        settings: CtfSettings,
        found: Found,
    ) -> None:
        self.geometry, self.lens, self.settings, self.found = geometry, lens, settings, found
        middle = float(np.median(found.defocus_ang[found.significance >= np.median(found.significance)]))
        first = (1 - found.phase / np.pi) / (lens.wavelength_ang * middle)  # squared frequency of the first zero
        self.lowest = max(_FIRST_RING * max(first, 0.2 / (lens.wavelength_ang * middle)), settings.min_resolution**-2)
        factor = self._factor(views, float(np.quantile(found.defocus_ang, 0.9)))
        self.views = [view.merged(factor) for view in views]
        self.lowest = min(self.lowest, 0.5 * float(views[0].rings.edges[-1]))
        highest = float(views[0].rings.edges[-1])
        self.rings = lens.wavelength_ang * middle * (highest - self.lowest)
        self.spacing = first_zero_spacing(lens.wavelength_ang, middle)

    def _factor(self, views: Sequence[ViewSpectra], largest_ang: float) -> int:
        """Bins that may be taken together at the defoci that were found, the same in all views."""
        rings = views[0].rings
        deepest = max(float(np.abs(view.depth_ang).max()) for view in views)
        turn = float(self.lens.turn(np.asarray(largest_ang + deepest))) * float(rings.edges[1] - rings.edges[0])
        return int(max(1, min(_TURN_OF_BIN / turn, rings.terms.shape[1] / _LEAST_BINS)))

    def fits(self, hand: int) -> list[ViewFit]:
        """The views' data, for a hand."""
        make = partial(
            ViewFit, lens=self.lens, lowest_square=self.lowest, spacing=self.spacing, slope=float(hand),
            rings_in_reach=self.rings,
        )  # fmt: skip
        return each(make, list(self.views))

    def begun(self, hand: int) -> tuple[list[ViewFit], JointFit]:
        """The views' data for a hand, and their fit from what the search found."""
        fits = self.fits(hand)
        return fits, self.fit(fits, self.begin(fits))

    def begin(self, fits: Sequence[ViewFit]) -> list[ViewState]:
        """Every view at the defocus that the search found."""
        return [
            fit.begin(float(defocus), self.found.phase)
            for fit, defocus in zip(fits, self.found.defocus_ang, strict=True)
        ]

    def fit(
        self, fits: Sequence[ViewFit], states: Sequence[ViewState], *, smooth: bool = False, joint: bool = True
    ) -> JointFit:
        """Fit all views, with what the settings let them share."""
        return fit_jointly(fits, states, self.geometry.y_tilt_deg, self._sharing(len(fits), smooth, joint), _each)

    def _sharing(self, n: int, smooth: bool, joint: bool) -> Sharing:
        kind = self.settings.astigmatism
        joint = joint and self.settings.joint
        if kind == "none":
            astigmatism = np.zeros((n, 0))
        elif kind == "free" or not joint:
            astigmatism = np.eye(n)
        else:
            astigmatism = self._course(n, _SMOOTH_TERMS if smooth else 1)
        phase = np.zeros((n, 0))
        if self.settings.phase_shift == "free" or (not joint and self._fits_phase):
            phase = np.eye(n)
        elif self._fits_phase:
            phase = np.ones((n, 1))
        return Sharing(astigmatism=astigmatism, phase=phase, strengths=joint)

    @property
    def fits_contrast(self) -> bool:
        """Whether the phase that is fitted is that of the amplitude contrast."""
        return self.settings.amplitude_contrast == "fit" and not isinstance(self.settings.phase_shift, str)

    @property
    def _fits_phase(self) -> bool:
        return isinstance(self.settings.phase_shift, str) or self.settings.amplitude_contrast == "fit"

    def _course(self, n: int, terms: int) -> Array:
        """``(n, terms)`` Legendre polynomials of the tilt."""
        tilt = self.geometry.y_tilt_deg
        low, high = float(tilt.min()), float(tilt.max())
        where = np.zeros(n) if high == low else 2 * (tilt - low) / (high - low) - 1
        return np.asarray(np.polynomial.legendre.legvander(where, min(terms, n) - 1))

    def smoother(self, fits: Sequence[ViewFit], joint: JointFit) -> JointFit | None:
        """The fit with an astigmatism that changes over the views, where that is asked for or fits better."""
        n, kind = len(fits), self.settings.astigmatism
        if not self.settings.joint or kind not in ("auto", "smooth"):
            return None
        if n < 8 or np.ptp(self.geometry.y_tilt_deg) < _LEAST_RANGE_DEG:
            return None
        course = self._course(n, _SMOOTH_TERMS)
        changing = self.fit(fits, joint.states, smooth=True)
        if kind == "smooth":
            return changing
        terms = np.stack([state.astigmatism_ang for state in changing.states])
        inverse = np.linalg.pinv(course)[1:]
        further = np.concatenate([inverse @ terms[:, 0], inverse @ terms[:, 1]])
        pick = np.zeros((len(further), 4 * n))
        pick[: len(inverse), 1::4] = inverse
        pick[len(inverse) :, 2::4] = inverse
        covariance = pick @ changing.covariance @ pick.T
        return changing if further @ np.linalg.solve(covariance, further) > _SHOWN + len(further) else None

    def surfaces(self, fits: Sequence[ViewFit], joint: JointFit) -> tuple[Surface, Surface, Surface | None]:
        """The best plane, the best bent surface, and which of them the data support; its depth goes into the fits."""
        plane = self._surface(fits, joint, 1)
        bent = self._surface(fits, joint, 2)
        second = bent.terms[2:] @ np.linalg.solve(bent.covariance[2:, 2:], bent.terms[2:])
        used = None
        if self.settings.surface == "bent" or (self.settings.surface == "auto" and second > _SHOWN + 3):
            used = bent
        elif _matters(plane):
            used = plane
        for view, fit in enumerate(fits):
            fit.depth = self._depth(fit, view, used)
        return plane, bent, used

    def _depth(self, fit: ViewFit, view: int, surface: Surface | None) -> Array:
        depth = fit.view.depth_ang
        if surface is None:
            return depth
        return depth + surface_depth(surface, self.geometry.select([view]), fit.view.points_ang)

    def _surface(self, fits: Sequence[ViewFit], joint: JointFit, order: int) -> Surface:
        surface: Surface | None = None
        for _ in range(_SURFACE_ROUNDS):
            for view, fit in enumerate(fits):
                fit.depth = self._depth(fit, view, surface)
            surface = measure_surface(fits, joint.states, self.geometry, order, _each, surface)
        assert surface is not None
        return surface

    def lens_of(self, joint: JointFit) -> Lens:
        """The lens with the amplitude contrast that was fitted."""
        if not self.fits_contrast:
            return self.lens
        phase = float(np.mean([state.phase for state in joint.states])) - math.radians(float(self.settings.phase_shift))
        return Lens(
            self.lens.wavelength_ang, self.lens.spherical_aberration_ang, float(np.clip(math.sin(phase), 0.0, 1.0))
        )


def _matters(plane: Surface) -> bool:
    """Whether a plane's slope is beyond doubt and large enough to matter."""
    chi = plane.terms @ np.linalg.solve(plane.covariance, plane.terms)
    return bool(chi > _SHOWN + 2 and np.rad2deg(np.abs(plane.terms)).max() > _LEAST_TILT_DEG)
