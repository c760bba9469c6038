"""Projection and back-projection for every term of the geometry, compiled and in torch, against exact Fourier sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lamella.errors import GeometryError, ImageError
from lamella.geometry import ImageField, TiltGeometry
from lamella.kernels.projector import Projector
from lamella.kernels.reference import back_project_exactly, project_exactly
from lamella.kernels.rows import Box, RowPlan

PIXEL = 3.0
TILTS = np.linspace(-60, 57, 7)
DEVICES = [
    "cpu",
    "torch",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
    ),
]


# name: tilts, axis, x-tilt ("own": one per view), magnification, field, image shape, binning, box
CASES = {
    "axis 0": {"axis": 0.0},
    "axis 85": {},
    "axis -95": {"axis": -95.0},
    "axis 37": {"axis": 37.0},
    "x-tilt": {"x_tilt": 3.0},
    "x-tilt per view": {"x_tilt": "own"},
    "magnification": {"magnification": True},
    "field": {"field": True},
    "field on the other axis": {"field": True, "axis": 10.0},
    "odd image": {"shape": (71, 65)},
    "odd width, binned": {"shape": (90, 101), "binning": 1.37},
    "binned by 2, odd": {"shape": (121, 130), "binning": 2.0},
    "finer than the images": {"binning": 0.8, "box": (14, 30, 36)},
    "x-tilts of another axis": {"tilts": np.zeros(6), "x_tilt": np.array([-66.0, -40.0, -12.0, 15.0, 38.0, 64.0])},
    "steep and upside down": {"tilts": [80.0, 86.0, 90.0, 97.0, 180.0, -90.0], "x_tilt": 1.0},
    "steep, x-tilt per view": {"tilts": [80.0, 86.0, 90.0, 97.0, -88.0], "x_tilt": "own"},
    "everything": {"x_tilt": "own", "magnification": True, "field": True, "shape": (99, 108), "binning": 1.37},
}


def _setting(name):
    """Geometry, image shape and box of a case."""
    what = {
        "tilts": TILTS,
        "axis": 85.0,
        "x_tilt": 0.0,
        "magnification": False,
        "field": False,
        "shape": (70, 66),
        "binning": 1.0,
    }
    what |= {"box": (14, 34, 38)} | CASES[name]
    rng = np.random.default_rng(5)
    n, shape = len(what["tilts"]), what["shape"]
    nodes = rng.normal(0, 1.5 * PIXEL, (n, 2, 3, 3))
    half = (shape[1] / 2 * PIXEL, shape[0] / 2 * PIXEL)
    geometry = TiltGeometry.from_angles(
        what["tilts"],
        what["axis"] + 0.1 * np.arange(n),
        x_tilt_deg=rng.normal(1, 1.5, n) if isinstance(what["x_tilt"], str) else what["x_tilt"],
        x_shift_ang=rng.normal(0, 3 * PIXEL, n),
        y_shift_ang=rng.normal(0, 3 * PIXEL, n),
        magnification=1 + rng.normal(0, 0.01, n) if what["magnification"] else 1.0,
        field=ImageField(nodes, half) if what["field"] else None,
    )
    return geometry, shape, Box(shape=what["box"], voxel_size_ang=PIXEL * what["binning"])


def _noise(rng, shape, below):
    """Images of white noise up to a frequency in cycles per pixel."""
    noise = rng.standard_normal(shape)
    ky, kx = np.fft.fftfreq(shape[1])[:, None], np.fft.fftfreq(shape[2])[None]
    kept = np.fft.fft2(noise) * ((np.abs(ky) < below) & (np.abs(kx) < below))
    return np.fft.ifft2(kept).real.astype(np.float32)


def _some_points(rng, box, count=400):
    """Voxel indices (z, y, x) and the points xyz that they stand for, in voxels from the centre voxel."""
    index = np.stack([rng.integers(0, n, count) for n in box.shape], axis=-1)
    points = (index - np.array(box.shape) // 2)[:, ::-1]
    return tuple(index.T), points


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CASES)
def test_projection_and_back_projection_are_adjoint(name, device, rng):
    geometry, shape, box = _setting(name)
    projector = Projector(geometry, shape, PIXEL, box, device=device)
    volume = rng.standard_normal(box.shape).astype(np.float32)
    images = rng.standard_normal((len(geometry), *shape)).astype(np.float32)
    projected, summed = projector.project(volume).astype(np.float64), projector.back_project(images).astype(np.float64)
    left, right = (projected * images).sum(), (summed * volume).sum()
    scale = np.linalg.norm(projected) * np.linalg.norm(images)
    assert abs(left - right) < 1e-6 * scale
    assert abs(left - right) < 1e-4 * abs(left)
    assert projected.std() > 0
    assert summed.std() > 0


@pytest.mark.parametrize("name", CASES)
def test_back_projection_is_the_exact_sum_up_to_interpolation(name, rng):
    """White noise up to 0.94 of the Nyquist frequency errs by a few per cent, smooth images hardly at all."""
    geometry, shape, box = _setting(name)
    projector = Projector(geometry, shape, PIXEL, box)
    voxels, points = _some_points(rng, box)
    below = 0.47 / max(box.voxel_size_ang / PIXEL, 1.0)
    for sigma, most in ((0.0, 0.055), (1.5 * max(box.voxel_size_ang / PIXEL, 1.0), 0.012)):
        images = _noise(rng, (len(geometry), *shape), below)
        if sigma:
            images = gaussian_filter(images, (0, sigma, sigma))
        exact = back_project_exactly(images, geometry, PIXEL, box, points)
        found = projector.back_project(images)[voxels]
        assert np.linalg.norm(found - exact) < most * np.linalg.norm(exact)


@pytest.mark.parametrize("name", ["axis 85", "x-tilt", "field", "binned by 2, odd", "everything"])
def test_projection_draws_voxels_where_the_model_puts_them(name, rng):
    geometry, shape, box = _setting(name)
    voxels, _points = _some_points(rng, box, 30)
    volume = np.zeros(box.shape, np.float32)
    np.add.at(volume, voxels, rng.standard_normal(30))
    found = Projector(geometry, shape, PIXEL, box).project(volume)
    places = np.argwhere(volume)
    exact = project_exactly(
        volume[tuple(places.T)], (places - np.array(box.shape) // 2)[:, ::-1], geometry, shape, PIXEL, box
    )
    assert np.linalg.norm(found - exact) < 0.09 * np.linalg.norm(exact)


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("name", CASES)
def test_torch_does_what_the_compiled_loops_do(name, device, rng):
    geometry, shape, box = _setting(name)
    compiled, other = (Projector(geometry, shape, PIXEL, box, device=which) for which in ("cpu", device))
    volume = rng.standard_normal(box.shape).astype(np.float32)
    images = rng.standard_normal((len(geometry), *shape)).astype(np.float32)
    for expected, found in (
        (compiled.project(volume), other.project(volume)),
        (compiled.back_project(images), other.back_project(images)),
    ):
        # places are rounded to 1/512 of a sample, and a last bit decides where they are rounded to
        assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


def test_little_memory_means_small_blocks_not_another_result(rng, monkeypatch):
    from lamella.kernels import device

    geometry, shape, box = _setting("everything")
    images = rng.standard_normal((len(geometry), *shape)).astype(np.float32)
    whole = Projector(geometry, shape, PIXEL, box, device="torch").back_project(images)
    monkeypatch.setattr(device, "free_memory_bytes", lambda name: 2_000_000)
    blocks = Projector(geometry, shape, PIXEL, box, device="torch").back_project(images)
    np.testing.assert_allclose(blocks, whole, atol=1e-5)


def test_arrays_of_the_wrong_shape_are_refused():
    geometry, shape, box = _setting("axis 0")
    projector = Projector(geometry, shape, PIXEL, box)
    with pytest.raises(ImageError, match="images of shape"):
        projector.back_project(np.zeros((len(geometry), 10, 10), np.float32))
    with pytest.raises(ImageError, match="a volume of shape"):
        projector.project(np.zeros((4, 4, 4), np.float32))


def test_a_specimen_on_edge_is_refused():
    with pytest.raises(GeometryError, match="view 2 has an x-tilt of 85"):
        RowPlan.fine(TiltGeometry.from_angles([0.0, 3.0], x_tilt_deg=[0.0, 85.0]))
    with pytest.raises(GeometryError, match="x-tilt of 65"):
        RowPlan.fine(TiltGeometry.from_angles([0.0, 3.0], x_tilt_deg=65.0))


def test_rays_take_a_mean_of_every_plane():
    """Every ray that crosses the whole box has the same sum of weights: the number of planes."""
    from lamella.kernels.loops import Loops

    for x_tilt in (0.0, 4.0, [3.0, 4.0, 5.0]):
        geometry = TiltGeometry.from_angles([-40.0, 0.0, 55.0], x_tilt_deg=x_tilt)
        plan = RowPlan.rays(geometry)
        box = Box(shape=(10, 30, 60), voxel_size_ang=1.0)
        window = plan.window(box.first(), box.shape)
        rows = torch.zeros(window.size)
        Loops.on("cpu").project(torch.ones(box.shape), plan, window, box.first(), rows)
        for offset, phases, samples, count, *_ in window.layout.tolist():
            assert phases == 1
            view = rows[offset : offset + samples * count].reshape(count, samples)
            middle = view[count // 2, samples // 2 - 10 : samples // 2 + 10]
            np.testing.assert_allclose(middle, 10, rtol=1e-4)
