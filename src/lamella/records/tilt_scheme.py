"""In which order the tilts of a series are recorded, and with what dose: one home for recording and simulating."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import SettingsError

__all__ = ["DoseByTilt", "SchemeName", "TiltScheme", "doses_of_tilts", "recording_order", "steps_of_range"]

Array = NDArray[np.float64]
SchemeName = Literal["dose-symmetric", "bidirectional", "unidirectional"]
DoseByTilt = Literal["uniform", "cosine"]

_SAME_DEG = 0.01  # no stage tells angles apart that are closer


@dataclass(frozen=True, kw_only=True, eq=False)
class TiltScheme:
    """The tilts of a series in the order of their recording.

    Attributes
    ----------
    tilt_deg
        ``(n,)`` nominal angles of the stage.
    dose
        ``(n,)`` of each view, e/Å².

    Raises
    ------
    SettingsError
        if there is no tilt, an angle comes twice or is no number, or a dose is not positive.
    """

    tilt_deg: Array
    dose: Array

    def __post_init__(self) -> None:
        tilt = np.atleast_1d(np.array(self.tilt_deg, np.float64)) + 0.0  # no −0, which texts would show
        dose = np.array(np.broadcast_to(np.asarray(self.dose, np.float64), tilt.shape))
        if tilt.size == 0 or not np.isfinite(tilt).all():
            raise SettingsError(f"tilt angles {tilt.tolist()}", mend="give at least one angle, each a number")
        if np.abs(tilt).max() >= 90:
            raise SettingsError(f"a tilt of {tilt[np.abs(tilt).argmax()]:g}°", mend="give angles between −90° and +90°")
        near = np.flatnonzero(np.diff(np.sort(tilt)) < _SAME_DEG)
        if near.size:
            raise SettingsError(f"the tilt of {np.sort(tilt)[near[0]]:g}° comes twice", mend="give every angle once")
        if not (np.isfinite(dose).all() and (dose > 0).all()):
            raise SettingsError("a view without a dose", mend="give a dose above 0 e/Å²")
        for name, values in (("tilt_deg", tilt), ("dose", dose)):
            values.flags.writeable = False
            object.__setattr__(self, name, values)

    @classmethod
    def of_range(
        cls,
        scheme: SchemeName,
        *,
        tilt_range: float,
        tilt_step: float,
        start_tilt: float = 0.0,
        group: int = 1,
        dose: float = 3.0,
        dose_by_tilt: DoseByTilt = "uniform",
    ) -> TiltScheme:
        """The scheme of a range of tilts to both sides of a start tilt; see `recording_order`.

        Parameters
        ----------
        tilt_range, tilt_step, start_tilt
            half the range, the step, and the angle in the range's middle, deg.
        group
            tilts on one side before the other side's turn, of dose-symmetric.
        dose, dose_by_tilt
            see `doses_of_tilts`; the dose grows with the tilt against the start tilt, at which a lamella lies flat.
        """
        steps = recording_order(scheme, steps_of_range(tilt_range, tilt_step), group)
        return cls(tilt_deg=start_tilt + tilt_step * steps, dose=doses_of_tilts(tilt_step * steps, dose, dose_by_tilt))

    @classmethod
    def of_list(
        cls,
        tilt_deg: Sequence[float],
        *,
        start_tilt: float = 0.0,
        dose: float = 3.0,
        dose_by_tilt: DoseByTilt = "uniform",
    ) -> TiltScheme:
        """The scheme of angles given one by one, in the order of recording."""
        tilt = np.asarray(tilt_deg, np.float64)
        return cls(tilt_deg=tilt, dose=doses_of_tilts(tilt - start_tilt, dose, dose_by_tilt))

    def __len__(self) -> int:
        return len(self.tilt_deg)

    @property
    def branch(self) -> NDArray[np.int64]:
        """``(n,)`` the side of the first tilt that each lies on, −1 or +1; 0 for the first."""
        branch: NDArray[np.int64] = np.sign(self.tilt_deg - self.tilt_deg[0]).astype(np.int64)
        return branch

    @property
    def dose_before(self) -> Array:
        """``(n,)`` dose that the specimen had before each view, e/Å²."""
        before: Array = np.concatenate([[0.0], np.cumsum(self.dose)[:-1]])
        return before


def steps_of_range(tilt_range: float, tilt_step: float) -> int:
    """Whole steps from the middle of a range to its end; the last step of a fraction is not lost to rounding."""
    return int(tilt_range / tilt_step + 1e-9)


def recording_order(scheme: str, steps: int, group: int = 1) -> Array:
    """Tilts in the order of recording, ``(2 · steps + 1,)`` whole steps from the middle.

    dose-symmetric
        0, +1, −1, −2, +2, +3, … (Hagen, Wan & Briggs 2017); with groups of g: g tilts on one side, g on the other, and
        on from there.
    bidirectional
        from the middle to the positive end, then from the middle to the negative one.
    unidirectional
        from the negative end to the positive one.
    """
    if scheme == "unidirectional":
        return np.arange(-steps, steps + 1, dtype=np.float64)
    if scheme == "bidirectional":
        return np.concatenate([np.arange(steps + 1.0), -np.arange(1.0, steps + 1)])
    order: list[int] = [0]
    for number, first in enumerate(range(1, steps + 1, group)):
        block = range(first, min(first + group, steps + 1))
        side = 1 if number % 2 == 0 else -1
        order += [side * step for step in block] + [-side * step for step in block]
    return np.array(order, dtype=np.float64)


def doses_of_tilts(tilt_deg: ArrayLike, dose: float, dose_by_tilt: DoseByTilt) -> Array:
    """``(n,)`` dose of each view, e/Å²: the same for every view, or `dose` divided by cos(tilt)."""
    tilt = np.atleast_1d(np.asarray(tilt_deg, np.float64))
    if dose_by_tilt == "uniform":
        return np.full(len(tilt), dose)
    doses: Array = dose / np.cos(np.deg2rad(tilt))
    return doses
