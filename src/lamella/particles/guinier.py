"""How the amplitudes of a map fall off with resolution: Guinier's plot, its line, and the B-factor that it gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.fourier import shell_count, shell_sums
from lamella.particles.amplitude_profile import PROFILE_FROM_ANG, PROFILE_SPREAD, PROFILE_TO_ANG, log_amplitude

__all__ = ["GuinierPlot", "fit_guinier", "signal_weight"]

Volume = NDArray[np.float32]
Curve = NDArray[np.float64]

_FEWEST = 5  # shells that a line is fitted to
_FLOOR = 1e-30
_FLAT_FROM_ANG = 10.0  # from here on Wilson's spectrum is taken as flat, where the line is long enough


@dataclass(frozen=True, kw_only=True, eq=False)
class GuinierPlot:
    """Logarithm of the shells' amplitudes over 1/d².

    Attributes
    ----------
    inverse_square
        ``(s,)`` 1/d², Å⁻², from shell 1 on.
    amplitude
        ``(s,)`` ln of the root mean square amplitude, noise included.
    weighted
        ``(s,)`` the same times √(2 FSC / (1 + FSC)): of the signal alone.
    expected
        ``(s,)`` ln of the amplitude, up to a constant, of a particle without falloff: 0 where it is taken as flat.
    used
        ``(s,)`` shells that the line was fitted to.
    from_ang
        where the line begins.
    b_factor_ang2
        four times the slope of the line through `weighted` − `expected`; negative where amplitudes fall, so that it
        sharpens. None where too few shells lie between the beginning of the line and the resolution.
    b_factor_error_ang2
        its standard error, from the scatter about the line, and from how far particles differ from the profile.
    intercept
        of the line at 1/d² = 0.
    correlation
        of the fitted points with the line.
    """

    inverse_square: Curve
    amplitude: Curve
    weighted: Curve
    expected: Curve
    used: NDArray[np.bool_]
    from_ang: float
    b_factor_ang2: float | None = None
    b_factor_error_ang2: float | None = None
    intercept: float | None = None
    correlation: float | None = None


def signal_weight(correlation: Curve) -> Curve:
    """√(2 FSC / (1 + FSC)): the correlation of the average of both halves with the truth; 0 where FSC is negative.

    Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), eq. 11.
    """
    known = np.clip(correlation, 0, 1)
    weight: Curve = np.sqrt(2 * known / (1 + known))
    return weight


def fit_guinier(
    volume: Volume,
    voxel_size_ang: float,
    correlation: Curve,
    *,
    to_ang: float,
    from_ang: float | None = None,
    transfer: Curve | None = None,
) -> GuinierPlot:
    """Plot ln amplitude over 1/d², and fit a line between two resolutions.

    Parameters
    ----------
    volume
        ``(n, n, n)`` masked mean of the half maps.
    voxel_size_ang
        Å.
    correlation
        ``(s,)`` corrected Fourier shell correlation of the halves under that mask.
    to_ang
        the fine end of the line: the resolution.
    from_ang
        the coarse end, beyond which the particle's shape rules the amplitudes; None: 10 Å for a map that is finer than
        7 Å, else 20 Å.
    transfer
        ``(s,)`` the detector's modulation transfer, divided out; None: 1.

    Notes
    -----
    Rosenthal & Henderson 2003: amplitudes are weighted by `signal_weight` before the line is fitted, and each shell
    counts as much as its correlation. A map finer than 7 Å shows the flat part of the spectrum, and the line is theirs.
    In a coarser one the amplitudes are held against those of a particle without falloff (`log_amplitude`).
    """
    by_profile = to_ang > PROFILE_TO_ANG
    begin = from_ang or (PROFILE_FROM_ANG if by_profile else _FLAT_FROM_ANG)
    power = _shell_power(volume, transfer)
    frequency = np.arange(1, len(power) + 1) / (max(volume.shape) * voxel_size_ang)
    fsc = correlation[1:]
    amplitude = 0.5 * np.log(np.maximum(power, _FLOOR))
    plot = GuinierPlot(
        inverse_square=frequency**2,
        amplitude=amplitude,
        weighted=amplitude + np.log(np.maximum(signal_weight(fsc), 1e-6)),
        expected=log_amplitude(frequency) if by_profile else np.zeros(len(frequency)),
        used=(frequency >= 1 / begin) & (frequency <= 1 / to_ang) & (fsc > 0),
        from_ang=begin,
    )
    return _with_line(plot, fsc, by_profile=by_profile) if plot.used.sum() >= _FEWEST else plot


def _shell_power(volume: Volume, transfer: Curve | None) -> Curve:
    """Mean power of each shell from 1 on, without the detector's transfer."""
    shape = volume.shape
    terms = torch.fft.rfftn(torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32)))
    power: Curve = (shell_sums(terms.real**2 + terms.imag**2, shape) / shell_count(shape)).numpy()[1:]
    return power if transfer is None else power / transfer[1:] ** 2


def _with_line(plot: GuinierPlot, fsc: Curve, *, by_profile: bool) -> GuinierPlot:
    used = plot.used
    x, y, weight = plot.inverse_square[used], (plot.weighted - plot.expected)[used], fsc[used]
    slope, intercept = np.polyfit(x, y, 1, w=np.sqrt(weight))
    left = y - slope * x - intercept
    spread = np.average((x - np.average(x, weights=weight)) ** 2, weights=weight)
    scatter = np.average(left**2, weights=weight) / (len(x) - 2) / spread
    profile = (PROFILE_SPREAD / np.ptp(x)) ** 2 if by_profile else 0.0
    return replace(
        plot,
        b_factor_ang2=float(4 * slope),
        b_factor_error_ang2=float(4 * np.sqrt(scatter + profile)),
        intercept=float(intercept),
        correlation=float(np.corrcoef(y, slope * x + intercept)[0, 1]),
    )
