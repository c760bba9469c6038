"""Prior and motion of all views of a series in turns, until they agree: of the whole field, then across it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.movies.course import Course, Samples, contrasts, default_course, evidence_gain, fit_course
from lamella.movies.modes import DEGREES, tile_modes
from lamella.movies.pair_maps import PairMaps
from lamella.movies.solve import ModePrior, most_likely, observed, posterior_variance

__all__ = ["Solved", "solve_local", "solve_whole_field"]

Array = NDArray[np.float64]

_TURNS = 4
_LOCAL_PART = 0.2
"""Default widths of what differs over the field, as parts of the whole field's."""
_LEAST_GAIN = 6.0
"""By how much a degree of variation over the field must better the log-evidence to be believed."""


@dataclass(frozen=True, eq=False)
class Solved:
    """Motion of one view.

    Attributes
    ----------
    strengths_px
        ``(modes, frames, 2)`` (x, y), mean 0 over the frames; the first is the whole field's.
    error_px
        ``(frames, 2)`` standard error of the whole field's.
    prior
        of the whole field's.
    """

    strengths_px: Array
    error_px: Array
    prior: Course


def solve_whole_field(maps: Sequence[PairMaps], starts_px: Sequence[Array], pixel_size_ang: float) -> list[Solved]:
    """The motion of the whole field of every view.

    Parameters
    ----------
    maps
        of each view, one tile.
    starts_px
        ``(frames, 2)`` of each view.
    pixel_size_ang
        of the movies.
    """
    out: list[Solved | None] = [None] * len(maps)
    for members in _alike(maps):
        solved = _whole_field_of(
            [maps[view] for view in members], [starts_px[view] for view in members], pixel_size_ang
        )
        for view, one in zip(members, solved, strict=True):
            out[view] = one
    return [one for one in out if one is not None]


def solve_local(
    maps: Sequence[PairMaps], whole: Sequence[Solved], pixel_size_ang: float
) -> tuple[list[Solved], Array | None]:
    """Add what differs over the field, degree by degree, where the evidence of all views is for it.

    Parameters
    ----------
    maps
        of each view, by tile.
    whole
        the whole field's motion of each view.
    pixel_size_ang
        of the movies.

    Returns
    -------
    solved, mixing
        with all modes of the accepted degrees, 0 in the others; how the modes are made of powers, or None where no
        degree was accepted: then the motions are those that came.
    """
    modes, mixing = tile_modes(maps[0].tile_centres)
    out = list(whole)
    accepted = False
    for members in _alike(maps):
        solved = _local_of([maps[view] for view in members], [whole[view] for view in members], modes, pixel_size_ang)
        if solved is not None:
            accepted = True
            for view, one in zip(members, solved, strict=True):
                out[view] = one
    return out, mixing if accepted else None


def _alike(maps: Sequence[PairMaps]) -> list[list[int]]:
    """Views with the same number of frames, which share a prior."""
    counts = [one.frames for one in maps]
    return [[view for view, count in enumerate(counts) if count == wanted] for wanted in sorted(set(counts))]


def _whole_field_of(maps: list[PairMaps], starts_px: list[Array], pixel_size_ang: float) -> list[Solved]:
    frames = maps[0].frames
    rows = contrasts(frames)
    modes = np.ones((1, 1))
    default = course = default_course(frames, pixel_size_ang)
    strengths = [(start - start.mean(axis=0))[None] for start in starts_px]
    for _ in range(_TURNS):
        course = fit_course(_samples(maps, modes, strengths, [0]), default)
        prior = (course, (0, 1))
        for view, one in enumerate(maps):
            begins = [strengths[view], (rows.T @ course.means.T)[None]]
            found = [most_likely(one, modes, [prior], begin) for begin in begins]
            strengths[view] = max(found, key=lambda pair: pair[1])[0]
    return [Solved(strengths[view], np.sqrt(posterior_variance(one, course)), course) for view, one in enumerate(maps)]


def _local_of(maps: list[PairMaps], whole: list[Solved], modes: Array, pixel_size_ang: float) -> list[Solved] | None:
    frames = maps[0].frames
    degrees = [degree for degree in sorted(set(DEGREES)) if degree > 0]
    strengths = [_with_zeros(one.strengths_px, modes.shape[1]) for one in whole]
    base = default_course(frames, pixel_size_ang)
    while degrees:
        chosen = [mode for mode, degree in enumerate(DEGREES) if degree in (0, *degrees)]
        tried = [one[chosen] for one in strengths]
        gains: dict[int, float] = {}
        for _ in range(_TURNS):
            courses = {0: whole[0].prior}
            for degree in degrees:
                members = [place for place, mode in enumerate(chosen) if DEGREES[mode] == degree]
                samples = _samples(maps, modes[:, chosen], tried, members)
                start = Course(np.zeros((2 * len(members), frames - 1)), base.covariance * _LOCAL_PART**2)
                courses[degree] = fit_course(samples, start)
                gains[degree] = evidence_gain(samples, courses[degree])
            priors = _priors(courses, [DEGREES[mode] for mode in chosen])
            tried = [
                most_likely(one, modes[:, chosen], priors, begin)[0] for one, begin in zip(maps, tried, strict=True)
            ]
        worst = min(gains, key=lambda degree: gains[degree])
        if gains[worst] < _LEAST_GAIN:
            degrees.remove(worst)
            continue
        for one, found in zip(strengths, tried, strict=True):
            one[chosen] = found
        return [Solved(one, before.error_px, before.prior) for one, before in zip(strengths, whole, strict=True)]
    return None


def _with_zeros(strengths: Array, modes: int) -> Array:
    out = np.zeros((modes, *strengths.shape[1:]))
    out[: len(strengths)] = strengths
    return out


def _samples(maps: Sequence[PairMaps], modes: Array, strengths: Sequence[Array], members: list[int]) -> Samples:
    """What all views say of some modes; x and y of each mode are a group."""
    places, variances, groups = [], [], []
    for one, strength in zip(maps, strengths, strict=True):
        place, variance = observed(one, modes, strength)
        places.append(place[members].reshape(-1, place.shape[-1]))
        variances.append(np.tile(variance, len(members)))
        groups.append(np.arange(2 * len(members)))
    return Samples(np.concatenate(places), np.concatenate(variances), np.concatenate(groups))


def _priors(courses: dict[int, Course], degrees: list[int]) -> list[ModePrior]:
    """The prior of each mode, with its own two groups of its degree's course."""
    seen: dict[int, int] = {}
    out: list[ModePrior] = []
    for degree in degrees:
        place = seen.get(degree, 0)
        seen[degree] = place + 1
        out.append((courses[degree], (2 * place, 2 * place + 1)))
    return out
