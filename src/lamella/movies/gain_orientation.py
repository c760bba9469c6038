"""Find how a gain reference lies on the frames: its rotation and flip, from the data.

Where a pixel counts p times what its surroundings count, a fitting gain (a factor g) is 1/p of its own surroundings.
Both departures are taken from all pixels, and compared in each of the eight positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError
from lamella.kernels.counts import local_mean

__all__ = ["FLIPS", "ROTATIONS", "GainFit", "GainPosition", "find_position", "place_gain"]

Image = NDArray[np.float32]
Kind = TypeVar("Kind", bound=np.generic)

ROTATIONS = (0, 90, 180, 270)
FLIPS = ("none", "up-down", "left-right")

_NEAR = 15  # px, of what counts as surroundings
_ENOUGH = 2048  # px along each side, in the middle, that are compared
_CLIP = 6.0  # robust deviations: defects must not decide
_FLAT = 1e-4  # relative deviation below which a gain has no structure to go by
_CERTAIN = 6.0  # standard errors between the best position and another one
_FITS = 0.4  # share of the gain's structure that the frames must show for it to be theirs


@dataclass(frozen=True, order=True)
class GainPosition:
    """A rotation, then a flip, of an image whose row 0 is at the bottom.

    Attributes
    ----------
    rotation
        degrees counter-clockwise: 0, 90, 180, 270.
    flip
        ``none``, ``up-down`` or ``left-right``.
    """

    rotation: int = 0
    flip: str = "none"

    def __str__(self) -> str:
        turned = f"rotated by {self.rotation}° counter-clockwise" if self.rotation else "unturned"
        return turned + (f", then flipped {self.flip}" if self.flip != "none" else "")

    @property
    def code(self) -> tuple[int, bool]:
        """What it does, the same for two ways of saying it: quarter turns, then whether flipped up-down."""
        if self.flip == "left-right":  # = half a turn, then up-down
            return (self.rotation // 90 + 2) % 4, True
        return self.rotation // 90 % 4, self.flip == "up-down"

    def place(self, image: NDArray[Kind]) -> NDArray[Kind]:
        """The image so placed; a view where numpy can."""
        # numpy turns counter-clockwise as seen with row 0 at the top, which is clockwise with row 0 at the bottom
        turned: NDArray[Kind] = np.rot90(image, -(self.rotation // 90))
        if self.flip == "up-down":
            turned = turned[::-1]
        elif self.flip == "left-right":
            turned = turned[:, ::-1]
        return turned


@dataclass(frozen=True, eq=False)
class GainFit:
    """How a gain reference lies on the frames.

    Attributes
    ----------
    position
        to be used.
    share
        of the gain's structure that the frames show there: 1 where it fits, 0 where it does not belong to them, −1
        where its inverse would. NaN where it could not be measured.
    error
        standard error of `share`.
    notes
        what was found, and doubts, in words.
    """

    position: GainPosition
    share: float
    error: float
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether the frames show the gain's structure beyond doubt."""
        return bool(self.share > max(_FITS, 3 * self.error))


@dataclass(frozen=True)
class _Trial:
    position: GainPosition
    share: float
    error: float


def find_position(
    total: Image, factor: Image, *, rotation: str = "auto", flip: str = "auto", name: str = "the gain reference"
) -> GainFit:
    """Choose the position of a gain reference, or judge the one that is stated.

    Parameters
    ----------
    total
        ``(h, w)`` counts of many frames together, see `lamella.movies.defects.survey`.
    factor
        the gain as a factor, ``(h, w)`` or ``(w, h)``; pixels of 0 or no number take no part.
    rotation, flip
        stated (``"90"``, ``"up-down"``, …), or ``auto``.
    name
        of the reference, for messages.

    Raises
    ------
    ImageError
        if the gain's size fits the frames in no position, or not in the stated one.

    Notes
    -----
    The share is the regression of the frames' relative departures on those of the inverse gain; its error follows
    from the noise of the counts. At 1 count per pixel and 2 % of gain variation a million pixels give it to 0.05. Of
    large frames the middle 2048 × 2048 pixels are compared.
    """
    positions = _positions(rotation, flip)
    fitting = [one for one in positions if one.place(factor).shape == total.shape]
    if not fitting:
        sizes = f"{factor.shape[1]} × {factor.shape[0]} pixels, the frames {total.shape[1]} × {total.shape[0]}"
        turned = sorted(factor.shape) == sorted(total.shape)
        raise ImageError(
            f"{name}: the gain has {sizes}" + (", and the stated rotation does not mend that" if turned else ""),
            mend="set motion.gain_rotation to auto" if turned else "give the gain of this camera and mode",
        )
    counts, inverse = _departures(_middle(total)), _departures(_inverse(_middle(factor)))
    every = [one for one in _positions("auto", "auto") if one.place(factor).shape == total.shape]
    trials = {one.code: _try(counts, inverse, one) for one in every}
    return _choose(fitting, trials, name)


def place_gain(factor: Image, position: GainPosition) -> Image:
    """The gain as the frames lie."""
    return np.ascontiguousarray(position.place(factor))


def _positions(rotation: str, flip: str) -> list[GainPosition]:
    """All that is left open: of the ways to say the same, the one with fewer words."""
    turns = ROTATIONS if rotation == "auto" else (int(rotation),)
    flips: Sequence[str] = FLIPS if flip == "auto" else (flip,)
    found: dict[tuple[int, bool], GainPosition] = {}
    for one in (GainPosition(turn, how) for how in flips for turn in turns):
        known = found.get(one.code)
        if known is None or (known.rotation, known.flip != "none") > (one.rotation, one.flip != "none"):
            found[one.code] = one
    return list(found.values())


def _middle(image: Image) -> Image:
    """The middle of an image: enough pixels to decide, and turning the image turns its middle."""
    cut = [max(0, (side - _ENOUGH + 1) // 2) for side in image.shape]
    return image[cut[0] : image.shape[0] - cut[0], cut[1] : image.shape[1] - cut[1]]


def _inverse(factor: Image) -> Image:
    sound = np.isfinite(factor) & (factor > 0)
    return np.where(sound, 1 / np.where(sound, factor, 1), np.nan).astype(np.float32)


def _departures(image: Image) -> Image:
    """Relative departure of each pixel from its surroundings, clipped; 0 where the image has no number."""
    sound = np.isfinite(image) & (image > 0)
    some = image[sound][:: max(1, image.size // 200_000)]
    if len(some) == 0:
        return np.zeros(image.shape, np.float32)
    low, high = np.quantile(some, (0.001, 0.999))
    filled = np.clip(np.where(sound, image, np.float32(low)), low, high).astype(np.float32)
    near = np.empty(image.shape, np.float32)
    local_mean(filled, sound, _NEAR, 0.0, filled, near)
    filled /= np.where(near > 0, near, np.float32(1))
    filled -= 1
    filled[~sound | (near <= 0)] = 0
    some = filled.ravel()[:: max(1, filled.size // 200_000)]
    limit = _CLIP * 1.4826 * float(np.median(np.abs(some - np.median(some))))
    return np.clip(filled, -limit, limit, out=filled) if limit > 0 else filled


def _try(counts: Image, inverse: Image, position: GainPosition) -> _Trial:
    placed = np.ascontiguousarray(position.place(inverse))
    strength, size = _product(placed, placed), counts.size
    if strength < size * _FLAT**2:
        return _Trial(position, float("nan"), float("inf"))
    share = _product(counts, placed) / strength
    return _Trial(position, share, math.sqrt(_product(counts, counts) / size / strength))


def _product(a: Image, b: Image) -> float:
    """Σ a b; rows are short enough for 32 bits."""
    return float(np.einsum("ij,ij->i", a, b).sum(dtype=np.float64))


def _choose(fitting: list[GainPosition], trials: dict[tuple[int, bool], _Trial], name: str) -> GainFit:
    known = [replace(trials[one.code], position=one) for one in fitting]
    best, best_of_all = max(known, key=_rank), max(trials.values(), key=_rank)
    if not np.isfinite(best_of_all.share):
        plainest = min(known, key=_words)
        note = f"{name} has no structure by which its position could be found: it was used {plainest.position}"
        return GainFit(plainest.position, float("nan"), float("inf"), (note,))
    lowest = min(known, key=lambda trial: trial.share)
    if _upside_down(lowest) and best_of_all.share < _FITS:
        return GainFit(lowest.position, lowest.share, lowest.error, (_inverted(lowest, name),))
    alike = [trial for trial in known if not _beyond(best, trial)]
    chosen = min(alike, key=_words)
    notes = [] if len(known) == 1 else [_found(chosen, len(alike) == 1, name)]
    return GainFit(chosen.position, chosen.share, chosen.error, (*notes, *_doubts(chosen, best_of_all, trials, name)))


def _words(trial: _Trial) -> tuple[bool, int]:
    """The plainest position comes first."""
    return trial.position.flip != "none", trial.position.rotation


def _rank(trial: _Trial) -> float:
    return trial.share if np.isfinite(trial.share) else -np.inf


def _beyond(better: _Trial, worse: _Trial) -> bool:
    return better.share - worse.share > _CERTAIN * math.hypot(better.error, worse.error)


def _upside_down(trial: _Trial) -> bool:
    return trial.share < -max(_FITS, 3 * trial.error)


def _inverted(trial: _Trial, name: str) -> str:
    return (
        f"warning: {name} seems to be inverted: {trial.position}, the frames show {_percent(trial)} of its structure, "
        "which multiplying with it makes worse; give its reciprocal"
    )


def _found(chosen: _Trial, certain: bool, name: str) -> str:
    if certain and chosen.share > 3 * chosen.error:
        return f"{name} lies {chosen.position} on the frames: they show {_percent(chosen)} of its structure there"
    return (
        f"warning: the frames do not tell how {name} lies on them (too few counts, or a gain that looks the same after "
        f"turning); it was used {chosen.position}: set motion.gain_rotation and motion.gain_flip"
    )


def _doubts(chosen: _Trial, best: _Trial, trials: dict[tuple[int, bool], _Trial], name: str) -> list[str]:
    if best.position.code != chosen.position.code and _beyond(best, chosen) and best.share > _FITS:
        return [
            f"warning: {name} seems to be turned wrongly: used {chosen.position}, the frames show {_percent(chosen)} "
            f"of its structure, {best.position} they show {_percent(best)}; set motion.gain_rotation and "
            "motion.gain_flip to auto"
        ]
    lowest = min(trials.values(), key=lambda trial: trial.share)
    if _upside_down(lowest) and chosen.share < _FITS:
        return [_inverted(lowest, name)]
    if chosen.share < _FITS and chosen.error < _FITS / 3:
        return [
            f"warning: {name} seems to be wrong: the frames show {_percent(chosen)} of its structure, and no position "
            "fits (are the frames corrected already, or is it another camera's?)"
        ]
    if chosen.share > 1 + max(_FITS, 3 * chosen.error):
        return [f"warning: the frames show {_percent(chosen)} of the structure of {name}: is it a smoothed one?"]
    return []


def _percent(trial: _Trial) -> str:
    return f"({100 * trial.share:.0f} ± {100 * trial.error:.0f}) %"
