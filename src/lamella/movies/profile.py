"""How much signal each frequency of a movie's frames holds, from what the frames have in common.

Motion is weighed by it, and a good part of what frames say of their motion hangs on the contrast transfer: a frequency
at one of its zeros tells nothing. In one view of low dose the rings are too faint to be read off shell by shell, so a
model with few numbers is fitted to all views of the series together: one smooth envelope, and for each view its
strength, its fall-off and the rings of its defocus.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import nnls
from torch import Tensor

from lamella.fourier import shell_count, shell_frequency, shell_sums
from lamella.movies.spectra import COARSEST_ANG, FrameSpectra, Profile
from lamella.optics import electron_wavelength_ang
from lamella.records import Optics

__all__ = ["SharedPower", "fit_profiles", "shared_power"]

Array = NDArray[np.float64]

_KNOTS_ANG = (400.0, 120.0, 60.0, 35.0, 22.0, 15.0, 10.0, 7.0, 5.0, 3.5, 2.5)
"""Resolutions between which the envelope runs straight."""

_DEFOCUS_ANG = (2000.0, 90000.0)
_NEAR_ANG = 4000.0
"""How far a view's defocus may lie from the series' middle."""
_RING_STEP = 0.4
"""Step of the search: phase in rad at the finest frequency that still has signal."""
_FINEST_AT_LEAST = 1 / 40.0
_HEIGHTS_ANG = (0.0, 1000.0, 2200.0, 4500.0)
"""Ranges of defocus over the field that are tried: they fade the rings."""
_FALLOFFS_ANG2 = (-60.0, 0.0, 80.0, 250.0, 600.0)
"""Further B-factors of the power that are tried for each view: exp(−B k² / 2)."""

_LEAST_GAIN = 12.0
"""By how much the rings of all views together must better χ² to be believed."""
_MODEL_ERROR = 0.15
"""Part of the signal by which the model may be wrong: strong shells must not decide alone."""
_STRONGEST = 30.0
"""Signal over noise is held to this: more adds nothing to the weights."""
_NOISE_SMOOTHING = 8.0
_DETAIL_SMOOTHING = 2.0
_CERTAIN = 2.5
"""Standard errors that a detail must stand out by to be added to the model."""


@dataclass(frozen=True, eq=False)
class SharedPower:
    """What the frames of one view have in common, shell by shell.

    Attributes
    ----------
    common, error
        ``(shells,)`` mean product of two frames' coefficients, and its standard error.
    noise
        ``(shells,)`` mean power of what a frame has alone, smooth.
    k
        ``(shells,)`` frequency, 1/Å.
    frames, shape
        number of frames, and (h, w) of the working images.
    """

    common: Array
    error: Array
    noise: Array
    k: Array
    frames: int
    shape: tuple[int, int]


def shared_power(spectra: FrameSpectra, shift_px: Tensor) -> SharedPower:
    """Measure what frames have in common once each is moved back by its shift ``(frames, 2)``, working pixels."""
    frames, shape = len(spectra), spectra.shape
    total, power = torch.zeros_like(spectra.terms[0]), torch.zeros_like(spectra.terms[0].real)
    for terms, (rows, columns) in zip(spectra.terms, spectra.ramps(shift_px), strict=True):
        total += terms * rows[:, None] * columns
        power += terms.real.square().addcmul_(terms.imag, terms.imag)
    together = shell_sums(total.real.square().addcmul_(total.imag, total.imag), shape)
    single = shell_sums(power, shape)
    count = shell_count(shape, power.device).clamp_min(1)
    pairs = max(frames * (frames - 1), 1)
    common = ((together - single) / count / pairs).cpu().numpy()
    alone = (single / count / frames).cpu().numpy() - common
    noise = gaussian_filter1d(np.clip(alone, 0, None), _NOISE_SMOOTHING, mode="nearest")
    # the mean over half as many independent coefficients as `count`, and over pairs / 2, each of variance σ⁴ / 2
    by_chance = noise / np.sqrt((count * pairs / 2).cpu().numpy())
    with_signal = np.sqrt(2 * np.clip(common, 0, None) * noise / frames / (count / 2).cpu().numpy())
    error = np.sqrt(by_chance**2 + with_signal**2 + (_MODEL_ERROR * common) ** 2) + 1e-30
    k = (shell_frequency(shape) / spectra.pixel_size_ang).cpu().numpy()
    return SharedPower(common, error, noise, k, frames, shape)


def fit_profiles(views: Sequence[SharedPower], optics: Optics) -> list[Profile]:
    """Signal and noise of every view.

    Parameters
    ----------
    views
        of one series, all of one size of image.
    optics
        of the microscope; rings are looked for where it states a voltage.
    """
    models = _models(views, optics)
    return [
        _profile(view, np.clip(model + _detail(view, model), 0, None))
        for view, model in zip(views, models, strict=True)
    ]


def _profile(view: SharedPower, signal: Array) -> Profile:
    floor = view.noise.max() * 1e-6 + 1e-30
    noise = np.maximum(view.noise, floor)
    return Profile(
        signal=torch.from_numpy(np.minimum(signal, _STRONGEST * noise)),
        noise=torch.from_numpy(noise),
        frames=view.frames,
        shape=view.shape,
    )


def _detail(view: SharedPower, model: Array) -> Array:
    """What of the data the model lacks, where it stands out from its error."""
    rest = gaussian_filter1d(view.common - model, _DETAIL_SMOOTHING, mode="nearest")
    error = _CERTAIN * view.error / math.sqrt(2 * math.sqrt(math.pi) * _DETAIL_SMOOTHING)
    kept = np.clip(1 - (error / np.maximum(np.abs(rest), 1e-30)) ** 2, 0, None)
    detail: Array = np.where(view.k > 1 / COARSEST_ANG, rest * kept, 0.0)
    return detail


def _models(views: Sequence[SharedPower], optics: Optics) -> list[Array]:
    """The signal of every view: strength × envelope × fall-off × rings."""
    k = views[0].k
    used = k > 1 / COARSEST_ANG
    hats = _hats(k)
    shapes = [_Shape(np.ones(len(k)), 1.0) for _ in views]
    envelope = _envelope(views, shapes, hats, used)
    plain, plain_misfit = _fitted(views, envelope, used, [_falloffs(k)] * len(views))
    if optics.voltage_kv is None or not (envelope > 0).any():
        return [envelope * shape.form * shape.strength for shape in plain]
    trials = _Trials.around(views, envelope, k, optics, electron_wavelength_ang(optics.voltage_kv))
    shapes, misfit = plain, plain_misfit
    for near in (None, _NEAR_ANG, _NEAR_ANG):
        shapes, misfit = trials.fit(views, envelope, used, near)
        envelope = _envelope(views, shapes, hats, used)
    _, misfit = _strengths(views, envelope, used, shapes)
    if misfit > plain_misfit - _LEAST_GAIN * math.sqrt(len(views)):
        envelope = _envelope(views, plain, hats, used)
        shapes = plain
    shapes, _ = _strengths(views, envelope, used, shapes)
    return [envelope * shape.form * shape.strength for shape in shapes]


@dataclass(frozen=True, eq=False)
class _Shape:
    """A view's fall-off and rings over the shells, and its strength."""

    form: Array
    strength: float


def _hats(k: Array) -> Array:
    """``(shells, knots)`` functions between which the envelope runs straight."""
    knots = 1 / np.array(_KNOTS_ANG)
    inside = knots[knots < 0.97 * k[-1]]
    knots = np.append(inside, k[-1])
    hats: Array = np.stack([np.interp(k, knots, row) for row in np.eye(len(knots))], axis=1)
    return hats


def _falloffs(k: Array) -> Array:
    falloffs: Array = np.exp(-np.array(_FALLOFFS_ANG2)[:, None] * k**2 / 2)
    return falloffs


def _envelope(views: Sequence[SharedPower], shapes: Sequence[_Shape], hats: Array, used: NDArray[np.bool_]) -> Array:
    """The envelope ≥ 0 that fits all views best."""
    normal, right = np.zeros((hats.shape[1],) * 2), np.zeros(hats.shape[1])
    for view, shape in zip(views, shapes, strict=True):
        design = hats[used] * (shape.form * shape.strength / view.error)[used, None]
        normal += design.T @ design
        right += design.T @ (view.common / view.error)[used]
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-30))
    normal = normal / np.outer(scale, scale) + 1e-9 * np.eye(len(scale))
    root = np.linalg.cholesky(normal)
    levels, _ = nnls(root.T, np.linalg.solve(root, right / scale))
    envelope: Array = np.where(used, hats @ (levels / scale), 0.0)
    return envelope


def _fitted(
    views: Sequence[SharedPower], envelope: Array, used: NDArray[np.bool_], forms: Sequence[Array]
) -> tuple[list[_Shape], float]:
    """For each view the form ``(trials, shells)`` and strength that fit best, and χ² of all together."""
    shapes, total = [], 0.0
    for view, form in zip(views, forms, strict=True):
        misfit, strength = _misfits(view, envelope, used, form)
        place = int(np.argmin(misfit))
        shapes.append(_Shape(form[place], float(strength[place])))
        total += float(misfit[place])
    return shapes, total


def _strengths(
    views: Sequence[SharedPower], envelope: Array, used: NDArray[np.bool_], shapes: Sequence[_Shape]
) -> tuple[list[_Shape], float]:
    return _fitted(views, envelope, used, [shape.form[None] for shape in shapes])


def _misfits(view: SharedPower, envelope: Array, used: NDArray[np.bool_], forms: Array) -> tuple[Array, Array]:
    """χ² of each form with its best strength ≥ 0, and that strength."""
    model = (forms * (envelope / view.error))[:, used]
    data = (view.common / view.error)[used]
    along, square = model @ data, np.einsum("ts,ts->t", model, model)
    strength = np.clip(along, 0, None) / np.maximum(square, 1e-30)
    return float(data @ data) - strength * along, strength


@dataclass(frozen=True, eq=False)
class _Trials:
    """Rings that are tried: every defocus with every range of heights and every fall-off.

    A form is ``fall-off · (1 − fading · cosine) / 2``, so that its products with a view are matrix products, and the
    forms need never be written out.
    """

    defocus_ang: Array
    cosine: Array
    """``(defocus, shells)``"""
    fading: Array
    """``(others, shells)`` of the heights, for each fall-off."""
    falloff: Array
    """``(others, shells)``"""

    @classmethod
    def around(
        cls, views: Sequence[SharedPower], envelope: Array, k: Array, optics: Optics, wavelength: float
    ) -> _Trials:
        """Steps as fine as the finest frequency with signal asks for."""
        there = np.cumsum(sum((envelope / view.error) ** 2 for view in views))
        finest = float(k[min(int(np.searchsorted(there, 0.97 * there[-1])), len(k) - 1)])
        finest = max(finest, _FINEST_AT_LEAST)
        defocus = np.arange(*_DEFOCUS_ANG, _RING_STEP / (math.pi * wavelength * finest**2))
        cs = optics.spherical_aberration_mm * 1e7
        chi = math.pi * wavelength * (defocus[:, None] * k**2 - cs * wavelength**2 * k**4 / 2)
        falloffs = _falloffs(k)
        heights = np.array(_HEIGHTS_ANG)
        return cls(
            defocus,
            np.cos(2 * (chi + math.asin(optics.amplitude_contrast))),
            np.repeat(np.sinc(wavelength * k**2 * heights[:, None]), len(falloffs), axis=0),
            np.tile(falloffs, (len(heights), 1)),
        )

    def fit(
        self, views: Sequence[SharedPower], envelope: Array, used: NDArray[np.bool_], near_ang: float | None
    ) -> tuple[list[_Shape], float]:
        """The best form of each view; near the series' middle defocus where `near_ang` is given."""
        misfits = [self._misfits(view, envelope, used) for view in views]
        by_defocus = np.stack([misfit.min(axis=1) for misfit in misfits])  # (views, defocus)
        allowed = np.ones(len(self.defocus_ang), dtype=bool)
        if near_ang is not None:
            allowed = np.abs(self.defocus_ang - self._middle(by_defocus, near_ang)) <= near_ang
        chosen = []
        for misfit in misfits:
            held = np.where(allowed[:, None], misfit, np.inf)
            place, other = np.unravel_index(int(np.argmin(held)), held.shape)
            form = self.falloff[other] * (1 - self.fading[other] * self.cosine[place]) / 2
            chosen.append(form[None])
        return _fitted(views, envelope, used, chosen)

    def _misfits(self, view: SharedPower, envelope: Array, used: NDArray[np.bool_]) -> Array:
        """``(defocus, others)`` χ² of each form with its best strength ≥ 0."""
        told = used & (envelope > 0)
        weight = (envelope / view.error)[told]
        data = (view.common / view.error)[used]
        plain = self.falloff[:, told] * weight / 2
        rings, cosine = self.fading[:, told], self.cosine[:, told]
        along = plain @ (view.common / view.error)[told]
        along = along - cosine @ (plain * rings * (view.common / view.error)[told]).T
        square = (plain**2).sum(axis=1) - 2 * (cosine @ (plain**2 * rings).T) + cosine**2 @ ((plain * rings) ** 2).T
        strength = np.clip(along, 0, None) / np.maximum(square, 1e-30)
        misfit: Array = float(data @ data) - strength * along
        return misfit

    def _middle(self, by_defocus: Array, near_ang: float) -> float:
        """The defocus about which all views together fit best."""
        step = self.defocus_ang[1] - self.defocus_ang[0]
        reach = max(1, round(near_ang / 2 / step))
        best = np.stack([_lowest_within(line, reach) for line in by_defocus])
        smooth = gaussian_filter1d(best.sum(axis=0), max(1.0, reach / 2), mode="nearest")
        return float(self.defocus_ang[int(np.argmin(smooth))])


def _lowest_within(line: Array, reach: int) -> Array:
    from scipy.ndimage import minimum_filter1d

    lowest: Array = minimum_filter1d(line, 2 * reach + 1, mode="nearest")
    return lowest
