"""What undoes an image's contrast transfer: a flip of phases, the transfer once more, Wiener's filter."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lamella.errors import InputError

__all__ = ["Restoration", "restoring_filter", "signal_to_noise", "wiener_filter"]

Restoration = Literal["phase-flip", "multiply", "wiener"]

_FALLOFF_ANG = 200.0  # Warp's 100 Å per half cycle
_DECADES = 3.0  # of the ratio at strength 1


def signal_to_noise(
    frequency_per_ang: Tensor, *, strength: float = 1.0, falloff: float = 1.0, high_pass_ang: float = 1000.0
) -> Tensor:
    """Supposed ratio of signal to noise power at spatial frequencies in 1/Å: falling, and 0 at frequency 0.

    Parameters
    ----------
    frequency_per_ang
        of any shape.
    strength
        the ratio at low frequencies is 1000 to this power.
    falloff
        the ratio falls as exp(−200 Å · falloff · k).
    high_pass_ang
        below one over this, the ratio falls towards 0, so that slow changes of thickness are not enhanced.

    Notes
    -----
    (1 − cos(π min(1, k · high pass))) · 10^(3 strength) · exp(−200 falloff k): the curve of Tegunov & Cramer 2019 (Nat.
    Methods 16:1146), whose high pass of 0.02 of the Nyquist frequency is 1000 Å for voxels of 10 Å.
    """
    if strength < 0 or falloff < 0 or high_pass_ang <= 0:
        raise InputError(
            f"a ratio of signal to noise of strength {strength}, falloff {falloff} and high pass {high_pass_ang} Å",
            mend="give numbers that are not negative, and a high pass above 0",
        )
    rise = 1 - torch.cos(math.pi * (frequency_per_ang * high_pass_ang).clamp(max=1.0))
    return rise * torch.exp(_DECADES * strength * math.log(10) - _FALLOFF_ANG * falloff * frequency_per_ang)


def wiener_filter(transfer: Tensor, signal_to_noise: Tensor) -> Tensor:
    """Wiener's filter c / (c² + 1 / s) for a transfer c and a ratio s of signal to noise power; 0 where s is 0.

    It is nowhere above √s / 2.
    """
    return transfer * signal_to_noise / (transfer**2 * signal_to_noise + 1)


def restoring_filter(phase: Tensor, method: Restoration, signal_to_noise: Tensor | None = None) -> Tensor:
    """The filter that restores an image whose contrast transfer is c = sin(phase).

    Parameters
    ----------
    phase
        χ + phase shift + arcsin(amplitude contrast), radians, of any shape: c is + at frequency 0, so that contrast
        keeps its sign.
    method
        ``phase-flip``: sign of c, and where c is 0 nothing is lost; ``multiply``: c, by which views count as they carry
        signal; ``wiener``: c (1 + s) / (1 + s c²), and no more than 1 before the first maximum of the size of c.
    signal_to_noise
        s, for ``wiener``.

    Returns
    -------
    Tensor
        of the shape of `phase`.

    Notes
    -----
    ``wiener`` is Wiener's filter over that of a lens with c = 1. It restores what the lens did, and leaves the fall of
    the signal with frequency: views that are summed by interpolation must not hold fine signal far below coarse one.
    It is a flip for much signal and multiplication for little. Low frequencies, of which c leaves least, are not
    enhanced: noise, thickness and background change slowly too.
    """
    transfer = torch.sin(phase)
    if method == "phase-flip":
        return torch.where(transfer < 0, -1.0, 1.0).to(transfer.dtype)
    if method == "multiply":
        return transfer
    if signal_to_noise is None:
        raise InputError("Wiener's filter without a ratio of signal to noise", mend="give one")
    restored = transfer * (1 + signal_to_noise) / (transfer**2 * signal_to_noise + 1)
    return torch.where(phase.abs() < math.pi / 2, restored.clamp(-1, 1), restored)
