"""How the second tomogram lies on the first: by beads or by the volumes, then what moved locally."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.parallel import part_of
from lamella.progress import Progress, no_progress
from lamella.tomograms.combine_beads import match_beads
from lamella.tomograms.combine_patches import OVERLAP, measure_patches
from lamella.tomograms.combine_resample import Grid
from lamella.tomograms.combine_rigid import RigidFit, RigidMotion, fit_rigid
from lamella.tomograms.combine_search import search_motion
from lamella.tomograms.combine_settings import CombineSettings
from lamella.tomograms.combine_warp import Warp, fit_warp
from lamella.tomograms.combine_working import WorkingPair

__all__ = ["Registration", "register"]

Array = NDArray[np.float64]

_TOLERANCE_ANG = 80.0  # between a bead's places in two tomograms
_FEWEST_BEADS = 5
_FEWEST_PATCHES = 6
_FEWEST_SHARE = 0.3  # of the significant patches, that agree on one motion
_REACH_ANG = (160.0, 80.0, 60.0)  # of the patches, round by round
_AGREES_ANG = 40.0
_PATCH_ANG = (500.0, 900.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """How the second tomogram lies in the first one's frame.

    Attributes
    ----------
    method
        ``beads`` or ``volume``.
    motion, fit
        the rigid motion and how well it is known.
    pairs
        beads, or cubes, that it rests on.
    warp
        what moved locally besides; None where nothing did that can be told from errors.
    warp_gain
        by which part of their variance the warp foretells displacements that it was not fitted to.
    """

    method: str
    fit: RigidFit
    pairs: int
    warp: Warp | None = None
    warp_gain: float = 0.0

    @property
    def motion(self) -> RigidMotion:
        """The rigid motion."""
        return self.fit.motion

    def in_words(self) -> str:
        """One sentence with its numbers."""
        fit, motion = self.fit, self.fit.motion
        x, y, z = motion.shift_ang
        what = "beads" if self.method == "beads" else "cubes of the volumes"
        return (
            f"by {self.pairs} {what}: the specimen was turned by {motion.turn_deg:.2f} ± {fit.angle_error_deg[2]:.2f}°,"
            f" tilted by {motion.tilt_deg:.2f} ± {np.hypot(*fit.angle_error_deg[:2]):.2f}°, and lies "
            f"{x:.1f}, {y:.1f}, {z:.1f} ± {np.linalg.norm(fit.shift_error_ang) / np.sqrt(3):.1f} Å off; "
            f"residual {np.linalg.norm(fit.residual_ang):.1f} Å, scale {fit.scale:.4f} ± {fit.scale_error:.4f}"
        )


def register(
    pair: WorkingPair, settings: CombineSettings, beads: tuple[Array, Array] | None, progress: Progress
) -> Registration:
    """Lay the second tomogram onto the first.

    Parameters
    ----------
    settings
        see `CombineSettings`.
    beads
        ``(n, 3)``, ``(m, 3)`` places of beads, Å; None where they are not known.

    Raises
    ------
    InputError
        if beads are asked for and do not match, the volumes do not agree on one motion (two different specimens, or no
        overlap), or the two tomograms have opposite hands.
    """
    turn = None if settings.turn == "auto" else float(settings.turn)
    found = None if settings.register_by == "volume" else _by_beads(beads, settings, turn, pair.names)
    grid = pair.first.grid
    patch = _edge(settings, grid)
    if found is None:
        found = _by_volume(pair, turn, patch, progress)
    if not settings.warp:
        return found
    shifts = measure_patches(pair, found.motion, None, patch, _REACH_ANG[-1])
    half = tuple(n * grid.voxel_ang / 2 for n in grid.shape[::-1])
    weights = (shifts.significant & shifts.within(0.95 * _REACH_ANG[-1])).astype(np.float64)
    warp, gain = fit_warp(shifts.places_ang, shifts.shifts_ang, weights, (half[0], half[1], half[2]), 1.5 * patch)
    progress(1.0, "registered")
    return Registration(method=found.method, fit=found.fit, pairs=found.pairs, warp=warp, warp_gain=gain)


def _by_beads(
    beads: tuple[Array, Array] | None, settings: CombineSettings, turn: float | None, names: tuple[str, str]
) -> Registration | None:
    asked = settings.register_by == "beads"
    mend = "set register_by to volume, or find gold in both when they are reconstructed (reconstruct.gold)"
    if beads is None or min(len(part) for part in beads) < _FEWEST_BEADS:
        if asked:
            raise InputError(f"{names[0]}, {names[1]}: fewer than {_FEWEST_BEADS} beads are known in one", mend=mend)
        return None
    match = match_beads(*beads, _TOLERANCE_ANG, turn)
    if match is None or len(match) < _FEWEST_BEADS:
        if asked:
            raise InputError(f"the beads of {names[1]} do not lie as those of {names[0]}", mend=mend)
        return None
    if match.mirrored:
        raise _other_hand(names)
    fit = fit_rigid(beads[1][match.second], beads[0][match.first])
    return Registration(method="beads", fit=fit, pairs=int((fit.weights > 0).sum()))


def _by_volume(pair: WorkingPair, turn: float | None, patch: float, progress: Progress) -> Registration:
    found = search_motion(pair, turn, part_of(progress, 0.0, 0.7))
    if not found.mirrored:
        return _refined(pair, found.motion, patch)
    mirror = pair.mirrored()
    start = search_motion(mirror, found.mirrored_turn_deg, no_progress).motion
    _refined(mirror, start, patch)  # two different specimens have no hands to compare
    raise _other_hand(pair.names)


def _refined(pair: WorkingPair, motion: RigidMotion, patch: float) -> Registration:
    """Fit the motion to what cubes of the volumes say, round by round.

    Raises
    ------
    InputError
        if they do not agree.
    """
    for reach in _REACH_ANG:
        found = measure_patches(pair, motion, None, patch, reach)
        used = found.significant & found.within(0.95 * reach)
        places = found.places_ang[used]
        there = motion.to_second(places + found.shifts_ang[used])
        if used.sum() < _FEWEST_PATCHES:
            raise _different(pair.names, int(used.sum()), len(used))
        fit = fit_rigid(there, places, found.height[used] ** 2, OVERLAP**3)
        motion = fit.motion
    rest = np.linalg.norm(places - motion.to_first(there), axis=1)
    agree = int((rest < _AGREES_ANG).sum())
    if agree < max(_FEWEST_PATCHES, _FEWEST_SHARE * len(rest)):
        raise _different(pair.names, agree, len(used))
    return Registration(method="volume", fit=fit, pairs=agree)


def _edge(settings: CombineSettings, grid: Grid) -> float:
    """Edge of the cubes, Å: a sixth of the field where nothing is said."""
    if settings.patch != "auto":
        return float(settings.patch)
    field = min(grid.shape[1:]) * grid.voxel_ang
    return float(np.clip(field / 6, *_PATCH_ANG))


def _other_hand(names: tuple[str, str]) -> InputError:
    return InputError(
        f"{names[1]} matches {names[0]} only when it is mirrored: the two series have opposite hands",
        mend="state the tilt axis of one of them the other way round (180° more), and align and reconstruct it again",
    )


def _different(names: tuple[str, str], agree: int, cubes: int) -> InputError:
    return InputError(
        f"{names[1]} does not lie on {names[0]} in any way: only {agree} of {cubes} places agree",
        mend="are they of one specimen, and do their fields overlap? Else state the turn between them with --turn, or"
        " register them by beads",
    )
