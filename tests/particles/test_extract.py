"""Pictures of particles against exact projections of the same bodies; what is left out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.particles.gaussian_scene import (
    PLACES_ANG,
    SIGMA_ANG,
    WEIGHTS,
    body,
    images_of,
    particles_in,
    projection,
    random_particles,
    tilt_series,
)

from lamella.errors import ImageError, SettingsError
from lamella.particles.extract import Gold, extract
from lamella.particles.extract_box import choose_box, defocus_spread_ang
from lamella.particles.extract_settings import ExtractSettings
from lamella.particles.views import view_places, view_transfer
from lamella.records import ArrayImages, Particles

TILTS = np.arange(-60, 61, 15.0)
Pixels = NDArray[np.float32]


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.pictures: list[Pixels] = []
        self.weights: list[Pixels | None] = []

    def __call__(self, name: str, pictures: Pixels, weights: Pixels | None) -> tuple[str, str | None]:
        self.pictures.append(pictures)
        self.weights.append(weights)
        return f"{name}.mrcs", None if weights is None else f"{name}_w.mrc"


def cut(particles: Particles, images: Pixels, **settings: object) -> tuple[Particles, Kept]:
    kept = Kept()
    wanted = {"diameter": 130.0, "box": 40} | settings
    return extract(particles, ArrayImages(images), ExtractSettings(**wanted), kept), kept


def agreement(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Correlation of two pictures."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("binning", [1.0, 2.0, 1.7])
def test_a_picture_is_the_projection_with_the_particle_in_its_middle(binning: float) -> None:
    series = tilt_series(TILTS, 2.5 if binning > 1 else 5.0, (240, 280) if binning > 1 else (120, 140))
    one = random_particles(series, 1, reach_ang=30)
    made, kept = cut(one, images_of(one), binning=binning, box=40)
    assert made.images is not None
    pixel = made.images.pixel_size_ang
    assert pixel == pytest.approx(series.pixel_size_ang * binning, rel=2e-3)
    assert kept.pictures[0].shape == (len(TILTS), 40, 40)
    rotations = series.geometry.rotations() @ one.matrices()[0]  # type: ignore[union-attr]
    for picture, rotation in zip(kept.pictures[0], rotations, strict=True):
        exact = projection((40, 40), pixel, np.array([20.0, 20.0]), rotation)
        scale = (picture * (exact - exact.mean())).sum() / ((exact - exact.mean()) ** 2).sum()
        residual = picture / scale - exact
        assert scale > 0
        assert (residual - residual.mean()).std() < 0.004 * exact.max()


def test_a_refined_place_is_where_it_is_cut_out_now() -> None:
    series = tilt_series(TILTS)
    where = random_particles(series, 2, reach_ang=30)
    images = images_of(where)
    frame = np.array([[20.0, 70, -30], [100, 40, 60]])
    by_origin = particles_in(
        series, where.coordinates_ang + np.array([11.0, -7, 4]), np.zeros((2, 3)), subtomogram_deg=frame
    ).with_poses(where.matrices(), where.positions_ang())
    straight, one = cut(where, images, duplicate_distance=1.0)
    moved, two = cut(by_origin, images, duplicate_distance=1.0)
    np.testing.assert_allclose(moved.coordinates_ang, where.coordinates_ang, atol=1e-9)
    assert (moved.origin_ang == 0).all()
    np.testing.assert_allclose(moved.matrices(), straight.matrices(), atol=1e-9)
    for a, b in zip(one.pictures, two.pictures, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_pictures_are_multiplied_by_the_transfer_in_the_larger_box(rng: np.random.Generator) -> None:
    series = tilt_series(TILTS, ctf=True)
    one = random_particles(series, 1, reach_ang=20)
    made, kept = cut(one, images_of(one), crop_from=100, box=40)
    transfer = view_transfer(made, 0, 100, 5.0).numpy()
    rotations = series.geometry.rotations() @ one.matrices()[0]  # type: ignore[union-attr]
    for picture, t, rotation in zip(kept.pictures[0], transfer, rotations, strict=True):
        mass = projection((100, 100), 5.0, np.array([50.0, 50.0]), rotation)
        exact = np.fft.irfft2(np.fft.rfft2(mass) * t**2, s=mass.shape)[30:70, 30:70]
        assert agreement(picture, exact) > 0.995


def test_noise_outside_the_particle_has_unit_variance_in_every_view(rng: np.random.Generator) -> None:
    series = tilt_series(TILTS)
    some = random_particles(series, 8, reach_ang=30)
    images = rng.normal(0, 1, (len(TILTS), *series.image_shape_px)).astype(np.float32)
    images *= np.linspace(0.1, 40, len(TILTS), dtype=np.float32)[:, None, None]
    images += np.linspace(0, 3000, 140, dtype=np.float32)  # a gradient of grey
    _, kept = cut(some, images, duplicate_distance=1.0)
    stds = np.array(kept.pictures).std(axis=(2, 3))
    np.testing.assert_allclose(stds.mean(axis=0), 1, atol=0.06)


def test_marks_say_which_views_the_pictures_are_of() -> None:
    series = tilt_series(TILTS, ctf=True).with_changes(pre_exposure=np.abs(TILTS))
    places = np.array([[0.0, 0, 0], [320, 0, 0], [0, 0, 40], [5000, 0, 0]])
    some = particles_in(series, places, np.zeros((4, 3)))
    excluded = np.ones((4, len(TILTS)), bool)
    excluded[2, 4] = False
    made, kept = cut(
        some.with_changes(visible=excluded), images_of(some.select([0, 2])) + np.random.default_rng(0).normal(
            0, 1, (len(TILTS), *series.image_shape_px)).astype(np.float32),
        max_dose=45, max_ctf_resolution=17, duplicate_distance=1.0,
    )  # fmt: skip
    assert made.quality["ExtractUnseen"] == 1
    assert made.names == tuple(np.array(some.names)[[0, 1, 2]])
    used = (np.abs(TILTS) <= 45) & (np.linspace(6, 20, len(TILTS)) <= 17)
    assert (made.visible[0] == used).all()  # type: ignore[index]
    assert not made.visible[2, 4]  # type: ignore[index]
    assert made.visible[1].sum() < used.sum()  # type: ignore[index]  # outside the narrow views, inside the tilted ones
    assert [len(stack) for stack in kept.pictures] == made.visible.sum(axis=1).tolist()  # type: ignore[union-attr]


def test_a_particle_at_the_rim_keeps_the_views_that_show_all_of_it() -> None:
    series = tilt_series(TILTS)
    some = particles_in(series, np.array([[232.0, 10, -20]]), random_particles(series, 1).angles_deg)
    made, kept = cut(some, images_of(some), diameter=120.0)
    assert made.visible is not None
    places = view_places(series, some.positions_ang())[:, 0]
    away = 5.0 * np.minimum(places + 0.5, np.array([139.5, 119.5]) - places).min(
        axis=1
    )  # Å from the image's nearest side
    hangs_over = (away < 100) & (away > 60)  # the picture is 200 Å wide
    assert hangs_over.any()
    assert (made.visible[0] == (away > 60)).all()
    disc = np.hypot(*np.meshgrid(np.arange(40) - 20, np.arange(40) - 20)) < 12
    for picture, view in zip(kept.pictures[0], np.flatnonzero(made.visible[0]), strict=True):
        rotation = series.geometry.rotations()[view] @ made.matrices()[0]  # type: ignore[union-attr]
        exact = projection((40, 40), 5.0, np.array([20.0, 20.0]), rotation)
        assert agreement(picture[disc], exact[disc]) > 0.999


def test_a_blank_view_is_no_picture(rng: np.random.Generator) -> None:
    series = tilt_series(TILTS)
    one = random_particles(series, 1)
    images = rng.normal(0, 1, (len(TILTS), *series.image_shape_px)).astype(np.float32)
    images[3] = 7.0
    made, kept = cut(one, images)
    assert made.quality["ExtractBlankViews"] == 1
    assert not made.visible[0, 3]  # type: ignore[index]
    assert len(kept.pictures[0]) == len(TILTS) - 1
    nothing, kept = cut(one, np.ones_like(images))
    assert len(nothing) == 0
    assert kept.pictures == []


def test_of_two_at_one_place_the_better_stays_and_gold_keeps_them_away(rng: np.random.Generator) -> None:
    series = tilt_series(TILTS)
    places = np.array([[0.0, 0, 0], [20, 0, 0], [90, 0, 0], [0, 120, 0]])
    some = particles_in(series, places, np.zeros((4, 3)), scores={"PickScore": np.array([0.3, 0.5, 0.4, 0.9])})
    images = rng.normal(0, 1, (len(TILTS), *series.image_shape_px)).astype(np.float32)
    gold = Gold(places_ang=np.array([[0.0, 220, 0]]), diameter_ang=np.array([100.0]))
    kept = Kept()
    settings = ExtractSettings(diameter=130, box=40)
    made = extract(some, ArrayImages(images), settings, kept, gold=gold)
    assert made.names == tuple(np.array(some.names)[[1, 2]])
    assert made.quality["ExtractDuplicates"] == 1
    assert made.quality["ExtractNearGold"] == 1
    assert made.images is not None
    assert made.images.names == tuple(f"{name}.mrcs" for name in made.names or ())


def test_half_sets_are_made_once_and_kept(rng: np.random.Generator) -> None:
    series = tilt_series(TILTS)
    some = random_particles(series, 9, reach_ang=60)
    images = rng.normal(0, 1, (len(TILTS), *series.image_shape_px)).astype(np.float32)
    first, _ = cut(some, images, duplicate_distance=1.0)
    again, _ = cut(some, images, duplicate_distance=1.0)
    other, _ = cut(some, images, duplicate_distance=1.0, seed=7)
    assert abs((first.half_set == 1).sum() - 4.5) == 0.5
    assert (first.half_set == again.half_set).all()
    assert (first.half_set != other.half_set).any()
    kept, _ = cut(first, images, duplicate_distance=1.0, seed=7, half_sets="tomograms")
    assert (kept.half_set == first.half_set).all()
    whole, _ = cut(some, images, duplicate_distance=1.0, half_sets="tomograms")
    assert set(whole.half_set.tolist()) == {1}  # type: ignore[union-attr]


def test_the_box_holds_the_particle_and_what_the_defocus_spreads() -> None:
    series = tilt_series(TILTS, ctf=True)
    spread = defocus_spread_ang(series, 10.0)
    assert spread == pytest.approx(0.0197 * 15500 / 10, rel=0.01)
    box = choose_box([series], ExtractSettings(), 200.0)
    assert box.box_px * 5 >= 200 * 1.2 + spread
    assert box.crop_from_px * 5 >= 200 * 1.2 + 2 * spread
    assert box.patch_px == box.crop_from_px
    binned = choose_box([series], ExtractSettings(binning=1.7), 200.0)
    assert binned.binning == pytest.approx(1.7, abs=1e-6)
    with pytest.raises(SettingsError, match="61 px"):
        choose_box([series], ExtractSettings(box=61), 200.0)
    with pytest.raises(SettingsError, match="smaller than the particle"):
        choose_box([series], ExtractSettings(box=40), 200.0)
    with pytest.raises(SettingsError, match="different pixel sizes"):
        choose_box([series, tilt_series(TILTS, 4.0)], ExtractSettings(), 200.0)


def test_what_cannot_be_cut_out_is_refused(rng: np.random.Generator) -> None:
    series = tilt_series(TILTS)
    one = random_particles(series, 1)
    with pytest.raises(ImageError, match="images of"):
        cut(one, np.zeros((3, 10, 10), np.float32))
    with pytest.raises(SettingsError, match="how large"):
        cut(one, images_of(one), diameter="auto")


def test_volumes_hold_what_the_pictures_say(rng: np.random.Generator) -> None:
    """The sum over a volume times a map is that of the pictures times the map's projections."""
    series = tilt_series(TILTS, ctf=True)
    one = random_particles(series, 1, reach_ang=20).with_changes(subtomogram_deg=np.array([[20.0, 50, 70]]))
    images = images_of(one)
    _, stacks = cut(one, images)
    made, kept = cut(one, images, kind="volume")
    volume, weights = kept.pictures[0], kept.weights[0]
    assert weights is not None
    assert volume.shape == (40, 40, 40)
    assert weights.shape == (40, 40, 21)
    assert (weights >= 0).all()
    frame = made.subtomogram_matrices()[0]
    line = (np.arange(40) - 20) * 5.0
    # the body as it lies in the subtomogram: x_sub = A_ang r
    turned = np.zeros((40, 40, 40))
    for place, weight in zip(PLACES_ANG @ (frame.T @ made.matrices()[0]).T, WEIGHTS, strict=True):
        x, y, z = (np.exp(-((line - p) ** 2) / 2 / SIGMA_ANG**2) for p in place)
        turned += weight * z[:, None, None] * y[:, None] * x
    turned *= 5.0**3 / (2 * np.pi * SIGMA_ANG**2) ** 1.5
    assert turned.sum() == pytest.approx(body(40, 5.0).sum(), rel=1e-3)
    rotations = series.geometry.rotations() @ made.matrices()[0]  # type: ignore[union-attr]
    pictures = sum(
        (picture * projection((40, 40), 5.0, np.array([20.0, 20.0]), rotation)).sum()
        for picture, rotation in zip(stacks.pictures[0], rotations, strict=True)
    )
    assert (volume * turned).sum() == pytest.approx(pictures / 40, rel=0.01)  # 40: pixels along the beam
