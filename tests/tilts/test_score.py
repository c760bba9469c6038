from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.geometry.field import ImageField
from lamella.geometry.regauge import regauge
from lamella.records import ArrayImages
from lamella.tilts.compare import geometry_error
from lamella.tilts.held_out import CrossSpectra, held_out_sums
from lamella.tilts.score import Score, held_out_score, verdict
from lamella.tilts.score_tiles import TileFrame, standard_frame
from lamella.tilts.working import WorkingImages, prepare

Simulate = Callable[..., Any]
THICKNESS = 600.0


@pytest.fixture(scope="module")
def film(simulate: Simulate) -> tuple[WorkingImages, TiltGeometry, np.ndarray]:
    """Working images of a film with noise, their true geometry, and specimen points."""
    simulated = simulate(size=192, views=31, shift_px=6, noise=1.0, particles=300)
    return prepare(ArrayImages(simulated.images), 10.0, 192), simulated.truth, simulated.points


def _shifted(geometry: TiltGeometry, x: np.ndarray, y: np.ndarray) -> TiltGeometry:
    return geometry.with_terms(x_shift_ang=geometry.x_shift_ang + x, y_shift_ang=geometry.y_shift_ang + y)


def test_a_rigid_motion_of_the_specimen_changes_nothing(film: tuple[WorkingImages, TiltGeometry, np.ndarray]) -> None:
    images, truth, _ = film
    moved = regauge(truth, x_tilt_deg=3.0, y_tilt_deg=-5.0, shift_ang=(200.0, -150.0, 300.0)).geometry
    here, there = held_out_score(images, truth, THICKNESS), held_out_score(images, moved, THICKNESS)
    assert there.value == pytest.approx(here.value, rel=1e-3)
    np.testing.assert_allclose(there.per_view, here.per_view, rtol=1e-2, atol=1e-3)


def test_the_standard_frame_describes_the_same_pictures_and_forgets_the_old_one(rng: np.random.Generator) -> None:
    first = TiltGeometry.from_angles(
        np.linspace(-50, 60, 23), 84.0, x_tilt_deg=2.0, x_shift_ang=rng.normal(scale=50, size=23), y_shift_ang=7.0
    )
    turned = regauge(first, x_tilt_deg=-4.0, y_tilt_deg=8.0, shift_ang=(10.0, 20.0, -90.0)).geometry
    one, other = standard_frame(first), standard_frame(turned)
    for name in ("x_tilt_deg", "y_tilt_deg", "z_rot_deg", "x_shift_ang", "y_shift_ang"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-6)
    points = rng.normal(scale=500, size=(20, 3))
    assert geometry_error(one, first, points).rms_ang < 1e-3


@pytest.mark.parametrize("kind", ["random", "smooth", "one view", "axis", "stretch", "field", "tilt scale", "tilts"])
def test_every_error_costs(film: tuple[WorkingImages, TiltGeometry, np.ndarray], kind: str) -> None:
    images, truth, _ = film
    n = len(truth)
    noise = np.random.default_rng(3).normal(size=(2, n))
    course = np.linspace(-1, 1, n)
    field = np.zeros((n, 2, 3, 3))
    field[:, 0, :, 0], field[:, 0, :, 2] = 30 * noise[0][:, None], -30 * noise[0][:, None]
    wrong = {
        "random": _shifted(truth, 10 * noise[0], 10 * noise[1]),
        "smooth": _shifted(truth, 40 * (2 * course**2 - 1), 40 * (4 * course**3 - 3 * course)),
        "one view": _shifted(truth, 40.0 * (np.arange(n) == 12), np.zeros(n)),
        "axis": truth.with_terms(z_rot_deg=truth.z_rot_deg + 2.0),
        "stretch": truth.with_terms(magnification=1 + 0.01 * noise[0] - 0.01 * noise[0].mean()),
        "field": truth.with_terms(field=ImageField(field, (960.0, 960.0))),
        "tilt scale": truth.with_terms(y_tilt_deg=truth.y_tilt_deg * 1.04),
        "tilts": truth.with_terms(y_tilt_deg=truth.y_tilt_deg + 1.5 * noise[0]),
    }[kind]
    score = held_out_score(images, wrong, THICKNESS)
    assert score.value < held_out_score(images, truth, THICKNESS).value - 0.002
    if kind == "one view":
        assert np.argmin(score.per_view) == 12


def test_the_order_of_geometries_does_not_hang_on_the_thickness(
    film: tuple[WorkingImages, TiltGeometry, np.ndarray],
) -> None:
    images, truth, _ = film
    noise = np.random.default_rng(4).normal(size=(2, len(truth)))
    tried = [_shifted(truth, 10 * size * noise[0], 10 * size * noise[1]) for size in (0.0, 0.3, 0.9, 2.4)]
    for thickness in (400.0, 900.0):
        values = [held_out_score(images, geometry, thickness).value for geometry in tried]
        assert values == sorted(values, reverse=True)


def test_noise_has_failed(rng: np.random.Generator, film: tuple[WorkingImages, TiltGeometry, np.ndarray]) -> None:
    truth = film[1]
    noise = prepare(ArrayImages(rng.normal(size=(len(truth), 192, 192)).astype(np.float32)), 10.0, 192)
    score = held_out_score(noise, truth, THICKNESS)
    assert verdict(score)[0] == "failed"


def test_a_wrong_axis_or_order_has_failed_and_the_truth_is_good(
    film: tuple[WorkingImages, TiltGeometry, np.ndarray],
) -> None:
    images, truth, _ = film
    assert verdict(held_out_score(images, truth, THICKNESS))[0] == "good"
    order = np.random.default_rng(5).permutation(len(truth))
    for wrong in (
        truth.with_terms(z_rot_deg=truth.z_rot_deg + 90),
        truth.with_terms(y_tilt_deg=truth.y_tilt_deg[order]),
    ):
        kind, words = verdict(held_out_score(images, wrong, THICKNESS))
        assert kind == "failed"
        assert words


def test_contrast_and_brightness_do_not_matter(simulate: Simulate, rng: np.random.Generator) -> None:
    simulated = simulate(size=128, views=21, shift_px=2, noise=0.5)
    changed = simulated.images * rng.uniform(0.5, 3, (21, 1, 1)) + rng.uniform(-50, 50, (21, 1, 1))
    first, second = (
        held_out_score(prepare(ArrayImages(stack.astype(np.float32)), 10.0, 128), simulated.truth, THICKNESS)
        for stack in (simulated.images, changed)
    )
    assert first.value == pytest.approx(second.value, rel=1e-3)


def test_predictions_are_those_of_a_gaussian_process(rng: np.random.Generator) -> None:
    """With exact covariances the found agreement is the expected one, which is that of a regression."""
    n, gap = 7, 1
    places = np.arange(n)[:, None]
    covariance = 0.8 * np.exp(-0.1 * (places - places.T) ** 2) + 0.2 * np.eye(n)
    expected = covariance - np.diag(np.diag(covariance))
    samples = rng.multivariate_normal(np.zeros(n), covariance, size=200_000)
    spectra = CrossSpectra(
        ((samples.T @ samples) / len(samples))[None, None].astype(np.float32),
        expected[None, None].astype(np.float32),
        np.zeros((1, 1, n), np.int64),
        np.ones((1, 1, n)),
    )
    for width in (0, gap):
        found = held_out_sums(spectra, np.arange(n), width)
        for view in range(n):
            others = np.flatnonzero(np.abs(np.arange(n) - view) > width)
            weights = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, view])
            explained = weights @ covariance[others, view]
            assert found.product[view, 0] == pytest.approx(explained, rel=3e-2)


def test_a_compact_object_is_followed_without_foreshortening(simulate: Simulate) -> None:
    simulated = simulate(size=128, views=31, shift_px=6, noise=0.5, compact=True, particles=300)
    images = prepare(ArrayImages(simulated.images), 10.0, 128)
    true = held_out_score(images, simulated.truth, 600.0, "compact")
    unshifted = held_out_score(images, simulated.truth.with_terms(x_shift_ang=0, y_shift_ang=0), 600.0, "compact")
    turned = held_out_score(images, simulated.truth.with_terms(z_rot_deg=95.0), 600.0, "compact")
    assert true.value > unshifted.value + 0.02
    assert true.value > turned.value + 0.02


def test_bad_input_is_told(film: tuple[WorkingImages, TiltGeometry, np.ndarray]) -> None:
    images, truth, _ = film
    with pytest.raises(GeometryError, match="30 views for 31 images"):
        held_out_score(images, truth.select(np.arange(30)), THICKNESS)
    two = WorkingImages(images.stack[:2], images.pixel_ang, images.origin_px)
    with pytest.raises(GeometryError, match="2 views"):
        held_out_score(two, truth.select([0, 1]), THICKNESS)


def test_frames_of_films_and_objects_differ_in_the_plane_only() -> None:
    geometry = TiltGeometry.from_angles(np.linspace(-60, 60, 13), 30.0)
    film, compact = TileFrame.of(geometry, "film"), TileFrame.of(geometry, "compact")
    tilts = np.deg2rad(film.geometry.y_tilt_deg)
    np.testing.assert_allclose(film.parallax[:, 0], np.tan(tilts), atol=1e-9)
    np.testing.assert_allclose(film.place[:, 0], -np.tan(tilts), atol=1e-9)
    np.testing.assert_allclose(compact.parallax[:, 0], np.sin(tilts), atol=1e-9)
    np.testing.assert_allclose(compact.place[:, 0], -tilts, atol=1e-9)


def _perturbed(truth: TiltGeometry, points: np.ndarray, pixel: float) -> list[tuple[float, TiltGeometry]]:
    """Geometries that are wrong in many ways, by 0.2 to 3 px."""
    rng, n = np.random.default_rng(6), len(truth)
    course = np.linspace(-1, 1, n)
    noise = rng.normal(size=(6, n))
    bent = [np.polynomial.legendre.legval(course, [0, 0, *rng.normal(size=3)]) for _ in range(2)]
    ways: list[Callable[[float], TiltGeometry]] = [
        lambda a: _shifted(truth, a * noise[0], a * noise[1]),
        lambda a: _shifted(truth, a * bent[0], a * bent[1]),
        lambda a: truth.with_terms(z_rot_deg=truth.z_rot_deg + 0.03 * a),
        lambda a: truth.with_terms(magnification=truth.magnification * (1 + 3e-4 * a * noise[2])),
        lambda a: truth.with_terms(y_tilt_deg=truth.y_tilt_deg * (1 + 2e-3 * a)),
        lambda a: truth.with_terms(y_tilt_deg=truth.y_tilt_deg + 0.03 * a * noise[5]),
        lambda a: _shifted(truth, a * (noise[3] + bent[1]), a * (noise[4] + bent[0])),
    ]
    wanted = np.exp(np.linspace(np.log(0.2), np.log(3.0), 14))
    out = []
    for place, error_px in zip(rng.permutation(14), wanted, strict=True):
        way, size = ways[place % len(ways)], 1.0
        for _ in range(4):
            size *= error_px * pixel / geometry_error(way(size), truth, points).rms_ang
        out.append((float(error_px), way(size)))
    return out


@pytest.mark.slow
def test_the_score_ranks_as_the_truth_does(simulate: Simulate) -> None:
    """Over many ways of being wrong, in three series."""
    ranks = []
    for seed in (1, 2, 3):
        simulated = simulate(size=256, views=31, shift_px=6, noise=1.0, particles=400, seed=seed)
        images = prepare(ArrayImages(simulated.images), 10.0, 256)
        tried = _perturbed(simulated.truth, simulated.points[:60], 10.0)
        values = [held_out_score(images, geometry, THICKNESS).value for _, geometry in tried]
        ranks.append(-spearmanr([error for error, _ in tried], values)[0])
    assert np.mean(ranks) > 0.9
    assert min(ranks) > 0.8


@pytest.mark.parametrize(
    ("near", "far", "reprojected", "said"),
    [
        (0.9, 0.6, 0.2, "good"),
        (0.9, 0.2, 0.02, "doubtful"),
        (0.9, 0.2, 0.1, "good"),  # objects are where the geometry puts them
        (0.3, 0.02, 0.1, "failed"),
        (0.02, 0.3, 0.0, "failed"),
    ],
)
def test_the_verdict_follows_the_parts(near: float, far: float, reprojected: float, said: str) -> None:
    score = Score(
        value=reprojected,
        near=near,
        far=far,
        distant=far,
        reprojected=reprojected,
        per_view=np.ones(9),
        frequency=np.zeros(3),
        correlation=np.zeros(3),
        significance=9.0,
    )
    assert verdict(score)[0] == said
    lost = dataclasses.replace(score, per_view=np.r_[0.0, np.ones(8)])
    assert verdict(lost)[0] == ("failed" if said == "failed" else "doubtful")
