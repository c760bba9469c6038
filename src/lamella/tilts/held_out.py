"""Each view predicted from others that it has no part in, and how well it agrees.

A view's transform is a slice of the specimen's; in a specimen of limited thickness slices at heights that differ by d
are correlated by the transform of its thickness at d (`lamella.tilts.slab`). The best linear prediction of one slice
from the others weighs them by the inverse of their covariance (Wiener; kriging), at every frequency by itself. That is
what the projection of a tomogram from the other views is, with the best weights in the place of a ramp filter.

Everything that prediction and agreement need are the views' cross spectra, summed over tiles: they are taken once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.parallel import each
from lamella.tilts.score_spectra import FINEST
from lamella.tilts.score_tiles import TermLayout, TileFrame, Tiles

__all__ = ["CrossSpectra", "RingSums", "cross_spectra", "held_out_sums", "promised_spectra"]

Array = NDArray[np.float64]

RINGS = 24
_POOL = 2  # neighbouring frequencies along y that share one prediction
_RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class CrossSpectra:
    """Products of the views' whitened terms, averaged over tiles: found, and as the model has them.

    Attributes
    ----------
    found
        ``(r, c, n, n)`` real parts.
    expected
        ``(r, c, n, n)`` what a well aligned slab of the views' own signal would give; 0 on the diagonal.
    ring
        ``(r, c, n)`` which ring of view frequency a term belongs to.
    count
        ``(r, c, n)`` number of terms that each stands for; 0 where a view has no detail there.
    """

    found: NDArray[np.float32]
    expected: NDArray[np.float32]
    ring: NDArray[np.int64]
    count: Array


@dataclass(frozen=True, eq=False)
class RingSums:
    """Sums ``(n, rings)`` over each view's terms: view times prediction, their squares, and their number."""

    product: Array
    view: Array
    prediction: Array
    count: Array

    def correlation(self) -> Array:
        """``(rings,)`` Fourier ring correlation over all views."""
        return self._correlation(0)

    def view_correlation(self) -> Array:
        """``(n,)`` correlation of each view with its prediction, over all rings."""
        return self._correlation(1)

    def _correlation(self, axis: int) -> Array:
        scale = np.sqrt(np.maximum(self.view.sum(axis=axis) * self.prediction.sum(axis=axis), 0.0))
        out: Array = np.divide(self.product.sum(axis=axis), scale, out=np.zeros_like(scale), where=scale > 1e-12)
        return out


def cross_spectra(tiles: Tiles, frame: TileFrame, spacing_ang: float, thickness_ang: float) -> CrossSpectra:
    """Take the cross spectra of all views.

    Parameters
    ----------
    tiles, frame
        of one geometry.
    spacing_ang
        working pixel.
    thickness_ang
        of the slab.
    """
    n, _, rows, columns = tiles.terms.shape
    groups = _groups(tiles.layout.k_y)
    found = torch.zeros((groups.max() + 1, columns, n, n))
    for row in range(rows):
        terms = tiles.terms[:, :, row].permute(2, 0, 1).contiguous()  # (c, n, p)
        real, imaginary = terms.real, terms.imag
        product = torch.matmul(real, real.transpose(-1, -2)) + torch.matmul(imaginary, imaginary.transpose(-1, -2))
        found[groups[row]] += product
    both = tiles.seen.astype(np.float64) @ tiles.seen.T
    scale = np.bincount(groups)[:, None, None, None] * np.maximum(both, 1)
    expected, ring, count = _model(tiles.layout, frame, spacing_ang, thickness_ang)
    return CrossSpectra(
        (found.numpy() / scale).astype(np.float32), expected * (both > 0), ring, count * tiles.seen.sum(axis=1)
    )


def promised_spectra(
    layout: TermLayout, frame: TileFrame, spacing_ang: float, thickness_ang: float, tiles: int
) -> CrossSpectra:
    """What a geometry that is perfect would give, from the views' own signal, seen whole in as many tiles.

    Every second frequency along x stands for two.
    """
    chosen = layout.every_second_column()
    expected, ring, count = _model(chosen, frame, spacing_ang, thickness_ang)
    found = expected.copy()
    own = np.arange(found.shape[-1])
    found[..., own, own] = 1.0
    twice = np.where(chosen.k_x == 0, 1.0, 2.0)[None, :, None]
    return CrossSpectra(found, expected, ring, count * twice * tiles)


def held_out_sums(spectra: CrossSpectra, order: NDArray[np.int64], gap: int) -> RingSums:
    """Agreement of every view with its prediction.

    Parameters
    ----------
    spectra
        found ones, or promised ones.
    order
        ``(n,)`` the views by tilt.
    gap
        how many neighbours on each side are left out too: 0 asks whether neighbours agree, more whether a drift that
        neighbours share is right.
    """
    return _sums(_weights(spectra.expected, order, gap), spectra.found, spectra)


def _groups(k_y: Array) -> NDArray[np.int64]:
    """``(r,)`` which rows share one prediction."""
    return np.asarray(np.round(np.abs(k_y) / k_y[1]).astype(np.int64) // _POOL)


def _model(
    layout: TermLayout, frame: TileFrame, spacing_ang: float, thickness_ang: float
) -> tuple[NDArray[np.float32], NDArray[np.int64], Array]:
    """Expected cross spectra ``(r, c, n, n)``, rings and numbers of terms of one tile ``(r, c, n)``."""
    groups = _groups(layout.k_y)
    members = np.bincount(groups)

    def pooled(values: Array) -> Array:
        rows = np.stack([values[:, groups == group].mean(axis=1) for group in range(len(members))])
        return np.asarray(rows.transpose(0, 2, 1))  # (r, c, n)

    gain = np.sqrt(pooled(layout.coherence))
    apart = frame.place[:, None, 0] - frame.place[None, :, 0]
    distance = layout.k_x[:, None, None] / spacing_ang * apart
    slab = np.exp(-2 * np.pi**2 * thickness_ang**2 / 12 * distance**2)
    expected = slab[None] * gain[..., :, None] * gain[..., None, :]
    own = np.arange(len(apart))
    expected[..., own, own] = 0.0
    ring = np.minimum((pooled(layout.view_frequency) / FINEST * RINGS).astype(np.int64), RINGS - 1)
    # a real image's term on the line kx = 0 is that of its opposite
    twice = np.where(layout.k_x == 0, 1.0, 2.0)[None, :, None]
    count = np.asarray(members[:, None, None] * twice * (gain > 0), np.float64)
    return expected.astype(np.float32), ring, count


def _weights(expected: NDArray[np.float32], order: NDArray[np.int64], gap: int) -> NDArray[np.float32]:
    """``(r, c, n, n)`` weights of the best linear prediction of each view (row) from the others (columns)."""
    n = expected.shape[-1]
    own = np.arange(n)
    covariance = expected.copy()
    covariance[..., own, own] = 1.0 + _RIDGE
    if gap == 0:
        # the residual of the prediction of one from all the others is K⁻¹ f over the diagonal of K⁻¹ (Dubrule 1983)
        inverse = np.linalg.inv(covariance)
        weights = -inverse / inverse[..., own, own][..., None]
        weights[..., own, own] = 0.0
        return np.asarray(weights)
    weights = np.zeros_like(expected)
    rank = np.argsort(order)

    def one(view: int) -> None:
        others = np.flatnonzero(np.abs(rank - rank[view]) > gap)
        if len(others):
            part = covariance[..., others[:, None], others]
            weights[..., view, others] = np.linalg.solve(part, expected[..., others, view][..., None])[..., 0]

    each(one, range(n))
    return weights


def _sums(weights: NDArray[np.float32], products: NDArray[np.float32], spectra: CrossSpectra) -> RingSums:
    n = products.shape[-1]
    own = np.arange(n)
    cross = (weights * products).sum(axis=-1)
    prediction = (np.matmul(weights, products) * weights).sum(axis=-1)
    place = spectra.ring + RINGS * own

    def summed(values: Array) -> Array:
        flat = np.bincount(place.ravel(), (values * spectra.count).ravel(), minlength=n * RINGS)
        return np.asarray(flat.reshape(n, RINGS), np.float64)

    return RingSums(
        *(summed(np.asarray(v, np.float64)) for v in (cross, products[..., own, own], prediction, np.ones_like(cross)))
    )
