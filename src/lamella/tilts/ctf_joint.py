"""All views of a series fitted together: what they share is solved for once, defocus in each view."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lamella.tilts.ctf_view_fit import Prior, Reduced, ViewFit, ViewState

__all__ = ["JointFit", "Sharing", "fit_jointly"]

Array = NDArray[np.float64]

_ROUNDS = 12
_SOLVED_ANG = 1.0  # largest change of a defocus in the last round
_STEP_ANG = 400.0  # by which a defocus may change in one round
_STEP_PHASE = 0.3
_PHASE_DOUBT = (0.01, 0.25)  # rad, of a phase that is kept: at least, and of so many rings the part that one is
_LOOK_AROUND = (3, 5)  # rounds after which each view looks for a better defocus farther away
_AROUND_ANG = 2000.0
_AROUND_STEP_ANG = 50.0
_COARSE_ANG = 400.0  # error that the first round must bear: only frequencies whose phase it turns by 1 rad take part
_NEIGHBOURS_DEG = 6.0  # over which the rings' strength is compared
_RELATIVE = 0.15  # part by which it may differ from its neighbours' in any case
_ASTIGMATISM_ANG = 3000.0  # weak prior, for views without rings


@dataclass(frozen=True, kw_only=True, eq=False)
class Sharing:
    """What the views share.

    Attributes
    ----------
    astigmatism
        ``(n, p)`` each view's astigmatism is this row times p pairs of numbers: a column of ones where all have the
        same, the unit matrix where each has its own; p = 0 where there is none.
    phase
        ``(n, q)`` the same for the phase; q = 0 where it is fixed.
    strengths
        whether the rings of neighbouring tilts are expected to be of like strength.
    """

    astigmatism: Array
    phase: Array
    strengths: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class JointFit:
    """What was found.

    Attributes
    ----------
    states
        of each view.
    covariance
        ``(4n, 4n)`` of (defocus, two of astigmatism, phase) of every view.
    """

    states: tuple[ViewState, ...]
    covariance: Array

    def deviation(self, term: int) -> Array:
        """``(n,)`` standard errors of one of (defocus, two of astigmatism, phase)."""
        return np.asarray(np.sqrt(np.maximum(np.diag(self.covariance)[term::4], 0)))


def fit_jointly(
    fits: Sequence[ViewFit],
    states: Sequence[ViewState],
    tilt_deg: Array,
    sharing: Sharing,
    each: Callable[..., list[Reduced]],
) -> JointFit:
    """Fisher scoring of all views' likelihoods (see `ctf_view_fit`), damped, until no defocus moves.

    Parameters
    ----------
    fits, states
        data and start of each view.
    tilt_deg
        ``(n,)``, by which neighbours are known.
    sharing
        what views have in common.
    each
        maps a function over items, side by side.
    """
    n = len(fits)
    matrix = _layout(sharing, n)
    present = list(states)
    priors: list[Prior | None] = [None] * n
    damping = _prior_information(matrix, sharing)
    coarse = 1 / float(fits[0].lens.turn(np.asarray(_COARSE_ANG)))
    reduced: list[Reduced] = []
    for number in range(_ROUNDS):
        limit = coarse if number < 2 else np.inf
        now, expected = tuple(present), tuple(priors)
        reduced = each(partial(_reduce, fits, now, expected, limit), range(n))
        present = [
            replace(state, mend=part.mend, strength=part.strength) for state, part in zip(present, reduced, strict=True)
        ]
        if number == 0:
            continue  # a state's strength stands before its phase can be judged
        information, gradient = _assemble(reduced, matrix)
        step = np.linalg.solve(information + damping, gradient - damping @ _values(present, matrix, sharing))
        moved = (matrix @ step).reshape(n, 4)
        present = [_moved(state, change) for state, change in zip(present, moved, strict=True)]
        if sharing.strengths and number >= 2:
            priors = _priors(present, reduced, tilt_deg)
            if number in _LOOK_AROUND:
                present = [_looked_around(*one) for one in zip(fits, present, priors, strict=True)]
        if number >= 4 and np.abs(moved[:, 0]).max() < _SOLVED_ANG:
            break
    covariance = _covariance(
        np.stack([part.sure_information for part in reduced]), matrix, damping, sharing, fits[0].rings_in_reach
    )
    return JointFit(states=tuple(present), covariance=covariance)


def _reduce(
    fits: Sequence[ViewFit], states: Sequence[ViewState], priors: Sequence[Prior | None], highest: float, view: int
) -> Reduced:
    return fits[view].reduce(states[view], priors[view], highest)


def _layout(sharing: Sharing, n: int) -> Array:
    """``(4n, unknowns)`` how the views' four numbers follow from the unknowns."""
    p, q = sharing.astigmatism.shape[1], sharing.phase.shape[1]
    matrix = np.zeros((n, 4, n + 2 * p + q))
    view = np.arange(n)
    matrix[view, 0, view] = 1
    matrix[:, 1, n : n + p] = sharing.astigmatism
    matrix[:, 2, n + p : n + 2 * p] = sharing.astigmatism
    matrix[:, 3, n + 2 * p :] = sharing.phase
    return matrix.reshape(4 * n, -1)


def _prior_information(matrix: Array, sharing: Sharing) -> Array:
    """Weak priors about 0 for what is shared, so that a series without rings can still be solved."""
    p, q = sharing.astigmatism.shape[1], sharing.phase.shape[1]
    n = matrix.shape[1] - 2 * p - q
    diagonal = [1e-12] * n + [1 / _ASTIGMATISM_ANG**2] * (2 * p) + [1e-9] * q
    return np.diag(diagonal)


def _values(states: Sequence[ViewState], matrix: Array, sharing: Sharing) -> Array:
    """The unknowns as they stand; 0 for those without a prior."""
    p = sharing.astigmatism.shape[1]
    n = len(states)
    out = np.zeros(matrix.shape[1])
    if p:
        terms = np.stack([state.astigmatism_ang for state in states])
        fitted = np.linalg.lstsq(sharing.astigmatism, terms, rcond=None)[0]
        out[n : n + p], out[n + p : n + 2 * p] = fitted[:, 0], fitted[:, 1]
    return out


def _assemble(reduced: Sequence[Reduced], matrix: Array) -> tuple[Array, Array]:
    rows = matrix.reshape(len(reduced), 4, -1)
    gradient = np.einsum("vip,vi->p", rows, np.stack([part.gradient for part in reduced]))
    return _information(np.stack([part.information for part in reduced]), matrix), gradient


def _information(blocks: Array, matrix: Array) -> Array:
    rows = matrix.reshape(len(blocks), 4, -1)
    information: Array = np.einsum("vip,vij,vjq->pq", rows, blocks, rows, optimize=True)
    return information


def _covariance(blocks: Array, matrix: Array, damping: Array, sharing: Sharing, rings: float) -> Array:
    """``(4n, 4n)`` of the views' four numbers.

    A phase that is kept is doubted, in all views alike: amplitude contrast is not known better, and how far a smooth
    curve may be from the true strength of few rings shifts them by part of a ring.
    """
    doubt = max(_PHASE_DOUBT[0], _PHASE_DOUBT[1] / max(rings, 0.5))
    if sharing.phase.shape[1] == 0:
        matrix = np.concatenate([matrix, np.tile([0.0, 0.0, 0.0, 1.0], len(blocks))[:, None]], axis=1)
        damping = np.diag([*np.diag(damping), 1 / doubt**2])
    covariance: Array = matrix @ np.linalg.inv(_information(blocks, matrix) + damping) @ matrix.T
    return covariance


def _moved(state: ViewState, change: Array) -> ViewState:
    return replace(
        state,
        defocus_ang=state.defocus_ang + float(np.clip(change[0], -_STEP_ANG, _STEP_ANG)),
        astigmatism_ang=state.astigmatism_ang + change[1:3],
        phase=state.phase + float(np.clip(change[3], -_STEP_PHASE, _STEP_PHASE)),
    )


def _looked_around(fit: ViewFit, state: ViewState, prior: Prior | None) -> ViewState:
    """The state at the defocus nearby that its neighbours' rings fit best: scoring alone stays at the next optimum."""
    if prior is None:
        return state
    shifts = np.arange(-_AROUND_ANG, _AROUND_ANG + 1, _AROUND_STEP_ANG)
    gain = fit.gain(state, prior.mean, shifts)
    best = float(shifts[int(np.argmax(gain))])
    if abs(best) <= _AROUND_STEP_ANG or gain.max() < gain[len(shifts) // 2] + 1.0:
        return state
    return replace(state, defocus_ang=state.defocus_ang + best, strength=prior.mean)


def _priors(states: Sequence[ViewState], reduced: Sequence[Reduced], tilt_deg: Array) -> list[Prior | None]:
    """What each view's neighbours let expect of its rings' strength (leaving itself out).

    The width comes from the series: how far views differ from their neighbours beyond their errors.
    """
    strength = np.stack([state.strength for state in states])
    variance = np.stack([part.strength_deviation for part in reduced]) ** 2
    closeness = np.exp(-((tilt_deg[:, None] - tilt_deg) ** 2) / (2 * _NEIGHBOURS_DEG**2))
    np.fill_diagonal(closeness, 0)
    between = np.zeros(strength.shape[1])
    mean = strength
    spread = variance
    for _ in range(3):
        weight = closeness[:, :, None] / (variance + between)[None]
        total = np.maximum(weight.sum(axis=1), 1e-12)
        mean = (weight * strength).sum(axis=1) / total
        spread = (weight**2 * (variance + between)).sum(axis=1) / total**2
        difference = (strength - mean) ** 2
        confident = 1 / (variance + spread)
        excess = (confident * (difference - variance - spread)).sum(axis=0) / confident.sum(axis=0)
        between = np.maximum(excess, 0)
    width = np.sqrt(between + spread + (_RELATIVE * mean) ** 2)
    alone = closeness.sum(axis=1) < 0.05
    return [None if alone[v] else Prior(mean=mean[v], deviation=width[v]) for v in range(len(states))]
