"""The camera: gain, defects, transfer, lost coincidences."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.simulate import SimulateSettings
from lamella.simulate.detector import CAMERAS, build_sensor, camera_of, count

FLAT = SimulateSettings(size=256, pixel_size=2.0, dose=10.0, frames=4, xrays=0.0, hot_columns=2)


def flat_counts(settings: SimulateSettings, repeats: int) -> np.ndarray:
    sensor, camera = build_sensor(settings), camera_of(settings)
    beam = np.full(settings.image_shape_px, settings.dose * settings.pixel_size**2 / settings.frames, np.float32)
    return np.array([count(beam, sensor, camera, settings, np.random.default_rng(i)) for i in range(repeats)])


def test_frames_times_gain_are_flat() -> None:
    sensor = build_sensor(FLAT)
    sound = (sensor.gain > 0) & (sensor.excess == 0)
    raw = flat_counts(FLAT, 200).mean(axis=0)
    uneven = raw[sound].std() / raw[sound].mean()
    even = (raw * sensor.gain)[sound]
    shot = 1 / np.sqrt(200 * 10.0)
    assert uneven > 0.04
    assert even.std() / even.mean() == pytest.approx(shot, rel=0.05)
    # no column, no tile, no corner stands out
    plane = np.where(sound, raw * sensor.gain, even.mean())
    columns = plane.mean(axis=0)
    assert columns.std() / columns.mean() < 2.5 * shot / np.sqrt(256)
    blocks = plane.reshape(8, 32, 8, 32).mean(axis=(1, 3))
    assert blocks.std() / blocks.mean() < 2.5 * shot / 32


def test_counts_are_poisson_of_the_pixel_s_own_rate() -> None:
    sensor = build_sensor(FLAT)
    counts = flat_counts(FLAT, 100)
    sound = sensor.gain > 0
    assert counts[:, sound].var(axis=0).mean() == pytest.approx(counts[:, sound].mean(), rel=0.02)


def test_defects_are_there_and_the_gain_does_not_tell_of_the_hot_ones() -> None:
    sensor = build_sensor(FLAT)
    raw = flat_counts(FLAT, 20).mean(axis=0)
    dead = sensor.gain == 0
    assert dead.sum() == FLAT.dead_pixels
    assert (raw[dead] == 0).all()
    columns = np.flatnonzero(np.median(raw * sensor.gain, axis=0) > 15)
    assert len(columns) == 2
    assert np.abs(sensor.gain[:, columns].mean() - sensor.gain.mean()) < 0.1
    hot = (raw > 30) & ~np.isin(np.arange(256), columns)[None, :]
    assert 0.5 * FLAT.hot_pixels <= hot.sum() <= FLAT.hot_pixels


@pytest.mark.parametrize(("name", "half", "full"), [("k3", 0.70, 0.35), ("falcon4", 0.79, 0.55), ("ideal", 1, 1)])
def test_transfer_is_the_root_of_the_efficiency(name: str, half: float, full: float) -> None:
    camera = CAMERAS[name]
    mtf = camera.mtf(np.array([0.0, 0.25, 0.5]))
    np.testing.assert_allclose(mtf**2, [1, half, full], rtol=1e-9)
    assert (np.diff(camera.mtf(np.linspace(0, 0.7, 50))) <= 0).all()


def test_noise_is_white_while_the_signal_is_blurred() -> None:
    counts = flat_counts(
        FLAT.model_copy(update={"gain": False, "hot_columns": 0, "hot_pixels": 0, "dead_pixels": 0}), 60
    )
    power = (np.abs(np.fft.rfft2(counts - counts.mean())) ** 2).mean(axis=0) / (256**2 * counts.mean())
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256))
    for low, high in ((0.02, 0.1), (0.2, 0.3), (0.4, 0.5)):
        assert power[(k > low) & (k < high)].mean() == pytest.approx(1.0, abs=0.02)


def test_more_electrons_are_lost_at_a_higher_rate() -> None:
    camera = CAMERAS["k3"]
    assert camera.kept(0.0) == pytest.approx(1)
    assert camera.kept(8.0) == pytest.approx(1 - 8 * 7 / 1500 / 2, rel=1e-3)
    slow, fast = (
        FLAT.model_copy(update={"dose_rate": rate, "hot_columns": 0, "hot_pixels": 0}) for rate in (2.0, 40.0)
    )
    ratio = flat_counts(fast, 20).mean() / flat_counts(slow, 20).mean()
    assert ratio == pytest.approx(float(camera.kept(40.0) / camera.kept(2.0)), rel=2e-3)
    assert CAMERAS["ideal"].kept(1e4) == pytest.approx(1, abs=1e-9)


def test_x_rays_are_few_and_bright() -> None:
    settings = FLAT.model_copy(update={"xrays": 40.0, "hot_columns": 0, "hot_pixels": 0})
    struck = (flat_counts(settings, 40) > 28).reshape(40, -1).sum(axis=1)
    quiet = (flat_counts(settings.model_copy(update={"xrays": 0.0}), 40) > 28).sum()
    assert quiet < 40
    assert 5 < struck.mean() < 25  # ten hits in each of four frames, of one to three pixels


def test_without_noise_and_gain_counts_are_what_is_expected() -> None:
    settings = FLAT.model_copy(update={"detector": "ideal", "noise": False})
    beam = np.random.default_rng(0).uniform(1, 5, (256, 256)).astype(np.float32)
    np.testing.assert_allclose(
        count(beam, None, camera_of(settings), settings, np.random.default_rng(0)), beam, rtol=1e-6
    )
