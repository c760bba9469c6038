"""Paint over gold: as strong, as grainy and as level as what surrounds it, and its own in every half."""

from __future__ import annotations

import tracemalloc
from threading import Barrier

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tests.tomograms.gold_scene import PIXEL_ANG, gold_scene

from lamella.errors import ImageError
from lamella.kernels.rows import RowPlan
from lamella.kernels.sampling import ImageGrid, view_filter
from lamella.progress import no_progress
from lamella.records import ArrayImages
from lamella.tomograms.gold_noise import texture_of
from lamella.tomograms.gold_paint import GoldPaint, PaintedImages
from lamella.tomograms.tilt_images import store_views

SIZE = 384


def coloured(rng, views=1, grain=1.2, size=SIZE):
    """Noise of mean 100 and standard deviation 5 whose spectrum is known: white noise smoothed."""
    noise = gaussian_filter(rng.standard_normal((views, size, size)), (0, grain, grain), mode="wrap")
    return (100 + 5 * noise / noise.std()).astype(np.float32)


def spread_out(size=SIZE, step=44.0):
    """Places on a grid that is not whole pixels."""
    line = np.arange(step / 2, size, step)
    return np.stack(np.meshgrid(line + 0.3, line - 0.2), axis=-1).reshape(-1, 2)


def paint_of(images, places, radius=9.0, **more):
    views = len(images)
    return GoldPaint(ArrayImages(images), (places,) * views, radius, np.arange(1, views + 1), **more)


@pytest.mark.parametrize("grain", [0.3, 1.2, 3.0])
def test_mean_variance_and_spectrum_are_those_of_the_surroundings(rng, grain):
    """Over 64 discs × 4 views: 81 → 16000 pixels, so that a few per cent can be told."""
    images = coloured(rng, 4, grain)
    paint = paint_of(images, spread_out())
    out = np.stack([paint.paint(view, image) for view, image in enumerate(images)])
    inside = np.stack([paint.mask(view) for view in range(4)])
    assert np.array_equal(out[~inside], images[~inside])
    assert out[inside].mean() == pytest.approx(100, abs=5 * 5 / np.sqrt(256))
    assert out[inside].std() == pytest.approx(images[~inside].std(), rel=0.08)
    for lag in (1, 2, 4):
        both = inside[:, :, lag:] & inside[:, :, :-lag]
        rim = inside[:, :, lag:] ^ inside[:, :, :-lag]
        true = float(((images[:, :, lag:] - images[:, :, :-lag]) ** 2).mean())
        step = (out[:, :, lag:] - out[:, :, :-lag]) ** 2
        assert step[both].mean() == pytest.approx(true, rel=0.12), "as rough within"
        assert step[rim].mean() == pytest.approx(true, rel=0.12), "and no edge at the rim"


def test_a_slope_goes_on_under_the_paint(rng):
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    ground = 100 + 40 * x + 30 * (y - 0.5) ** 2
    images = (ground + rng.normal(0, 1.0, (1, SIZE, SIZE))).astype(np.float32)
    paint = paint_of(images, spread_out())
    off = (paint.paint(0, images[0]) - ground)[paint.mask(0)]
    assert abs(off.mean()) < 0.2
    assert off.std() < 1.4


def test_noise_follows_the_place(rng):
    images = coloured(rng, 1, 0.4)
    images[0, :, : SIZE // 2] = 100 + 0.6 * (images[0, :, : SIZE // 2] - 100)
    paint = paint_of(images, spread_out())
    out, mask = paint.paint(0, images[0]), paint.mask(0)
    left, right = (np.arange(SIZE) < SIZE // 2 - 20), (np.arange(SIZE) > SIZE // 2 + 20)
    assert out[:, right][mask[:, right]].std() == pytest.approx(5, rel=0.12)
    assert out[:, left][mask[:, left]].std() == pytest.approx(3, rel=0.15)


@pytest.mark.parametrize("radius", [9.0, 22.0])
def test_halves_share_nothing_and_add_up(rng, radius):
    ground = gaussian_filter(rng.standard_normal((SIZE, SIZE)), 20) * 40 + 50
    even, odd = ((ground + rng.normal(0, 5, (SIZE, SIZE))).astype(np.float32) for _ in range(2))
    paint = paint_of((even + odd)[None], spread_out(step=75.0), radius)
    full, e, o = (paint.paint(0, im, kind) for im, kind in ((even + odd, "full"), (even, "even"), (odd, "odd")))
    inside = paint.mask(0)
    alone = [(half - ground)[inside] - (half - ground)[inside].mean() for half in (e, o)]
    assert abs(np.corrcoef(*alone)[0, 1]) < 0.08
    assert alone[0].std() == pytest.approx(5, rel=0.1)
    left = (full - (e + o))[inside]
    assert left.std() < 0.15 * (full - 2 * ground)[inside].std()


def test_the_same_in_every_run_and_for_every_choice_of_views(rng):
    images, places = coloured(rng, 3), spread_out(step=90.0)
    paint = paint_of(images, places, seed=11)
    first = paint.paint(1, images[1])
    assert np.array_equal(first, paint.paint(1, images[1]))
    again = GoldPaint(ArrayImages(images[1:]), (places,) * 2, 9.0, np.array([2, 3]), seed=11)
    assert np.array_equal(first, again.paint(0, images[1]))
    other = paint_of(images, places, seed=12).paint(1, images[1])
    inside = paint.mask(1)
    assert abs(np.corrcoef((first - images[1])[inside], (other - images[1])[inside])[0, 1]) < 0.9
    assert not np.array_equal(first[inside], other[inside])


def test_discs_at_the_border_and_over_each_other(rng):
    images = coloured(rng, 1, 0.6)
    places = np.array([[-3.0, 50.0], [SIZE + 2.0, SIZE - 1.0], [100, 100], [108, 100], [104, 108], [-80, 20]])
    clean = images[0].copy()
    paint = paint_of(images, places)
    inside = paint.mask(0)
    assert inside[50, 0]
    assert inside[-1, -1]
    dirty = images[0].copy()
    dirty[inside] = 0
    out = paint_of(dirty[None], places).paint(0, dirty)
    assert np.array_equal(out[~inside], clean[~inside])
    assert abs(out[inside].mean() - 100) < 1.5
    assert out[inside].std() == pytest.approx(5, rel=0.15)


def test_a_picture_full_of_gold_still_gets_paint(rng):
    images = coloured(rng, 1, 0.6, size=96)
    places = np.stack(np.meshgrid(np.arange(0, 96, 12.0), np.arange(0, 96, 12.0)), axis=-1).reshape(-1, 2)
    out = paint_of(images, places).paint(0, images[0])
    assert np.isfinite(out).all()
    assert abs(out.mean() - 100) < 5


def test_a_view_without_gold_is_passed_on(rng):
    images = coloured(rng, 2)
    paint = GoldPaint(ArrayImages(images), (np.empty((0, 2)), spread_out()), 9.0, np.array([1, 2]))
    first = images[0]
    assert paint.paint(0, first) is first
    source = PaintedImages(ArrayImages(images), (paint,), np.array([0, 1]))
    assert source.shape == images.shape
    assert np.array_equal(source.view(0), images[0])
    assert not np.array_equal(source.view(1), images[1])
    assert 0 < paint.painted_fraction < 0.2


def test_what_does_not_fit_is_refused(rng):
    images = coloured(rng, 1, size=64)
    with pytest.raises(ImageError, match="state a smaller"):
        paint_of(images, spread_out(64), 30.0)
    with pytest.raises(ImageError, match="places in 2 views"):
        GoldPaint(ArrayImages(images), (spread_out(64),) * 2, 5.0, np.array([1]))


def test_texture_is_measured_where_there_is_no_gold(rng):
    images = coloured(rng, 1, 1.2)[0]
    painted = np.zeros_like(images, dtype=bool)
    painted[:100, :120] = True
    spoiled = images.copy()
    spoiled[:100, :120] = 0
    texture = texture_of(spoiled, painted, 32)
    assert texture.power.mean() == pytest.approx(25, rel=0.1)
    covariance = texture.covariance
    expected = np.exp(-(1 / (4 * 1.2**2)))  # of a Gaussian's autocorrelation at lag 1
    assert covariance[0, 1] / covariance[0, 0] == pytest.approx(expected, abs=0.05)


def test_beads_of_a_scene_leave_no_trace():
    scene = gold_scene(beads=12, bodies=0, size=256, views=3)
    geometry = scene.series.geometry
    places = tuple(here / PIXEL_ANG + 128 for here in geometry.project(scene.points_ang))
    paint = GoldPaint(scene.images, places, 8.0, np.arange(1, 4))
    for view in range(3):
        out, inside = paint.paint(view, scene.images.view(view)), paint.mask(view)
        assert scene.images.view(view)[inside].mean() < 112
        assert out[inside].mean() == pytest.approx(120, abs=1.5)
        assert out[inside].var() == pytest.approx(out[~inside].var(), rel=0.12)


def test_painting_holds_no_more_than_it_says_and_runs_beside_reading(rng):
    images = coloured(rng, 2)
    paint = paint_of(images, spread_out())
    source = PaintedImages(ArrayImages(images), (paint,), np.arange(2))
    image = source.source.view(1)
    tracemalloc.start()
    out = source.painted(1, image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak + image.nbytes <= source.bytes_per_view < 6 * peak
    assert np.array_equal(out, source.view(1))


def test_views_are_painted_by_several_threads(rng, monkeypatch):
    """Both views must be under paint at the same time, or the barrier breaks."""
    monkeypatch.setattr("lamella.tomograms.tilt_images.threads", lambda: 2)
    images, meeting = coloured(rng, 2, size=64), Barrier(2, timeout=20)

    class Meeting:
        painted_fraction = 0.0

        def bytes_of(self, view):
            return 0

        def paint(self, view, image, kind="full"):
            meeting.wait()
            return image + 1

    series = gold_scene(size=64, views=2, beads=0, bodies=0).series
    grid = ImageGrid.of(series.geometry, (64, 64), PIXEL_ANG, 2 * PIXEL_ANG)
    plan = RowPlan.rays(series.geometry)
    plain, painted = (
        store_views(
            series, source, np.arange(2), grid, lambda view: view_filter(grid, series.geometry, plan, view),
            lambda image: 0.0, device="cpu", progress=no_progress,
        ).tensor.numpy()
        for source in (ArrayImages(images + 1), PaintedImages(ArrayImages(images), (Meeting(),), np.arange(2)))
    )  # fmt: skip
    assert np.array_equal(plain, painted)
