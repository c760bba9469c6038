"""Denoising: more like the truth than before, edges sharper than a Gaussian's, no seams, and clear refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lamella.errors import ImageError, PostconditionError, SettingsError
from lamella.kernels.diffuse_reference import diffuse_step
from lamella.records import ArrayVolume
from lamella.tomograms import denoise
from lamella.tomograms.classical import Recipe, recipe
from lamella.tomograms.denoise_settings import DenoiseSettings
from lamella.tomograms.diffusion import diffuse, plan_diffusion
from lamella.tomograms.strength import NoiseSpectrum
from lamella.tomograms.survey import Samples, noise_sd, survey
from lamella.tomograms.tiles import plan_tiles

METHODS = [
    {"method": "nad", "mode": "eed"},
    {"method": "nad", "mode": "hybrid"},
    {"method": "bilateral"},
    {"method": "median"},
    {"method": "gaussian"},
    {"method": "tv"},
    {"method": "nlm"},
]


def specimen(n: int = 56) -> np.ndarray:
    """A vesicle, a filament and some particles, dark on grey."""
    z, y, x = np.mgrid[:n, :n, :n].astype(np.float32)
    volume = np.zeros((n, n, n), np.float32)
    radius = np.sqrt((z - 0.4 * n) ** 2 + (y - 0.45 * n) ** 2 + (x - 0.4 * n) ** 2)
    volume -= np.exp(-0.5 * ((radius - 0.25 * n) / 1.3) ** 2)
    volume -= np.exp(-0.5 * ((z - 0.8 * n) ** 2 + (y - 0.5 * x - 0.2 * n) ** 2 / 1.25) / 1.8**2)
    for place in np.random.default_rng(3).uniform(6, n - 6, size=(8, 3)):
        radius = np.sqrt((z - place[0]) ** 2 + (y - place[1]) ** 2 + (x - place[2]) ** 2)
        volume -= 1 / (1 + np.exp((radius - 4) / 0.6))
    return volume


def with_noise(volume: np.ndarray, snr: float, seed: int = 5) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=volume.shape) * volume.std() / np.sqrt(snr)
    return (volume + noise).astype(np.float32)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def run(volume: np.ndarray, **settings):
    out = ArrayVolume(np.full(volume.shape, np.nan, np.float32))
    result = denoise(ArrayVolume(volume), DenoiseSettings(**settings), out)
    return out.array, result


@pytest.mark.parametrize("settings", METHODS, ids=lambda s: s.get("mode", s.get("method")))
def test_the_result_is_more_like_the_truth(settings):
    truth = specimen()
    noisy = with_noise(truth, 0.3)
    clean, result = run(noisy, **settings)
    assert correlation(clean, truth) > correlation(noisy, truth) + 0.15
    assert result.noise_after < 0.6 * result.noise_before
    assert clean.mean(dtype=np.float64) == pytest.approx(noisy.mean(dtype=np.float64), abs=0.02 * float(noisy.std()))


@pytest.mark.parametrize("mode", ["eed", "hybrid"])
def test_diffusion_beats_every_gaussian(mode):
    truth = specimen()
    noisy = with_noise(truth, 0.3)
    clean, _ = run(noisy, mode=mode)
    best = max(correlation(gaussian_filter(noisy, width), truth) for width in (0.6, 0.8, 1.0, 1.2, 1.5, 2.0))
    assert correlation(clean, truth) > best + 0.01


def test_coherence_enhancement_smooths_along_a_plane_and_not_across_it():
    z = np.mgrid[:40, :40, :40][0]
    truth = np.cos(2 * np.pi * z / 8).astype(np.float32)
    noisy = with_noise(truth, 1.0)
    clean, _ = run(noisy, mode="ced", coherence=0.02, iterations=20)
    assert correlation(clean, truth) > 0.95 > correlation(noisy, truth) + 0.2
    assert clean.mean(axis=(1, 2)).std() > 0.9 * truth.mean(axis=(1, 2)).std()


def test_a_noisy_edge_is_sharper_than_after_a_gaussian_that_leaves_as_much_noise(rng):
    volume = rng.normal(size=(32, 40, 64)).astype(np.float32)
    volume[:, :, 32:] += 6
    clean, _ = run(volume, mode="eed")
    flat = (slice(4, -4), slice(4, -4), slice(8, 22))
    width = min(np.arange(0.5, 3, 0.05), key=lambda w: abs(gaussian_filter(volume, w)[flat].std() - clean[flat].std()))
    blurred = gaussian_filter(volume, width)
    assert blurred[flat].std() == pytest.approx(clean[flat].std(), rel=0.1)
    slopes = [np.abs(np.diff(picture.mean(axis=(0, 1)))).max() for picture in (clean, blurred)]
    assert slopes[0] > 1.3 * slopes[1]


@pytest.mark.parametrize("settings", [*METHODS, {"mode": "ced"}], ids=lambda s: s.get("mode", s.get("method")))
def test_tiles_leave_no_seam(settings):
    noisy = with_noise(specimen(64), 0.3)
    noisy = noisy[:48, :32, :32] if settings.get("method") == "nlm" else noisy
    settings = {"iterations": 6} | settings if settings.get("method", "nad") == "nad" else settings
    whole, one = run(noisy, **settings)
    allowed = {"nad": 2.5e-3, "gaussian": 2.5e-3, "tv": 6e-3, "nlm": 8e-4}
    pieces, many = run(noisy, memory=allowed.get(settings.get("method", "nad"), 1e-3), **settings)
    assert one.tiles == 1
    assert many.tiles >= 2
    assert np.abs(whole - pieces).max() < 1e-3 * one.noise_before


def test_the_halo_is_wide_enough_for_many_steps():
    noisy = np.tile(with_noise(specimen(48), 0.3)[:, :20, :24], (4, 1, 1))
    whole, one = run(noisy, iterations=40)
    pieces, many = run(noisy, memory=9e-4, iterations=40)
    assert many.tiles >= 2
    assert many.halo_px < 40
    assert np.abs(whole - pieces).max() < 1e-3 * one.noise_before


def test_grey_values_have_no_say():
    noisy = with_noise(specimen(40), 0.3)
    plain, one = run(noisy)
    scaled, other = run(-250 * noisy + 30000)
    assert other.noise_before == pytest.approx(250 * one.noise_before, rel=1e-3)
    assert other.contrast[0] == pytest.approx(250 * one.contrast[0], rel=1e-3)
    np.testing.assert_allclose((30000 - scaled) / 250, plain, atol=2e-3)


def test_a_stated_contrast_is_taken_in_grey_values():
    noisy = 100 * with_noise(specimen(40), 0.3)
    _, result = run(noisy, contrast=37.0, coherence=200.0, iterations=3)
    assert result.contrast == pytest.approx((37.0, 37.0))
    assert result.coherence == pytest.approx((200.0, 200.0))
    _, automatic = run(noisy, iterations=3)
    stated, _ = run(noisy, contrast=1e-3, mode="eed", coherence=1.0, iterations=1)
    assert automatic.contrast[1] < automatic.contrast[0]
    # across every gradient nothing is smoothed: most of the change is gone, not all, since tangents remain
    assert np.abs(stated - noisy).mean() < np.abs(run(noisy, mode="eed", iterations=1)[0] - noisy).mean()


def test_the_noise_is_measured(rng):
    noise = rng.normal(scale=7, size=(64, 64, 64)).astype(np.float32)
    assert noise_sd(Samples.of(ArrayVolume(noise)).blocks) == pytest.approx(7, rel=0.02)
    coloured = gaussian_filter(noise, 0.8)
    with_specimen = ArrayVolume(coloured + specimen(64) * coloured.std())
    assert noise_sd(Samples.of(with_specimen).blocks) == pytest.approx(float(coloured.std()), rel=0.25)
    padded = np.zeros((64, 64, 64), np.float32)
    padded[20:44] = noise[20:44]
    assert noise_sd(Samples.of(ArrayVolume(padded)).blocks) == pytest.approx(7, rel=0.2)


def test_the_torch_path_does_the_same():
    noisy = with_noise(specimen(24), 0.3)
    steps = plan_diffusion(noisy[None], DenoiseSettings(iterations=3), 1.0)
    state = torch.from_numpy(noisy)
    for step in steps:
        state = diffuse_step(state, step)
    gap = state.numpy() - diffuse(noisy.copy(), steps, "cpu")
    assert gap.std() < 1e-5 * noisy.std()
    assert np.abs(gap).max() < 1e-3 * noisy.std()


@pytest.mark.gpu
@pytest.mark.parametrize("settings", METHODS[:4], ids=lambda s: s.get("mode", s.get("method")))
def test_a_gpu_does_the_same(settings):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    noisy = with_noise(specimen(40), 0.3)
    out = ArrayVolume(np.empty_like(noisy))
    result = denoise(ArrayVolume(noisy), DenoiseSettings(**settings), out, device="cuda")
    assert result.device == "cuda"
    np.testing.assert_allclose(out.array, run(noisy, **settings)[0], atol=1e-3 * noisy.std())


@pytest.mark.parametrize("shape", [(64, 64, 64), (7, 100, 33), (1, 20, 300)])
@pytest.mark.parametrize("halo", [1, 9])
def test_tiles_cover_a_volume_once(shape, halo):
    tiles = plan_tiles(shape, halo, lambda size: 4.0 * np.prod(size), 4.0 * np.prod(shape) * 0.7)
    count = np.zeros(shape, int)
    for tile in tiles:
        count[tile.core] += 1
        for core, padded, n in zip(tile.core, tile.padded, shape, strict=True):
            assert padded.start == max(0, core.start - halo)
            assert padded.stop == min(n, core.stop + halo)
    assert (count == 1).all()
    assert len(tiles) > 1


def test_pieces_for_threads_leave_no_seam():
    noisy = with_noise(specimen(64), 0.3)[:, :40, :40]
    block = ((noisy - noisy.mean()) / noisy.std()).astype(np.float32)
    for method, strength in (("gaussian", 1.5), ("nlm", 1.0), ("tv", 1.0), ("tv", 3.0)):
        whole = Recipe(method, strength)
        cut = Recipe(method, strength)
        cut.piece_voxels, whole.piece_voxels = 60 * 40 * 40, 10**9
        assert np.abs(whole(block) - cut(block)).max() < 1e-3, (method, strength)


@pytest.mark.parametrize("method", ["gaussian", "tv"])
@pytest.mark.parametrize("colour_px", [0.0, 0.7])
def test_the_strength_is_about_the_best(method, colour_px):
    truth = specimen(88)[24:64, 24:64]  # two samples of 40³ see nearly all of it
    noise = np.random.default_rng(4).normal(size=truth.shape)
    noise = gaussian_filter(noise, colour_px) if colour_px else noise
    noisy = (truth + noise * (truth.std() / np.sqrt(0.2) / noise.std())).astype(np.float32)
    _, result = run(noisy, method=method)
    unit = (noisy - noisy.mean()) / np.float32(result.noise_before)
    strengths = result.strength * 1.15 ** np.arange(-6, 7)
    likeness = [correlation(Recipe(method, strength)(unit), truth) for strength in strengths]
    assert strengths[int(np.argmax(likeness))] == pytest.approx(result.strength, rel=0.35)
    assert likeness[6] > max(likeness) - 0.015


def test_the_spectrum_of_noise_is_measured_beside_structure(rng):
    noise = gaussian_filter(rng.normal(size=(8, 40, 40, 40)), (0, 0.8, 0.8, 0.8)).astype(np.float32)
    alone = NoiseSpectrum(noise)
    noise[:2, 10:30, 10:30, 10:30] += gaussian_filter(rng.normal(size=(20, 20, 20)), 2) * 40
    beside = NoiseSpectrum(noise)
    np.testing.assert_allclose(beside.power[4:9], alone.power[4:9], rtol=0.15)
    expected = np.exp(-((2 * np.pi * 0.8 * alone.frequency) ** 2))
    np.testing.assert_allclose(alone.power[3:7], expected[3:7], rtol=0.25)
    drawn = alone.draw((40, 40, 40), rng)
    assert drawn.std() == pytest.approx(float(noise[4:].std()), rel=0.1)


def test_the_spectrum_of_noise_has_no_bias(rng):
    """A steep one, and one with a missing wedge, whichever axis the beam is along."""
    k = np.meshgrid(np.fft.fftfreq(40), np.fft.fftfreq(40), np.fft.rfftfreq(40), indexing="ij")
    length = np.sqrt(sum(line**2 for line in k))
    steep = np.exp(-((2 * np.pi * 0.8 * length) ** 2))
    seen = np.abs(k[0]) <= np.sqrt(3) * np.abs(k[2])
    drawn = np.fft.rfftn(rng.normal(size=(16, 40, 40, 40)), axes=(1, 2, 3)) * np.sqrt(steep)
    blocks = {name: np.fft.irfftn(drawn * mask, axes=(1, 2, 3)) for name, mask in (("all", 1), ("wedge", seen))}
    blocks["turned"] = blocks["wedge"].transpose(0, 2, 3, 1)
    share = {"all": 1.0, "wedge": 2 / 3, "turned": 2 / 3}
    for name, noise in blocks.items():
        spectrum = NoiseSpectrum(noise.astype(np.float32))
        expected = share[name] * np.exp(-((2 * np.pi * 0.8 * spectrum.frequency) ** 2))
        np.testing.assert_allclose(spectrum.power[2:8], expected[2:8], rtol=0.1)


def test_noise_that_neighbours_share_asks_for_more_of_non_local_means(rng):
    white = rng.normal(size=(2, 40, 40, 40)).astype(np.float32)
    coloured = gaussian_filter(white, (0, 0.7, 0.7, 0.7))
    found = [recipe(DenoiseSettings(method="nlm"), list(v / v.std())).strength for v in (white, coloured)]
    assert found[0] == pytest.approx(0.8, abs=0.05)
    # Σ ρ² of Gaussian noise of that width is (2 π 0.7²)^1.5
    assert found[1] == pytest.approx(found[0] * (2 * np.pi * 0.7**2) ** (1.5 / 4), rel=0.1)


def test_a_stated_width_and_strength_are_taken():
    noisy = with_noise(specimen(40), 0.3)
    clean, result = run(noisy, method="gaussian", width=1.3)
    assert result.strength == 1.3
    np.testing.assert_allclose(clean, gaussian_filter(noisy, 1.3, mode="nearest", truncate=4.0), atol=1e-4)
    once, twice = (run(noisy, method="tv", strength=strength)[1].strength for strength in (1.0, 2.0))
    assert twice == pytest.approx(2 * once)


def test_a_thin_and_an_odd_volume_pass(rng):
    for shape in ((1, 30, 41), (3, 17, 90)):
        volume = rng.normal(size=shape).astype(np.float32)
        for settings in METHODS:
            _, result = run(volume, **settings)
            assert result.noise_after < result.noise_before


def test_bad_volumes_are_refused_in_words(rng):
    noisy = rng.normal(size=(20, 20, 20)).astype(np.float32)
    noisy[3, 4, 5] = np.nan
    with pytest.raises(ImageError, match="z=3, y=4, x=5"):
        run(noisy)
    with pytest.raises(ImageError, match="every voxel of the volume is 2"):
        run(np.full((10, 10, 10), 2, np.float32))
    with pytest.raises(ImageError, match="shape"):
        run(np.empty((0, 10, 10), np.float32))


def test_too_little_memory_is_refused_in_words(rng):
    with pytest.raises(SettingsError, match="smallest tiles"):
        run(rng.normal(size=(40, 40, 40)).astype(np.float32), memory=1e-5)


def test_a_filter_that_does_nothing_is_refused(rng):
    noisy = rng.normal(size=(20, 20, 20)).astype(np.float32)
    with pytest.raises(PostconditionError, match="as much noise"):
        run(noisy, method="bilateral", value_range=1e-9)


def test_progress_is_told(rng):
    told = []
    volume = rng.normal(size=(20, 20, 20)).astype(np.float32)
    denoise(
        ArrayVolume(volume),
        DenoiseSettings(method="median"),
        ArrayVolume(np.empty_like(volume)),
        progress=lambda fraction, text="": told.append(fraction),
    )
    assert told[0] == 0
    assert told[-1] == 1
    assert told == sorted(told)


def test_a_survey_sees_every_voxel(rng):
    volume = rng.normal(loc=4, size=(9, 10, 11)).astype(np.float32)
    found = survey(ArrayVolume(volume), Samples.of(ArrayVolume(volume)))
    assert found.mean == pytest.approx(float(volume.mean(dtype=np.float64)), abs=1e-6)
    assert (found.low, found.high) == (volume.min(), volume.max())
