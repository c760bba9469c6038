"""Terms into a transform: against a plain sum over the whole grid, and against its transpose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lamella.geometry import euler_matrix
from lamella.kernels import insertion
from lamella.kernels.central_slices import take_terms
from lamella.kernels.insertion import add_pictures, add_terms, add_terms_torch, join_mates, joined_weights

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


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("m", [N, N // 2, 16, 15])
def test_the_stored_half_is_that_of_the_whole_sum(
    m: int, plain: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_torch(values, masses, index, matrices, box_px, grid):  # type: ignore[no-untyped-def]
        add_terms_torch(*map(torch.from_numpy, (values, masses, index, matrices)), box_px, torch.from_numpy(grid))

    if plain:
        monkeypatch.setattr(insertion, "add_terms", in_torch)
    terms, weights, matrices = slices(m, rng)
    grid = torch.zeros(N, N, N // 2 + 1, 3)
    add_pictures(terms, weights, matrices, grid, highest=0.45, factor=3.0)
    sums, masses = join_mates(grid)
    for found, given in ((sums, terms), (masses, weights)):
        wanted = 3 * whole_grid_sum(mirrored(given.numpy().astype(complex), m), m, matrices.numpy(), 0.45)
        np.testing.assert_allclose(found.numpy(), wanted[:, :, : N // 2 + 1], atol=2e-4)
    assert torch.equal(joined_weights(grid), masses)


@pytest.mark.parametrize("volume", [False, True])
def test_compiled_sums_are_those_of_torch(volume: bool, rng: np.random.Generator) -> None:
    index, values, weights, matrices = some_terms(volume, rng)
    compiled, plain = np.zeros((N, N, N // 2 + 1, 3), np.float32), torch.zeros(N, N, N // 2 + 1, 3)
    add_terms(values, weights, index, matrices, N, compiled)
    add_terms_torch(*map(torch.from_numpy, (values, weights, index, matrices)), N, plain)
    np.testing.assert_allclose(compiled, plain.numpy(), atol=2e-5)


def test_several_threads_add_the_same(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    terms, weights, matrices = slices(N, rng)
    found = []
    for count in ("1", "3"):
        monkeypatch.setenv("LAMELLA_THREADS", count)
        found.append(torch.zeros(N, N, N // 2 + 1, 3))
        add_pictures(terms, weights, matrices, found[-1])
    assert torch.equal(*found)


@pytest.mark.parametrize("volume", [False, True])
def test_adding_is_the_transpose_of_taking(volume: bool, rng: np.random.Generator) -> None:
    """<add(x), F> = <x, take(F)>, and no weight is lost."""
    index, values, weights, matrices = some_terms(volume, rng)
    transform = np.fft.rfftn(rng.normal(size=(N, N, N))).astype(np.complex64)
    grid = np.zeros((*transform.shape, 3), np.float32)
    add_terms(values, weights, index, matrices, N, grid)
    taken = take_terms(transform, index, matrices, N)
    assert np.vdot(grid[..., 0] + 1j * grid[..., 1], transform).real == pytest.approx(
        np.vdot(values, taken).real, rel=1e-4
    )
    assert grid[..., 2].sum() == pytest.approx(weights.sum(), rel=1e-5)


def some_terms(
    volume: bool, rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.complex64], NDArray[np.float32], NDArray[np.float64]]:
    """Random terms of pictures, or of volumes, up to the last shell whose neighbours are all stored."""
    reach = N // 2 - 1
    line = np.arange(-reach, reach + 1)
    index = np.stack(np.meshgrid(line[reach:], line, line if volume else [0], indexing="ij"), -1).reshape(-1, 3)
    index = index[(index**2).sum(axis=1) <= reach**2].astype(np.int32)
    shape = (4, len(index))
    values = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    matrices = euler_matrix(*rng.uniform(-180, 180, (3, 4)))
    return index, values, rng.random(shape).astype(np.float32), matrices
