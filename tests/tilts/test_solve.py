from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamella.errors import GeometryError
from lamella.geometry import ImageField, TiltGeometry
from lamella.records.tracks import Tracks
from lamella.tilts.compare import geometry_error
from lamella.tilts.problem import Problem
from lamella.tilts.solve import solve, triangulate
from lamella.tilts.terms import TERMS, SolveModel, Term


def some_geometry(rng: np.random.Generator, views: int = 31) -> TiltGeometry:
    """Every global term different from view to view, the mean magnification 1."""
    tilt = np.linspace(-60, 60, views)
    magnification = 1 + 0.01 * np.sin(np.deg2rad(2 * tilt))
    return TiltGeometry.from_angles(
        tilt,
        85 + 0.5 * np.sin(np.deg2rad(tilt)),
        x_shift_ang=rng.normal(scale=200, size=views),
        y_shift_ang=rng.normal(scale=200, size=views),
        magnification=magnification / magnification.mean(),
    )


def some_points(rng: np.random.Generator, count: int = 25) -> np.ndarray:
    return rng.uniform(-1, 1, (count, 3)) * [2000, 2000, 600]


EVERYTHING = SolveModel(
    z_rot=Term(mode="free"), y_tilt=Term(mode="free"), x_tilt=Term(mode="free"), magnification=Term(mode="free")
)
MEASURED = SolveModel(
    z_rot=Term(mode="smooth", knots=6), y_tilt=Term(mode="smooth", knots=6), magnification=Term(mode="smooth", knots=8)
)


def start_of(truth: TiltGeometry) -> TiltGeometry:
    return TiltGeometry.from_angles(truth.y_tilt_deg, 83.0)


@pytest.mark.parametrize("loss", ["none", "huber", "cauchy"])
def test_exact_tracks_give_the_exact_geometry(rng: np.random.Generator, loss: str) -> None:
    truth, points = some_geometry(rng), some_points(rng)
    tracks = Tracks.observed(truth.project(points))
    model = SolveModel(z_rot=Term(mode="free"), magnification=Term(mode="free"))
    solution = solve(tracks, start_of(truth), model, loss=loss, tolerance=1e-12, max_iterations=200)
    assert solution.rms_ang < 1e-3
    assert geometry_error(solution.geometry, truth, points).rms_ang < 1e-2
    np.testing.assert_allclose(solution.geometry.magnification, truth.magnification, atol=1e-5)
    np.testing.assert_allclose(solution.geometry.project(solution.tracks.points_ang), truth.project(points), atol=1e-2)


def test_the_axis_is_found_from_far_off(rng: np.random.Generator) -> None:
    truth = TiltGeometry.from_angles(np.linspace(-60, 60, 21), 70.0)
    tracks = Tracks.observed(truth.project(some_points(rng)))
    solution = solve(tracks, TiltGeometry.from_angles(truth.y_tilt_deg, 90.0))
    np.testing.assert_allclose(solution.geometry.z_rot_deg, 70.0, atol=1e-3)


def test_jacobian_is_the_derivative_of_the_projection(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng, 7), some_points(rng, 5)
    problem = Problem(Tracks.observed(truth.project(points)), truth.with_terms(x_tilt_deg=3.0), EVERYTHING)
    jacobian = problem.jacobian(problem.start, points)
    for term in range(len(TERMS)):
        step = np.zeros_like(problem.start)
        step[:, term] = 1e-6
        ahead, behind = (
            np.einsum("nij,pj->npi", problem.matrices(values), points) + values[:, None, :2]
            for values in (problem.start + step, problem.start - step)
        )
        np.testing.assert_allclose(jacobian[..., term], (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-3)


def test_reduced_gradient_is_the_derivative_of_the_cost(rng: np.random.Generator) -> None:
    """With points that fit best, half the squares change by minus the gradient (variable projection)."""
    truth, points = some_geometry(rng, 9), some_points(rng, 8)
    observed = truth.project(points) + rng.normal(scale=5, size=(9, 8, 2))
    problem = Problem(Tracks.observed(observed), start_of(truth), MEASURED)
    weights = problem.weights
    gradient = problem.equations(problem.start, weights).gradient

    def half_squares(values: np.ndarray) -> float:
        return 0.5 * float((weights[..., None] * problem.fit(values, weights)[1] ** 2).sum())

    for parameter in range(problem.columns.shape[1]):
        step = 1e-5 * problem.columns[:, parameter].reshape(problem.start.shape)
        slope = (half_squares(problem.start + step) - half_squares(problem.start - step)) / 2e-5
        assert -gradient[parameter] == pytest.approx(slope, rel=1e-4, abs=1e-2)


def test_missing_observations_are_no_harm(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng), some_points(rng, 40)
    seen_at = truth.project(points)
    seen_at[rng.uniform(size=seen_at.shape[:2]) < 0.5] = np.nan
    model = SolveModel(z_rot=Term(mode="free"), magnification=Term(mode="free"))
    solution = solve(Tracks.observed(seen_at), start_of(truth), model, tolerance=1e-12, max_iterations=200)
    assert geometry_error(solution.geometry, truth, points).rms_ang < 0.05
    assert np.isnan(solution.tracks.residuals_ang[~solution.tracks.seen]).all()


def test_a_tenth_of_wrong_tracks_is_doubted(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng), some_points(rng, 40)
    seen_at = truth.project(points) + rng.normal(scale=5, size=(31, 40, 2))
    wrong = rng.uniform(size=(31, 40)) < 0.1
    seen_at[wrong] += rng.uniform(-800, 800, size=(int(wrong.sum()), 2))
    tracks, model = Tracks.observed(seen_at), SolveModel(z_rot=Term(mode="smooth"), magnification=Term(mode="smooth"))
    robust = solve(tracks, start_of(truth), model)
    plain = solve(tracks, start_of(truth), model, loss="none")
    error = geometry_error(robust.geometry, truth, points).rms_ang
    assert error < 6
    assert geometry_error(plain.geometry, truth, points).rms_ang > 3 * error
    assert robust.sigma_ang == pytest.approx(5, rel=0.35)
    assert np.median(robust.robust_weights[wrong]) < 0.05
    assert np.median(robust.robust_weights[~wrong]) > 0.8


def test_standard_errors_are_those_of_repeated_measurements(rng: np.random.Generator) -> None:
    truth, points = TiltGeometry.from_angles(np.linspace(-60, 60, 21), 85.0), some_points(rng)
    exact = truth.project(points)
    found, stated = [], []
    for _ in range(60):
        tracks = Tracks.observed(exact + rng.normal(scale=10, size=exact.shape))
        solution = solve(tracks, truth, loss="none")
        found.append(
            (solution.geometry.z_rot_deg[0], solution.geometry.x_shift_ang[3], solution.geometry.y_shift_ang[3])
        )
        stated.append(
            [solution.standard_errors[name][index] for name, index in (("z_rot", 0), ("x_shift", 3), ("y_shift", 3))]
        )
    np.testing.assert_allclose(np.mean(stated, axis=0), np.std(found, axis=0), rtol=0.3)


@pytest.mark.parametrize("loss", ["none", "cauchy"])
def test_standard_errors_hold_with_priors_and_robust_weights(rng: np.random.Generator, loss: str) -> None:
    """The angles wander as the priors say; what is found is as far from the truth as stated."""
    points, tilt = some_points(rng, 12), np.linspace(-60, 60, 21)
    model = SolveModel(z_rot=Term(mode="free", prior=0.1), y_tilt=Term(mode="free", prior=0.1))
    ratios: dict[str, list[np.ndarray]] = {"z_rot": [], "y_tilt": []}
    for _ in range(25):
        truth = TiltGeometry.from_angles(tilt + 0.1 * rng.normal(size=21), 85 + 0.1 * rng.normal(size=21))
        tracks = Tracks.observed(truth.project(points) + rng.normal(scale=4, size=(21, 12, 2)))
        solution = solve(tracks, TiltGeometry.from_angles(tilt, 85.0), model, loss=loss)
        off = solution.geometry.y_tilt_deg - truth.y_tilt_deg
        # about the mean: the tilt offset is no picture's
        ratios["y_tilt"].append((off - off.mean()) / solution.standard_errors["y_tilt"])
        ratios["z_rot"].append((solution.geometry.z_rot_deg - truth.z_rot_deg) / solution.standard_errors["z_rot"])
    assert np.sqrt(np.mean(np.square(ratios["y_tilt"]))) == pytest.approx(1, abs=0.15)
    # views share much of the axis's error: 25 of it are few
    assert np.sqrt(np.mean(np.square(ratios["z_rot"]))) == pytest.approx(1, abs=0.25)


def test_stated_errors_of_points_are_true(rng: np.random.Generator) -> None:
    truth, points = TiltGeometry.from_angles(np.linspace(-60, 60, 21), 85.0), some_points(rng, 10)
    found = []
    for _ in range(60):
        tracks = Tracks.observed(truth.project(points) + rng.normal(scale=4, size=(21, 10, 2)))
        solution = solve(tracks, truth, loss="none")
        found.append(solution.tracks.points_ang)
    np.testing.assert_allclose(np.std(found, axis=0).mean(axis=0), solution.point_errors_ang.mean(axis=0), rtol=0.2)


def test_what_beads_on_a_line_do_not_tell_is_stated(rng: np.random.Generator) -> None:
    """Beads along the tilt axis show no tilt: its error is the prior's width, or infinite without one."""
    truth = TiltGeometry.from_angles(np.linspace(-60, 60, 21), 85.0)
    points = np.outer(np.linspace(-2000, 2000, 9), [0.0, 1.0, 0.0])
    tracks = Tracks.observed(truth.project(points) + rng.normal(scale=2, size=(21, 9, 2)))
    held = solve(tracks, truth, SolveModel(y_tilt=Term(mode="free", prior=0.2)))
    np.testing.assert_allclose(held.standard_errors["y_tilt"], 0.2, rtol=0.1)
    np.testing.assert_allclose(held.geometry.y_tilt_deg, truth.y_tilt_deg, atol=0.2)
    free = solve(tracks, truth, SolveModel(y_tilt=Term(mode="free")))
    assert np.median(free.standard_errors["y_tilt"]) > 3.0
    assert free.condition > 100 * held.condition
    assert np.isfinite(free.geometry.y_tilt_deg).all()


def test_condition_leaves_out_what_is_no_picture(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng), some_points(rng)
    tracks = Tracks.observed(truth.project(points) + rng.normal(scale=2, size=(31, 25, 2)))
    free = SolveModel(
        z_rot=Term(mode="free", prior=1.0), y_tilt=Term(mode="free", prior=1.0), magnification=Term(mode="free")
    )
    assert 1 <= solve(tracks, start_of(truth), free).condition < 1e4


def test_widths_of_priors_are_found(rng: np.random.Generator) -> None:
    tilt, points = np.linspace(-60, 60, 41), some_points(rng, 15)
    truth = TiltGeometry.from_angles(tilt + 0.2 * rng.normal(size=41), 85 + 0.02 * rng.normal(size=41))
    tracks = Tracks.observed(truth.project(points) + rng.normal(scale=0.5, size=(41, 15, 2)))
    model = SolveModel(
        z_rot=Term(mode="free", prior=0.1, estimated=True),
        y_tilt=Term(mode="free", prior=0.1, estimated=True),
        magnification=Term(mode="free", prior=1e-3, estimated=True),
    )
    widths = solve(tracks, TiltGeometry.from_angles(tilt, 84.0), model).widths
    assert widths["y_tilt"] == pytest.approx(0.2, rel=0.3)
    assert widths["z_rot"] == pytest.approx(0.02, rel=0.4)
    assert widths["magnification"] < 1e-4


def test_a_width_of_which_the_tracks_say_nothing_stays(rng: np.random.Generator) -> None:
    truth = TiltGeometry.from_angles(np.linspace(-60, 60, 21), 85.0)
    points = np.outer(np.linspace(-2000, 2000, 9), [0.0, 1.0, 0.0])
    tracks = Tracks.observed(truth.project(points) + rng.normal(scale=2, size=(21, 9, 2)))
    solution = solve(tracks, truth, SolveModel(y_tilt=Term(mode="free", prior=0.1, estimated=True)))
    assert solution.widths["y_tilt"] == 0.1
    np.testing.assert_allclose(solution.standard_errors["y_tilt"], 0.1, rtol=0.1)


def test_a_range_of_tilts_too_small_is_said(rng: np.random.Generator) -> None:
    truth = TiltGeometry.from_angles(np.linspace(-1, 1, 9), 85.0)
    with pytest.raises(GeometryError, match="too little change of tilt"):
        solve(Tracks.observed(truth.project(some_points(rng))), truth)


def test_goes_on_from_an_earlier_solution(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng), some_points(rng)
    tracks = Tracks.observed(truth.project(points) + rng.normal(scale=2, size=(31, 25, 2)))
    model = SolveModel(z_rot=Term(mode="free", prior=1.0), magnification=Term(mode="free", prior=0.01))
    whole = solve(tracks, start_of(truth), model)
    again = solve(tracks, start_of(truth), model, start=whole)
    assert again.iterations < whole.iterations
    assert geometry_error(again.geometry, whole.geometry, points).rms_ang < 0.05


def test_a_view_without_tracks_keeps_its_start(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng), some_points(rng)
    seen_at = truth.project(points)
    seen_at[4] = np.nan
    solution = solve(Tracks.observed(seen_at), start_of(truth))
    assert np.isinf(solution.standard_errors["x_shift"][4])
    assert np.isfinite(solution.geometry.x_shift_ang).all()


def test_a_point_without_parallax_stays_unsolved(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng), some_points(rng)
    seen_at = truth.project(points)
    seen_at[2:, 0] = np.nan
    solution = solve(Tracks.observed(seen_at), start_of(truth))
    assert np.isnan(solution.tracks.points_ang[0]).all()
    assert np.isfinite(solution.tracks.points_ang[1:]).all()


def test_a_prior_holds_what_tracks_do_not_tell(rng: np.random.Generator) -> None:
    """The tilt offset changes no picture: with a prior or without, the mean tilt stays."""
    truth, points = some_geometry(rng), some_points(rng)
    start = start_of(truth)
    start = start.with_terms(y_tilt_deg=start.y_tilt_deg + rng.normal(scale=0.3, size=len(start)))
    noisy = Tracks.observed(truth.project(points) + rng.normal(scale=1, size=(31, 25, 2)))
    model = SolveModel(
        z_rot=Term(mode="smooth"), y_tilt=Term(mode="free", prior=1.0), magnification=Term(mode="smooth", knots=8)
    )
    solved = solve(noisy, start, model).geometry.y_tilt_deg
    assert abs((solved - start.y_tilt_deg).mean()) < 0.05
    off = solved - truth.y_tilt_deg
    assert (off - off.mean()).std() < 0.1


def test_a_field_is_taken_off_and_kept(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng), some_points(rng)
    field = ImageField(rng.normal(scale=30, size=(31, 2, 3, 3)), (3000.0, 3000.0))
    bent = truth.with_terms(field=field)
    start = start_of(truth).with_terms(field=field)
    model = SolveModel(z_rot=Term(mode="free"), magnification=Term(mode="free"))
    solution = solve(Tracks.observed(bent.project(points)), start, model, tolerance=1e-12, max_iterations=200)
    assert solution.geometry.field is field
    assert geometry_error(solution.geometry.with_terms(field=None), truth, points).rms_ang < 0.05


def test_triangulates(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng), some_points(rng)
    np.testing.assert_allclose(triangulate(Tracks.observed(truth.project(points)), truth), points, atol=1e-6)


def test_too_few_points_or_views_is_an_error(rng: np.random.Generator) -> None:
    truth, points = some_geometry(rng), some_points(rng, 2)
    with pytest.raises(GeometryError, match="only 2 points"):
        solve(Tracks.observed(truth.project(points)), truth)
    with pytest.raises(GeometryError, match="31 views"):
        solve(Tracks.observed(truth.project(points)), truth.select(range(5)))


# real gold beads of a dual-axis series, with IMOD's solution


def bead_tracks(folder: Path, name: str) -> Tracks:
    """Tracks in pixels; the centre pixel of 512 is 256."""
    rows = np.loadtxt(folder / f"{name}_tracks.csv", delimiter=",", skiprows=1)
    bead, view = rows[:, 0].astype(int) - 1, rows[:, 1].astype(int)
    seen_at = np.full((61, bead.max() + 1, 2), np.nan)
    seen_at[view, bead] = rows[:, 2:4] - 256
    return Tracks.observed(seen_at)


NOMINAL = TiltGeometry.from_angles(65 - 2 * np.arange(61.0), -12.5)
BEADS = SolveModel(
    z_rot=Term(mode="free", prior=0.5), y_tilt=Term(mode="free", prior=1.0), magnification=Term(mode="free", prior=0.01)
)


@pytest.mark.parametrize(("name", "imod_px"), [("BBa", 0.379), ("BBb", 0.377)])
def test_real_beads_fit_as_well_as_in_imod(shared_data: Path, name: str, imod_px: float) -> None:
    folder = shared_data / "bead_tracks"
    solution = solve(bead_tracks(folder, name), NOMINAL, BEADS)
    assert solution.rms_ang < imod_px
    off = solution.geometry.y_tilt_deg - np.loadtxt(folder / f"{name}.tlt")
    assert np.abs(off - np.median(off)).max() < 0.3
    place = np.loadtxt(folder / f"{name}fid.xyz", usecols=(1, 2, 3))
    assert _similarity_rms(solution.tracks.points_ang, place) < 1.5


def _similarity_rms(found: np.ndarray, wanted: np.ndarray) -> float:
    """Distance left after the best rotation, scale and shift (Umeyama 1991), a reflection allowed."""
    a, b = found - found.mean(axis=0), wanted - wanted.mean(axis=0)
    left, strength, right = np.linalg.svd(b.T @ a)
    return float(np.sqrt(((b - strength.sum() / (a**2).sum() * a @ (left @ right).T) ** 2).sum(axis=1).mean()))


@pytest.mark.parametrize("seed", range(3))
def test_real_beads_with_a_part_left_out(shared_data: Path, seed: int) -> None:
    """A third of the views and of the beads away, the geometry of the rest stays."""
    rng = np.random.default_rng(seed)
    tracks = bead_tracks(shared_data / "bead_tracks", "BBa")
    whole = solve(tracks, NOMINAL, BEADS)
    views = np.sort(rng.choice(61, 41, replace=False))
    beads = np.sort(rng.choice(23, 16, replace=False))
    part = solve(tracks.select_views(views).select_points(beads), NOMINAL.select(views), BEADS)
    points = whole.tracks.points_ang
    assert geometry_error(part.geometry, whole.geometry.select(views), points).rms_ang < 0.7
