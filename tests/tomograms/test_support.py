"""The map of support: what is in the data passes, what is drawn into both halves alike or from noise is flagged."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lamella.errors import ImageError, SettingsError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayVolume
from lamella.tomograms import Halves, measure_support
from lamella.tomograms.support_band import measure_band, measured_region
from lamella.tomograms.support_texture import measure_texture
from lamella.tomograms.support_windows import LocalSums, judge

N = 72
VOXEL = 10.0
BODIES = ((18, 20, 20), (18, 50, 22), (54, 20, 50), (50, 52, 54))  # zyx
EMPTY = (36, 20, 34)


def bodies(places, n: int = N) -> np.ndarray:
    """Dark balls of 180 Å with a hole, 40 Å wide."""
    z, y, x = np.mgrid[:n, :n, :n].astype(np.float32)
    out = np.zeros((n, n, n), np.float32)
    for place in places:
        r = np.sqrt((z - place[0]) ** 2 + (y - place[1]) ** 2 + (x - place[2]) ** 2)
        out -= 1 / (1 + np.exp((r - 9) / 0.7)) - 1 / (1 + np.exp((r - 2) / 0.7))
    return out


@cache
def halves(noise: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    made = []
    for _ in range(2):
        drawn = gaussian_filter(rng.normal(size=(N, N, N)), 0.6)
        made.append((bodies(BODIES) + noise * drawn / drawn.std()).astype(np.float32))
    return made[0], made[1]


def smooth(volume: np.ndarray) -> np.ndarray:
    return gaussian_filter(volume, 1.5)


def measure(raw, clean, **more):
    out = ArrayVolume(np.full(raw[0].shape, np.nan, np.float32))
    volumes = [ArrayVolume(np.asarray(v, np.float32)) for v in (*raw, *clean)]
    result = measure_support(
        Halves(even=volumes[0], odd=volumes[1], denoised_even=volumes[2], denoised_odd=volumes[3]), VOXEL, out, **more
    )
    return out.array, result


def near(places, at, within_ang=80.0):
    want = (np.array(at[::-1]) - N // 2) * VOXEL
    return [place for place, position, _ in places if np.linalg.norm(np.array(position) - want) < within_ang]


def test_true_structure_is_supported_and_noise_is_not():
    raw = halves()
    support, result = measure(raw, [smooth(v) for v in raw])
    assert support.shape == raw[0].shape
    assert np.isfinite(support).all()
    assert support.min() >= 0
    assert support.max() <= 1
    assert min(support[place] for place in BODIES) > 0.7
    assert result.median > 0.7
    assert result.unsupported < 0.02
    assert 0.2 < result.verdict.overall < 1
    assert np.median(support) < 0.3  # most of the volume is noise


@pytest.mark.parametrize("contrast", [0.6, 1.0, 1.5])
def test_what_is_drawn_into_both_halves_alike_is_flagged(contrast):
    raw = halves()
    drawn = contrast * smooth(bodies([EMPTY]))
    clean = [smooth(v) + drawn for v in raw]
    # the denoised halves agree on it as well as on what is true
    assert np.corrcoef(*(v[26:46, 10:30, 24:44].ravel() for v in clean))[0, 1] > 0.2
    support, result = measure(raw, clean)
    assert support[EMPTY] < 0.3
    assert min(support[place] for place in BODIES) > 0.7
    (found,) = near(result.places, EMPTY)
    assert found.support < 0.4
    assert found.error < 0.2
    assert not any(near(result.places, place) for place in BODIES)
    assert result.unsupported > 0


def test_texture_that_a_method_paints_everywhere_is_unsupported():
    raw = halves(4.0)
    rng = np.random.default_rng(7)
    texture = gaussian_filter(rng.normal(size=raw[0].shape), 2.5)
    texture /= texture.std()
    _, same = measure(raw, [texture, texture])
    assert same.median < 0.1
    assert same.unsupported > 0.8
    # made from each half's noise, it differs between the halves
    _, own = measure(raw, [10 * np.tanh(smooth(v) / smooth(v).std()) for v in raw])
    assert own.median < 0.25
    assert own.verdict.overall < 0.2


def drawn_texture(seed: int, rms: float, width: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.normal(size=(N, N, N)), width) - gaussian_filter(
        rng.normal(size=(N, N, N)), 2 * width
    )
    return rms * texture / texture.std()


def test_texture_between_true_bodies_is_found_whatever_it_is_made_of():
    raw, true = halves(), bodies(BODIES)
    clean = smooth(true)
    _, none = measure(raw, [clean, clean])
    assert none.texture.contrast < 0.1
    rms = 0.1  # bodies have some 0.5 where one sees them
    _, half = measure(raw, [clean + drawn_texture(3, rms / 2)] * 2)
    _, alike = measure(raw, [clean + drawn_texture(3, rms)] * 2)
    assert alike.median > 0.9  # the bodies themselves are in the data, and outshine it
    assert alike.texture.plain
    assert alike.texture.supported < 0.1
    assert alike.texture.passed < 0.1
    assert not half.texture.plain
    assert 1.3 < alike.texture.contrast / half.texture.contrast < 2  # under more texture only cores stand out
    # what differs between the halves fades in their mean
    _, apart = measure(raw, [clean + drawn_texture(seed, rms) for seed in (3, 4)])
    assert apart.texture.contrast < 0.95 * alike.texture.contrast


def test_texture_that_is_in_the_data_is_supported_and_noise_that_a_filter_leaves_is_named_so():
    weak = drawn_texture(5, 0.5)
    raw = [v + weak.astype(np.float32) for v in halves(0.8)]
    _, true = measure(raw, [smooth(bodies(BODIES) + weak)] * 2)
    assert true.texture.supported > 0.9
    assert true.texture.contrast < 0.1
    raw = halves()
    _, left = measure(raw, [gaussian_filter(v, 0.8) for v in raw])
    assert left.texture.plain
    assert left.texture.supported < 0.1
    assert left.texture.passed > 0.9
    assert left.unsupported < 0.02


def test_nothing_is_said_of_texture_where_there_is_no_between():
    raw = halves()
    band = measure_band(*map(ArrayVolume, raw), window_px=4.0)
    volumes = [ArrayVolume(v) for v in (*raw, *raw)]
    four = Halves(even=volumes[0], odd=volumes[1], denoised_even=volumes[2], denoised_odd=volumes[3])
    for everywhere in (True, False):
        assert measure_texture(four, band, *[np.full((36, 36, 36), everywhere)] * 2, 2, 4.0) is None


def test_a_deleted_structure_does_no_harm_and_a_swapped_one_does():
    raw = halves()
    clean = [smooth(v) for v in raw]
    z, y, x = BODIES[0]
    box = (slice(z - 14, z + 14), slice(y - 14, y + 14), slice(x - 14, x + 14))
    for volume in clean:
        volume[box] = volume[box][::-1, ::-1, ::-1] * -1  # bright instead of dark
    _, result = measure(raw, clean)
    (found,) = near(result.places, BODIES[0])
    assert found.support < -0.3


def test_grey_values_and_contrast_have_no_say():
    raw = halves()
    clean = [smooth(v) for v in raw]
    one, _ = measure(raw, clean)
    other, _ = measure([-200 * v + 3000 for v in raw], [-200 * v + 3000 for v in clean])
    np.testing.assert_allclose(other, one, atol=2e-3)


def test_tiles_change_nothing_that_one_would_see():
    raw = [np.tile(v, (1, 1, 2)) for v in halves()]
    clean = [smooth(v) for v in raw]
    whole, one = measure(raw, clean)
    pieces, many = measure(raw, clean, memory_bytes=90e6)
    assert one.tiles == 1
    assert many.tiles > 1
    shown = one.verdict.visible.repeat(one.block_px, 0).repeat(one.block_px, 1).repeat(one.block_px, 2)
    assert np.abs(whole - pieces)[shown].max() < 0.05
    assert np.abs(whole - pieces).mean() < 5e-3


def test_the_missing_wedge_is_not_judged():
    geometry = TiltGeometry.from_angles(np.arange(-60, 61, 3.0))
    region = measured_region((N, N, N), geometry.rotations()[:, 2], np.full(41, np.deg2rad(1.8)), torch.device("cpu"))
    kz, kx = np.fft.fftfreq(N)[:, None], np.fft.rfftfreq(N)
    expected = np.abs(kz) <= np.tan(np.deg2rad(61)) * kx + 1.5 / N
    assert ((region.numpy()[:, 5] > 0.5) != expected).mean() < 0.03
    seen = region.numpy()
    raw = [np.fft.irfftn(np.fft.rfftn(v) * seen, s=v.shape, axes=(0, 1, 2)) for v in halves()]
    filled = [smooth(a + bodies(BODIES) - np.fft.irfftn(np.fft.rfftn(bodies(BODIES)) * seen, s=a.shape)) for a in raw]
    with_wedge, result = measure(raw, filled, geometry=geometry)
    without, blind = measure(raw, filled)
    assert result.untestable > 0.1
    assert min(with_wedge[place] for place in BODIES) > 0.7
    assert np.mean([with_wedge[place] for place in BODIES]) > np.mean([without[place] for place in BODIES])
    assert blind.untestable < result.untestable


def test_the_error_is_what_repeated_noise_shows():
    rng = np.random.default_rng(3)
    drawn = gaussian_filter(rng.normal(size=(24, 24, 24)), 1.0).astype(np.float32)
    slopes, errors = [], []
    for _ in range(40):
        noise = rng.normal(size=(2, 24, 24, 24)).astype(np.float32)
        raw = drawn + noise
        sums = LocalSums(
            agreement=(raw[0] + raw[1]) / 2 * drawn,
            drawn=drawn**2,
            common=drawn**2,
            noise=(noise[0] - noise[1]) ** 2 / 2,
            count=np.ones_like(drawn),
        )
        verdict = judge(sums, 2.0, 1.0)
        slopes.append(verdict.slope[8:16, 8:16, 8:16])
        errors.append(verdict.error[8:16, 8:16, 8:16])
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.02)
    # two halves' noise counts as one: √2 too large at most, never too small
    ratio = np.mean(errors) / np.std(slopes, axis=0).mean()
    assert 1.0 < ratio < 1.6


def test_the_band_ends_where_the_halves_stop_agreeing():
    rng = np.random.default_rng(2)
    signal = gaussian_filter(rng.normal(size=(64, 64, 64)), 2.0)
    raw = [ArrayVolume((signal * 20 + rng.normal(size=signal.shape)).astype(np.float32)) for _ in range(2)]
    band = measure_band(*raw, window_px=6.0)
    assert band.noise[8:] == pytest.approx(1.0, rel=0.1)
    k = band.frequency
    power = 400 * np.exp(-((2 * np.pi * 2.0 * k) ** 2))
    expected = k[np.argmax(power / (power + 1) < 0.3)]
    assert band.highest == pytest.approx(expected, abs=0.03)


def test_bad_halves_are_refused_in_words():
    raw = halves()
    clean = [smooth(v) for v in raw]
    with pytest.raises(ImageError, match="different shapes"):
        measure(raw, [clean[0], clean[1][:-1]])
    broken = raw[0].copy()
    broken[3, 4, 5] = np.nan
    with pytest.raises(ImageError, match="not finite"):
        measure([broken, raw[1]], clean)
    with pytest.raises(SettingsError, match="smallest tiles"):
        measure(raw, clean, memory_bytes=1e4)


def test_a_half_that_stands_for_both_is_refused():
    even, _ = halves()
    with pytest.raises(ImageError, match="the same file content"):
        measure((even, even), (smooth(even), smooth(even)))
