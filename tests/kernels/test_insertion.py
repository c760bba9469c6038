"""Slices into a transform: against a plain sum over the whole grid, against its transpose, and on every device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lamella.geometry import euler_matrix
from lamella.kernels.insertion import insert_slices, insert_slices_torch, join_mates

N = 24


def slices(m: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Transforms of random pictures, weights and orientations, some of them along the axes."""
    pictures = torch.from_numpy(rng.normal(size=(5, m, m)))
    angles = np.vstack([rng.uniform(-180, 180, (2, 3)), [[0, 0, 0], [90, 90, 0], [0, 90, -90]]])
    weights = torch.rand(5, m, m // 2 + 1, generator=torch.Generator().manual_seed(1))
    weights[:, :, 0] = (weights[:, :, 0] + weights[:, :, 0].flip(1).roll(1, 1)) / 2
    return torch.fft.rfft2(pictures).to(torch.complex64), weights, torch.from_numpy(euler_matrix(*angles.T))


def whole_grid_sum(
    terms: NDArray[np.complex128], m: int, matrices: NDArray[np.float64], highest: float
) -> NDArray[np.complex128]:
    """Every term of the whole plane spread over the whole grid: no half, no mates."""
    grid = np.zeros((N, N, N), np.complex128)
    k = np.fft.fftfreq(m) * N
    for plane, matrix in zip(terms, matrices, strict=True):
        for j, ky in enumerate(k):
            for i, kx in enumerate(k):
                if np.hypot(kx, ky) > min(highest * N, N // 2 - 1):
                    continue
                place = kx * matrix[0] + ky * matrix[1]
                base = np.floor(place).astype(int)
                part = place - base
                for corner in np.ndindex(2, 2, 2):
                    tap = np.prod(np.where(corner, part, 1 - part))
                    x, y, z = (base + corner) % N
                    grid[z, y, x] += tap * plane[j, i]
    return grid


def mirrored(half: NDArray[np.complex128], m: int) -> NDArray[np.complex128]:
    """The whole plane of a half that holds a real picture's terms."""
    out = np.empty((*half.shape[:-1], m), half.dtype)
    out[..., : m // 2 + 1] = half
    flipped = np.roll(half[:, ::-1], 1, axis=1).conj()
    out[..., m // 2 + 1 :] = flipped[..., 1 : (m + 1) // 2][..., ::-1]
    return out


@pytest.mark.parametrize("m", [N, N // 2, 16, 15])
@pytest.mark.parametrize("insert", [insert_slices, insert_slices_torch])
def test_the_stored_half_is_that_of_the_whole_sum(m: int, insert: object, rng: np.random.Generator) -> None:
    terms, weights, matrices = slices(m, rng)
    sums, masses = torch.zeros(N, N, N // 2 + 1, dtype=torch.complex64), torch.zeros(N, N, N // 2 + 1)
    insert(terms, weights, matrices, 0.45, 3.0, sums, masses)  # type: ignore[operator]
    sums, masses = join_mates(sums, masses)
    for found, given in ((sums, terms), (masses, weights)):
        wanted = 3 * whole_grid_sum(mirrored(given.numpy().astype(complex), m), m, matrices.numpy(), 0.45)
        np.testing.assert_allclose(found.numpy(), wanted[:, :, : N // 2 + 1], atol=2e-4)


def test_several_threads_add_the_same(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    terms, weights, matrices = slices(N, rng)
    found = []
    for count in ("1", "3"):
        monkeypatch.setenv("LAMELLA_THREADS", count)
        sums, masses = torch.zeros(N, N, N // 2 + 1, dtype=torch.complex64), torch.zeros(N, N, N // 2 + 1)
        insert_slices(terms, weights, matrices, 0.5, 1.0, sums, masses)
        found.append((sums, masses))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_it_is_the_transpose_of_reading_between_grid_points(rng: np.random.Generator) -> None:
    """<insert(x), F> = <x, read(F)> over the whole planes and grid, for a real volume's F."""
    terms, weights, matrices = slices(N, rng)
    volume = np.fft.fftn(rng.normal(size=(N, N, N)))
    sums, masses = torch.zeros(N, N, N // 2 + 1, dtype=torch.complex64), torch.zeros(N, N, N // 2 + 1)
    insert_slices(terms, weights, matrices, 0.5, 1.0, sums, masses)
    half = join_mates(sums, masses)[0].numpy()
    multiple = np.full(N // 2 + 1, 2.0)
    multiple[[0, -1]] = 1
    grid_side = (multiple * (half.conj() * volume[:, :, : N // 2 + 1]).real).sum()
    k = np.fft.fftfreq(N) * N
    picture_side = 0.0
    for plane, matrix in zip(mirrored(terms.numpy().astype(complex), N), matrices.numpy(), strict=True):
        place = k[None, :, None] * matrix[0] + k[:, None, None] * matrix[1]
        base = np.floor(place).astype(int)
        read = np.zeros((N, N), complex)
        for corner in np.ndindex(2, 2, 2):
            tap = np.prod(np.where(corner, place - base, 1 - (place - base)), axis=-1)
            x, y, z = np.moveaxis((base + corner) % N, -1, 0)
            read += tap * volume[z, y, x]
        inside = np.hypot(k[None], k[:, None]) <= N // 2 - 1
        picture_side += (plane.conj() * read * inside).real.sum()
    assert grid_side == pytest.approx(picture_side, rel=1e-5)
