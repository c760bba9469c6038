"""The slab within which a map of structure is distributed otherwise than outside, whatever those distributions are.

Every slab z = a·x + b·y + c ± h parts the tiles and layers into two groups. How much knowing the group tells of a
value is the mutual information; it needs no model of what structure looks like, so it finds a few bodies far apart
(inside, most tiles are emptier than outside, and some are full) as well as a crowd.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["information", "search_slab"]

Array = NDArray[np.float64]

_EDGES = np.array([0.0, 0.8, 1.6, 2.6, 4.0])  # between the classes of values, standard deviations
_FULL = 4  # the class from which on a tile is full
_THINNEST_ANG = 150.0
_STEP_DEG = 2.0
_USUAL_DEG = 4.0  # standard deviation of what is left of an inclination once a series was aligned
_CORRELATED = 8.0  # values that share their noise with one another, about
_LAYER_ANG = 40.0  # of the search
_GROUP_ANG = 300.0  # of the search, across


def search_slab(
    values: Array, z_ang: Array, places_ang: Array, *, steepest_deg: float = 12.0, slopes: Array | None = None
) -> tuple[Array, float] | None:
    """Search a grid of slopes and every run of layers.

    Parameters
    ----------
    values
        ``(t, z)`` in standard deviations; NaN where nothing was seen.
    z_ang, places_ang
        ``(z,)`` heights, evenly spaced, and ``(t, 2)`` (x, y).
    steepest_deg
        inclination along x and along y that is searched.
    slopes
        ``(2,)`` a and b, where they are known otherwise.

    Returns
    -------
    slab, information
        (a, b, c, half depth along z), and by how many nats its two groups explain the values (neighbouring layers
        share their noise: only the ratio of two such numbers has a meaning); None where nothing was found that is
        fuller than the rest.
    """
    counts, z, places = _counted(values, z_ang, places_ang)
    step, pad = float(z[1] - z[0]), 2 * len(z)
    terms = np.fft.rfft(counts, pad)
    frequency = 2j * np.pi * np.fft.rfftfreq(pad, step)
    inside = slice(pad // 4, pad // 4 + len(z))
    best: tuple[Array, float] | None = None
    for a, b in _grid(steepest_deg) if slopes is None else [slopes]:
        moved = np.exp(frequency * (places @ (a, b))[:, None])
        lines = np.fft.irfft(np.einsum("ctf,tf->cf", terms, moved), pad)
        lines = np.roll(lines, pad // 4, axis=1).clip(0)
        gain, low, high = _best_run(lines[:, inside], max(2, round(_THINNEST_ANG / step)))
        gain -= _CORRELATED * (np.rad2deg(np.hypot(a, b)) / _USUAL_DEG) ** 2 / 2 if slopes is None else 0.0
        if gain > 0 and (best is None or gain > best[1]):
            ends = [(end - 0.5) * step + z[0] for end in (low, high)]
            best = np.array([a, b, (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2]), gain
    return best


def information(values: Array, z_ang: Array, places_ang: Array, slab: Array) -> float:
    """By how many nats the two groups that a slab (a, b, c, half depth) makes explain values ``(t, z)``."""
    off = np.abs(z_ang - (places_ang @ slab[:2] + slab[2])[:, None])
    seen = np.isfinite(values)
    classes = np.digitize(np.nan_to_num(values), _EDGES)
    within, without = (
        np.bincount(classes[part], minlength=len(_EDGES) + 1).astype(np.float64)
        for part in (seen & (off < slab[3]), seen & (off >= slab[3]))
    )
    return float(_information(within) + _information(without) - _information(within + without))


def _grid(steepest_deg: float) -> Array:
    count = int(steepest_deg / _STEP_DEG)
    one = np.tan(np.deg2rad(_STEP_DEG * np.arange(-count, count + 1)))
    return np.stack(np.meshgrid(one, one), axis=-1).reshape(-1, 2)


def _counted(values: Array, z_ang: Array, places_ang: Array) -> tuple[Array, Array, Array]:
    """``(class, t, z)`` how many values of each class there are in groups of tiles and of layers; heights; places."""
    step = float(z_ang[1] - z_ang[0])
    together = max(1, round(_LAYER_ANG / step))
    layers = len(z_ang) // together
    classes = np.where(np.isfinite(values), np.digitize(np.nan_to_num(values), _EDGES), -1)[:, : layers * together]
    blocks = np.unique((places_ang // _GROUP_ANG).astype(int), axis=0, return_inverse=True)[1].ravel()
    size = np.bincount(blocks)
    places = np.stack([np.bincount(blocks, places_ang[:, axis]) / size for axis in (0, 1)], axis=-1)
    counts = np.zeros((len(_EDGES) + 1, len(size), layers))
    for number, part in enumerate(counts):
        hits = (classes == number).reshape(len(classes), layers, together).sum(axis=2)
        np.add.at(part, blocks, hits)
    z = z_ang[: layers * together].reshape(layers, together).mean(axis=1)
    return counts, z, places


def _best_run(lines: Array, fewest: int) -> tuple[float, int, int]:
    """The run of layers that explains most, of counts ``(class, z)``: nats, its first layer and the one after."""
    sums = np.concatenate([np.zeros((len(lines), 1)), np.cumsum(lines, axis=1)], axis=1)
    inside = (sums[:, None, :] - sums[:, :, None]).clip(0)  # (class, from, to)
    total = sums[:, -1][:, None, None]
    outside = (total - inside).clip(0)
    gain = _information(inside) + _information(outside) - _information(total)
    full_in, full_out = (part[_FULL:].sum(axis=0) / part.sum(axis=0).clip(1) for part in (inside, outside))
    rows, columns = np.indices(gain.shape)
    gain = np.where((columns - rows >= fewest) & (full_in > full_out), gain, 0.0)
    low, high = np.unravel_index(int(gain.argmax()), gain.shape)
    return float(gain[low, high]), int(low), int(high)


def _information(counts: Array) -> Array:
    """Σ n log (n / N) over the classes."""
    total = counts.sum(axis=0)
    part = np.where(counts > 0, counts * np.log(np.where(counts > 0, counts, 1.0)), 0.0).sum(axis=0)
    return np.asarray(part - total * np.log(total.clip(1)))
