import numpy as np
import pytest
from tests.particles.blobs import DIAMETER, blob_map

from lamella.errors import ImageError, SettingsError
from lamella.particles.template import measured_diameter_ang, prepare_template


@pytest.mark.parametrize("voxel", [4.0, 7.3, 12.0])
def test_a_map_of_any_voxel_size_becomes_the_same_template(voxel):
    size = 2 * round(180 / voxel)
    template = prepare_template(blob_map(size, voxel), voxel, 10.0, diameter_ang=DIAMETER)
    n = template.box_px
    wanted = blob_map(n, 10.0)
    mask = template.mask
    wanted = (wanted - (wanted * mask).sum() / mask.sum()) * mask
    assert np.abs(template.volume - wanted).max() < 0.02 * wanted.max()
    assert template.spherical
    assert template.box_px % 2 == 0
    assert abs(float(template.volume.sum())) < 1e-2


def test_the_diameter_is_that_of_the_sphere_that_holds_the_mass():
    line = np.arange(64) - 32
    radius = 5.0 * np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    ball = (radius < 100).astype(np.float32)
    assert measured_diameter_ang(ball, 5.0) == pytest.approx(200, abs=10)
    noisy = ball + np.random.default_rng(1).normal(0, 0.1, ball.shape).astype(np.float32)
    assert measured_diameter_ang(noisy, 5.0) == pytest.approx(200, abs=12)


def test_random_phases_keep_the_spectrum_and_lose_the_shape():
    template = prepare_template(blob_map(36, 10.0), 10.0, 10.0, diameter_ang=DIAMETER)
    other = template.with_random_phases(3)
    likeness = (other.volume * template.volume).sum() / (template.volume**2).sum()
    assert abs(likeness) < 0.4
    assert (other.volume**2).sum() == pytest.approx((template.volume**2).sum(), rel=1e-5)
    np.testing.assert_array_equal(other.volume, template.with_random_phases(3).volume)


def test_a_mirrored_template_is_inverted_through_its_origin():
    template = prepare_template(blob_map(36, 10.0), 10.0, 10.0, diameter_ang=DIAMETER)
    inverted, n = template.mirrored().volume, template.box_px // 2
    assert inverted[n - 5, n + 3, n] == template.volume[n + 5, n - 3, n]
    np.testing.assert_array_equal(template.mirrored().mirrored().volume, template.volume)


def test_what_cannot_be_a_template_is_refused():
    good = blob_map(36, 10.0)
    with pytest.raises(ImageError, match="darker"):
        prepare_template(-good, 10.0, 10.0)
    hole = good.copy()
    hole[3, 3, 3] = np.nan
    with pytest.raises(ImageError, match="not numbers"):
        prepare_template(hole, 10.0, 10.0)
    with pytest.raises(ImageError, match="constant"):
        prepare_template(np.ones_like(good), 10.0, 10.0)
    with pytest.raises(ImageError, match="cubic"):
        prepare_template(good[:20], 10.0, 10.0)
    with pytest.raises(ImageError, match="mask"):
        prepare_template(good, 10.0, 10.0, mask=np.ones((8, 8, 8), np.float32))
    with pytest.raises(SettingsError, match="was stated"):
        prepare_template(good, 10.0, 10.0, stated_voxel_ang=13.0)
    with pytest.raises(SettingsError, match="wide"):
        prepare_template(good, 10.0, 10.0, diameter_ang=800.0)
    with pytest.raises(SettingsError, match="no shape"):
        prepare_template(good, 10.0, 80.0)
