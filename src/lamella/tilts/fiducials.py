"""Gold beads as tracks: found, their size too, linked in 3-D, followed through all views, centred to the noise's limit.

The bead path, from rough to exact: spots of a bead's shape in reduced pictures (`lamella.features.beads`), which of
them are the same bead (`lamella.tilts.bead_linking`), then at full resolution the centre of every bead in every view
where the solved geometry puts one (`lamella.tilts.bead_centres`), solved again with what that found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamella.errors import GeometryError, ImageError
from lamella.features.bead_diameter import BeadSize, find_diameter
from lamella.features.beads import Imaging, Spots, find_spots, typical_contrast
from lamella.geometry import TiltGeometry
from lamella.parallel import each, one_thread_per_operation, part_of
from lamella.progress import Progress, no_progress
from lamella.records import ImageSource
from lamella.records.tracks import Tracks
from lamella.tilts.bead_centres import BeadWindows, CentredBy, Centres
from lamella.tilts.bead_linking import link_spots
from lamella.tilts.bead_scene import Scene
from lamella.tilts.solve import Solution, solve, triangulate
from lamella.tilts.terms import SolveModel, Term

__all__ = ["BeadTracks", "follow_beads"]

Array = NDArray[np.float64]

_MOST_SPOTS = 500
_LEAST_DIAMETER_PX = 4.0
_SIZED_VIEWS = 3  # from which the diameter is found
_DEPTHS = 0.5, 1.8  # of the typical contrast: what may be a bead
_NEAR = 0.2  # of the typical contrast: what surely is one
_LIKENESS = 0.6  # of the beads' usual correlation with a ball
_ROUNDS = 2  # of centring and solving
_FAR_OFF = 5.0  # standard deviations of an observation that is dropped
_LEAST_VIEWS = 4
_LEAST_SIGNAL = 7.0  # of a bead over its surroundings' standard deviation, over its area
_MOST_SPREAD = 0.5  # of contrasts: beads of one size are nearly alike
_LEAST_SPREAD = 1.0  # of a diameter, rms distance from one line
_LEAST_SHARE = 0.3  # of the views that should show a bead, in which it must have been centred


@dataclass(frozen=True, kw_only=True, eq=False)
class BeadTracks:
    """Beads followed through a tilt series.

    Attributes
    ----------
    tracks
        centres, Å from the image's centre pixel; weights are inverse variances by Fisher's bound, of mean 1; labels
        number the beads. Points and residuals are those of the last solve.
    geometry
        the last solve's, in the frame of the start: a good start for a finer one.
    bound_ang
        ``(n, p)`` Fisher's bound on the standard deviation of a coordinate, Å; NaN where unseen.
    diameter_ang
        of the beads, stated or found.
    notes
        what the user should know.
    quality
        numbers for the record, by name.
    """

    tracks: Tracks
    geometry: TiltGeometry
    bound_ang: Array
    diameter_ang: float
    notes: tuple[str, ...]
    quality: Mapping[str, float]


def follow_beads(
    images: ImageSource,
    pixel_size_ang: float,
    geometry: TiltGeometry,
    *,
    diameter_ang: float = 0.0,
    imaging: Imaging = "bright",
    centred_by: CentredBy = "profile",
    reach: float = 0.1,
    height_ang: float = 3000.0,
    progress: Progress = no_progress,
) -> BeadTracks:
    """Find the beads of a tilt series and follow them through all its views.

    Parameters
    ----------
    images
        the tilt images; for bright field with their zero kept (transmitted intensity).
    pixel_size_ang
        of the images.
    geometry
        a first guess of every view: angles to one or two degrees, shifts to `reach`.
    diameter_ang
        of the beads; 0: found from the least tilted views.
    imaging
        whether beads are dark (``bright`` field) or bright (``dark`` field).
    centred_by
        what the final centres are those of: the beads' whole profile, or their edges.
    reach
        how far a view may lie from where the first guess says, in longer sides of the image.
    height_ang
        how far above or below the middle of the specimen beads are looked for.
    progress
        told the fraction of the work that is done.

    Raises
    ------
    GeometryError
        if numbers of views differ, fewer than three beads can be followed, or all lie on one line.
    ImageError
        if the beads are smaller than four pixels across.
    """
    if len(images) != len(geometry):
        raise GeometryError(f"{len(images)} images, a geometry of {len(geometry)} views", mend="give as many views")
    if len(images) < 3:
        raise GeometryError(f"{len(images)} views", mend="beads are followed through three views at least")
    with one_thread_per_operation():
        diameter, found = _diameter(images, pixel_size_ang, geometry, diameter_ang, imaging)
        spots = _spots(images, diameter / pixel_size_ang, imaging, part_of(progress, 0.05, 0.4))
        _check_number(spots)
        scene = _scene(images, pixel_size_ang, spots, diameter, reach, height_ang)
        linked = link_spots(scene, geometry)
        progress(0.5, "linking beads")
        tracks = linked.tracks(scene)
        part = part_of(progress, 0.5, 1.0)
        return _centred(images, pixel_size_ang, scene, tracks, linked.geometry, found, centred_by, part)


def _check_number(spots: Sequence[Spots]) -> None:
    count = float(np.median([len(one.places_px) for one in spots]))
    if count > _MOST_SPOTS:
        raise GeometryError(
            f"{count:.0f} spots of a bead's shape in a view: so many are the specimen's own texture",
            mend="state the beads' diameter if there are any (align.bead_diameter), or align by patches",
        )


def _diameter(
    images: ImageSource, pixel_size_ang: float, geometry: TiltGeometry, stated_ang: float, imaging: Imaging
) -> tuple[float, BeadSize | None]:
    """The beads' diameter, Å, and what it was found from."""
    found = None
    if not stated_ang:
        near = np.argsort(np.abs(geometry.y_tilt_deg), kind="stable")[: 2 * _SIZED_VIEWS : 2]
        found = find_diameter([images.view(int(view)) for view in near], pixel_size_ang, imaging)
        if not found.diameter_ang:
            raise GeometryError(
                "no beads were found in the least tilted views",
                mend="state their diameter, or align by patches (align.method = patches)",
            )
    diameter = stated_ang or (found.diameter_ang if found else 0.0)
    if diameter < _LEAST_DIAMETER_PX * pixel_size_ang:
        raise ImageError(
            f"beads of {diameter / 10:.1f} nm are {diameter / pixel_size_ang:.1f} px across",
            mend="four pixels are needed: give images that are binned less, or align by patches",
        )
    return diameter, found


def _spots(images: ImageSource, diameter_px: float, imaging: Imaging, progress: Progress) -> list[Spots]:
    """Spots of every view that are as deep as beads are, and nearly as like a ball as noise lets beads be."""

    def one(view: int) -> Spots:
        return find_spots(np.asarray(images.view(view), dtype=np.float32), diameter_px, imaging)

    spots = each(one, range(len(images)), progress, "looking for beads")
    contrast = np.concatenate([one.contrast for one in spots])
    typical = typical_contrast(contrast, np.concatenate([one.likeness for one in spots]))
    if typical <= 0:
        raise GeometryError(
            "no beads were found in any view",
            mend="state their diameter, or align by patches (align.method = patches)",
        )
    low, high = (share * typical for share in _DEPTHS)
    deep = [one.select((one.contrast > low) & (one.contrast < high)) for one in spots]
    usual = [
        float(np.median(one.likeness[np.abs(one.contrast / typical - 1) < _NEAR]))
        for one in deep
        if (np.abs(one.contrast / typical - 1) < _NEAR).any()
    ]
    least = _LIKENESS * float(np.median(usual)) if usual else 0.0
    return [one.select(one.likeness > least) for one in deep]


def _scene(
    images: ImageSource, pixel_size_ang: float, spots: list[Spots], diameter_ang: float, reach: float, height_ang: float
) -> Scene:
    _, height, width = images.shape
    centre = np.array([width // 2, height // 2])
    return Scene(
        spots_ang=tuple((one.places_px - centre) * pixel_size_ang for one in spots),
        field_ang=np.array([-0.5 - centre, [width - 0.5, height - 0.5] - centre]) * pixel_size_ang,
        diameter_ang=diameter_ang,
        reach_ang=reach * max(width, height) * pixel_size_ang,
        height_ang=height_ang,
    )


def _centred(
    images: ImageSource,
    pixel_size_ang: float,
    scene: Scene,
    tracks: Tracks,
    geometry: TiltGeometry,
    found: BeadSize | None,
    centred_by: CentredBy,
    progress: Progress,
) -> BeadTracks:
    """Centre, solve and centre again, with beads looked for wherever the geometry puts them."""
    _, height, width = images.shape
    middle, diameter_px = np.array([width // 2, height // 2]), scene.diameter_ang / pixel_size_ang
    spotted = int(tracks.seen.sum())
    centres: Centres | None = None
    windows: BeadWindows | None = None
    for number in range(_ROUNDS):
        part = part_of(progress, number / _ROUNDS, (number + 1) / _ROUNDS)
        solution = _solved(tracks, geometry, exact=number > 0)
        geometry, points = solution.geometry, solution.tracks.points_ang
        places = geometry.project(np.nan_to_num(points))
        shown = scene.inside(places, 0.5 * scene.diameter_ang) & np.isfinite(points[:, 0])
        places = np.where(shown[..., None], places, np.nan) / pixel_size_ang + middle
        windows = BeadWindows(images, places, diameter_px, windows, part)
        centres = windows.centred(geometry.y_tilt_deg, centred_by)
        if number == 0:
            _check_beads(windows)
        tracks = _observed(centres, middle, pixel_size_ang)
        tracks = _kept(tracks, shown)
    assert centres is not None
    solution = _solved(tracks, geometry, exact=True)
    tracks, solution = _without_far(solution)
    _check_spread(tracks.points_ang, scene.diameter_ang)
    bound = np.where(tracks.seen, 0.0, np.nan)
    bound[tracks.seen] = 1 / np.sqrt(tracks.weights[tracks.seen])
    return _reported(solution, bound, scene, found, spotted, pixel_size_ang)


def _observed(centres: Centres, middle: Array, pixel_size_ang: float) -> Tracks:
    """Good centres as tracks, Å, weights by Fisher's bound."""
    places = np.where(centres.good[..., None], (centres.places_px - middle) * pixel_size_ang, np.nan)
    weights = np.where(centres.good, 1 / (np.maximum(centres.variance_px2, 1e-6) * pixel_size_ang**2), 0.0)
    return Tracks.observed(places, weights)


def _kept(tracks: Tracks, shown: NDArray[np.bool_]) -> Tracks:
    """Beads that enough of the views that should show them do."""
    seen = tracks.seen.sum(axis=0)
    kept = (seen >= _LEAST_VIEWS) & (seen >= _LEAST_SHARE * shown.sum(axis=0))
    if kept.sum() < 3:
        raise GeometryError(
            f"{int(kept.sum())} beads could be centred in enough views",
            mend="three are needed: state the beads' diameter, or align by patches (align.method = patches)",
        )
    return tracks.select_points(kept)


def _solved(tracks: Tracks, geometry: TiltGeometry, exact: bool) -> Solution:
    """Solve with the axis in common; with every view's angles and magnification near the common ones once exact."""
    if not exact:
        return solve(tracks, geometry, SolveModel(z_rot=Term(mode="common")), tolerance=1e-4)
    model = SolveModel(
        z_rot=Term(mode="free", prior=0.1),
        y_tilt=Term(mode="free", prior=0.2),
        magnification=Term(mode="free", prior=0.002),
    )
    return solve(tracks, geometry, model, tolerance=1e-5)


def _check_beads(windows: BeadWindows) -> None:
    """Things that were followed, but stand out little or are of every depth, are no beads."""
    signal, spread = windows.standing_out()
    if signal < _LEAST_SIGNAL or spread > _MOST_SPREAD:
        raise GeometryError(
            f"no beads were found: what was followed stands out by {signal:.1f} standard deviations of what surrounds "
            f"it, with contrasts that spread by {100 * spread:.0f} %",
            mend="state the beads' diameter, or align by patches (align.method = patches)",
        )


def _check_spread(points: Array, diameter_ang: float) -> None:
    """Beads on one line say nothing of a turn about it."""
    known = points[np.isfinite(points[:, 0])]
    across = np.linalg.svd(known - known.mean(axis=0), compute_uv=False)[1] / np.sqrt(len(known))
    if across < _LEAST_SPREAD * diameter_ang:
        raise GeometryError(
            f"all {len(known)} beads lie on one line (within {across / 10:.1f} nm)",
            mend="align by patches (align.method = patches)",
        )


def _without_far(solution: Solution) -> tuple[Tracks, Solution]:
    """Drop observations far off what the others say, in their own standard deviations, and solve again."""
    tracks = solution.tracks
    ratio = np.linalg.norm(np.nan_to_num(tracks.residuals_ang), axis=-1) * np.sqrt(tracks.weights)
    far = ratio > _FAR_OFF * max(float(np.median(ratio[tracks.seen])) / 1.17741, 1e-9)
    if not far.any():
        return tracks, solution
    places = np.where(far[..., None], np.nan, tracks.observations_ang)
    kept = Tracks.observed(places, tracks.weights, tracks.labels)
    kept = kept.select_points(np.isfinite(triangulate(kept, solution.geometry)[:, 0]))
    solution = _solved(kept, solution.geometry, exact=True)
    return solution.tracks, solution


def _reported(
    solution: Solution, bound: Array, scene: Scene, found: BeadSize | None, spotted: int, pixel_size_ang: float
) -> BeadTracks:
    tracks = solution.tracks
    used = tracks.seen
    weights = tracks.weights / tracks.weights[used].mean()
    labels = np.arange(1, tracks.count + 1)
    shown = scene.inside(solution.geometry.project(np.nan_to_num(tracks.points_ang)), 0.5 * scene.diameter_ang)
    gaps = 1 - float(used.sum()) / max(int(shown.sum()), 1)
    notes = [f"{tracks.count} beads of {scene.diameter_ang / 10:.1f} nm were followed"]
    blind = np.flatnonzero(~used.any(axis=1)) + 1
    if len(blind):
        notes.append(f"no bead was found in view {', '.join(map(str, blind))}")
    quality = {
        "AlignBeads": float(tracks.count),
        "AlignBeadDiameterAngst": scene.diameter_ang,
        "AlignBeadObservations": float(used.sum()),
        "AlignBeadGaps": gaps,
        "AlignBeadBoundAngst": float(np.sqrt(np.nanmedian(bound**2))),
        "AlignBeadResidualAngst": solution.rms_ang,
    }
    final = Tracks(
        observations_ang=tracks.observations_ang,
        weights=weights,
        points_ang=tracks.points_ang,
        residuals_ang=tracks.residuals_ang,
        labels=labels,
    )
    return BeadTracks(
        tracks=final,
        geometry=solution.geometry,
        bound_ang=bound,
        diameter_ang=scene.diameter_ang,
        notes=tuple(notes),
        quality=quality,
    )
