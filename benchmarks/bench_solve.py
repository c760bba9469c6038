"""Bundle adjustment: time, memory and error, beside `scipy.optimize.least_squares` on the same equations.

Synthetic beads on both faces of a slab of 1600 Å, 0.1 px of noise at 4 Å, angles that wander by 0.05° (tilt) and 0.03°
(axis). The error is of projected specimen points after the best rigid motion. The peer gets the same observations, the
same unknowns with the same priors, and the sparsity of its Jacobian; both by least squares, as the peer's robust loss
needs a scale that it does not estimate. Times are wall clock, best of some;
run it on a quiet machine with one thread (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np

from benchmarks.machine import best_of, machine_name, peak_mib

PIXEL = 4.0
TILT_PRIOR, AXIS_PRIOR, MAGNIFICATION_PRIOR = 0.05, 0.03, 5e-4


def main() -> None:
    """Print one table."""
    from lamella.geometry import TiltGeometry
    from lamella.records.tracks import Tracks
    from lamella.tilts.compare import geometry_error
    from lamella.tilts.parameterisations import solve_best
    from lamella.tilts.patches import break_tracks
    from lamella.tilts.solve import solve
    from lamella.tilts.terms import SolveModel, Term

    rng = np.random.default_rng(0)
    where = rng.uniform(-1, 1, (500, 3)) * [1900, 1900, 800]

    def series(views: int, beads: int, noise_px: float) -> tuple[Tracks, TiltGeometry, TiltGeometry]:
        nominal = np.linspace(-60, 60, views)
        truth = TiltGeometry.from_angles(
            nominal + TILT_PRIOR * rng.normal(size=views),
            85 + AXIS_PRIOR * rng.normal(size=views),
            x_shift_ang=rng.normal(scale=80, size=views),
            y_shift_ang=rng.normal(scale=80, size=views),
        )
        points = np.column_stack([rng.uniform(-1900, 1900, (beads, 2)), rng.choice([-800, 800], beads)])
        seen = truth.project(points)
        tracks = Tracks.observed(seen + noise_px * PIXEL * rng.normal(size=seen.shape))
        return tracks, truth, TiltGeometry.from_angles(nominal, 84.5)

    print(machine_name())
    print(f"{'what':66} {'seconds':>8} {'MiB':>6} {'error':>9}")

    def row(what: str, work: partial, geometry_of: object, truth: TiltGeometry, runs: int) -> None:
        seconds = best_of(work, runs)
        tracemalloc.start()
        found = work()
        held = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        error = geometry_error(geometry_of(found), truth, where).rms_ang / PIXEL  # type: ignore[operator]
        print(f"{what:66} {seconds:8.3f} {held:6.0f} {error:6.3f} px", flush=True)

    free = SolveModel(
        z_rot=Term(mode="free", prior=AXIS_PRIOR),
        y_tilt=Term(mode="free", prior=TILT_PRIOR),
        magnification=Term(mode="free", prior=MAGNIFICATION_PRIOR),
    )
    tracks, truth, start = series(61, 50, 0.1)
    own = lambda solution: solution.geometry  # noqa: E731
    row("solve, 50 beads x 61 views, axis common", partial(solve, tracks, start), own, truth, 7)
    row("solve, 50 beads x 61 views, everything free", partial(solve, tracks, start, free), own, truth, 7)
    row("solve, the same by least squares", partial(solve, tracks, start, free, loss="none"), own, truth, 7)
    row("  scipy least_squares, the same", partial(peer, tracks, start), lambda geometry: geometry, truth, 1)
    best = lambda best: best.solution.geometry  # noqa: E731
    row("solve_best, 50 beads x 61 views", partial(solve_best, tracks, start), best, truth, 2)
    tracks, truth, start = series(41, 5, 0.1)
    row("solve_best, 5 beads x 41 views", partial(solve_best, tracks, start), best, truth, 2)
    tracks, truth, start = series(41, 64, 0.5)
    pieces = break_tracks(tracks, start.y_tilt_deg, 30.0)
    row(
        f"solve_best, {pieces.count} pieces of 64 patches x 41 views",
        partial(solve_best, pieces, start),
        best,
        truth,
        1,
    )
    print(f"peak of the process {peak_mib():.0f} MiB, its imports included")


def peer(tracks: object, start: object) -> object:
    """The same problem by `scipy.optimize.least_squares`: all points and views at once, sparse finite differences."""
    from scipy.optimize import least_squares
    from scipy.sparse import lil_matrix

    seen = tracks.observations_ang  # type: ignore[attr-defined]
    n, p = seen.shape[:2]
    scale = np.array([100.0, 100.0, 0.1, 0.1, 1e-3])  # shifts in Å, axis and tilt in degrees, magnification
    points = _first_points(tracks, start)

    def geometry(numbers: np.ndarray) -> object:
        terms = numbers[: 5 * n].reshape(n, 5) * scale
        return start.with_terms(  # type: ignore[attr-defined]
            x_shift_ang=terms[:, 0],
            y_shift_ang=terms[:, 1],
            z_rot_deg=start.z_rot_deg + terms[:, 2],  # type: ignore[attr-defined]
            y_tilt_deg=start.y_tilt_deg + terms[:, 3],  # type: ignore[attr-defined]
            magnification=1 + terms[:, 4],
        )

    def residuals(numbers: np.ndarray) -> np.ndarray:
        terms = numbers[: 5 * n].reshape(n, 5) * scale
        away = terms[:, 2:] - terms[:, 2:].mean(axis=0)
        off = seen - geometry(numbers).project(1000 * numbers[5 * n :].reshape(p, 3))  # type: ignore[attr-defined]
        priors = away / [AXIS_PRIOR, TILT_PRIOR, MAGNIFICATION_PRIOR]
        return np.concatenate([(off / (0.1 * PIXEL)).ravel(), priors.ravel()])

    pattern = lil_matrix((2 * n * p + 3 * n, 5 * n + 3 * p), dtype=np.int8)
    for view in range(n):
        rows = slice(2 * p * view, 2 * p * (view + 1))
        pattern[rows, 5 * view : 5 * view + 5] = 1
        for point in range(p):
            first = 2 * (p * view + point)
            pattern[first : first + 2, 5 * n + 3 * point : 5 * n + 3 * point + 3] = 1
        for term in range(3):
            pattern[2 * n * p + 3 * view + term, 5 * view + 2 + term] = 1
    first = np.concatenate([np.zeros(5 * n), points.ravel() / 1000])
    found = least_squares(residuals, first, jac_sparsity=pattern, max_nfev=100)
    return geometry(found.x)


def _first_points(tracks: object, start: object) -> np.ndarray:
    from lamella.tilts.solve import triangulate

    return triangulate(tracks, start)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
