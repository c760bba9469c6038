"""Which terms of the geometry the tracks can tell: several models are solved, and leave-one-out error chooses.

Freedom always lowers a residual. What tells whether it is true is how well an observation is predicted that took no
part: a term that follows noise makes the predictions worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.geometry import TiltGeometry
from lamella.records.tracks import Tracks
from lamella.tilts.solve import Loss, Solution, solve
from lamella.tilts.terms import PRIORS, LocalTerm, Mode, SolveModel, Term

__all__ = ["Best", "Local", "solve_best"]

Array = NDArray[np.float64]
Local = Literal["auto", "off", "image", "specimen"]

_OUTLIER = 0.1  # robust weight of an observation (Cauchy's: nine standard deviations off) below which it is left out
_CLEARLY = 2.5  # standard errors, from view to view, by which local terms must lower the leave-one-out squares
_CLEARLY_OF_POINTS = 1.5  # and from point to point, of which there are fewer, some hardly touched
_LEAST_GAIN = 0.01  # and by which share the error
_PREDICTED = 0.9  # of the observations that the stiffest model predicts, which a model must predict to be judged
_FEWEST_FOR_LOCAL = 6  # points
_WIDER = 3.0  # times the estimated widths, which robust estimates of few views may miss
_SOLVED = ("z_rot", "y_tilt", "magnification")
_WORDS = {"z_rot": "axis", "y_tilt": "tilt", "x_tilt": "x-tilt", "magnification": "magnification"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Best:
    """The model that predicts best, and what was tried.

    Attributes
    ----------
    solution
        of the chosen model. Observations that the first pass doubted wholly count in none of the models, nor in any
        figure, so that all are judged over the same observations.
    model
        what it could change.
    chosen
        its name.
    tried
        name of each model that was admitted -> rms leave-one-out length, Å, each observation weighted by the tracks'
        weight (where these are equal, the solution's `leave_one_out_ang`). The chosen one has the least.
    refused
        the same for models with local terms that did not lower it significantly.
    outliers
        ``(n, p)`` observations that were left out.
    """

    solution: Solution
    model: SolveModel
    chosen: str
    tried: Mapping[str, float]
    refused: Mapping[str, float] = field(default_factory=dict)
    outliers: NDArray[np.bool_]


def solve_best(
    tracks: Tracks,
    geometry: TiltGeometry,
    *,
    dose: ArrayLike | None = None,
    modes: Mapping[str, Mode] | None = None,
    local: Local = "auto",
    loss: Loss = "cauchy",
    tolerance: float = 1e-5,
) -> Best:
    """Solve with the terms that predict observations best.

    Parameters
    ----------
    tracks, geometry, loss, tolerance
        see `lamella.tilts.solve`; a local field of the geometry is solved anew unless `local` is ``off``.
    dose
        ``(n,)`` before each view, e/Å², along which local deformation is tried too.
    modes
        modes of terms (``z_rot``, ``y_tilt``, ``magnification``, ``x_tilt``) that the user fixed; the others are tried.
    local
        whether local deformation is tried: ``auto`` (both kinds), ``off``, or one kind.

    Raises
    ------
    GeometryError
        as `solve` does.

    Notes
    -----
    From the model in which every term is free (or the stiffest, where that predicts better), with widths found from the
    data, one term after the other is tried as smooth and as fixed; then wider priors, an x-tilt of each view, and local
    terms. Each is solved from where the last stopped.
    """
    return _Trials(tracks, geometry, dose, dict(modes or {}), loss, tolerance).run(local)


class _Trials:
    """Solves models of one series and remembers how well they predict."""

    def __init__(
        self,
        tracks: Tracks,
        geometry: TiltGeometry,
        dose: ArrayLike | None,
        modes: dict[str, Mode],
        loss: Loss,
        tolerance: float,
    ) -> None:
        self.tracks, self.geometry, self.modes, self.loss, self.tolerance = tracks, geometry, modes, loss, tolerance
        self.dose = None if dose is None else np.asarray(dose, dtype=np.float64)
        self.tried: dict[str, float] = {}
        self.refused: dict[str, float] = {}
        self.rejected: tuple[str, ...] = ()
        self.predicted = 0
        self.outliers = np.zeros(tracks.weights.shape, dtype=bool)

    def run(self, local: Local) -> Best:
        """Try everything."""
        if local != "off":
            self.geometry = self.geometry.with_terms(field=None)
        self._leave_out_outliers()
        stiff, model = self._model("common", "fixed"), self._model("free", "free")
        least = self._solve(stiff, None)
        self.predicted = int(np.isfinite(least.left_out_ang[..., 0]).sum())
        self.tried[_name(stiff)] = self._error(least)
        best = self._solve(model, None)
        self.tried[_name(model)] = self._error(best)
        for name in ("magnification", "y_tilt", "z_rot"):
            for mode in ("smooth", "common" if name == "z_rot" else "fixed"):
                if name not in self.modes:
                    other = _with(model, {name: _term(name, mode)})
                    best, model = self._better(best, model, other, _name(other))
        if self._error(least) < self._error(best):
            best, model = least, stiff
        global_name = _name(model)
        if best.widths:
            best, model = self._better(best, model, _wider(model, best), f"{global_name}, wider priors")
        if "x_tilt" not in self.modes:
            other = replace(_held(model, best), x_tilt=_term("x_tilt", "free"))
            best, model = self._admitted(best, model, other, f"{global_name}, x-tilt free")
        before, held = best, _held(model, best)
        for term in self._local_terms(local, best):
            name = f"{_name(held)}, local {term.kind} over {term.over}"
            best, model = self._admitted(before, model, replace(held, local=term), name, best)
        solution = replace(
            best, rejected=tuple(first or then for first, then in zip(self.rejected, best.rejected, strict=True))
        )
        chosen = min(self.tried, key=lambda name: self.tried[name])
        return Best(
            solution=solution,
            model=model,
            chosen=chosen,
            tried=self.tried,
            refused=self.refused,
            outliers=self.outliers,
        )

    def _model(self, axis: Mode, others: Mode) -> SolveModel:
        """The axis and the other terms in one mode, but for those that the user fixed."""
        terms = {name: _term(name, self.modes.get(name, axis if name == "z_rot" else others)) for name in _SOLVED}
        return _with(SolveModel(), {**terms, "x_tilt": _term("x_tilt", self.modes.get("x_tilt", "fixed"))})

    def _leave_out_outliers(self) -> None:
        """Points and observations that no model shall be judged by."""
        first = self._solve(self._model("free", "free"), None)
        self.rejected = first.rejected
        gone = np.array([bool(reason) for reason in first.rejected])
        self.outliers = (first.robust_weights < _OUTLIER) & (self.tracks.weights > 0) & ~gone
        weights = np.where(self.outliers | gone, 0.0, self.tracks.weights)
        self.tracks = Tracks.observed(self.tracks.observations_ang, weights, self.tracks.labels)

    def _solve(self, model: SolveModel, start: Solution | None) -> Solution:
        return solve(
            self.tracks,
            self.geometry,
            model,
            dose=self.dose,
            loss=self.loss,
            tolerance=self.tolerance,
            start=start,
        )

    def _better(self, best: Solution, model: SolveModel, other: SolveModel, name: str) -> tuple[Solution, SolveModel]:
        """The better of a solution and another model's."""
        found = self._solve(other, best)
        self.tried[name] = self._error(found)
        return (found, other) if self.tried[name] < self._error(best) else (best, model)

    def _admitted(
        self, plain: Solution, model: SolveModel, richer: SolveModel, name: str, best: Solution | None = None
    ) -> tuple[Solution, SolveModel]:
        """The best so far, or a richer model's solution that is better, and significantly better than the plain one."""
        best = best or plain
        found = self._solve(richer, plain)
        error = self._error(found)
        if error > (1 - _LEAST_GAIN) * self._error(plain) or not self._gains(plain, found):
            self.refused[name] = error
            return best, model
        self.tried[name] = error
        return (found, richer) if error < self._error(best) else (best, model)

    def _error(self, solution: Solution) -> float:
        """Rms of the leave-one-out lengths under the tracks' weights, Å; infinite where few have a prediction.

        Freedom that leaves observations without a prediction from the others (few points, few views) proves nothing.
        """
        if np.isfinite(solution.left_out_ang[..., 0]).sum() < _PREDICTED * self.predicted:
            return np.inf
        squares = (solution.left_out_ang**2).sum(axis=-1)
        weights = np.where(np.isfinite(squares), self.tracks.weights, 0.0)
        return float(np.sqrt((weights * np.nan_to_num(squares)).sum() / max(weights.sum(), 1e-30)))

    def _gains(self, before: Solution, after: Solution) -> bool:
        """Whether leave-one-out squares fell by more than chance, views and points each taken as independent."""
        fell = (before.left_out_ang**2).sum(axis=-1) - (after.left_out_ang**2).sum(axis=-1)
        fell = np.nan_to_num(fell * self.tracks.weights)
        by_view, by_label = fell.sum(axis=1), np.bincount(self.tracks.labels, fell.sum(axis=0))
        of_views, of_points = (part.sum() / max(np.sqrt((part**2).sum()), 1e-30) for part in (by_view, by_label))
        return bool(of_views > _CLEARLY and of_points > _CLEARLY_OF_POINTS)

    def _local_terms(self, local: Local, best: Solution) -> list[LocalTerm]:
        """The local terms that are worth a try."""
        if local == "off" or np.isfinite(best.tracks.points_ang[:, 0]).sum() < _FEWEST_FOR_LOCAL:
            return []
        prior = 2 * best.sigma_ang
        over: tuple[Literal["tilt", "dose"], ...] = ("tilt",) if self.dose is None else ("dose", "tilt")
        kinds: tuple[Literal["image", "specimen"], ...] = ("image", "specimen") if local == "auto" else (local,)
        return [LocalTerm(kind=kind, over=course, prior_ang=prior) for kind in kinds for course in over]


def _term(name: str, mode: Mode) -> Term:
    """A term whose width, where it has one, is found from the data."""
    return Term(mode=mode, prior=PRIORS[name], estimated=True) if mode in ("smooth", "free") else Term(mode=mode)


def _with(model: SolveModel, terms: Mapping[str, Term]) -> SolveModel:
    """A model with some global terms replaced."""
    kept = {name: terms.get(name, getattr(model, name)) for name in _WORDS}
    return SolveModel(**kept, local=model.local)


def _held(model: SolveModel, best: Solution) -> SolveModel:
    """The model with the widths that were found, or local terms would take what global ones explain."""
    held = {
        name: replace(getattr(model, name), prior=width, estimated=False)
        for name, width in best.widths.items()
        if name in PRIORS
    }
    return _with(model, held)


def _wider(model: SolveModel, best: Solution) -> SolveModel:
    """The model with wider priors than those that were estimated."""
    wider = {
        name: replace(getattr(model, name), prior=_WIDER * max(width, PRIORS[name] / 10), estimated=False)
        for name, width in best.widths.items()
        if name in PRIORS
    }
    return _with(model, wider)


def _name(model: SolveModel) -> str:
    """What the global terms of a model may do, in words."""
    modes = {word: getattr(model, name).mode for name, word in _WORDS.items()}
    return ", ".join(f"{word} {mode}" for word, mode in modes.items() if mode != "fixed") or "shifts"
