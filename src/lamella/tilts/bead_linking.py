"""Which spot of which view is which bead: from spots and a rough geometry to 3-D beads.

Views are taken in one by one, from the least tilted outwards to both sides. What is known of the beads so far predicts
the next view; its shift is the one under which most predictions meet a spot (every pair of a prediction and a spot
votes), so a start that is wrong by many bead diameters does no harm. Beads that were not seen in the first view are
found later, by the height at which their line of sight meets spots of the other views. Every few views everything is
solved anew, so that the prediction gets better as the tilt grows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamella.errors import GeometryError
from lamella.geometry import TiltGeometry
from lamella.tilts.bead_scene import Linked, Scene, met
from lamella.tilts.bead_seeds import LEAST_VIEWS, seeded
from lamella.tilts.solve import solve, triangulate
from lamella.tilts.terms import SolveModel, Term

__all__ = ["link_spots"]

Array = NDArray[np.float64]

_FIRST_RANGE_DEG = 10.0  # views this near to the first one are linked before depth is known
_SETTLE_EVERY = 4  # views taken in between two solves
_AXIS_RANGE_DEG = 25.0  # the axis is left alone until tilts span this
_HYPOTHESES = 600
_PROPOSERS, _JUDGES = 24, 48  # beads
_NEAR_DEG = 15.0  # how near in tilt views say most of where the next one lies
_WIDER = 2.5  # reaches within which a view that was not found is looked for again
_LEAST_MET_WIDE = 0.7
_LEAST_MET = 0.4  # of the beads that a view should show, for it to be believed
_LEAST_SUPPORT = 0.35  # of the views that should show a bead


def link_spots(scene: Scene, geometry: TiltGeometry) -> Linked:
    """Beads in 3-D from the spots of all views.

    Parameters
    ----------
    scene
        the spots.
    geometry
        the start: shifts good to `Scene.reach_ang`, angles to a few degrees.

    Raises
    ------
    GeometryError
        if fewer than three spots agree between the views.
    """
    order, start = _outwards(scene, geometry), geometry
    first = [
        view for view in order if abs(geometry.y_tilt_deg[view] - geometry.y_tilt_deg[order[0]]) <= _FIRST_RANGE_DEG
    ]
    first = first if len(first) >= 4 else order[:4]
    geometry, taken_in = _chained(scene, geometry, first)
    linked = Linked(geometry=geometry, chosen=np.full((len(geometry), 0), -1, dtype=np.int64), taken_in=taken_in)
    linked = _settled(scene, seeded(scene, linked))
    _check(linked)
    for number, view in enumerate(view for view in order if view not in first):
        linked = _with_view(scene, linked, start, view)
        if number % _SETTLE_EVERY == _SETTLE_EVERY - 1:
            linked = _settled(scene, seeded(scene, linked))
    linked = _settled(scene, seeded(scene, linked))
    wide = replace(scene, reach_ang=_WIDER * scene.reach_ang)
    for view in order:  # a second chance, with all that is known by now, and farther off
        linked = linked if linked.taken_in[view] else _with_view(wide, linked, start, view, _LEAST_MET_WIDE)
    linked = _settled(scene, seeded(scene, linked))
    _check(linked)
    return linked


def _check(linked: Linked) -> None:
    if linked.chosen.shape[1] < 3:
        raise GeometryError(
            f"{linked.chosen.shape[1]} beads could be followed from view to view",
            mend="three are needed: align by patches (align.method = patches), or state the beads' diameter",
        )


def _outwards(scene: Scene, geometry: TiltGeometry) -> list[int]:
    """Views with spots, outwards in tilt from the least tilted one that shows as many as its neighbours."""
    count = np.array([len(spots) for spots in scene.spots_ang])
    by_tilt = [int(view) for view in np.argsort(np.abs(geometry.y_tilt_deg), kind="stable") if count[view] >= 2]
    if len(by_tilt) < 3:
        raise GeometryError(f"beads were found in {len(by_tilt)} views only", mend="align by patches or whole views")
    near = by_tilt[:5]
    enough = 0.7 * float(np.median(count[near]))
    start = next(view for view in near if count[view] >= enough)
    return sorted(by_tilt, key=lambda view: abs(float(geometry.y_tilt_deg[view] - geometry.y_tilt_deg[start])))


# -- the first views


def _chained(scene: Scene, geometry: TiltGeometry, views: list[int]) -> tuple[TiltGeometry, NDArray[np.bool_]]:
    """Shifts of a few views, each voted by the spots of the nearest one before it as if they lay at height 0."""
    taken_in = np.zeros(len(geometry), dtype=bool)
    taken_in[views[0]] = True
    for view in views[1:]:
        known = np.flatnonzero(taken_in)
        nearest = int(known[np.argmin(np.abs(geometry.y_tilt_deg[known] - geometry.y_tilt_deg[view]))])
        spots = scene.spots_ang[nearest]
        points = np.stack([geometry.back_project(np.broadcast_to(spots, (len(geometry), *spots.shape)), 0.0)[nearest]])[
            0
        ]
        covariance = np.zeros((len(points), 3, 3))
        covariance[:, 2, 2] = (scene.height_ang / 3) ** 2
        # seen from the nearest view a height moves nothing: what is unknown is along its own line of sight
        turn = geometry.rotations()
        along = np.linalg.inv(turn[nearest])[:, 2] / turn[nearest][2, 2]
        covariance = np.broadcast_to(np.outer(along, along) * (scene.height_ang / 3) ** 2, covariance.shape)
        move = _voted(scene, geometry, view, points, covariance)
        if move is not None:
            geometry = _shifted(geometry, view, move)
            taken_in[view] = True
    return geometry, taken_in


def _shifted(geometry: TiltGeometry, view: int, move_ang: Array) -> TiltGeometry:
    shifts = geometry.shifts_ang().copy()
    shifts[view] += move_ang
    return geometry.with_terms(x_shift_ang=shifts[:, 0], y_shift_ang=shifts[:, 1])


def _voted(
    scene: Scene,
    geometry: TiltGeometry,
    view: int,
    points: Array,
    covariance: Array,
    least_met: float = _LEAST_MET,
) -> Array | None:
    """The move ``(2,)`` of a view under which most points meet a spot, Å; None where too few do."""
    spots = scene.spots_ang[view]
    matrix = geometry.matrices()[view]
    predicted = points @ matrix.T + geometry.shifts_ang()[view]
    blur = 0.2 * scene.diameter_ang
    spread = matrix @ covariance @ matrix.T + blur**2 * np.eye(2)  # (p, 2, 2)
    whiten = np.linalg.inv(np.linalg.cholesky(spread))
    # a few beads propose moves and some judge them: enough, and quick where there are hundreds
    few, some = _spread_over(len(points), _PROPOSERS), _spread_over(len(points), _JUDGES)
    moves = (spots[:, None] - predicted[few]).reshape(-1, 2)
    moves = moves[np.linalg.norm(moves, axis=-1) < scene.reach_ang]
    if not len(moves):
        return None
    chosen = moves[_spread_over(len(moves), _HYPOTHESES)]
    scores = np.array([_meetings(predicted[some] + move, whiten[some], spots).sum() for move in chosen])
    # of moves that do as well, the shorter
    scores = scores - 0.5 * (np.linalg.norm(chosen, axis=-1) / scene.reach_ang) ** 2
    best = chosen[int(np.argmax(scores))]
    for _ in range(4):
        met = _meetings(predicted + best, whiten, spots)
        apart = spots[None] - (predicted + best)[:, None]
        nearest = apart[np.arange(len(points)), np.argmin(_lengths(apart, whiten), axis=1)]
        if met.sum() < 1e-6:
            return None
        # each point's say by what it knows
        say = np.einsum("pji,pjk->pik", whiten, whiten) * met[:, None, None]
        best = best + np.linalg.solve(say.sum(axis=0), np.einsum("pij,pj->i", say, nearest))
    expected = int(scene.inside(predicted + best, 0.5 * scene.diameter_ang).sum())
    return best if (met > 0.1).sum() >= max(2.0, least_met * expected) else None


def _spread_over(count: int, most: int) -> NDArray[np.int64]:
    """At most so many indices, spread over all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _lengths(apart: Array, whiten: Array) -> Array:
    """``(p, k)`` squared lengths of ``(p, k, 2)`` in standard deviations; `whiten` is lower triangular."""
    x, y = apart[..., 0], apart[..., 1]
    first, second, third = (whiten[:, row, column, None] for row, column in ((0, 0), (1, 0), (1, 1)))
    return np.asarray((first * x) ** 2 + (second * x + third * y) ** 2)


def _meetings(predicted: Array, whiten: Array, spots: Array) -> Array:
    """``(p,)`` 1 where a point's prediction meets a spot, towards 0 where none is near."""
    return np.asarray(np.exp(-0.5 * _lengths(spots[None] - predicted[:, None], whiten).min(axis=1)))


# -- taking in further views


def _with_view(scene: Scene, linked: Linked, start: TiltGeometry, view: int, least_met: float = _LEAST_MET) -> Linked:
    """Take in one more view, if this share of the beads can be met in it."""
    geometry = _shifted(linked.geometry, view, _expected(scene, linked, start, view))
    points, covariance = _known(scene, linked)
    known = np.flatnonzero(linked.taken_in)
    nearest = int(known[np.argmin(np.abs(geometry.y_tilt_deg[known] - geometry.y_tilt_deg[view]))])
    near = linked.chosen[nearest] >= 0  # a bead that the neighbour shows should be here as well
    likely = near if near.sum() >= 3 else np.ones(len(points), dtype=bool)
    move = _voted(scene, geometry, view, points[likely], covariance[likely], least_met)
    if move is None:
        return linked
    geometry = _shifted(geometry, view, move)
    taken_in = linked.taken_in.copy()
    taken_in[view] = True
    chosen = linked.chosen.copy()
    chosen[view] = _assigned(scene, geometry, view, points, covariance, 0.3 * scene.diameter_ang)
    return Linked(geometry=geometry, chosen=chosen, taken_in=taken_in)


def _expected(scene: Scene, linked: Linked, start: TiltGeometry, view: int) -> Array:
    """By how much a view's present shift ``(2,)`` should change: the start's, and the specimen's own move since.

    The links fix where the specimen's middle is in a way of their own: it may have moved by (x, y, z). Views near in
    tilt say most, since a start may be wrong by a height of its own on either side.
    """
    geometry, known = linked.geometry, linked.taken_in
    matrices = geometry.matrices()
    changed = geometry.shifts_ang() - start.shifts_ang()
    near = np.exp(-0.5 * ((geometry.y_tilt_deg - geometry.y_tilt_deg[view]) / _NEAR_DEG) ** 2) * known
    near = near / near.max() + 1e-3 * known
    normal = np.einsum("n,nij,nik->jk", near, matrices, matrices)
    # heights that a start which scatters by a third of the reach would feign are not believed
    normal[2, 2] += (scene.reach_ang / scene.height_ang) ** 2
    middle = np.linalg.solve(normal, np.einsum("n,nij,ni->j", near, matrices, changed))
    return np.asarray(matrices[view] @ middle - changed[view])


def _known(scene: Scene, linked: Linked) -> tuple[Array, Array]:
    """Points ``(p, 3)`` and their covariance ``(p, 3, 3)``, Å, with heights that are thought to be small."""
    geometry = linked.geometry
    return met(scene, geometry.matrices(), geometry.shifts_ang(), linked.tracks(scene).observations_ang)


def _assigned(
    scene: Scene, geometry: TiltGeometry, view: int, points: Array, covariance: Array, blur_ang: float
) -> NDArray[np.int64]:
    """``(p,)`` the spot of a view that each point and it alone is nearest to, −1 without."""
    out = np.full(len(points), -1, dtype=np.int64)
    spots = scene.spots_ang[view]
    if not len(spots) or not len(points):
        return out
    matrix = geometry.matrices()[view]
    predicted = points @ matrix.T + geometry.shifts_ang()[view]
    spread = matrix @ covariance @ matrix.T + (blur_ang / 2) ** 2 * np.eye(2)
    lengths = _lengths(spots[None] - predicted[:, None], np.linalg.inv(np.linalg.cholesky(spread)))
    nearest = lengths.argmin(axis=1)
    mutual = lengths.argmin(axis=0)[nearest] == np.arange(len(points))
    good = mutual & (lengths[np.arange(len(points)), nearest] < 9)
    out[good] = nearest[good]
    return out


# -- solving


def _settled(scene: Scene, linked: Linked) -> Linked:
    """Solve what is taken in, link every view anew by the solved beads, and drop beads that too few views show."""
    for _ in range(2):
        solution = _solved(scene, linked)
        if solution is None:
            return linked
        linked = _relinked(scene, linked, *solution)
        linked = _supported(scene, linked)
    return linked


def _solved(scene: Scene, linked: Linked) -> tuple[TiltGeometry, Array, float] | None:
    """The geometry, the points ``(p, 3)`` and the deviation of a spot, Å, from the views that are taken in.

    Their shifts are solved, and once tilts span enough the axis, which is one for all views.
    """
    views = np.flatnonzero(linked.taken_in)
    before = linked.geometry.select(views)
    axis = Term(mode="common", prior=2.0) if np.ptp(before.y_tilt_deg) >= _AXIS_RANGE_DEG else Term()
    try:
        tracks = linked.tracks(scene).select_views(views)
        solution = solve(tracks, before, SolveModel(z_rot=axis), tolerance=1e-3, max_iterations=20)
    except GeometryError:
        return None
    shifts = linked.geometry.shifts_ang().copy()
    shifts[views] = solution.geometry.shifts_ang()
    turned = float(np.mean(solution.geometry.z_rot_deg - before.z_rot_deg))
    geometry = linked.geometry.with_terms(
        x_shift_ang=shifts[:, 0], y_shift_ang=shifts[:, 1], z_rot_deg=linked.geometry.z_rot_deg + turned
    )
    return geometry, solution.tracks.points_ang, solution.sigma_ang


def _relinked(scene: Scene, linked: Linked, geometry: TiltGeometry, points: Array, sigma_ang: float) -> Linked:
    """Every spot to the bead that the solved geometry puts there."""
    solved = np.isfinite(points[:, 0])
    blur = float(np.clip(3 * sigma_ang, 0.15 * scene.diameter_ang, 0.4 * scene.diameter_ang))
    points, nothing = points[solved], np.zeros((int(solved.sum()), 3, 3))
    chosen = np.full((len(linked.chosen), len(points)), -1, dtype=np.int64)
    for view in np.flatnonzero(linked.taken_in):
        chosen[view] = _assigned(scene, geometry, int(view), points, nothing, blur)
    return Linked(geometry=geometry, chosen=chosen, taken_in=linked.taken_in)


def _supported(scene: Scene, linked: Linked) -> Linked:
    """Without beads that few of the views that should show them do, and without doubles."""
    points = triangulate(linked.tracks(scene), linked.geometry)
    seen = (linked.chosen >= 0).sum(axis=0)
    places = linked.geometry.project(np.nan_to_num(points))[linked.taken_in]
    shown = scene.inside(places, 0.5 * scene.diameter_ang).sum(axis=0)
    good = np.isfinite(points[:, 0]) & (seen >= LEAST_VIEWS) & (seen >= _LEAST_SUPPORT * shown)
    good &= np.abs(np.nan_to_num(points[:, 2])) < 2 * scene.height_ang
    for bead in np.argsort(-seen, kind="stable"):
        if good[bead]:
            double = np.linalg.norm(points - points[bead], axis=-1) < 0.5 * scene.diameter_ang
            double[bead] = False
            good &= ~double
    return replace(linked, chosen=linked.chosen[:, good])
