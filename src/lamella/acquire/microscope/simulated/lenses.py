"""The lenses as they are: image shift, focus and beam tilt that really come of what is set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.microscope.simulated.draws import signed
from lamella.acquire.world_tables import OpticsTable

__all__ = ["TrueLenses"]

Array = NDArray[np.float64]

_BEND_AT_UM = 8.0


class TrueLenses:
    """What the lenses do.

    Parameters
    ----------
    table
        what the world says of them.
    rng
        their own stream of random numbers.
    """

    def __init__(self, table: OpticsTable, rng: np.random.Generator) -> None:
        self._table = table
        self._rng = rng
        turn = np.deg2rad(signed((table.shift_turn_error,) * 2, rng))
        scale = 1.0 + signed((table.shift_scale_error,) * 2, rng)
        self._matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        self._focus_offset_um = signed(table.focus_offset, rng)
        self._focus_scale = 1.0 + signed((table.focus_scale_error,) * 2, rng)
        self._beam_tilt_scale = 1.0 + signed((table.beam_tilt_scale_error,) * 2, rng)
        bends = rng.spawn(1)[0].normal(size=(2, 3))
        self._bend: Array = table.shift_bend / _BEND_AT_UM**2 * bends / np.linalg.norm(bends)
        self.picture_turn_deg = signed((table.tilt_axis_error,) * 2, rng)
        self.shift_set_um: Array = np.zeros(2)
        self.focus_set_um = 0.0
        self.beam_tilt_set_mrad: Array = np.zeros(2)
        self._behind_um: Array = np.zeros(2)
        self._focus_error_um = 0.0

    def shift(self, to_um: Array) -> None:
        """Set the image shift; what comes of it lags a little behind, so that it depends on where it came from."""
        # A play: what follows stays where it is until it would be farther behind than the half of it.
        behind = self._behind_um + self.shift_set_um - to_um
        length, play = float(np.hypot(*behind)), self._table.shift_hysteresis / 2
        self._behind_um = behind if length <= play else behind * play / length
        self.shift_set_um = to_um

    def focus(self, defocus_um: float) -> None:
        """Set the focus, with the error that this time has."""
        error = self._rng.normal()
        self.focus_set_um = defocus_um
        self._focus_error_um = self._table.focus_noise * error

    def tilt_beam(self, to_mrad: Array) -> None:
        """Set the beam tilt."""
        self.beam_tilt_set_mrad = to_mrad

    def shift_of(self, set_um: Array) -> Array:
        """``(2,)`` the shift that setting one makes, but for hysteresis."""
        x, y = set_um
        shift: Array = self._matrix @ set_um + self._bend @ np.array([x * x, x * y, y * y])
        return shift

    @property
    def shift_um(self) -> Array:
        """``(2,)`` the true image shift: this place across the beam is in the image's middle."""
        return self.shift_of(self.shift_set_um) + self._behind_um

    @property
    def defocus_um(self) -> float:
        """True defocus of a point at the height of the tilt axis."""
        return self._focus_offset_um + self._focus_scale * self.focus_set_um + self._focus_error_um

    @property
    def beam_tilt_mrad(self) -> Array:
        """``(2,)`` the true beam tilt."""
        return self._beam_tilt_scale * self.beam_tilt_set_mrad
