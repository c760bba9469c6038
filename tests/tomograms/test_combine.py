"""Two tomograms of one synthetic specimen: registered from their voxels, warped, and combined by what each measures."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.two_axes import (
    SHAPE,
    VOXEL,
    measured,
    motion_of,
    render,
    series_of,
    specimen,
    tomogram_of,
    two_axes,
    wedge_of,
)  # fmt: skip

from lamella.errors import ImageError, InputError, SettingsError
from lamella.records import ArrayVolume
from lamella.tomograms.combine import Volumes, combine
from lamella.tomograms.combine_merge import cut_blocks
from lamella.tomograms.combine_settings import CombineSettings
from lamella.tomograms.combine_warp import Warp, fit_warp

MOTION = motion_of(88.6, (0.9, -0.7), (75.0, -48.0, 24.0))
HALF = (SHAPE[2] * VOXEL / 2, SHAPE[1] * VOXEL / 2, SHAPE[0] * VOXEL / 2)


def combined(first, second, beads=None, budget=1e9, **settings):
    """The combined volume and what is known of it."""
    out = ArrayVolume(np.full(first.shape, np.nan, np.float32))
    result = combine(
        tomogram_of(series_of("A"), first.shape),
        tomogram_of(series_of("B"), second.shape),
        {"whole": Volumes(first=first, second=second, sink=out)},
        CombineSettings(memory=budget / 2**30, **settings),
        "AB",
        beads=beads,
    )
    return out.array, result


def farthest(found, true):
    """Largest distance between where two motions put a point of the volume."""
    corners = np.stack(np.meshgrid(*([-h, h] for h in HALF)), axis=-1).reshape(-1, 3)
    return float(np.linalg.norm(found.to_first(true.to_second(corners)) - corners, axis=1).max())


def correlation(a, b, samples):
    """Of the Fourier samples chosen by a mask."""
    one, other = (np.fft.rfftn(part)[samples] for part in (a, b))
    return float((one * other.conj()).real.sum() / np.sqrt((np.abs(one) ** 2).sum() * (np.abs(other) ** 2).sum()))


@pytest.fixture(scope="module")
def pair():
    return two_axes(MOTION)


@pytest.fixture(scope="module")
def made(pair):
    return combined(pair.first, pair.second, turn=90.0)


def test_volumes_register_to_a_part_of_a_voxel(made):
    found = made[1].registration
    assert found.method == "volume"
    assert farthest(found.motion, MOTION) < 0.4 * VOXEL
    assert found.warp is None
    assert made[1].scale == pytest.approx(1, abs=0.05)


def test_each_wedge_is_filled_and_the_pyramid_is_not(pair, made):
    truth, first, both = render(pair.points), pair.first.array, made[0]
    inner = (slice(None), slice(16, -16), slice(16, -16))
    kz, ky, kx = (
        np.abs(np.fft.fftfreq(SHAPE[0]))[:, None, None],
        np.abs(np.fft.fftfreq(both[inner].shape[1]))[None, :, None],
        np.fft.rfftfreq(both[inner].shape[2])[None, None],
    )
    band = np.broadcast_to(
        (kz**2 + ky**2 + kx**2 < 0.2**2) & (kz > 0.06), np.broadcast_shapes(kz.shape, ky.shape, kx.shape)
    )
    out_of_first, out_of_second = (kz > 2.3 * axis for axis in (kx, ky))
    in_first, in_second = (kz < 1.4 * axis for axis in (kx, ky))
    shared = correlation(both[inner], truth[inner], band & in_first & in_second)
    filled = correlation(both[inner], truth[inner], band & out_of_first & in_second)
    before = correlation(first[inner], truth[inner], band & out_of_first & in_second)
    assert shared > 0.9
    assert filled > 0.8 * shared
    assert filled > before + 0.2
    power = np.abs(np.fft.rfftn(both[inner])) ** 2
    assert power[band & out_of_first & out_of_second].mean() < 0.1 * power[band & out_of_first & in_second].mean()


def test_blocks_leave_no_seam(pair, made):
    once = made[0]
    in_blocks, result = combined(pair.first, pair.second, turn=90.0, budget=4.5e7)
    assert result.blocks > 1
    assert np.sqrt(((once - in_blocks) ** 2).mean()) < 0.03 * once.std()


def test_beads_register_too(pair):
    rng = np.random.default_rng(2)
    first = rng.uniform(-1, 1, (15, 3)) * [1000, 1000, 250]
    beads = first + rng.normal(size=first.shape) * 3, MOTION.to_second(first)
    found = combined(pair.first, pair.second, beads=beads, warp=False)[1].registration
    assert found.method == "beads"
    assert farthest(found.motion, MOTION) < 12


def test_a_second_tomogram_of_other_size_is_taken(pair):
    small = ArrayVolume(np.ascontiguousarray(pair.second.array[2:-2, 8:-8, 10:-10]))
    both, result = combined(pair.first, small, turn=90.0, warp=False)
    assert farthest(result.registration.motion, MOTION) < VOXEL
    # where the second does not reach, the first stays as it was
    corner = (slice(8, -8), slice(0, 6), slice(0, 6))
    assert np.corrcoef(both[corner].ravel(), pair.first.array[corner].ravel())[0, 1] > 0.9


@pytest.mark.slow
def test_a_warp_is_followed():
    def moved(points):
        x, y, _z = points.T / 640
        return 25 * np.stack([np.sin(y), np.cos(x) - 0.7, 0 * x], axis=-1)

    shape = (40, 160, 168)
    seen = two_axes(MOTION, warp=moved, shape=shape)
    _both, result = combined(seen.first, seen.second, turn=90.0)
    found = result.registration
    assert found.warp is not None
    places = seen.points[np.abs(seen.points[:, :2]).max(axis=1) < 1200]
    wanted = found.motion.to_first(MOTION.to_second(places + moved(places))) - places  # what a rigid motion leaves
    left = wanted - found.warp.at(places)
    assert np.sqrt((left**2).mean()) < 0.4 * np.sqrt((wanted**2).mean())


def test_an_opposite_hand_is_told(pair):
    # about the centre plane: index z becomes 2 · (n // 2) − z
    mirrored = np.roll(pair.second.array[::-1], 1, axis=0)
    with pytest.raises(InputError, match="opposite hands"):
        combined(pair.first, ArrayVolume(np.ascontiguousarray(mirrored)), turn=90.0)


def test_another_specimen_is_told(pair):
    other = ArrayVolume(measured(specimen(77), seed=77))
    with pytest.raises(InputError, match="does not lie on"):
        combined(pair.first, other, turn=90.0)


def test_voxels_of_another_size_are_refused(pair):
    first, second = tomogram_of(series_of("A")), tomogram_of(series_of("B"))
    coarse = type(second)(tilt_series=second.tilt_series, size_px=second.size_px, binning=2.0)
    with pytest.raises(InputError, match="reconstruct both with one"):
        combine(first, coarse, {}, CombineSettings(), "AB")


@pytest.mark.parametrize(("value", "words"), [(np.nan, "not finite"), (1.0, "are alike")])
def test_volumes_that_are_nothing_are_refused(pair, value, words):
    bad = ArrayVolume(np.full(SHAPE, value, np.float32))
    with pytest.raises(ImageError, match=words):
        combined(pair.first, bad)


def test_beads_asked_for_must_be_there(pair):
    with pytest.raises(InputError, match="beads are known"):
        combined(pair.first, pair.second, register_by="beads")


def test_too_small_a_budget_is_refused():
    with pytest.raises(SettingsError, match="smallest block"):
        cut_blocks((300, 1000, 1000), 75, 1e8)


def test_blocks_cover_the_volume_once():
    count = np.zeros((10, 90, 70))
    for block in cut_blocks(count.shape, 8, 2e6):
        count[block] += 1
    assert (count == 1).all()


def test_noise_makes_no_warp():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (150, 3)) * HALF
    warp, _gain = fit_warp(points, rng.normal(size=(150, 3)) * 5, np.ones(150), HALF, 800.0)
    assert warp is None


def test_a_warp_is_recovered_between_its_nodes():
    rng = np.random.default_rng(1)
    true = Warp(nodes_ang=rng.normal(size=(2, 4, 4, 3)) * 10, half_width_ang=HALF, error_ang=np.zeros(3))
    points = rng.uniform(-1, 1, (300, 3)) * HALF
    values = true.at(points) + rng.normal(size=(300, 3))
    values[:15] += 80
    warp, gain = fit_warp(points, values, np.ones(300), HALF, 800.0)
    assert warp is not None
    assert gain > 0.3
    there = rng.uniform(-0.8, 0.8, (100, 3)) * HALF
    assert np.sqrt(((warp.at(there) - true.at(there)) ** 2).mean()) < 4
    np.testing.assert_allclose(
        warp.on_grid(there[:3, 2], there[:2, 1], there[:4, 0])[2, 1, 3],
        warp.at([there[3, 0], there[1, 1], there[2, 2]]),
    )


def test_wedge_of_the_scene_is_a_wedge():
    assert 0.6 < wedge_of(SHAPE).mean() < 0.75
