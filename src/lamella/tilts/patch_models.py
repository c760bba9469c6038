"""Which terms of the geometry patches can tell: models are judged by a part of the field that took no part.

Errors of a patch are alike in neighbouring views, which follow from one chain of correlations, and in patches that
overlap. An observation is therefore predicted well by its neighbours' errors, and leave-one-out error takes those for
terms of the geometry; so does a width of a prior that is estimated from the residuals. Here the patches of a quarter of
the field are left out at a time, and widths are those of a usual microscope.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.records.tracks import Tracks
from lamella.tilts.align_settings import AlignSettings
from lamella.tilts.parameterisations import Best
from lamella.tilts.solve import Solution, solve, triangulate
from lamella.tilts.terms import PRIORS, LocalTerm, Mode, SolveModel, Term

__all__ = ["solve_patches"]

Array = NDArray[np.float64]

_SMOOTH = ("z_rot", "magnification")
"""Terms that are smooth over the tilt unless the user pins them: held by the priors of a usual microscope, they take
what patches clearly say, and nothing where these say little."""
_LEAST_GAIN = 0.01  # share by which a richer model has to lower the error of what was left out
_FAR = 4.0  # medians: what is predicted worse counts as being off by so much
_FEWEST_LEFT_OUT = 3  # patches


def solve_patches(
    tracks: Tracks, geometry: TiltGeometry, settings: AlignSettings, *, dose: ArrayLike | None = None
) -> Best:
    """Solve patches with the terms that predict other patches best.

    Parameters
    ----------
    tracks
        pieces of patches (`break_tracks`).
    geometry
        where the solve begins.
    settings
        what the user pinned of the model.
    dose
        ``(n,)`` before each view, e/Å², along which local deformation may grow.

    Returns
    -------
    Best
        `tried` and `refused` hold the rms distance of left-out patches from where the others' geometry puts them, Å.

    Raises
    ------
    GeometryError
        as `solve` does.
    """
    course = None if dose is None else np.asarray(dose, dtype=np.float64)
    parts = _parts(tracks)
    tried: dict[str, float] = {}
    refused: dict[str, float] = {}
    best: tuple[str, SolveModel, float] | None = None
    for name, model in _models(settings, course):
        error = _left_out_error(tracks, geometry, model, settings, course, parts) if parts else 0.0
        if best is None or error < (1 - _LEAST_GAIN) * best[2]:
            best = name, model, error
            tried[name] = error
        else:
            refused[name] = error
        if not parts:
            break
    assert best is not None  # there is one model at least
    solution = solve(tracks, geometry, best[1], dose=course, loss=settings.loss, tolerance=1e-5)
    return Best(
        solution=solution,
        model=best[1],
        chosen=best[0],
        tried=tried,
        refused=refused,
        outliers=np.zeros(tracks.weights.shape, dtype=bool),
    )


def _models(settings: AlignSettings, dose: Array | None) -> Iterator[tuple[str, SolveModel]]:
    """Models from the plainest to the richest, by name; what the user pinned is the same in all."""
    pinned = settings.pinned_modes()
    freedom = tuple(name for name in _SMOOTH if name not in pinned)
    if settings.local in ("auto", "off"):
        yield _model(freedom, pinned, None)
    if settings.local != "off":
        kind = "image" if settings.local == "auto" else settings.local
        yield _model(freedom, pinned, LocalTerm(kind=kind, over="tilt" if dose is None else "dose", degree=2))


def _model(freedom: tuple[str, ...], pinned: dict[str, Mode], local: LocalTerm | None) -> tuple[str, SolveModel]:
    modes: dict[str, Mode] = {"z_rot": "common", **dict.fromkeys(freedom, "smooth"), **pinned}
    terms = {
        name: Term(mode=mode, prior=PRIORS[name]) if mode in ("smooth", "free") else Term(mode=mode)
        for name, mode in modes.items()
    }
    words = {"z_rot": "axis", "y_tilt": "tilt", "magnification": "magnification"}
    name = ", ".join(f"{words[term]} {mode}" for term, mode in modes.items() if mode != "fixed") or "shifts"
    return name + (f", local {local.kind} over {local.over}" if local else ""), SolveModel(**terms, local=local)


def _parts(tracks: Tracks) -> list[NDArray[np.bool_]]:
    """Points of each quarter of the field; nothing where a quarter holds too few to be missed."""
    seen_at = np.moveaxis(tracks.observations_ang, 1, 0)
    places = np.full((tracks.count, 2), np.nan)
    for point, seen in enumerate(tracks.seen.T):
        if seen.any():
            places[point] = np.median(seen_at[point, seen], axis=0)
    known = np.isfinite(places[:, 0])
    middle = np.median(places[known], axis=0)
    quarter = (places[:, 0] > middle[0]) + 2 * (places[:, 1] > middle[1])
    parts = [known & (quarter == number) for number in range(4)]
    held = [len(np.unique(tracks.labels[part])) for part in parts]
    return parts if min(held) >= _FEWEST_LEFT_OUT else []


def _left_out_error(
    tracks: Tracks,
    geometry: TiltGeometry,
    model: SolveModel,
    settings: AlignSettings,
    dose: Array | None,
    parts: list[NDArray[np.bool_]],
) -> float:
    """Weighted rms distance of patches from where the geometry of the other quarters puts them, Å."""
    lengths, weights = [], []
    for part in parts:
        rest = tracks.select_points(~part)
        try:
            found = solve(rest, geometry, model, dose=dose, loss=settings.loss, tolerance=1e-4)
        except GeometryError:
            return float("inf")
        length = _distances(tracks.select_points(part), found)
        known = np.isfinite(length)
        lengths.append(length[known])
        weights.append(tracks.weights[:, part][known])
    every, counts = np.concatenate(lengths), np.concatenate(weights)
    if not counts.sum():
        return float("inf")
    near = np.minimum(every, _FAR * np.median(every))
    return float(np.sqrt((counts * near**2).sum() / counts.sum()))


def _distances(tracks: Tracks, solution: Solution) -> Array:
    """``(n, p)`` distance of observations from where points, the best for a geometry, project; NaN where unknown."""
    geometry, seen_at = solution.geometry, tracks.observations_ang
    if geometry.field is not None:
        field = geometry.field
        flat = np.nan_to_num(seen_at)
        moved = np.stack([field.displacement(view, places) for view, places in enumerate(flat)])
        geometry, seen_at = geometry.with_terms(field=None), seen_at - moved
    plain = Tracks.observed(seen_at, tracks.weights)
    return np.asarray(np.linalg.norm(seen_at - geometry.project(triangulate(plain, geometry)), axis=-1))
