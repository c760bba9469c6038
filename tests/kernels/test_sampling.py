from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.geometry import TiltGeometry
from lamella.kernels.rows import RowPlan
from lamella.kernels.sampling import ImageGrid, frequencies, sample_image, unsample_image, view_filter


def padded_noise(grid: ImageGrid, rng: np.random.Generator) -> torch.Tensor:
    out = np.zeros(grid.padded, np.float32)
    (a, b), (height, width) = grid.start, grid.image_shape
    out[a : a + height, b : b + width] = rng.standard_normal((height, width))
    ka, kb = np.fft.fftfreq(grid.padded[0])[:, None], np.fft.fftfreq(grid.padded[1])[None]
    within = np.hypot(ka, kb) < 0.49 / max(grid.binning, 1.0)  # the band's edge is soft by one entry of a table
    return torch.from_numpy(np.fft.ifft2(np.fft.fft2(out) * within).real.astype(np.float32))


@pytest.mark.parametrize("axis_deg", [0.0, 85.0])
@pytest.mark.parametrize(("shape", "binning"), [((60, 60), 1.0), ((61, 74), 1.37), ((75, 60), 2.0), ((40, 51), 0.7)])
def test_stored_samples_are_the_band_limited_image_at_their_places(shape, binning, axis_deg, rng):
    """Against a direct Fourier sum at the sample's pixel, divided by the taps' transforms."""
    geometry = TiltGeometry.from_angles([20.0], axis_deg)
    plan = RowPlan.rays(geometry)
    grid = ImageGrid.of(geometry, shape, 2.0, 2.0 * binning)
    padded = padded_noise(grid, rng)
    stored = sample_image(padded, grid, view_filter(grid, geometry, plan, 0)).numpy()
    assert stored.shape == grid.stored

    ka, kb = np.meshgrid(np.fft.fftfreq(grid.padded[0]), np.fft.fftfreq(grid.padded[1]), indexing="ij")
    turn = np.deg2rad(axis_deg)
    kx, ky = (ka, kb) if grid.swapped else (kb, ka)
    ku, kv = binning * (np.cos(turn) * kx + np.sin(turn) * ky), binning * (np.cos(turn) * ky - np.sin(turn) * kx)
    limit = 0.5 / max(binning, 1) - 1e-9
    band = (np.abs(ka) < limit) & (np.abs(kb) < limit) & (np.abs(ku) <= 0.5) & (np.abs(kv) <= 0.5)
    deapodised = grid.taps[0].transform(ka * grid.pitch[0]) * grid.taps[1].transform(kb * grid.pitch[1])
    spectrum = np.where(band, np.fft.fft2(padded.numpy().astype(np.float64)) / deapodised, 0)
    for i, j in [(0, 0), (5, 17), (grid.stored[0] - 1, grid.stored[1] // 2)]:
        a, b = (i + grid.crop[0].start) * grid.pitch[0], (j + grid.crop[1].start) * grid.pitch[1]
        expected = (spectrum * np.exp(2j * np.pi * (ka * a + kb * b))).sum().real / spectrum.size
        assert stored[i, j] == pytest.approx(expected, abs=2e-4 * float(np.abs(stored).max()))


@pytest.mark.parametrize("binning", [1.0, 1.6])
def test_unsampling_is_the_transpose(binning, rng):
    geometry = TiltGeometry.from_angles([30.0], 40.0)
    grid = ImageGrid.of(geometry, (50, 63), 2.0, 2.0 * binning)
    what = view_filter(
        grid, geometry, RowPlan.fine(geometry), 0, along_u=frequencies(), radial=np.exp(-3 * frequencies())
    )
    x = torch.from_numpy(rng.standard_normal(grid.padded).astype(np.float32))
    y = torch.from_numpy(rng.standard_normal(grid.stored).astype(np.float32))
    forward, backward = sample_image(x, grid, what), unsample_image(y, grid, what)
    left, right = float((forward.double() * y).sum()), float((backward.double() * x).sum())
    assert left == pytest.approx(right, abs=1e-5 * float(forward.norm() * y.norm()))


def test_the_filter_in_torch_is_the_compiled_one(rng):
    """The generic path, which other devices take, run on the CPU through a tensor that says it is elsewhere."""
    from lamella.kernels import sampling

    geometry = TiltGeometry.from_angles([30.0], 40.0, magnification=1.02)
    grid = ImageGrid.of(geometry, (50, 63), 2.0, 3.0)
    what = view_filter(
        grid, geometry, RowPlan.fine(geometry), 0, along_u=frequencies(), radial=np.exp(-3 * frequencies())
    )
    columns = grid.band[1] + 1
    source = torch.fft.fft(torch.fft.rfft(padded_noise(grid, rng), dim=1)[:, :columns], dim=0)
    targets = [torch.zeros(grid.fine[0], columns, dtype=torch.complex64) for _ in range(2)]
    sampling._multiply(source, targets[0], grid, what, 0.5)
    sampling._multiply_torch(source, targets[1], grid, what, 0.5)
    np.testing.assert_allclose(targets[0].numpy(), targets[1].numpy(), atol=2e-5 * float(targets[0].abs().max()))
