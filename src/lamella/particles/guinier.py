"""How the amplitudes of a map fall off with resolution: Guinier's plot, its line, and the B-factor that it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.fourier import shell_count, shell_sums

__all__ = ["GuinierPlot", "fit_guinier", "signal_weight"]

Volume = NDArray[np.float32]
Curve = NDArray[np.float64]

_FEWEST = 5  # shells that a line is fitted to
_FLOOR = 1e-30


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
    used
        ``(s,)`` shells that the line was fitted to.
    b_factor_ang2
        four times the line's slope; negative where amplitudes fall, so that it sharpens. None where too few shells lie
        between the beginning of the line and the resolution.
    intercept
        of the line at 1/d² = 0.
    correlation
        of the fitted points with the line.
    """

    inverse_square: Curve
    amplitude: Curve
    weighted: Curve
    used: NDArray[np.bool_]
    b_factor_ang2: float | None = None
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
    from_ang: float,
    to_ang: float,
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
    from_ang, to_ang
        the coarse end of the line, beyond which the particle's shape rules the amplitudes, and its fine end.
    transfer
        ``(s,)`` the detector's modulation transfer, divided out; None: 1.

    Notes
    -----
    Rosenthal & Henderson 2003: amplitudes are weighted by `signal_weight` before the line is fitted, and each shell
    counts as much as its correlation.
    """
    shape = volume.shape
    terms = torch.fft.rfftn(torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32)))
    power = (shell_sums(terms.real**2 + terms.imag**2, shape) / shell_count(shape)).numpy()[1:]
    if transfer is not None:
        power = power / transfer[1:] ** 2
    frequency = np.arange(1, len(power) + 1) / (max(shape) * voxel_size_ang)
    fsc = correlation[1:]
    weight = signal_weight(fsc)
    amplitude = 0.5 * np.log(np.maximum(power, _FLOOR))
    weighted = amplitude + np.log(np.maximum(weight, 1e-6))
    used = (frequency >= 1 / from_ang) & (frequency <= 1 / to_ang) & (fsc > 0)
    plot = GuinierPlot(inverse_square=frequency**2, amplitude=amplitude, weighted=weighted, used=used)
    if used.sum() < _FEWEST:
        return plot
    x, y = frequency[used] ** 2, weighted[used]
    slope, intercept = np.polyfit(x, y, 1, w=np.sqrt(fsc[used]))
    return GuinierPlot(
        inverse_square=plot.inverse_square,
        amplitude=amplitude,
        weighted=weighted,
        used=used,
        b_factor_ang2=float(4 * slope),
        intercept=float(intercept),
        correlation=float(np.corrcoef(y, slope * x + intercept)[0, 1]),
    )
