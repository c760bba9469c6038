"""The slab in which a specimen's structure lies, from a map of structure over depth (`DepthMap`).

Every tile of every layer is inside the slab or outside, and what is measured there follows the distribution of the
one or the other. Both distributions are taken from the data themselves, and the slab between the planes
z = a·x + b·y + c ± h is the one of the greatest likelihood: the sum of log (inside / outside) over what lies in it. A
crowd in ice and a few particles far apart are both found so, because an empty tile says little and a full one much.
Standard errors come from leaving out parts of the field (the jackknife), since neighbouring tiles share their matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import minimize

from lamella.features.depth_map import DepthMap

__all__ = ["DensitySlab", "fit_density_slab", "fit_slab", "significance"]

Array = NDArray[np.float64]

_STEEPEST_DEG = (18.0, 12.0)  # inclinations along x and y that are searched
_STEP_DEG = 2.0
_RANGE = (-3.0, 6.0)  # standard errors between which a tile's covariance counts
_BINS = 18
_PARTS = 4  # of the field along each side, left out in turn for the errors
_DEEPEST_ONSET_ANG = 400.0  # over which structure may set in
_FINER = 4  # steps into which a layer is divided
_UNDERSTATED = 2.0  # variances over the jackknife's, which few bodies near the faces make too small; from simulations
_ROUNDS = 4
_STARTS = 4
_USUAL_FALL = 2  # of the kernels, where no layer is known to be empty
_STRENGTHS = (0.3, 1.5)  # of a kernel's tails, as its spectrum may differ from the specimen's
_GUARD_ANG = 150.0  # beyond a slab's faces, where there may still be structure
_FEWEST_LAYERS = 8  # without structure, that the base is taken from
_FEWEST_TILES = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class DensitySlab:
    """A slab of structure.

    Attributes
    ----------
    slopes
        ``(2,)`` a and b of its mid-plane z = a·x + b·y + c.
    height_ang
        c.
    depth_ang
        distance of its faces along z, where structure ends.
    onset_ang
        over what depth it sets in at a face: bodies lie within the ice, so near a face there is less of them.
    covariance
        ``(4, 4)`` of a, b, c and half the depth; what the ice holds beyond the last body adds a third of the onset.
    contrast
        by how many standard errors a tile of one layer within it exceeds one outside, on average.
    """

    slopes: Array
    height_ang: float
    depth_ang: float
    onset_ang: float
    covariance: Array
    contrast: float


def significance(depth: DepthMap, near: Array | None = None) -> Array:
    """``(t, z)`` covariance over its standard error where there is no structure, freed of the kernel's broad tails.

    The sum over pairs leaves out each view with itself, and with that all that is the same at every height: structure
    at one height lowers all others. What the field's structure lowers on average is added again.

    Parameters
    ----------
    depth
        from `lamella.tilts.depth_profile` or `lamella.tomograms.position_energy`.
    near
        (a, b, c, half depth) of the slab, near to level, by which it is known where there is no structure.
    """
    measured = depth.covariance
    enough = np.isfinite(measured).sum(axis=0) >= _FEWEST_TILES
    if not enough.any():
        return np.full(measured.shape, np.nan)
    measured = np.where(enough, measured, np.nan)
    told = measured[:, enough]
    spread = 1.4826 * np.nanmedian(np.abs(told - np.nanmedian(told, axis=0)), axis=0)
    # layers beyond the specimen hold noise alone, and wherever matter is sparse most tiles do
    values = measured / max(float(np.quantile(spread, 0.15)), 1e-12)
    beyond = enough if near is None else enough & (np.abs(depth.z_ang - near[2]) > near[3] + _GUARD_ANG)
    if near is None or beyond.sum() < _FEWEST_LAYERS:
        lowered = _lowered(values, depth.kernels[min(_USUAL_FALL, len(depth.kernels) - 1)], enough)
        freed = values - lowered
        return np.asarray(freed - np.quantile(np.nanmedian(freed[:, enough], axis=0), 0.15))
    middle = np.nanmedian(values[:, beyond], axis=0)
    best, base = np.inf, np.zeros(values.shape[1])
    for kernel in depth.kernels:
        lowered = _lowered(values, kernel, enough)
        design = np.column_stack([lowered[beyond], np.ones(len(middle)), depth.z_ang[beyond]])
        strength = float(np.clip(np.linalg.lstsq(design, middle, rcond=None)[0][0], *_STRENGTHS))
        line = np.linalg.lstsq(design[:, 1:], middle - strength * design[:, 0], rcond=None)[0]
        left = float(((middle - strength * design[:, 0] - design[:, 1:] @ line) ** 2).sum())
        if left < best:
            best, base = left, strength * lowered + line[0] + line[1] * depth.z_ang
    return np.asarray(values - base)


def _lowered(values: Array, kernel: Array, enough: NDArray[np.bool_]) -> Array:
    """``(z,)`` by how much the tails of all structure of the field lower each layer on average; not positive."""
    layers = values.shape[1]
    tail = np.fft.rfft(np.minimum(kernel, 0.0), 3 * layers)
    lowered = np.zeros(layers)
    for _ in range(3):
        profile = np.zeros(layers)
        profile[enough] = np.nanmean(np.clip(values[:, enough] - lowered[enough], *_RANGE), axis=0)
        low, high = np.quantile(profile[enough], [0.1, 0.9])
        source = np.where(profile > (low + high) / 2, profile - low, 0.0) * enough
        lowered = np.fft.irfft(np.fft.rfft(source, 3 * layers) * tail, 3 * layers)[layers - 1 : 2 * layers - 1]
    return lowered


def fit_density_slab(depth: DepthMap, near: ArrayLike | None = None) -> DensitySlab | None:
    """The slab of the greatest likelihood, or None where nothing stands out of the noise.

    Parameters
    ----------
    depth
        from `lamella.tilts.depth_profile` or `lamella.tomograms.position_energy`.
    near
        (a, b, c, half depth) known roughly; left out, all inclinations and depths are searched.
    """
    known = None if near is None else np.array(near, dtype=np.float64)
    return fit_slab(significance(depth, known), depth.z_ang, depth.places_ang, near=known)


def fit_slab(
    values: Array, z_ang: Array, places_ang: Array, *, near: Array | None = None, vary_onset: bool = True
) -> DensitySlab | None:
    """The slab of the greatest likelihood of values ``(t, z)``, or None where nothing stands out of the noise.

    Parameters
    ----------
    values
        of tiles and layers, in standard errors; NaN where nothing was seen. All that counts is that they are
        distributed otherwise inside than outside.
    z_ang, places_ang
        ``(z,)`` heights of the layers, evenly spaced, and ``(t, 2)`` (x, y) of the tiles.
    near
        (a, b, c, half depth) known roughly; left out, all inclinations and depths are searched.
    vary_onset
        whether the half depth's variance holds that of half the onset too.
    """
    if np.isfinite(values).any(axis=1).sum() < _FEWEST_TILES:
        return None
    search = _Search(values, z_ang, places_ang)
    best = search.start() if near is None else near
    if best is None:
        return None
    for _ in range(_ROUNDS):
        search.learn(best)
        best = search.refined(best)
    onset = search.onset(best)
    covariance = search.covariance(best, vary_onset=vary_onset)
    covariance[3, 3] += (onset / 2 / 3) ** 2 if vary_onset else 0.0
    return DensitySlab(
        slopes=best[:2],
        height_ang=float(best[2]),
        # the likelihood parts full from empty, half way along the onset
        depth_ang=float(2 * best[3] + onset),
        onset_ang=onset,
        covariance=covariance,
        contrast=search.contrast(best),
    )


class _Search:
    """Likelihood of slabs in one map. A slab is (a, b, c, h)."""

    def __init__(self, values: Array, z_ang: Array, places_ang: Array) -> None:
        self.seen = np.isfinite(values)
        self.values = np.clip(np.nan_to_num(values), *_RANGE)
        self.z, self.step, self.places = z_ang, float(z_ang[1] - z_ang[0]), places_ang
        self.half_field = float(np.abs(self.places).max()) + 1e-9
        self.scale = np.array([1 / self.half_field, 1 / self.half_field, 1.0, 1.0]) * 2 * self.step
        self.gain = np.zeros((len(values), _FINER * len(self.z) + 1))
        self.tiles = np.ones(len(values))

    def start(self) -> Array | None:
        """The slab that explains most of the squares, over a grid of slopes."""
        rows, columns = (np.unique(self.places[:, axis]) for axis in (1, 0))
        pad = 2 * len(self.z)
        frequency = 2j * np.pi * np.fft.rfftfreq(pad, self.step)
        both = np.stack([self.values * self.seen, self.seen]).reshape(2, len(rows), len(columns), -1)
        terms = np.fft.rfft(both, pad)  # (sums and counts, y, x, f)
        slopes = [np.tan(np.deg2rad(np.arange(-most, most + 0.1, _STEP_DEG))) for most in _STEEPEST_DEG]
        best, found = 0.0, None
        for a in slopes[0]:
            level = (terms * np.exp(frequency * (a * columns)[:, None])).sum(axis=2)  # (2, y, f)
            for b in slopes[1]:
                lines = np.fft.irfft((level * np.exp(frequency * (b * rows)[:, None])).sum(axis=1), pad)
                gain, ends = self._best_interval(*np.roll(lines, pad // 4, axis=1))
                if gain > best:
                    low, high = ((end - 0.5 - pad // 4) * self.step + self.z[0] for end in ends)
                    best, found = gain, np.array([a, b, (low + high) / 2, (high - low) / 2])
        return found

    def _best_interval(self, total: Array, count: Array) -> tuple[float, tuple[int, int]]:
        """The run of layers whose mean explains most squares, of sums and counts over the tiles, and how many."""
        sums, area = (np.concatenate([[0.0], np.cumsum(line)]) for line in (total, count.clip(0)))
        inside = (sums[None] - sums[:, None]).clip(0)  # [from, to]
        gains = np.triu(inside**2 / (area[None] - area[:, None] + len(self.values)).clip(1), 1)
        low, high = np.unravel_index(int(gains.argmax()), gains.shape)
        return float(gains[low, high]), (int(low), int(high))

    def learn(self, slab: Array) -> None:
        """Take both distributions from a slab, and from them what each tile and layer gains by lying inside."""
        within = self._within(slab)
        edges = np.linspace(*_RANGE, _BINS + 1)
        which = np.clip(np.digitize(self.values, edges) - 1, 0, _BINS - 1)
        inside = np.bincount(which.ravel(), (within * self.seen).ravel(), _BINS)
        outside = np.bincount(which.ravel(), ((1 - within) * self.seen).ravel(), _BINS)
        prior = (inside + outside) / (inside + outside).sum() * 0.02 + 1e-4
        shares = [count / max(count.sum(), 1.0) * 0.98 + prior for count in (inside, outside)]
        ratio = np.log(shares[0] / shares[1])
        centres = (edges[:-1] + edges[1:]) / 2
        gain = np.interp(self.values, centres, ratio) * self.seen
        # between the layers it changes steadily: a slab has no reason to end where a layer does
        gain = gaussian_filter1d(np.repeat(gain, _FINER, axis=1), _FINER, axis=1, mode="constant") / _FINER
        self.gain = np.concatenate([np.zeros((len(gain), 1)), np.cumsum(gain, axis=1)], axis=1)

    def likelihood(self, slab: Array) -> float:
        """Σ log (inside / outside) over what lies in the slab."""
        middle = self.places @ slab[:2] + slab[2]
        return float(self.tiles @ (self._summed(middle + slab[3]) - self._summed(middle - slab[3])))

    def refined(self, start: Array, *, tries: int = _STARTS) -> Array:
        """The best slab near another."""

        def cost(changes: Array) -> float:
            slab = start + changes * self.scale
            return -self.likelihood(slab) if slab[3] > self.step else 0.0

        best: tuple[float, Array] | None = None
        for spread in (1.0, 3.0, 8.0, 0.5)[:tries]:
            simplex = np.concatenate([np.zeros((1, 4)), spread * np.eye(4)])
            if best is not None:
                simplex = simplex + best[1]
            found = minimize(
                cost,
                simplex[0],
                method="Nelder-Mead",
                options={"initial_simplex": simplex, "xatol": 0.02, "fatol": 0.02},
            )
            if best is None or found.fun <= best[0]:
                best = (float(found.fun), np.asarray(found.x))
        assert best is not None  # there is one try at least
        return np.asarray(start + best[1] * self.scale)

    def onset(self, slab: Array) -> float:
        """Over what depth structure sets in at the faces, Å: the best ramp of the mean profiles across both."""
        inwards = np.arange(-_DEEPEST_ONSET_ANG, min(slab[3], _DEEPEST_ONSET_ANG), self.step) + self.step / 2
        widths = np.arange(0.0, _DEEPEST_ONSET_ANG + 1, self.step / 2)
        moved = np.arange(-2, 2.1, 0.5) * self.step  # each face may lie a little elsewhere than the planes say
        ramps = np.clip((inwards - moved[:, None]) / widths.clip(1.0)[:, None, None] + 0.5, 0, 1)  # (w, m, k)
        left = np.zeros(len(widths))
        for side in (-1.0, 1.0):
            profile = self._across(slab, side, inwards)
            known = np.isfinite(profile)
            if known.sum() >= _FEWEST_LAYERS:
                left += _left_over(profile[known], ramps[..., known]).min(axis=1)
        return float(widths[int(np.argmin(left))])

    def _across(self, slab: Array, side: float, inwards: Array) -> Array:
        """Mean value at distances from one face, inwards; NaN where nothing was seen."""
        weight = self.seen * self.tiles[:, None]
        distance = slab[3] - side * (self.z - (self.places @ slab[:2] + slab[2])[:, None])
        index = np.floor((distance - inwards[0]) / self.step + 0.5).astype(int)
        valid = (index >= 0) & (index < len(inwards)) & (weight > 0)
        count = np.bincount(index[valid], weight[valid], len(inwards))
        total = np.bincount(index[valid], (weight * self.values)[valid], len(inwards))
        return np.where(count > 0, total / np.maximum(count, 1e-9), np.nan)

    def contrast(self, slab: Array) -> float:
        """Mean inside minus mean outside."""
        within = self._within(slab) * self.seen
        without = self.seen - within
        inside = float((self.values * within).sum() / max(within.sum(), 1.0))
        return inside - float((self.values * without).sum() / max(without.sum(), 1.0))

    def covariance(self, slab: Array, *, vary_onset: bool) -> Array:
        """``(4, 4)`` by the jackknife over parts of the field."""
        parts = np.clip(((self.places / self.half_field + 1) / 2 * _PARTS).astype(int), 0, _PARTS - 1)
        label = parts[:, 0] * _PARTS + parts[:, 1]
        found = []
        for part in np.unique(label):
            self.tiles = (label != part).astype(np.float64)
            one = self.refined(slab, tries=2)
            found.append(one + np.array([0.0, 0.0, 0.0, self.onset(one) / 2 if vary_onset else 0.0]))
        self.tiles = np.ones(len(label))
        off = np.array(found) - np.mean(found, axis=0)
        return np.asarray(off.T @ off * _UNDERSTATED * (len(found) - 1) / len(found))

    def _within(self, slab: Array) -> Array:
        """``(t, z)`` share of each tile and layer that lies in the slab."""
        off = np.abs(self.z - (self.places @ slab[:2] + slab[2])[:, None])
        return np.asarray(np.clip((slab[3] - off) / self.step + 0.5, 0.0, 1.0))

    def _summed(self, z: Array) -> Array:
        """``(t,)`` gain of each tile below a height."""
        at = np.clip(((z - self.z[0]) / self.step + 0.5) * _FINER, 0.0, _FINER * len(self.z) - 1e-6)
        low = at.astype(int)
        tile = np.arange(len(z))
        return np.asarray(self.gain[tile, low] + (at - low) * (self.gain[tile, low + 1] - self.gain[tile, low]))


def _left_over(profile: Array, ramps: Array) -> Array:
    """``(...)`` squares that a level and a rising ramp leave of a profile ``(k,)``, for ramps ``(..., k)``."""
    y, x = profile - profile.mean(), ramps - ramps.mean(axis=-1, keepdims=True)
    return np.asarray(y @ y - (x @ y).clip(0.0) ** 2 / (x**2).sum(axis=-1).clip(1e-12))
