"""Stands in for the estimate of the contrast transfer: known numbers, and curves as its formula gives them."""

from __future__ import annotations

import numpy as np

from lamella.records import CtfProfiles, Defocus, TiltSeries
from lamella.tilts.ctf_result import CtfResult

SIDE, POINTS, LIMIT = 64, 160, 0.125


def profiles_of(defocus_ang: np.ndarray, fades_at_ang: np.ndarray, seed: int = 0) -> CtfProfiles:
    """Curves of views of some defocus whose rings fade at some resolution, with noise on what is measured."""
    rng = np.random.default_rng(seed)
    square = np.linspace(1e-4, LIMIT**2, POINTS)
    frequency = np.sqrt(square)
    wavelength = 0.0196876
    chi = np.pi * wavelength * (defocus_ang[:, None] * square - 2.7e7 * wavelength**2 * square**2 / 2) + 0.07
    fitted = -0.4 * np.exp(-((frequency * fades_at_ang[:, None]) ** 2)) * np.cos(2 * chi)
    measured = fitted + rng.normal(scale=0.05, size=fitted.shape)
    axis = (np.arange(SIDE) - SIDE // 2) / (SIDE // 2) * LIMIT
    k = np.hypot(*np.meshgrid(axis, axis))
    pictures = np.stack([np.interp(k, frequency, curve) for curve in fitted]) / 0.4
    pictures[:, :, : SIDE // 2] += rng.normal(scale=0.2, size=(len(fitted), SIDE, SIDE // 2))
    return CtfProfiles(
        frequency_per_ang=frequency,
        measured=measured,
        fitted=fitted,
        correlation=1.2 * np.exp(-((frequency * fades_at_ang[:, None]) ** 2)) - 0.2,
        pictures=np.clip(pictures, -1, 1).astype(np.float32),
        picture_limit_per_ang=LIMIT,
    )


def estimate(series: TiltSeries, images, settings, *, even=None, odd=None, progress=None, hand: int = -1) -> CtfResult:
    """What `lamella.tilts.estimate_ctf` might find: resolution falls with tilt, astigmatism is common."""
    n = len(series)
    tilt = np.asarray(series.tilt_deg)
    mean = 32000.0 + 300.0 * np.sin(np.arange(n))
    reached = 7.0 + np.abs(tilt) / 6
    defocus = Defocus(
        u_ang=mean + 250,
        v_ang=mean - 250,
        angle_deg=np.full(n, 35.0),
        max_resolution_ang=reached,
        figure_of_merit=np.full(n, 0.6),
    )
    scores = {
        "CtfDefocusErrorAngst": np.full(n, 40.0),
        "CtfAstigmatismErrorAngst": np.full(n, 30.0),
        "CtfAloneDefocusAngst": mean + 60.0 * np.cos(np.arange(n)),
        "CtfAloneErrorAngst": np.full(n, 75.0),
        "CtfBorrowed": (np.abs(tilt) > 55).astype(float),
        "CtfImageCentreAngst": mean,
    }
    quality = {
        "CtfHandConfidence": 0.999,
        "CtfHandLogOdds": 6.9,
        "CtfMeasuredHand": float(hand),
        "CtfDepthSlope": 1.02,
        "CtfDepthSlopeError": 0.05,
        "CtfTiltOffsetDeg": 0.4,
        "CtfTiltOffsetDegError": 0.6,
        "CtfResolutionAngst": float(np.median(reached)),
    }
    stated = hand if settings.hand == "auto" else int(settings.hand)
    found = series.with_changes(defocus=defocus, scores=scores, quality=quality, hand=stated)
    return CtfResult(series=found, profiles=profiles_of(mean, reached), notes=("the hand is measured",))
