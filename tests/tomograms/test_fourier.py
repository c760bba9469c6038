"""Direct Fourier inversion against blobs whose density is known, and against the sum of back-projections."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.test_reconstruct import FULL, TERMS, WEDGE, blobs, settings

from lamella.errors import InputError
from lamella.geometry import TiltGeometry
from lamella.kernels.slices import PlaneGrid, invert_plane


def test_a_plane_is_the_sum_of_its_rows_read_at_every_place(rng):
    """Against the Fourier sum of every row, in float64."""
    samples, views, shape = 120, 5, (20, 31)
    band = 0.4
    rows = rng.standard_normal((views, samples))
    terms = np.fft.rfft(rows, axis=1) * (np.fft.rfftfreq(samples) <= band)
    rows = np.fft.irfft(terms, samples, axis=1)
    angles = np.deg2rad([-80.0, -33.0, 0.0, 51.0, 110.0])
    tau = np.stack([np.cos(angles), np.sin(angles)], axis=1) / 0.833
    origin = rng.uniform(50, 70, views)
    z, x = np.mgrid[: shape[0], : shape[1]] - np.array(shape)[:, None, None] // 2
    exact = np.zeros(shape)
    weight = np.where(np.arange(terms.shape[1]) == 0, 1, 2) / samples
    for view in range(views):
        at = origin[view] + tau[view, 0] * x + tau[view, 1] * z
        phase = np.exp(2j * np.pi / samples * np.arange(terms.shape[1]) * at[..., None])
        exact += (phase * terms[view] * weight).real.sum(axis=-1)
    found = np.empty(shape, np.float32)
    invert_plane(rows.astype(np.float32), tau, origin, band, PlaneGrid(shape=shape), found)
    assert np.linalg.norm(found - exact) < 0.004 * np.linalg.norm(exact)


@pytest.mark.parametrize("name", TERMS)
def test_it_agrees_with_back_projection(name):
    geometry = TiltGeometry.from_angles(WEDGE, **TERMS[name])
    if name == "x-tilt per view":
        geometry = geometry.with_terms(x_tilt_deg=geometry.x_tilt_deg / 10)
    summed = blobs(geometry, settings(weighting="exact"))[0]
    inverted, _truth, result = blobs(geometry, settings(method="fourier"))
    assert np.linalg.norm(inverted - summed) < 0.02 * np.linalg.norm(summed)
    assert result.reprojection_correlation > 0.9


def test_a_full_range_of_tilts_gives_the_density_back(rng):
    points = rng.uniform(-1, 1, (8, 3)) * (120, 120, 60)
    geometry = TiltGeometry.from_angles(FULL, 85.0, x_tilt_deg=3.0)
    volume, truth, _ = blobs(geometry, settings(method="fourier", weighting="ramp", falloff=0), points)
    assert np.corrcoef(volume.ravel(), truth.ravel())[0, 1] > 0.999
    bright = truth > 0.3 * truth.max()
    ratio = (volume[bright] - np.median(volume)) / truth[bright]
    assert ratio.mean() == pytest.approx(1, abs=0.02)


def test_grey_values_do_not_depend_on_binning():
    peaks = [
        blobs(
            TiltGeometry.from_angles(FULL, 85.0), settings(method="fourier", pixel_size=voxel, falloff=0), sigma=25.0
        )[0].max()
        for voxel in (5.0, 8.3, 10.0)
    ]
    np.testing.assert_allclose(peaks, 1, rtol=0.05)


def test_slabs_leave_no_seams(monkeypatch, rng):
    from lamella.tomograms.fourier_inversion import _Inversion

    geometry = TiltGeometry.from_angles(WEDGE, 85.0, x_tilt_deg=4.0)
    points = rng.uniform(-1, 1, (10, 3)) * (120, 150, 50)
    whole = blobs(geometry, settings(method="fourier"), points)[0]
    monkeypatch.setattr(_Inversion, "rows_within", lambda *_: 7)
    cut, _, result = blobs(geometry, settings(method="fourier"), points)
    assert result.slabs > 8
    np.testing.assert_allclose(cut, whole, atol=1e-5 * whole.max())


def test_views_of_two_axes_are_refused_in_words():
    geometry = TiltGeometry.from_angles(WEDGE, 85.0, x_tilt_deg=np.linspace(-30, 30, len(WEDGE)))
    with pytest.raises(InputError, match="x-tilts range over 60") as caught:
        blobs(geometry, settings(method="fourier"))
    assert "wbp" in caught.value.mend
    with pytest.raises(InputError, match="corrected once"):
        blobs(TiltGeometry.from_angles(WEDGE, 85.0), settings(method="fourier", ctf="phase-flip", ctf_depth="slabs"))
