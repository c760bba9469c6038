"""Projection matching: against the truth of simulated series, and its parts against numbers worked out otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.records import ArrayImages
from lamella.tilts.compare import geometry_error
from lamella.tilts.matching import match_projections
from lamella.tilts.matching_cut import Frequencies, plane_of_patch, slopes_of_views
from lamella.tilts.matching_likelihood import PatchLikelihood, Weights
from lamella.tilts.matching_slab import SlabModel
from lamella.tilts.matching_step import view_jacobian
from lamella.tilts.matching_terms import FIELD_SHAPES, MatchTerms, Priors, field_of, field_shapes, prior_covariances
from lamella.tilts.matching_volume import flattened, reproject_others, without_background
from lamella.tilts.matching_windows import match_objects
from lamella.tilts.working import WorkingImages, prepare

TILTS = np.linspace(-60, 60, 13)


def perturbed(truth: TiltGeometry, pixel: float, shift_px: float, axis_deg: float, seed: int = 3) -> TiltGeometry:
    walk = np.cumsum(np.random.default_rng(seed).normal(size=(len(truth), 2)), axis=0) * shift_px * pixel
    walk -= walk.mean(axis=0)
    return truth.with_terms(
        z_rot_deg=truth.z_rot_deg + axis_deg,
        x_shift_ang=truth.x_shift_ang + walk[:, 0],
        y_shift_ang=truth.y_shift_ang + walk[:, 1],
        field=None,
    )


@pytest.fixture(scope="module")
def likelihood():
    geometry = TiltGeometry.from_angles(TILTS, 85.0)
    frequencies = Frequencies.up_to(32, 10.0, 0.2)
    shape = (len(TILTS), 12)
    model = SlabModel(torch.ones(shape), torch.full(shape, 0.8), 800.0, 1 / 320, 1 / 500)
    plane, slopes = plane_of_patch(geometry, np.zeros(2)), slopes_of_views(geometry, np.zeros(2))
    covariance = model.covariance(slopes, frequencies, plane)
    weights = Weights.of(covariance, torch.linalg.inv(covariance), np.ones(len(TILTS), bool), frequencies)
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(covariance.double().numpy())

    # the transform of a real patch: on the line kx = 0 each term's partner is its conjugate
    k = frequencies.k_per_ang.numpy()
    first = np.flatnonzero((k[:, 0] == 0) & (k[:, 1] > 0))
    second = np.array([np.flatnonzero((k[:, 0] == 0) & np.isclose(k[:, 1], -k[i, 1]))[0] for i in first])

    def draw() -> torch.Tensor:
        noise = rng.normal(size=(len(frequencies), len(TILTS), 2)) / np.sqrt(2)
        terms = root @ (noise[..., 0] + 1j * noise[..., 1])[..., None]
        terms[second] = terms[first].conj()
        return torch.from_numpy(terms[..., 0].T.astype(np.complex64))

    return frequencies, weights, draw


def test_gradient_of_the_likelihood_is_its_numeric_derivative(likelihood):
    frequencies, weights, draw = likelihood
    patch = PatchLikelihood(draw(), weights, frequencies)
    at = np.random.default_rng(1).normal(size=(len(TILTS), 2)) * 3
    _, slope = patch.gradient(at)
    for view, axis in ((0, 0), (6, 1), (12, 0)):
        step = np.zeros_like(at)
        step[view, axis] = 0.5
        numeric = patch.gradient(at + step)[0] - patch.gradient(at - step)[0]
        assert slope[view, axis] == pytest.approx(numeric, rel=0.02, abs=0.02 * np.abs(slope).max())


def test_information_is_the_variance_of_the_gradient(likelihood):
    frequencies, weights, draw = likelihood
    still = np.zeros((len(TILTS), 2))
    slopes = np.stack([PatchLikelihood(draw(), weights, frequencies).gradient(still)[1].ravel() for _ in range(1500)])
    found = slopes.T @ slopes / len(slopes)
    expected = weights.information.reshape(found.shape)
    assert np.abs(slopes.mean(axis=0)).max() < 5 * np.sqrt(np.diag(expected).max() / len(slopes))
    assert np.linalg.norm(found - expected) < 0.15 * np.linalg.norm(expected)


def test_moving_all_views_alike_tells_nothing(likelihood):
    _, weights, _ = likelihood
    assert np.abs(weights.information.sum(axis=2)).max() < 1e-9 * np.abs(weights.information).max()


def test_views_that_are_not_seen_stand_alone(likelihood):
    frequencies, weights, _ = likelihood
    seen = np.ones(len(TILTS), bool)
    seen[4] = False
    part = Weights.of(torch.linalg.inv(weights.precision), weights.precision, seen, frequencies)
    assert np.abs(part.information[4]).max() < 1e-4 * np.abs(part.information).max()
    assert np.abs(part.information[:, :, 4]).max() < 1e-4 * np.abs(part.information).max()


def test_slopes_are_where_height_is_seen():
    geometry = TiltGeometry.from_angles(TILTS, 80.0, x_tilt_deg=2.0)
    slopes = slopes_of_views(geometry, np.zeros(2))
    above = geometry.project(np.array([[0.0, 0.0, 100.0]]))[:, 0]
    within = geometry.project(np.concatenate([100 * slopes, np.zeros((len(TILTS), 1))], axis=1))
    for view in range(len(TILTS)):
        assert above[view] == pytest.approx(within[view, view], abs=1e-9)


def test_jacobian_of_the_views_numbers_is_numeric():
    rng = np.random.default_rng(2)
    geometry = TiltGeometry.from_angles(TILTS, 85.0, x_tilt_deg=1.0, x_shift_ang=30.0)
    shapes = field_shapes((1000.0, 1000.0))
    point = np.array([300.0, -200.0, 150.0])
    jacobian, by_height = view_jacobian(geometry, point, shapes)
    terms = MatchTerms(geometry, np.zeros((len(TILTS), 2, FIELD_SHAPES)), point[None])
    change = rng.normal(size=jacobian.shape[::2]) * 1e-4
    change[:, :2] *= 1e3
    change[:, 5:] *= 1e3
    moved = terms.stepped(np.concatenate([change.ravel(), [0.5]]))
    after = moved.geometry.with_terms(field=field_of(moved.field, shapes)).project(moved.points_ang)[:, 0]
    expected = np.einsum("nim,nm->ni", jacobian, change) + 0.5 * by_height
    assert after - geometry.project(point) == pytest.approx(expected, abs=1e-3)
    assert moved.values(geometry) == pytest.approx(change, abs=1e-9)


def test_field_begins_at_the_first_exposure():
    geometry = TiltGeometry.from_angles(TILTS)
    dose = np.abs(TILTS) * 2.0
    field = prior_covariances(Priors(), geometry, dose)[5]
    variance = np.diag(field)
    assert np.argmin(variance) == 6
    assert variance[6] < 0.1 * variance[5]
    assert (np.diff(variance[6:]) > 0).all()
    unknown = prior_covariances(Priors(), geometry, None)[5]
    assert np.argmin(np.diag(unknown)) == 6


def test_background_leaves_detail_and_takes_brightness():
    x = torch.arange(96.0).expand(96, -1)
    detail = torch.sin(2 * torch.pi * x / 6)
    mask = (x > 30).float()
    image = 5.0 + detail - 100 * (x <= 30)
    out = without_background(image[None], mask[None], 8.0)[0]
    assert torch.equal(out * mask, out)
    assert (out - detail)[:, 50:80].abs().max() < 0.05
    assert (out - detail)[:, 31:34].abs().max() < 0.8  # a step of 100 lies beside it


def scene(simulate, **changes):
    values = {"size": 128, "views": 21, "particles": 80, "thickness_px": 30.0, "noise": 0.3, "shift_px": 3.0}
    made = simulate(**{**values, "axis_error": 0.0, **changes})
    images = prepare(ArrayImages(made.images), 10.0, 128)
    return made, images


def test_a_view_has_no_part_in_its_own_prediction(simulate):
    made, images = scene(simulate)
    whole = torch.ones_like(images.stack)
    views = WorkingImages(flattened(images.stack, whole, 0.3), images.pixel_ang, images.origin_px)
    before = reproject_others(views, whole, made.truth, 300.0, 0.3, objects=50)
    assert before.sign == -1  # the particles are dark
    assert 10 < len(before.points_ang) <= 50
    stack = views.stack.clone()
    stack[7] = torch.randn(stack[7].shape, generator=torch.Generator().manual_seed(1))
    other = WorkingImages(stack, views.pixel_ang, views.origin_px)
    after = reproject_others(other, whole, made.truth, 300.0, 0.3, sign=-1)

    def correlation(a, b):
        return float((a * b).sum() / (a.norm() * b.norm()))

    assert correlation(before.predictions[7], after.predictions[7]) > 0.95
    assert correlation(stack[7], after.predictions[7]) < 0.05
    assert correlation(views.stack[7], before.predictions[7]) > 0.5


def test_objects_are_found_where_a_view_was_moved(simulate):
    made, images = scene(simulate)
    whole = torch.ones_like(images.stack)
    views = WorkingImages(flattened(images.stack, whole, 0.3), images.pixel_ang, images.origin_px)
    seen = reproject_others(views, whole, made.truth, 300.0, 0.3, objects=60)
    moved = WorkingImages(
        torch.stack([torch.roll(v, (0, 2), (0, 1)) if n == 5 else v for n, v in enumerate(views.stack)]),
        views.pixel_ang,
        views.origin_px,
    )
    tracks = match_objects(moved, seen.predictions, whole, made.truth, seen.points_ang).tracks
    off = (tracks.observations_ang - made.truth.project(seen.points_ang)) / 10.0
    assert np.nanmedian(off[5], axis=0) == pytest.approx([2.0, 0.0], abs=0.25)
    assert np.nanmedian(off[8], axis=0) == pytest.approx([0.0, 0.0], abs=0.25)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_converges_from_a_perturbed_start(simulate, sign):
    made = simulate(size=192, views=31, noise=1.0, particles=150, shift_px=4.0, sign=sign)
    images = prepare(ArrayImages(made.images), 10.0, 192)
    start = perturbed(made.truth, 10.0, 0.7, 0.8)
    before = geometry_error(start, made.truth, made.points).rms_ang / 10
    found = match_projections(images, start, local=False)
    after = geometry_error(found.geometry, made.truth, made.points).rms_ang / 10
    assert found.method == "matching"
    assert found.solution is not None
    assert after < 0.1 < 1.0 < before
    assert abs((found.geometry.z_rot_deg - made.truth.z_rot_deg).mean()) < 0.1
    assert found.geometry.field is None


def test_mask_is_honoured(simulate):
    made = simulate(size=192, views=31, noise=1.0, particles=150, shift_px=4.0)
    images = prepare(ArrayImages(made.images), 10.0, 192)
    stack = images.stack.clone()
    generator = torch.Generator().manual_seed(4)
    dirt = 6 * torch.randn(80, 80, generator=generator)
    stack[:, :80, :80] += dirt  # on the detector: it stands still
    mask = torch.ones_like(stack)
    mask[:, :80, :80] = 0
    dirty = WorkingImages(stack, images.pixel_ang, images.origin_px)
    start = perturbed(made.truth, 10.0, 0.5, 0.5)
    found = match_projections(dirty, start, mask=mask, local=False)
    assert geometry_error(found.geometry, made.truth, made.points).rms_ang / 10 < 0.2
    assert found.solution is not None
    seen_at = found.solution.tracks.observations_ang / 10 + 96
    in_dirt = (seen_at < 70).all(axis=-1)
    assert not in_dirt.any()


def test_noise_is_refused():
    stack = torch.randn((21, 192, 192), generator=torch.Generator().manual_seed(0))
    images = WorkingImages(stack, (10.0, 10.0), (96.0, 96.0))
    geometry = TiltGeometry.from_angles(np.linspace(-60, 60, 21), 85.0)
    with pytest.raises(GeometryError, match="share nothing"):
        match_projections(images, geometry)


def test_wrong_input_is_said(simulate):
    made, images = scene(simulate)
    with pytest.raises(GeometryError, match="three at least"):
        match_projections(images, made.truth.select(range(5)))
    with pytest.raises(GeometryError, match="doses"):
        match_projections(images, made.truth, dose=np.zeros(3))
    with pytest.raises(GeometryError, match="mask"):
        match_projections(images, made.truth, mask=torch.ones(3, 4, 4))
