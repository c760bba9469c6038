"""X-rays, hot and dead pixels: planted ones are found, beads and edges stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from lamella.errors import ImageError
from lamella.simulate import preset_settings
from lamella.simulate.detector import camera_of, count
from lamella.tilts.clean_settings import CleanSettings
from lamella.tilts.outliers import erase_outliers, fill_pixels, find_outliers, hot_pixels

N = 320


def picture(rng, dose=50.0, contrast=0.6, diameter=10, blur=0.6, beads=25):
    """Counted electrons behind a smooth specimen with gold beads; and the beads' mask."""
    y, x = np.mgrid[:N, :N]
    image = 1 + 15 * gaussian_filter(rng.normal(size=(N, N)), 20)
    inside = np.zeros((N, N), bool)
    for place in rng.uniform(0, N, size=(beads, 2)):
        disc = np.hypot(y - place[0], x - place[1]) < diameter / 2
        inside |= disc
        image[disc] = 1 - contrast
    image = gaussian_filter(image, blur) if blur else image
    return rng.poisson(np.maximum(image, 0.02) * dose).astype(np.float32), inside


def spots(rng, count=24):
    """Places apart from each other and from the border."""
    grid = np.stack(np.meshgrid(np.arange(24, N - 24, 26), np.arange(24, N - 24, 26)), axis=-1).reshape(-1, 2)
    return rng.permutation(grid)[:count]


@pytest.mark.parametrize("dose", [2.0, 30.0, 1000.0])
def test_clean_pictures_are_left_alone(rng, dose):
    image, _ = picture(rng, dose=dose)
    cleaned, mask = erase_outliers(image, CleanSettings())
    assert mask.mean() < 3e-5
    np.testing.assert_array_equal(cleaned[~mask], image[~mask])


@pytest.mark.parametrize("diameter", [8, 12, 20, 40])
@pytest.mark.parametrize("contrast", [0.6, 0.95, -1.0, -3.0])
@pytest.mark.parametrize("blur", [0.0, 0.6])
def test_beads_are_not_damaged(rng, diameter, contrast, blur):
    """Dark as in bright field, bright as in dark field; at high dose a sharp bead is many SD tall."""
    image, inside = picture(rng, dose=100, contrast=contrast, diameter=diameter, blur=blur)
    _, mask = erase_outliers(image, CleanSettings())
    near = gaussian_filter(inside.astype(float), 1.5) > 0.02
    assert (mask & near).sum() <= 2e-4 * near.sum() + 1


def test_a_sharp_edge_is_not_damaged(rng):
    image = np.full((N, N), 20.0)
    image[:, 150:] = 200
    image[100:110, :] = 500  # a bar of ten pixels
    y, x = np.mgrid[:N, :N]
    image[(y + 2 * x) % 101 < 8] += 100  # slanting lines
    _, mask = erase_outliers(rng.poisson(image).astype(np.float32), CleanSettings())
    assert mask.mean() < 3e-5


SHAPES = {
    "one pixel": [(0, 0, 1.0)],
    "two pixels": [(0, 0, 1.0), (0, 1, 0.7)],
    "a corner": [(0, 0, 1.0), (0, 1, 0.7), (1, 0, 0.6)],
    "a square": [(0, 0, 1.0), (0, 1, 0.9), (1, 0, 0.9), (1, 1, 0.8)],
    "a cross": [(0, 0, 1.0), (0, 1, 0.4), (1, 0, 0.4), (0, -1, 0.4), (-1, 0, 0.4)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dose", [5.0, 100.0])
def test_x_rays_are_replaced_by_what_was_there(rng, shape, dose):
    image, _ = picture(rng, dose=dose, beads=0)
    hit = image.copy()
    touched = np.zeros(image.shape, bool)
    for y, x in spots(rng):
        for dy, dx, height in SHAPES[shape]:
            hit[y + dy, x + dx] += 20 * np.sqrt(dose) * height
            touched[y + dy, x + dx] = True
    cleaned, mask = erase_outliers(hit, CleanSettings())
    assert mask[touched].mean() > 0.97
    assert (mask & ~touched).sum() <= 0.3 * touched.sum()
    error = cleaned[touched] - image[touched]
    # what was there carries its own noise, which nothing can bring back
    assert np.sqrt(np.mean(error**2)) < 1.4 * np.sqrt(dose)
    assert abs(error.mean()) < 0.35 * np.sqrt(dose)


@pytest.mark.parametrize("dose", [15.0, 60.0])
def test_the_simulated_cameras_hits_are_found_beside_beads_and_a_film(rng, dose):
    """The same electrons are counted with and without hits; nothing else is called an outlier."""
    y, x = np.mgrid[:N, :N]
    expected = np.where(x + y > 1.6 * N, 0.05, 1.0)
    for place in rng.uniform(0, N, size=(25, 2)):
        expected[np.hypot(y - place[0], x - place[1]) < 6] *= 0.2
    expected = (dose * gaussian_filter(expected, 0.8)).astype(np.float32)
    told = preset_settings("quick", frames=0)
    without, hit = (
        count(expected, None, camera_of(told), told.model_copy(update={"xrays": hits}), np.random.default_rng(3))
        for hits in (0.0, 150.0)
    )
    assert not find_outliers(without, CleanSettings()).mask.any()
    mask = find_outliers(hit, CleanSettings()).mask
    strong = hit - without > 15 * np.sqrt(np.maximum(expected, 1))
    assert strong.sum() > 20
    assert mask[strong].mean() > 0.9
    assert not (mask & ~binary_dilation(hit != without, iterations=3)).any()


def test_large_x_rays_are_found_by_the_extended_criterion(rng):
    image, _ = picture(rng, dose=50, beads=0)
    hit = image.copy()
    y, x = np.mgrid[-3:4, -3:4]
    disc = np.hypot(y, x) < 2.6
    touched = np.zeros(image.shape, bool)
    for place in spots(rng, 12):
        part = np.s_[place[0] - 3 : place[0] + 4, place[1] - 3 : place[1] + 4]
        hit[part] += 60 * np.sqrt(50) * disc
        touched[part] |= disc
    _, mask = erase_outliers(hit, CleanSettings())
    assert mask[touched].mean() > 0.95
    _, without = erase_outliers(hit, CleanSettings(giant=1e6))
    assert without[touched].mean() < 0.3


def test_dead_pixels_and_x_rays_on_beads_are_found(rng):
    image, _ = picture(rng, dose=100, beads=0)
    image[60:80, 60:80] = rng.poisson(20, size=(20, 20))
    image[70, 70] = 300
    image[200, 200] = -200
    _, mask = erase_outliers(image, CleanSettings())
    assert mask[70, 70]
    assert mask[200, 200]
    assert mask.sum() < 8


def test_an_outlier_in_the_corner_is_found(rng):
    image, _ = picture(rng, dose=100, beads=0)
    for y, x in ((0, 0), (0, N - 1), (N - 1, 0), (N - 1, 7)):
        image[y, x] = 4000
    cleaned, mask = erase_outliers(image, CleanSettings())
    assert mask[[0, 0, N - 1, N - 1], [0, N - 1, 0, 7]].all()
    assert cleaned.max() < 1000


def test_the_unit_of_intensity_has_no_say(rng):
    image, _ = picture(rng)
    image[100, 100] += 400
    _, one = erase_outliers(image, CleanSettings())
    _, other = erase_outliers(image * 1e-6 - 3e-5, CleanSettings())
    assert one[100, 100]
    assert (one != other).sum() <= 1


def test_pixels_that_are_not_finite_are_replaced(rng):
    image, _ = picture(rng, beads=0)
    truth = image.copy()
    image[5, 6], image[50, 60], image[51, 60] = np.nan, np.inf, -np.inf
    found = find_outliers(image, CleanSettings())
    assert found.invalid == 3
    cleaned, mask = erase_outliers(image, CleanSettings(outliers=False))
    assert mask.sum() == 3
    assert np.isfinite(cleaned).all()
    assert np.abs(cleaned[mask] - truth[mask]).max() < 5 * truth.std()


def test_a_quadratic_is_filled_in_exactly():
    y, x = np.mgrid[:40, :50] / 10.0
    image = (3 + 2 * y - x + 0.5 * y * x + 0.3 * x**2).astype(np.float32)
    mask = np.zeros(image.shape, bool)
    mask[10:12, 20] = mask[30, 40] = mask[0, 0] = True
    filled = fill_pixels(np.where(mask, np.float32(np.nan), image), mask, CleanSettings())
    np.testing.assert_allclose(filled, image, atol=0.03 * image.std())
    np.testing.assert_array_equal(filled[~mask], image[~mask])


def test_a_large_hole_is_filled(rng):
    image, _ = picture(rng, beads=0)
    mask = np.zeros(image.shape, bool)
    mask[:, 100:110] = True
    filled = fill_pixels(np.where(mask, np.float32(np.nan), image), mask, CleanSettings())
    assert np.abs(filled[mask].mean() / image[mask].mean() - 1) < 0.05


def test_filled_noise_is_like_the_surroundings(rng):
    image = rng.normal(100, 10, size=(N, N)).astype(np.float32)
    mask = rng.random((N, N)) < 0.01
    plain = fill_pixels(image, mask, CleanSettings())
    noisy = fill_pixels(image, mask, CleanSettings(fill_noise=True), seed=1)
    assert plain[mask].std() < 5
    assert noisy[mask].std() == pytest.approx(10, rel=0.15)
    assert (
        np.abs(np.corrcoef(noisy[mask], fill_pixels(image, mask, CleanSettings(fill_noise=True), seed=2)[mask])[0, 1])
        < 0.5
    )


def test_hot_pixels_stand_in_most_views():
    raised = np.array([5, 5, 5, 5, 7, 7, 9])
    sunk = np.array([11, 11, 11])
    mask = hot_pixels(raised, sunk, (3, 4), views=5)
    assert set(np.flatnonzero(mask)) == {5, 11}
    assert not hot_pixels(raised, sunk, (3, 4), views=2).any()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((20, 20), 7, np.float32), "every pixel of the image is 7"),
        (np.full((20, 20), np.nan, np.float32), "no pixel of the image is a finite number"),
        (np.empty((0, 20), np.float32), "shape"),
        (np.ones(20, np.float32), "shape"),
    ],
)
def test_useless_images_are_refused(image, words):
    with pytest.raises(ImageError, match=words):
        erase_outliers(image, CleanSettings())


def test_too_many_outliers_are_refused(rng):
    image, _ = picture(rng)
    image[rng.random(image.shape) < 0.02] = np.nan
    with pytest.raises(ImageError, match="pixels of the image are outliers"):
        erase_outliers(image, CleanSettings())


def test_real_pictures_keep_their_features(shared_data):
    import warnings

    import mrcfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(shared_data / "haadf" / "HAADF.mrc", permissive=True) as file:
            views = np.asarray(file.data[::8], dtype=np.float32)
    for view in views:
        _, mask = erase_outliers(view, CleanSettings())
        assert mask.mean() < 1e-3
