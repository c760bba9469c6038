"""The likelihood of one view's spectra, and its normal equations for defocus, astigmatism and phase.

The power of a bin is a Gamma variate (Whittle's likelihood) of mean

    B(k) · [Σ β_j φ_j(k) − Σ a_l ψ_l(k) · cos 2(χ + φ)],

B a first background, φ_j splines that mend it, ψ_l splines of the rings' strength, which may change its sign: past
the frequency where the specimen's thickness puts out the rings they come back inverted. It is linear in β and a, so
those are solved for at each step (variable projection), and Fisher scoring needs no second derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lamella.kernels.rings import class_slopes, depth_gains, ring_moments
from lamella.tilts.ctf_background import background, design_background, spline_basis
from lamella.tilts.ctf_lens import Lens
from lamella.tilts.ctf_tiles import ViewSpectra

__all__ = ["Prior", "Reduced", "ViewFit", "ViewState"]

Array = NDArray[np.float64]

_WEAK = 0.5  # standard deviation of the rings' strength where nothing is known of it
_LEAST_SURE = 0.05  # part of a fitted strength's square that is taken for signal at least
_ALONE = 4.0  # times its variance that the square of a strength is too large where it and the phase are fitted alone
_MEND = 0.3  # of a first background's corrections


@dataclass(frozen=True, kw_only=True, eq=False)
class ViewState:
    """What is fitted to one view.

    Attributes
    ----------
    defocus_ang
        mean of u and v at the view's centre, Å.
    astigmatism_ang
        (2,) half the difference of u and v times cosine and sine of twice the angle.
    phase
        of amplitude contrast and phase plate, rad.
    mend, strength
        coefficients β and a.
    """

    defocus_ang: float
    astigmatism_ang: Array
    phase: float
    mend: Array
    strength: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """What is expected of the rings' strength: mean and standard deviation of each coefficient a."""

    mean: Array
    deviation: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    """Normal equations of (defocus, two of astigmatism, phase), the linear terms solved for.

    Attributes
    ----------
    information, gradient
        ``(4, 4)`` and ``(4,)``.
    sure_information
        the same with what of the rings' strength is noise taken out: a fitted strength is its true one plus an error,
        whose square would be counted as information.
    mend, strength
        β and a at the present phase.
    strength_deviation
        standard errors of a from this view alone, without a prior.
    """

    information: Array
    gradient: Array
    sure_information: Array
    mend: Array
    strength: Array
    strength_deviation: Array


@dataclass(eq=False)
class ViewFit:
    """One view's data in the form that the fit needs.

    Attributes
    ----------
    view, lens
        spectra and lens.
    lowest_square
        squared frequency at which the fit begins, 1/Å².
    spacing
        of the splines' knots, 1/Å.
    slope
        by how much defocus grows with depth: the hand, or another factor that is tried.
    rings_in_reach
        between the lowest and the highest frequency: curves have hardly more splines than that, for rings could not be
        told from them.
    """

    view: ViewSpectra
    lens: Lens
    lowest_square: float
    spacing: float
    slope: float
    rings_in_reach: float = 100.0
    basis_background: Array = field(init=False)
    basis_strength: Array = field(init=False)
    level: Array = field(init=False)

    def __post_init__(self) -> None:
        rings = self.view.rings
        self.used = (rings.terms > 0) & (rings.square >= self.lowest_square)
        self.square, self.cos2, self.sin2 = (
            values[self.used] for values in (rings.square, rings.cos2, rings.sin2)
        )  # fmt: skip
        k = np.sqrt(self.square)
        limits = float(np.sqrt(self.lowest_square)), float(np.sqrt(rings.edges[-1]))
        most = max(3, round(self.rings_in_reach) + 1)
        self.basis_background = design_background(k, self.cos2, self.sin2, limits, self.spacing, most + 1)
        self.basis_strength = spline_basis(k, limits, self.spacing, most)
        self._plain = spline_basis(k[:1], limits, self.spacing, most + 1).shape[1]
        self.level = background(self.view, self.spacing)[self.used]
        self.relative = np.ascontiguousarray(self.view.power[:, self.used] / self.level).astype(np.float32)
        self.modes = rings.modes[self.used]
        self.turn, self.rest = self.lens.turn(self.square), self.lens.rest(self.square)
        self.depth = self.view.depth_ang

    def begin(self, defocus_ang: float, phase: float) -> ViewState:
        """A state with flat background and no rings."""
        mend = np.zeros(self.basis_background.shape[1])
        mend[: self._plain] = 1.0
        return ViewState(
            defocus_ang=defocus_ang, astigmatism_ang=np.zeros(2), phase=phase, mend=mend,
            strength=np.zeros(self.basis_strength.shape[1]),
        )  # fmt: skip

    def angles(self, state: ViewState) -> Array:
        """2(χ + φ) of each bin at the view's centre, rad."""
        astigmatic = state.astigmatism_ang[0] * self.cos2 + state.astigmatism_ang[1] * self.sin2
        return np.asarray(self.turn * (state.defocus_ang + astigmatic) + self.rest + 2 * state.phase)

    def _sums(self, state: ViewState) -> Array:
        power, tiles, _modes, depth, *model = self._classes(state, (self.slope * self.depth).astype(np.float32))
        return ring_moments(power, tiles, depth, *model) * self.modes

    def reduce(self, state: ViewState, prior: Prior | None, highest_square: float = np.inf) -> Reduced:
        """Normal equations at a state, of the bins up to a squared frequency."""
        sums = self._sums(state) * (self.square <= highest_square)
        angles = self.angles(state)
        once, twice = np.exp(1j * angles), np.exp(2j * angles)
        w, wr = sums[0], sums[1]
        mean = once * (sums[2] + 1j * sums[3])
        data = once * (sums[4] + 1j * sums[5])
        double = twice * (sums[6] + 1j * sums[7])
        cc, ss, sc = (w + double.real) / 2, (w - double.real) / 2, double.imag / 2
        basis_b, basis_a = self.basis_background, self.basis_strength
        strength = basis_a @ state.strength
        # derivative of the model: sin 2(χ + φ) times these
        change = strength[:, None] * np.stack(
            [self.turn, self.turn * self.cos2, self.turn * self.sin2, np.full_like(self.turn, 2.0)], axis=1
        )
        nb, na = basis_b.shape[1], basis_a.shape[1]
        linear = np.zeros((nb + na, nb + na))
        linear[:nb, :nb] = basis_b.T @ (w[:, None] * basis_b)
        linear[:nb, nb:] = -basis_b.T @ (mean.real[:, None] * basis_a)
        linear[nb:, :nb] = linear[:nb, nb:].T
        linear[nb:, nb:] = basis_a.T @ (cc[:, None] * basis_a)
        right = np.concatenate([basis_b.T @ wr, -basis_a.T @ data.real])
        own_deviation = _deviations(linear, nb)
        self._add_priors(linear, right, nb, prior)
        inverse = np.linalg.inv(linear)
        solved = inverse @ right

        def four(change: Array) -> tuple[Array, Array]:
            cross = np.concatenate([basis_b.T @ (mean.imag[:, None] * change), -basis_a.T @ (sc[:, None] * change)])
            own = change.T @ (ss[:, None] * change)
            return own - cross.T @ inverse @ cross, change.T @ data.imag - cross.T @ solved

        information, gradient = four(change)
        unsure = np.einsum("mi,ij,mj->m", basis_a, inverse[nb:, nb:], basis_a, optimize=True)
        unsure *= _ALONE if prior is None else 1.0
        sure = np.sqrt(np.clip(1 - unsure / np.maximum(strength**2, 1e-30), _LEAST_SURE, 1))
        return Reduced(
            information=information, gradient=gradient, sure_information=four(change * sure[:, None])[0],
            mend=solved[:nb], strength=solved[nb:], strength_deviation=own_deviation,
        )  # fmt: skip

    def _add_priors(self, linear: Array, right: Array, nb: int, prior: Prior | None) -> None:
        plain = np.zeros(nb)
        plain[: self._plain] = 1.0
        place = np.arange(nb)
        linear[place, place] += 1 / _MEND**2
        right[:nb] += plain / _MEND**2
        place = np.arange(nb, len(right))
        precision = np.full(len(place), 1 / _WEAK**2) if prior is None else 1 / prior.deviation**2
        linear[place, place] += precision
        if prior is not None:
            right[nb:] += precision * prior.mean

    def gain(self, state: ViewState, strength: Array, shifts_ang: Array) -> Array:
        """``(m,)`` log-likelihood over that without rings, at defoci beside the state's, for rings of that strength.

        The matched filter: to second order in the rings' strength.
        """
        sums = self._sums(replace(state, strength=np.zeros_like(state.strength)))
        swing = self.basis_strength @ strength
        level = self.basis_background @ state.mend
        once = np.exp(1j * self.angles(state))
        data = once * (sums[4] + 1j * sums[5] - level * (sums[2] + 1j * sums[3]))
        double = once**2 * (sums[6] + 1j * sums[7])
        turn = np.exp(1j * self.turn * shifts_ang[:, None])
        linear = -(turn @ (swing * data)).real
        square = (swing**2 * sums[0]).sum() / 4 + (turn**2 @ (swing**2 * double)).real / 4
        return np.asarray(linear - square)

    def log_likelihood(self, state: ViewState) -> float:
        """Of a state, over a constant."""
        power, tiles, modes, depth, turn, level, swing, phase = self._classes(
            state, (self.slope * self.depth).astype(np.float32)
        )
        total = 0.0
        for line, weight, further in zip(power, tiles, depth, strict=True):
            model = np.maximum(level - swing * np.cos(phase + turn * further), 0.05)
            total -= float(weight) * float((modes * (line / model + np.log(model))).sum(dtype=np.float64))
        return total

    def slopes(self, state: ViewState) -> Array:
        """``(2, classes)`` slope of the log-likelihood with the defocus of each class, and the information on it."""
        return class_slopes(*self._classes(state, (self.slope * self.depth).astype(np.float32)))

    def depth_gains(self, state: ViewState, slopes: Array) -> Array:
        """``(m,)`` log-likelihood of a state, over a constant, if defocus grew by these times the depth.

        The mean depth keeps its defocus, so that only the change over the view counts.
        """
        middle = float(self.view.tiles @ self.depth / self.view.tiles.sum())
        depths = slopes[:, None] * (self.depth - middle) + self.slope * middle
        return depth_gains(*self._classes(state, depths.astype(np.float32)))

    def _classes(self, state: ViewState, depth: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        return (
            self.relative, self.view.tiles.astype(np.float32), self.modes.astype(np.float32), depth,
            self.turn.astype(np.float32), (self.basis_background @ state.mend).astype(np.float32),
            (self.basis_strength @ state.strength).astype(np.float32),
            np.remainder(self.angles(state), 2 * np.pi).astype(np.float32),
        )  # fmt: skip


def _deviations(linear: Array, first: int) -> Array:
    """Standard errors of the coefficients from `first` on, the others free."""
    small = linear + np.eye(len(linear)) * 1e-9 * max(float(np.trace(linear)) / len(linear), 1e-30)
    return np.asarray(np.sqrt(np.maximum(np.diag(np.linalg.inv(small))[first:], 0)))
