from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamella.geometry import ImageField, TiltGeometry
from lamella.geometry.regauge import normalise_field
from lamella.records.tracks import Tracks
from lamella.tilts.compare import geometry_error
from lamella.tilts.covariance import covariance
from lamella.tilts.parameterisations import solve_best
from lamella.tilts.problem import Problem
from lamella.tilts.solve import solve
from lamella.tilts.terms import SolveModel, Term

NOMINAL = np.linspace(-60, 60, 41)
ORDER = np.argsort(np.argsort(np.abs(NOMINAL) + 1e-3 * NOMINAL))
DOSE = 3.0 * ORDER
PIXEL = 4.0
START = TiltGeometry.from_angles(NOMINAL, 84.5)


def wandering(rng: np.random.Generator, tilt_deg: float = 0.05, axis_deg: float = 0.03) -> TiltGeometry:
    """A stage that wanders from view to view about the nominal angles."""
    return TiltGeometry.from_angles(
        NOMINAL + tilt_deg * rng.normal(size=41),
        85 + axis_deg * rng.normal(size=41),
        x_shift_ang=rng.normal(scale=80, size=41),
        y_shift_ang=rng.normal(scale=80, size=41),
    )


def beads(rng: np.random.Generator, count: int) -> np.ndarray:
    """On both faces of a slab of 1600 Å."""
    return np.column_stack([rng.uniform(-1900, 1900, (count, 2)), rng.choice([-800, 800], count)])


def seen(rng: np.random.Generator, truth: TiltGeometry, points: np.ndarray, noise_px: float = 0.1) -> Tracks:
    places = truth.project(points)
    return Tracks.observed(places + noise_px * PIXEL * rng.normal(size=places.shape))


def specimen(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-1, 1, (300, 3)) * [1900, 1900, 800]


def fisher_bound_ang(truth: TiltGeometry, points: np.ndarray, where: np.ndarray, noise_ang: float) -> float:
    """Least rms error of projected specimen points after a rigid motion, widths of priors known."""
    model = SolveModel(z_rot=Term(mode="free", prior=0.03), y_tilt=Term(mode="free", prior=0.05))
    problem = Problem(Tracks.observed(truth.project(points)), truth, model)
    values = problem.start
    equations = problem.equations(values, problem.weights / noise_ang**2)
    root = covariance(equations.curvature, problem.gauge(values)).root
    t = values.shape[1]
    moved = problem.jacobian(values, where) @ (problem.columns @ root).reshape(41, 1, t, -1)  # (n, q, 2, k)
    turns = np.cross(np.eye(3)[:, None], where[None]).transpose(1, 2, 0)  # (q, 3, 3): ω × p of each axis
    rigid = problem.matrices(values)[:, None] @ np.concatenate([np.broadcast_to(np.eye(3), turns.shape), turns], axis=2)
    flat, basis = moved.reshape(-1, moved.shape[-1]), np.linalg.qr(rigid.reshape(-1, 6))[0]
    left = flat - basis @ (basis.T @ flat)
    return float(np.sqrt((left**2).sum() / (41 * len(where))))


def test_a_stage_that_wanders_is_found_near_the_fisher_bound(rng: np.random.Generator) -> None:
    errors, bounds = [], []
    for _ in range(3):
        truth, points, where = wandering(rng), beads(rng, 20), specimen(rng)
        best = solve_best(seen(rng, truth, points), START, local="off")
        errors.append(geometry_error(best.solution.geometry, truth, where).rms_ang)
        bounds.append(fisher_bound_ang(truth, points, where, 0.1 * PIXEL))
        assert best.tried[best.chosen] == min(best.tried.values())
        assert best.tried[best.chosen] == pytest.approx(best.solution.leave_one_out_ang)
    assert np.mean(errors) < 1.25 * np.mean(bounds)
    assert np.mean(errors) < 0.06 * PIXEL


def test_angles_that_do_not_wander_are_left_alone(rng: np.random.Generator) -> None:
    truth, points, where = wandering(rng, 0.0, 0.0), beads(rng, 12), specimen(rng)
    best = solve_best(seen(rng, truth, points), START, local="off")
    common = solve(seen(rng, truth, points), START)
    error = geometry_error(best.solution.geometry, truth, where).rms_ang
    assert error < 1.6 * geometry_error(common.geometry, truth, where).rms_ang
    assert np.std(best.solution.geometry.y_tilt_deg - NOMINAL) < 0.01


@pytest.mark.parametrize("count", [3, 4])
def test_few_beads_never_run_away(rng: np.random.Generator, count: int) -> None:
    for _ in range(3):
        truth, points = wandering(rng), beads(rng, count)
        best = solve_best(seen(rng, truth, points), START)
        assert geometry_error(best.solution.geometry, truth, points).rms_ang < 0.2 * PIXEL
        # where there is no bead nothing is known but by the stage's precision
        assert geometry_error(best.solution.geometry, truth, specimen(rng)).rms_ang < 1.5 * PIXEL
        assert np.abs(best.solution.geometry.y_tilt_deg - NOMINAL).max() < 1.0


def test_few_views_never_run_away(rng: np.random.Generator) -> None:
    views = np.array([2, 14, 26, 38])
    truth, points = wandering(rng), beads(rng, 15)
    tracks = seen(rng, truth, points).select_views(views)
    best = solve_best(tracks, START.select(views))
    assert geometry_error(best.solution.geometry, truth.select(views), specimen(rng)).rms_ang < 1.0 * PIXEL


def test_the_fewest_beads_and_views_keep_the_stiffest_model(rng: np.random.Generator) -> None:
    """Three beads in three views leave two numbers over for one axis: any more freedom would fit noise."""
    truth, points = wandering(rng, 0.0, 0.0), beads(rng, 3)
    views = np.array([10, 20, 30])
    best = solve_best(seen(rng, truth, points).select_views(views), START.select(views))
    assert np.isfinite(best.solution.leave_one_out_ang)
    assert geometry_error(best.solution.geometry, truth.select(views), points).rms_ang < 0.3 * PIXEL


def test_wrong_tracks_are_rejected_in_words(rng: np.random.Generator) -> None:
    truth, points = wandering(rng), beads(rng, 20)
    places = seen(rng, truth, points).observations_ang.copy()
    places[:, 3] += np.cumsum(rng.normal(scale=8, size=(41, 2)), axis=0)  # slid off its bead
    places[20:, 7] = places[20:, 8] + rng.normal(scale=0.4, size=(21, 2))  # went over to its neighbour
    places[:39, 11] = np.nan
    places[5, 0] += 60
    best = solve_best(Tracks.observed(places), START, local="off")
    rejected = best.solution.rejected
    assert "standard deviations off" in rejected[3]
    assert "standard deviations off" in rejected[7]
    assert "fewer than three views" in rejected[11]
    assert [number for number, reason in enumerate(rejected) if reason] == [3, 7, 11]
    assert np.isnan(best.solution.tracks.points_ang[[3, 7, 11]]).all()
    assert best.outliers[5, 0]
    assert best.outliers.sum() <= 3
    assert geometry_error(best.solution.geometry, truth, specimen(rng)).rms_ang < 0.08 * PIXEL


def bending(rng: np.random.Generator, size_ang: float) -> ImageField:
    """A field of second degree that grows with the dose."""
    y, x = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9), indexing="ij")
    shapes = np.stack([x**2 - 1 / 3, x * y, y**2 - 1 / 3])
    nodes = np.einsum("cs,sij->cij", rng.normal(size=(2, 3)), shapes)
    nodes *= size_ang / np.sqrt((nodes**2).mean())
    return ImageField((1 - np.exp(-DOSE / 40))[:, None, None, None] * nodes, (2100.0, 2100.0))


def test_local_deformation_is_found_where_it_is(rng: np.random.Generator) -> None:
    truth, points = wandering(rng), beads(rng, 40)
    truth = normalise_field(truth.with_terms(field=bending(rng, 3.0)))
    tracks = seen(rng, truth, points)
    best, plain = solve_best(tracks, START, dose=DOSE), solve_best(tracks, START, local="off")
    assert "local image over dose" in best.chosen
    assert best.solution.leave_one_out_ang < 0.8 * plain.solution.leave_one_out_ang
    where = specimen(rng)
    error = geometry_error(best.solution.geometry, truth, where).rms_ang
    assert error < 0.4 * geometry_error(plain.solution.geometry, truth, where).rms_ang
    projected = best.solution.geometry.project(best.solution.tracks.points_ang)
    np.testing.assert_allclose(
        tracks.observations_ang - projected, best.solution.tracks.residuals_ang, atol=0.02 * PIXEL
    )


@pytest.mark.slow
def test_local_deformation_is_refused_where_it_is_not() -> None:
    refused = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth, points = wandering(rng), beads(rng, 15)
        best = solve_best(seen(rng, truth, points), START, dose=DOSE)
        refused += "local" not in best.chosen
    assert refused >= 19


def test_what_the_user_fixed_stays(rng: np.random.Generator) -> None:
    tracks = seen(rng, wandering(rng), beads(rng, 10))
    fixed = {"y_tilt": "fixed", "z_rot": "common", "magnification": "fixed"}
    best = solve_best(tracks, START, modes=fixed, local="off")
    np.testing.assert_allclose(best.solution.geometry.y_tilt_deg, NOMINAL, atol=1e-12)
    assert np.ptp(best.solution.geometry.z_rot_deg) < 1e-9
    assert list(best.tried) == ["axis common"]


# real gold beads of a dual-axis series, with IMOD's solution

REAL = TiltGeometry.from_angles(65 - 2 * np.arange(61.0), -12.5)


def real_beads(folder: Path, name: str) -> Tracks:
    """Tracks in pixels; the centre pixel of 512 is 256."""
    rows = np.loadtxt(folder / f"{name}_tracks.csv", delimiter=",", skiprows=1)
    bead, view = rows[:, 0].astype(int) - 1, rows[:, 1].astype(int)
    places = np.full((61, bead.max() + 1, 2), np.nan)
    places[view, bead] = rows[:, 2:4] - 256
    return Tracks.observed(places)


def off_imod_deg(geometry: TiltGeometry, wanted: np.ndarray) -> float:
    """Greatest difference of the tilt angles from IMOD's, up to a common offset.

    The offset is a rigid motion of the specimen, which no track can tell. Taken out is the one that makes the greatest
    difference least: the middle of the differences' range, of which half is left.
    """
    return float(np.ptp(geometry.y_tilt_deg - wanted)) / 2


@pytest.mark.parametrize(("name", "most_px", "imod_local_px"), [("BBa", 0.43, 0.360), ("BBb", 0.40, 0.343)])
def test_real_beads_are_predicted(shared_data: Path, name: str, most_px: float, imod_local_px: float) -> None:
    folder = shared_data / "bead_tracks"
    tracks, imod = real_beads(folder, name), np.loadtxt(folder / f"{name}.tlt")
    plain, local = solve_best(tracks, REAL, local="off"), solve_best(tracks, REAL)
    assert not any(plain.solution.rejected)
    assert plain.outliers.sum() == 0
    assert plain.solution.leave_one_out_ang < most_px
    assert local.solution.leave_one_out_ang < 0.98 * plain.solution.leave_one_out_ang
    # left out, observations are predicted about as well as IMOD fits those that took part
    assert local.solution.rms_ang < 1.06 * imod_local_px
    assert "local" in local.chosen
    for best in (plain, local):
        assert best.tried[best.chosen] == min(best.tried.values())
        assert off_imod_deg(best.solution.geometry, imod) < 0.22


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize(("name", "most_px"), [("BBa", 0.43), ("BBb", 0.405)])
def test_real_beads_without_some(shared_data: Path, name: str, most_px: float, seed: int) -> None:
    """Five views or a third of the observations away, the geometry stays."""
    rng = np.random.default_rng(seed)
    folder = shared_data / "bead_tracks"
    tracks, imod = real_beads(folder, name), np.loadtxt(folder / f"{name}.tlt")
    views = np.sort(rng.choice(61, 56, replace=False))
    fewer = solve_best(tracks.select_views(views), REAL.select(views), local="off")
    places = tracks.observations_ang.copy()
    places[rng.uniform(size=places.shape[:2]) < 0.3] = np.nan
    thinner = solve_best(Tracks.observed(places), REAL, local="off")
    assert off_imod_deg(fewer.solution.geometry, imod[views]) < 0.22
    assert off_imod_deg(thinner.solution.geometry, imod) < 0.25
    assert fewer.solution.leave_one_out_ang < most_px
    assert thinner.solution.leave_one_out_ang < most_px
