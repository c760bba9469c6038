import numpy as np
import pytest
from scipy.spatial import cKDTree
from tests.particles.blobs import DIAMETER, blob_map, tomogram_of, tomogram_record, turned

from lamella.errors import InputError
from lamella.geometry import euler_matrix
from lamella.particles import PickSettings
from lamella.particles.shapes import fit_sphere, lay_points, orientations_along, pick_shape
from lamella.particles.template import prepare_template
from lamella.particles.template_weights import SearchWeights
from lamella.records import ArrayVolume

CENTRE, RADIUS = np.array([100.0, -50.0, 30.0]), 400.0


def on_sphere(count=12):
    return CENTRE + RADIUS * turned(count, 2)[:, :, 2]


def test_points_stand_evenly_on_the_sphere_through_a_few():
    centre, radius = fit_sphere(on_sphere())
    np.testing.assert_allclose(centre, CENTRE, atol=1e-6)
    assert radius == pytest.approx(RADIUS)
    laid = lay_points("sphere", on_sphere(), 60.0)
    np.testing.assert_allclose(laid.places_ang - CENTRE, RADIUS * laid.directions, atol=1e-6)
    near = cKDTree(laid.places_ang).query(laid.places_ang, k=2)[0][:, 1]
    assert near.min() > 0.75 * 60
    assert near.max() < 1.3 * 60


def test_points_follow_a_filament():
    angle = np.linspace(0, np.pi / 2, 7)
    points = np.stack([300 * np.cos(angle), 300 * np.sin(angle), np.zeros(7)], -1)
    laid = lay_points("filament", points, 40.0)
    assert len(laid.places_ang) == 1 + int(300 * np.pi / 2 / 40)
    np.testing.assert_allclose(np.linalg.norm(laid.places_ang, axis=1), 300, atol=0.5)
    np.testing.assert_allclose(np.linalg.norm(np.diff(laid.places_ang, axis=0), axis=1), 40, atol=0.2)
    np.testing.assert_allclose(np.cross([0, 0, 1], laid.places_ang) / 300, laid.directions, atol=0.02)
    straight = lay_points("filament", [[0, 0, 0], [0, 0, 100]], 25.0)
    np.testing.assert_allclose(straight.places_ang[:, 2], [0, 25, 50, 75, 100])


def test_points_lie_on_a_bent_surface(rng):
    xy = rng.uniform(-300, 300, (60, 2))
    laid = lay_points("surface", np.column_stack([xy, 1e-3 * (xy**2).sum(1)]), 50.0)
    x, y, z = laid.places_ang.T
    np.testing.assert_allclose(z, 1e-3 * (x**2 + y**2), atol=6)
    normal = np.stack([-2e-3 * x, -2e-3 * y, np.ones_like(x)], -1)
    assert ((laid.directions * normal).sum(1) / np.linalg.norm(normal, axis=1) > 0.99).all()
    assert cKDTree(laid.places_ang[:, :2]).query(laid.places_ang[:, :2], k=2)[0][:, 1].min() > 35


def test_shapes_that_points_do_not_describe_are_refused():
    flat = np.column_stack([np.random.default_rng(0).normal(size=(9, 2)), np.zeros(9)])
    with pytest.raises(InputError, match="no sphere"):
        lay_points("sphere", flat, 10.0)
    with pytest.raises(InputError, match="no surface"):
        lay_points("surface", np.outer(np.arange(9.0), [1, 2, 3]), 10.0)
    with pytest.raises(InputError, match="one place"):
        lay_points("filament", np.zeros((3, 3)), 10.0)
    with pytest.raises(InputError, match="2 points for a sphere"):
        lay_points("sphere", flat[:2], 10.0)
    with pytest.raises(InputError, match="cube"):
        lay_points("cube", flat, 10.0)


def test_particles_stand_along_the_direction_and_their_priors_say_so():
    record = tomogram_record((64, 64, 64))
    settings = PickSettings(method="sphere")
    particles = pick_shape(record, on_sphere(), settings, spacing_ang=120.0)
    outward = (particles.positions_ang() - CENTRE) / RADIUS
    np.testing.assert_allclose(particles.matrices()[:, :, 2], outward, atol=1e-9)
    tilt, psi = particles.prior_deg.T
    np.testing.assert_allclose(euler_matrix(77.0, tilt, psi)[:, :, 2], outward, atol=1e-9)
    two = pick_shape(
        record, np.concatenate([on_sphere(), on_sphere() + 900]), settings, spacing_ang=120.0,
        objects=np.repeat([1, 2], 12),
    )  # fmt: skip
    assert len(two) == 2 * len(particles)


def test_a_template_turns_the_particles_on_a_shape(rng):
    shape, voxel = (40, 44, 48), 10.0
    direction = np.array([0.6, 0.0, 0.8])
    (truth,) = orientations_along(direction[None], np.array([130.0]))
    volume = tomogram_of([np.zeros(3)], [truth], shape, voxel)
    volume += rng.normal(0, 0.2 * volume.max(), shape).astype(np.float32)
    template = prepare_template(blob_map(36, voxel), voxel, voxel, diameter_ang=DIAMETER)
    record = tomogram_record(shape)
    weights = SearchWeights.of(record.tilt_series, voxel, DIAMETER, None, highest_px=0.4)
    found = pick_shape(
        record, np.stack([-5 * direction, 5 * direction]), PickSettings(method="filament", tilt_range=20.0),
        spacing_ang=100.0, volume=ArrayVolume(-volume), template=template, weights=weights,
    )  # fmt: skip
    assert len(found) == 1
    assert np.linalg.norm(found.positions_ang()[0]) < 4
    np.testing.assert_allclose(found.matrices()[0], truth, atol=0.08)
