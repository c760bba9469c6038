"""Quality numbers of tomograms whose halves have a known signal and known noise."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import ImageError
from lamella.formats.fsc import read_fsc, write_fsc
from lamella.geometry import TiltGeometry
from lamella.records import ArrayVolume, TiltSeries, Tomogram
from lamella.tomograms import tomogram_quality
from lamella.tomograms.coverage import tilt_coverage
from lamella.tomograms.half_fsc import half_sums

VOXEL = 10.0
SHAPE = (64, 128, 128)


def tomogram(tilts, *, shape=SHAPE, thickness_ang=None, **terms) -> Tomogram:
    tilts = np.asarray(tilts, dtype=float)
    series = TiltSeries(
        name="TS",
        pixel_size_ang=VOXEL,
        image_shape_px=shape[1:],
        nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(len(tilts), 85.0),
        geometry=TiltGeometry.from_angles(tilts, 85.0, **terms),
        thickness_ang=thickness_ang,
    )
    return Tomogram(tilt_series=series, size_px=shape[::-1])


def halves(rng, ssnr_of, shape=SHAPE):
    """Two volumes of white noise of power 1 and a common signal of power `ssnr_of(cycles/px)`."""
    k = np.sqrt(sum(np.square(g) for g in np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")))[
        ..., : shape[2] // 2 + 1
    ]
    signal = np.fft.irfftn(np.fft.rfftn(rng.normal(size=shape)) * np.sqrt(ssnr_of(k)), s=shape, axes=(0, 1, 2))
    return [ArrayVolume((signal + rng.normal(size=shape)).astype(np.float32)) for _ in range(2)]


def test_the_curve_is_the_one_that_signal_and_noise_give(rng):
    """FSC = SSNR / (1 + SSNR) of a half (Frank & Al-Ali 1975); here SSNR = exp(−(k/0.1)²)·4."""
    even, odd = halves(rng, lambda k: 4 * np.exp(-((k / 0.1) ** 2)))
    quality = tomogram_quality(tomogram(np.arange(-60, 61, 3)), even, odd)
    k = quality.curve.frequency_per_ang * VOXEL
    ssnr = 4 * np.exp(-((k / 0.1) ** 2))
    expected = ssnr / (1 + ssnr)
    away = (quality.curve.correlation - expected)[3:] / quality.curve.error[3:]
    assert np.abs(away).max() < 4.5
    assert 0.6 < np.sqrt(np.mean(away**2)) < 1.5  # the errors are what the scatter is
    at = {value: 0.1 * np.sqrt(np.log(4 * (1 - value) / value)) for value in (0.143, 0.5)}
    assert quality.resolution_ang == pytest.approx(VOXEL / at[0.143], rel=0.05)
    assert quality.half_ang == pytest.approx(VOXEL / at[0.5], rel=0.05)
    band = (k >= 0.1) & (k <= 0.25)
    weights = quality.curve.terms[band]
    assert quality.contrast == pytest.approx(2 * (ssnr[band] * weights).sum() / weights.sum(), rel=0.1)


def test_pure_noise_agrees_nowhere_and_equal_halves_to_the_limit(rng):
    even, odd = halves(rng, np.zeros_like)
    quality = tomogram_quality(tomogram(np.arange(-60, 61, 3)), even, odd)
    assert quality.resolution_ang is None
    assert "agree nowhere" in quality.in_words()
    assert "HalfFscResolutionAngst" not in quality.numbers()
    assert quality.contrast < 0.05
    alike = tomogram_quality(tomogram(np.arange(-60, 61, 3)), even, even)
    assert alike.resolution_ang == pytest.approx(2 * VOXEL)
    np.testing.assert_allclose(alike.curve.correlation[1:], 1.0, atol=1e-5)


def test_what_lies_at_the_rim_or_outside_the_specimen_does_not_count(rng):
    """Both halves have the same bright frame, and the same structure above and below the specimen."""
    even, odd = halves(rng, np.zeros_like)
    common = rng.normal(size=SHAPE).astype(np.float32) * 20
    common[18:-18] = 0  # the specimen of 80 Å lies in the middle 8 sections; the soft edge reaches 8 further
    for half in (even, odd):
        half.array[:] += common
        half.array[:, :3] += 500
        half.array[:, :, -3:] -= 500
    quality = tomogram_quality(tomogram(np.arange(-60, 61, 3), thickness_ang=80.0), even, odd)
    assert np.abs(quality.curve.correlation[4:]).max() < 0.2
    assert tomogram_quality(tomogram(np.arange(-60, 61, 3)), even, odd).curve.correlation[8:].mean() > 0.5


def test_a_specimen_off_the_middle_is_found_by_its_height(rng):
    """Common structure lies 200 Å above the centre voxel: boxes there see it, boxes at the middle do not."""
    shape = (96, 128, 128)
    even, odd = halves(rng, np.zeros_like, shape)
    common = rng.normal(size=(12, 128, 128)).astype(np.float32) * 5
    for half in (even, odd):
        half.array[62:74] += common
    record = tomogram(np.arange(-60, 61, 3), shape=shape)
    here = tomogram_quality(record, even, odd, thickness_ang=80.0, middle_ang=200.0)
    there = tomogram_quality(record, even, odd, thickness_ang=80.0, middle_ang=-200.0)
    assert here.curve.correlation[6:].mean() > 0.7
    assert np.abs(there.curve.correlation[6:]).max() < 0.2


def test_the_missing_wedge_does_not_count(rng):
    """Signal inside the wedge alone, in both halves: the curve does not see it, that of all terms does."""
    n = 96
    kz, kx = np.fft.fftfreq(n)[:, None, None], np.fft.rfftfreq(n)[None, None]
    unseen = np.abs(kz) > np.tan(np.deg2rad(50)) * np.abs(kx) + 0.03
    inside = np.fft.irfftn(np.fft.rfftn(rng.normal(size=(n, n, n))) * unseen, s=(n, n, n), axes=(0, 1, 2)) * 5
    even, odd = (ArrayVolume((inside + rng.normal(size=(n, n, n))).astype(np.float32)) for _ in range(2))
    seen = tomogram_quality(tomogram(np.arange(-45, 46, 3), shape=(n, n, n)), even, odd)
    assert np.abs(seen.curve.correlation[6:]).max() < 0.25  # what the boxes' soft edges carry over
    assert abs(seen.curve.correlation[6:].mean()) < 0.04
    everything = half_sums(even, odd, tilt_coverage(TiltGeometry.from_angles(np.arange(-90, 90, 3))), None)
    assert everything.curve(VOXEL).correlation[6:].mean() > 0.6


def test_coverage_of_one_axis_and_of_two():
    one = tilt_coverage(TiltGeometry.from_angles(np.arange(-60, 61, 3), 85.0))
    assert (one.lowest_deg, one.highest_deg, one.range_deg) == (-60, 60, 120)
    assert one.largest_gap_deg == pytest.approx(3)
    assert one.fraction == pytest.approx(123 / 180, abs=0.015)  # nearer the axis planes cross: a little more
    tilts = np.delete(np.arange(-60, 61, 3), slice(10, 14))
    gap = tilt_coverage(TiltGeometry.from_angles(tilts, 85.0))
    assert gap.largest_gap_deg == pytest.approx(15)
    assert gap.fraction == pytest.approx((123 - 12) / 180, abs=0.02)
    zeros, angles = np.zeros(41), np.arange(-60, 61, 3.0)
    both = TiltGeometry.from_angles(np.r_[angles, zeros], np.r_[zeros, zeros], x_tilt_deg=np.r_[zeros, angles])
    two = tilt_coverage(both)
    assert two.largest_gap_deg == pytest.approx(3)
    # the pyramid that two perpendicular axes both miss, tan 60° steep: Monte Carlo of its solid angle
    k = np.random.default_rng(1).normal(size=(200_000, 3))
    reach = np.tan(np.deg2rad(61.5))
    missed = (np.abs(k[:, 2]) > reach * np.abs(k[:, 0])) & (np.abs(k[:, 2]) > reach * np.abs(k[:, 1]))
    assert two.fraction == pytest.approx(1 - missed.mean(), abs=0.015)


def test_one_view_and_bad_halves(rng):
    assert tilt_coverage(TiltGeometry.from_angles([10.0])).range_deg == 0
    even, odd = halves(rng, np.zeros_like)
    record = tomogram(np.arange(-60, 61, 3))
    with pytest.raises(ImageError, match="constant"):
        tomogram_quality(record, even, ArrayVolume(np.ones(SHAPE, np.float32)))
    odd.array[32, 64, 64] = np.nan
    with pytest.raises(ImageError, match="odd half holds voxels that are not finite"):
        tomogram_quality(record, even, odd)
    with pytest.raises(ImageError, match="halves of"):
        tomogram_quality(record, even, ArrayVolume(even.array[:32]))
    with pytest.raises(ImageError, match="no shell correlation"):
        tomogram_quality(record, ArrayVolume(even.array[:6]), ArrayVolume(even.array[:6]))


def test_the_curve_is_written_with_relions_labels_and_read_back(tmp_path, rng):
    even, odd = halves(rng, lambda k: 4 * np.exp(-((k / 0.1) ** 2)))
    curve = tomogram_quality(tomogram(np.arange(-60, 61, 3)), even, odd).curve
    write_fsc(tmp_path / "TS_fsc.star", curve)
    starfile = pytest.importorskip("starfile")
    table = starfile.read(tmp_path / "TS_fsc.star")
    assert list(table["rlnSpectralIndex"]) == list(range(len(curve)))
    np.testing.assert_allclose(table["rlnAngstromResolution"][1:] * table["rlnResolution"][1:], 1.0, rtol=1e-6)
    back = read_fsc(tmp_path / "TS_fsc.star")
    np.testing.assert_allclose(back.correlation, curve.correlation, atol=1e-6)
    np.testing.assert_array_equal(back.frequency_per_ang, curve.frequency_per_ang)
