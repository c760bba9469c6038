"""The motion of every movie of a series, solved together.

One look at each movie gives a first estimate and what its frames have in common; from all of them come the signal's
profile and the widths of the prior; a second look, at spectra put aside, gives correlation maps by tile. The motion of
the whole field, and then what differs over it, is what maps and prior make likeliest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import ImageError
from lamella.movies.coarse import first_estimate
from lamella.movies.course import default_course
from lamella.movies.detector import Detector
from lamella.movies.modes import local_motion
from lamella.movies.motion_settings import MotionSettings
from lamella.movies.pair_maps import PairMaps, tile_maps
from lamella.movies.profile import SharedPower, fit_profiles, shared_power
from lamella.movies.reading import read_ahead
from lamella.movies.series_fit import Solved, solve_local, solve_whole_field
from lamella.movies.shelf import Shelf
from lamella.movies.solve import most_likely
from lamella.movies.spectra import FrameSpectra, Profile, spectra_of
from lamella.movies.still import frame_range
from lamella.parallel import each, part_of
from lamella.progress import Progress, no_progress
from lamella.records import FrameSource, LocalMotion, MovieMotion, Optics
from lamella.runtime import give_memory_back

__all__ = ["estimate_motion"]

Array = NDArray[np.float64]

MOST_FRAMES = 20
"""Movies of more frames are solved in so many groups of neighbouring frames, and interpolated."""

_FIRST_REACH, _REACH = 6, 4
"""Largest lag of the maps in working pixels, at the first and at the second look."""
_FRAMES_AT_ONCE = 8.0
"""Memory that looking at one movie takes, in frames of 32-bit floats: a frame's own steps, and all working spectra."""
_TILE_ANG = 450.0
_LEAST_TILE_PX = 48
_MOST_TILES = 6
_LEAST_TILES = 4
"""Along each axis; a polynomial of the third degree needs as many."""


@dataclass(frozen=True, eq=False)
class _Look:
    """What one look at a movie left: its shifts so far ``(groups, 2)``, whole-field maps, and shared power."""

    shifts_px: Array
    maps: PairMaps


def estimate_motion(
    sources: Sequence[FrameSource],
    detector: Detector,
    settings: MotionSettings,
    *,
    pixel_size_ang: float,
    optics: Optics,
    device: str = "cpu",
    scratch: Path | None = None,
    progress: Progress = no_progress,
) -> tuple[MovieMotion, ...]:
    """Estimate the motion of movies of one series.

    Parameters
    ----------
    sources
        the movies, of two frames or more each; frames that the settings leave out are not looked at.
    detector
        corrects their frames.
    settings
        `model` and `max_shift`, and which frames.
    pixel_size_ang
        of the corrected frames.
    optics
        of the microscope; with a voltage, the rings of the contrast transfer weigh the frequencies.
    device
        to compute on.
    scratch
        folder for some MB per frame of temporary data; None: the system's.
    progress
        told as it goes.

    Returns
    -------
    motions
        one for each movie, 0 in the first frame used, with standard errors.

    Raises
    ------
    ImageError
        if a movie has a single frame to use.

    Notes
    -----
    The likelihood is that of Gaussian signal and noise, over which the unknown signal is integrated out (as in Bayesian
    polishing: Zivanov, Nakane & Scheres, IUCrJ 2019, 6:5, where a reference takes its place); its widths and the
    prior's are found by maximising the evidence (empirical Bayes).
    """
    ranges = [frame_range(len(source), settings) for source in sources]
    if any(len(used) < 2 for used in ranges):
        raise ImageError("a movie of a single frame has no motion", mend="take the frame as its image")
    with Shelf(scratch) as shelf:

        def first(number: int) -> _Look:
            spectra = _spectra(sources[number], ranges[number], detector, pixel_size_ang, device)
            spectra = spectra.grouped(MOST_FRAMES)
            shelf.put(number, spectra)
            return _first_look(spectra, settings, pixel_size_ang, optics)

        numbers = range(len(sources))
        one = _FRAMES_AT_ONCE * 4.0 * math.prod(detector.image_shape_px)
        looks = each(first, numbers, part_of(progress, 0, 0.6), "look at the movies", one)
        give_memory_back()
        solved = solve_whole_field([look.maps for look in looks], [look.shifts_px for look in looks], pixel_size_ang)
        shifts = [one.strengths_px[0] for one in solved]

        def power(number: int) -> SharedPower:
            return _power(shelf.get(number), shifts[number])

        powers = each(power, numbers, part_of(progress, 0.6, 0.7), "measure their signal", one)
        profiles = fit_profiles(powers, optics)

        def second(number: int) -> PairMaps:
            return _maps(shelf.get(number), profiles[number], shifts[number], settings.model == "local")

        maps = each(second, numbers, part_of(progress, 0.7, 0.95), "correlate their frames", one)
    give_memory_back()
    solved = solve_whole_field([one.whole_field() for one in maps], shifts, pixel_size_ang)
    mixing: Array | None = None
    if settings.model == "local" and len(maps[0].values) >= _LEAST_TILES**2:
        solved, mixing = solve_local(maps, solved, pixel_size_ang)
    progress(1.0, "motion solved")
    shape = detector.image_shape_px
    return tuple(_motion(one, used, mixing, shape, pixel_size_ang) for one, used in zip(solved, ranges, strict=True))


def _spectra(source: FrameSource, used: range, detector: Detector, pixel_size_ang: float, device: str) -> FrameSpectra:
    def frames() -> Iterator[Tensor]:
        for frame in read_ahead(source, used):
            yield torch.from_numpy(detector.correct(frame)).to(device)

    return spectra_of(frames(), len(used), detector.image_shape_px, pixel_size_ang)


def _first_look(spectra: FrameSpectra, settings: MotionSettings, pixel_size_ang: float, optics: Optics) -> _Look:
    """Shifts by a prior that knows nothing of the series, and the maps of the whole field about them."""
    shifts = first_estimate(spectra, settings.max_shift)
    frames = len(spectra)
    prior = (default_course(frames, pixel_size_ang), (0, 1))
    modes = np.ones((1, 1))
    for _ in range(2):
        profile = fit_profiles([_power(spectra, shifts)], optics)[0]
        maps = tile_maps(spectra, profile.weights(), profile.curvature(), shifts, (1, 1), _FIRST_REACH)
        centred = shifts - shifts.mean(axis=0)
        strengths, _ = most_likely(maps, modes, [prior], centred[None])
        moved = float(np.abs(strengths[0] - centred).max())
        shifts = strengths[0]
        if moved < maps.reach_px / 3:
            break
    return _Look(shifts, maps)


def _power(spectra: FrameSpectra, shifts_px: Array) -> SharedPower:
    scale_xy = np.array([spectra.scale[1], spectra.scale[0]])
    return shared_power(spectra, torch.from_numpy(shifts_px / scale_xy))


def _maps(spectra: FrameSpectra, profile: Profile, shifts_px: Array, local: bool) -> PairMaps:
    tiles = (1, 1)
    if local:
        rows, columns = (
            int(min(_MOST_TILES, size * spectra.pixel_size_ang / _TILE_ANG, size / _LEAST_TILE_PX))
            for size in spectra.shape
        )
        tiles = (rows, columns) if min(rows, columns) >= _LEAST_TILES else (1, 1)
    return tile_maps(spectra, profile.weights(), profile.curvature(), shifts_px, tiles, _REACH)


def _motion(
    solved: Solved, used: range, mixing: Array | None, shape_px: tuple[int, int], pixel_size_ang: float
) -> MovieMotion:
    """The record of one movie, 0 in its first frame; groups of frames are interpolated."""
    frames = len(used)
    strengths = _each_frame(solved.strengths_px, frames)
    strengths = strengths - strengths[:, :1]
    local: LocalMotion | None = None
    if mixing is not None and len(strengths) > 1:
        local = local_motion(strengths, mixing, shape_px)
    return MovieMotion(
        shape_px=shape_px,
        pixel_size_ang=pixel_size_ang,
        global_px=strengths[0],
        global_error_px=_each_frame(solved.error_px[None], frames)[0],
        local=local,
        first_frame=used.start + 1,
    )


def _each_frame(values: Array, frames: int) -> Array:
    """``(modes, frames, 2)`` from ``(modes, groups, 2)``: straight between the groups' middles, and on beyond them."""
    groups = values.shape[1]
    if groups == frames:
        return values
    edges = np.round(np.linspace(0, frames, groups + 1))
    middles = (edges[:-1] + edges[1:] - 1) / 2
    place = np.clip(np.searchsorted(middles, np.arange(frames)), 1, groups - 1)
    part = (np.arange(frames) - middles[place - 1]) / (middles[place] - middles[place - 1])
    out: Array = values[:, place - 1] * (1 - part[:, None]) + values[:, place] * part[:, None]
    return out
