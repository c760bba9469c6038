"""A denoised half projected into views that it never saw: more like them than before, less so with what is made up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lamella.errors import ImageError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages, ArrayVolume, TiltSeries
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.support_views import other_half_views, view_correlations

SHAPE = (24, 64, 64)
ANGLES = np.arange(-40.0, 41.0, 10.0)


@pytest.fixture(scope="module")
def scene():
    """Balls near the middle, their views by integration along the beam at 0°, and noise."""
    rng = np.random.default_rng(1)
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(np.float32)
    places = rng.uniform((6, 12, 12), (18, 52, 52), size=(12, 3))
    geometry = TiltGeometry.from_angles(ANGLES)
    volume = np.zeros(SHAPE, np.float32)
    images = np.zeros((len(ANGLES), 64, 64), np.float32)
    rows, columns = np.mgrid[:64, :64]
    for pz, py, px in places:
        volume -= np.exp(-((z - pz) ** 2 + (y - py) ** 2 + (x - px) ** 2) / (2 * 2.0**2))
        at = geometry.project([[(px - 32) * 10.0, (py - 32) * 10.0, (pz - 12) * 10.0]])[:, 0] / 10.0 + 32
        for view, (qx, qy) in enumerate(at):
            images[view] -= 5 * np.exp(-((rows - qy) ** 2 + (columns - qx) ** 2) / (2 * 2.0**2))
    images += rng.normal(size=images.shape).astype(np.float32)
    series = TiltSeries(
        name="TS", pixel_size_ang=10.0, image_shape_px=(64, 64), nominal_tilt_deg=ANGLES,
        nominal_axis_deg=np.zeros(len(ANGLES)), geometry=geometry,
    )  # fmt: skip
    noisy = volume + rng.normal(size=SHAPE).astype(np.float32)
    return series, ArrayImages(images), volume, noisy


def test_a_better_volume_is_more_like_unseen_views(scene):
    series, images, truth, noisy = scene
    settings = ReconstructSettings(dose_weighting=False, ctf="none")
    invented = gaussian_filter(noisy, 1.0) + 2 * np.roll(truth, (17, 23), (1, 2))
    volumes = [ArrayVolume(v.astype(np.float32)) for v in (noisy, gaussian_filter(noisy, 1.0), truth, invented)]
    raw, clean, best, false = view_correlations(series, images, volumes, 10.0, settings)
    assert raw < clean < best
    assert best > 0.5
    assert false < clean


def test_the_views_of_the_other_half(scene):
    series = scene[0]
    assert other_half_views(series).tolist() == [0, 2, 4, 6, 8]
    with pytest.raises(ImageError, match="different shapes"):
        view_correlations(
            series, scene[1], [ArrayVolume(np.zeros(SHAPE, np.float32)), ArrayVolume(np.zeros((2, 2, 2), np.float32))],
            10.0, ReconstructSettings(),
        )  # fmt: skip
