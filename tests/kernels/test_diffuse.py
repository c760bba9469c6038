"""The diffusion step: the CPU kernel against plain torch, that against eigenvectors, and what theory promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamella.kernels import diffuse, diffuse_reference
from lamella.kernels.diffuse_model import EDGE_CONSTANT, MAX_TIME_STEP, DiffusionModel, gaussian_weights

MODES = ("eed", "ced", "hybrid")


def model(mode: str = "hybrid", **changes: float) -> DiffusionModel:
    values = {"contrast": 0.5, "coherence": 0.1, "sigma_px": 0.8, "rho_px": 1.5, "time_step": 0.15} | changes
    return DiffusionModel(mode=mode, **values)


def noisy_step(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    volume = rng.normal(size=shape).astype(np.float32)
    volume[: shape[0] // 2] += 3
    return volume


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(18, 22, 31), (9, 140, 7), (1, 5, 6), (3, 1, 4), (2, 2, 1), (5, 4, 2)])
@pytest.mark.parametrize("widths", [(0.8, 1.5), (1.0, 0.0), (0.0, 2.0)])
def test_the_kernel_does_what_the_reference_does(rng, mode, shape, widths):
    volume = noisy_step(rng, shape)
    step = model(mode, sigma_px=widths[0], rho_px=widths[1])
    want = diffuse_reference.diffuse_step(torch.tensor(volume, dtype=torch.float64), step).numpy()
    # single precision, and where two eigenvalues meet their directions are anybody's
    gap = np.abs(diffuse.diffuse_step(volume, step) - want)
    assert np.sqrt(np.mean(gap**2)) < (3e-6 if widths[1] else 5e-5)
    assert gap.max() < 1e-3


def test_the_result_does_not_depend_on_the_bands(rng, monkeypatch):
    volume = noisy_step(rng, (12, 70, 20))
    results = []
    for bands in (1, 2, 7):
        monkeypatch.setattr(diffuse, "_bands", lambda height, bands=bands: bands)
        results.append(diffuse.diffuse_step(volume, model()))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_eigenvalues_are_lapacks(rng):
    matrices = rng.normal(size=(4000, 3, 3))
    matrices = matrices @ matrices.transpose(0, 2, 1)
    matrices[:50] = np.eye(3)
    matrices[50:100] = np.diag([2.0, 2.0, 1.0])
    matrices[100:150] = np.diag([2.0, 1.0, 1.0])
    components = torch.tensor(matrices[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].T)
    got = torch.stack(diffuse_reference.eigenvalues(components)).numpy().T
    want = np.linalg.eigvalsh(matrices)[:, ::-1]
    np.testing.assert_allclose(got, want, atol=1e-6 * want.max())


@pytest.mark.parametrize("mode", ["eed", "ced"])
def test_the_tensor_is_the_published_function_of_eigenvectors(rng, mode):
    """Weickert's eigenvalues put on LAPACK's eigenvectors."""
    matrices = rng.normal(size=(500, 3, 3))
    matrices = 0.1 * matrices @ matrices.transpose(0, 2, 1)
    step = model(mode)
    mu, vectors = np.linalg.eigh(matrices)
    mu, vectors = mu[:, ::-1], vectors[:, :, ::-1]
    if mode == "eed":
        edge = 1 - np.exp(-EDGE_CONSTANT / (mu[:, 0] / step.contrast**2) ** 4)
        strength = np.stack([edge, np.ones(500), np.ones(500)], axis=1)
    else:
        gaps = np.stack([mu[:, 0] - mu[:, 1], mu[:, 0] - mu[:, 2]], axis=1)
        joined = step.alpha + (1 - step.alpha) * np.exp(-(step.coherence**2) / gaps**2)
        strength = np.concatenate([np.full((500, 1), step.alpha), joined], axis=1)
    want = np.einsum("nik,nk,njk->nij", vectors, strength, vectors)
    components = torch.tensor(matrices[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].T)
    got = diffuse_reference.diffusion_tensor(components, step).numpy()
    np.testing.assert_allclose(got, want[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].T, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_the_mean_stays_and_the_variance_falls(rng, mode):
    volume = noisy_step(rng, (16, 16, 16))
    volume -= volume.mean()
    before = volume
    for _ in range(20):
        after = diffuse.diffuse_step(before, model(mode, time_step=MAX_TIME_STEP))
        assert after.std() <= before.std() * (1 + 1e-6)
        before = after
    assert abs(before.mean(dtype=np.float64) - volume.mean(dtype=np.float64)) < 1e-6


@given(seed=st.integers(0, 2**31), amplitude=st.floats(0.01, 100))
def test_the_longest_step_is_stable_on_checkerboards(seed, amplitude):
    """The worst mode of a 7-point Laplacian, on top of noise that makes the tensor vary from voxel to voxel."""
    z, y, x = np.mgrid[:7, :8, :9]
    volume = np.random.default_rng(seed).normal(size=z.shape) + amplitude * (-1.0) ** (z + y + x)
    volume = (volume - volume.mean()).astype(np.float32)
    norm = np.linalg.norm(volume)
    after = diffuse.diffuse_step(volume, model(contrast=3.0, time_step=MAX_TIME_STEP))
    assert np.linalg.norm(after) <= norm * (1 + 1e-5)


def test_a_constant_stays():
    volume = np.full((6, 7, 8), 3.5, np.float32)
    for mode in MODES:
        np.testing.assert_array_equal(diffuse.diffuse_step(volume, model(mode)), volume)


def test_weak_gradients_diffuse_like_heat(rng):
    """Far below the contrast EED is linear: one cosine decays by its eigenvalue of the discrete Laplacian."""
    n, k = 32, 3
    phase = np.pi * k * (np.arange(n) + 0.5) / n
    volume = np.broadcast_to(1e-3 * np.cos(phase), (5, 6, n)).astype(np.float32).copy()
    after = diffuse.diffuse_step(volume, model("eed", contrast=10.0))
    decay = 1 - 0.15 * (2 - 2 * np.cos(np.pi * k / n))
    np.testing.assert_allclose(after, decay * volume, atol=1e-8)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_turning_the_volume_turns_the_result(rng, axes):
    volume = noisy_step(rng, (14, 14, 14))
    one = diffuse.diffuse_step(np.ascontiguousarray(volume.transpose(axes)), model())
    np.testing.assert_allclose(one, diffuse.diffuse_step(volume, model()).transpose(axes), atol=2e-5)
    mirrored = diffuse.diffuse_step(np.ascontiguousarray(volume[:, ::-1]), model())
    np.testing.assert_allclose(mirrored, diffuse.diffuse_step(volume, model())[:, ::-1], atol=2e-5)


def test_contrast_may_have_either_sign(rng):
    volume = noisy_step(rng, (10, 11, 12))
    np.testing.assert_allclose(
        diffuse.diffuse_step(-volume, model()), -diffuse.diffuse_step(volume, model()), atol=1e-6
    )


def test_edge_strengths_are_the_references(rng):
    volume = noisy_step(rng, (10, 11, 12))
    first, gap = diffuse.edge_strengths(volume, model())
    mu1, _, mu3 = diffuse_reference.eigenvalues(
        diffuse_reference.structure_tensor(torch.tensor(volume, dtype=torch.float64), 0.8, 1.5)
    )
    np.testing.assert_allclose(first, mu1, atol=5e-5)
    np.testing.assert_allclose(gap, mu1 - mu3, atol=5e-5)


def test_the_result_wants_an_array_of_its_own(rng):
    volume = noisy_step(rng, (4, 4, 4))
    with pytest.raises(TypeError, match="array of its own"):
        diffuse.diffuse_step(volume, model(), volume)
    with pytest.raises(TypeError, match="float32"):
        diffuse.diffuse_step(volume.astype(np.float64), model())
    with pytest.raises(ValueError, match="time step"):
        model(time_step=0.2)


@pytest.mark.parametrize("width", [0.0, 0.7, 2.0])
def test_gaussian_weights_add_up_to_one(width):
    half = gaussian_weights(width)
    assert 2 * half.sum() - half[0] == pytest.approx(1, abs=1e-6)


@pytest.mark.gpu
def test_the_reference_runs_on_a_gpu(rng):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    volume = noisy_step(rng, (18, 22, 31))
    got = diffuse_reference.diffuse_step(torch.from_numpy(volume).cuda(), model()).cpu().numpy()
    np.testing.assert_allclose(got, diffuse.diffuse_step(volume, model()), atol=5e-5)
