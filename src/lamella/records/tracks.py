"""The record of what was followed through the views: 3-D points and where each was seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import InputError

__all__ = ["Tracks"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """Features of the specimen followed through the views of one tilt series, with what a solve made of them.

    Attributes
    ----------
    observations_ang
        ``(n, p, 2)`` where each of p points was seen in each of n views, (x, y) in Å from the image's centre pixel;
        NaN in both where a point was not seen.
    weights
        ``(n, p)`` inverse variance of an observation relative to the others', 0 where unseen.
    points_ang
        ``(p, 3)`` solved places xyz, Å from the tomogram's centre voxel; NaN where a point is not solved.
    residuals_ang
        ``(n, p, 2)`` observed minus projected, Å; NaN where unseen or not solved.
    labels
        ``(p,)`` the number, from 1, of the bead or patch that a point stands for; pieces of one patch share it. Left
        out, points are counted.
    kind
        what was followed: ``beads`` or ``patches``; empty where nobody said.

    Raises
    ------
    InputError
        if shapes disagree, half of a coordinate pair is missing, or a weight is negative or not finite.
    """

    observations_ang: Array
    weights: Array
    points_ang: Array
    residuals_ang: Array
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    kind: Literal["", "beads", "patches"] = ""

    @classmethod
    def observed(
        cls,
        observations_ang: ArrayLike,
        weights: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        kind: Literal["", "beads", "patches"] = "",
    ) -> Tracks:
        """Tracks that nothing was solved from yet; without weights every observation counts the same."""
        seen_at = np.asarray(observations_ang, dtype=np.float64)
        if seen_at.ndim != 3 or seen_at.shape[2] != 2:
            raise InputError(f"tracks of shape {seen_at.shape}", mend="give views × points × 2 numbers")
        return cls(
            observations_ang=seen_at,
            weights=np.ones(seen_at.shape[:2]) if weights is None else np.asarray(weights, dtype=np.float64),
            points_ang=np.full((seen_at.shape[1], 3), np.nan),
            residuals_ang=np.full(seen_at.shape, np.nan),
            labels=np.zeros(0, dtype=np.int64) if labels is None else np.asarray(labels, dtype=np.int64),
            kind=kind,
        )

    def __post_init__(self) -> None:
        names = ("observations_ang", "weights", "points_ang", "residuals_ang")
        for name in names:
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.float64))
        seen_at = self.observations_ang
        if seen_at.ndim != 3 or seen_at.shape[2] != 2 or np.isinf(seen_at).any():
            raise InputError(
                f"tracks of shape {seen_at.shape}", mend="give views × points × 2 numbers, NaN where unseen"
            )
        if (np.isnan(seen_at[..., 0]) != np.isnan(seen_at[..., 1])).any():
            raise InputError("a track has x without y, or y without x", mend="give both, or NaN for both")
        if self.weights.shape != seen_at.shape[:2] or not np.isfinite(self.weights).all() or (self.weights < 0).any():
            raise InputError("bad weights of tracks", mend="give one finite number ≥ 0 per view and point")
        if self.points_ang.shape != (seen_at.shape[1], 3) or self.residuals_ang.shape != seen_at.shape:
            raise InputError("points or residuals do not fit their tracks", mend="give one per track")
        self.weights[~self.seen] = 0.0
        labels = np.array(self.labels, dtype=np.int64)
        labels = labels if labels.size else np.arange(1, self.count + 1)
        if labels.shape != (self.count,) or (labels < 1).any():
            raise InputError("labels do not fit their tracks", mend="give one number from 1 per point")
        object.__setattr__(self, "labels", labels)
        for name in (*names, "labels"):
            getattr(self, name).flags.writeable = False

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self.observations_ang)

    @property
    def count(self) -> int:
        """Number of points."""
        return len(self.points_ang)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """``(n, p)`` True where a point was seen."""
        return np.isfinite(self.observations_ang[..., 0])

    def select_points(self, chosen: ArrayLike) -> Tracks:
        """The tracks of some points (indices or a mask)."""
        pick = np.asarray(chosen)
        return replace(
            self,
            observations_ang=self.observations_ang[:, pick],
            weights=self.weights[:, pick],
            points_ang=self.points_ang[pick],
            residuals_ang=self.residuals_ang[:, pick],
            labels=self.labels[pick],
        )

    def select_views(self, chosen: ArrayLike) -> Tracks:
        """The tracks in some views (indices or a mask)."""
        pick = np.asarray(chosen)
        return replace(
            self,
            observations_ang=self.observations_ang[pick],
            weights=self.weights[pick],
            residuals_ang=self.residuals_ang[pick],
        )

    def with_solution(self, points_ang: Array, residuals_ang: Array) -> Tracks:
        """A copy with solved points ``(p, 3)`` and residuals ``(n, p, 2)``, Å."""
        return replace(self, points_ang=points_ang, residuals_ang=residuals_ang)

    def rms_ang(self, axis: int | None = None) -> Array:
        """Root of the mean squared length of the residuals, Å; each observation counts the same.

        Over everything (None), per point (`axis` 0) or per view (`axis` 1); NaN where nothing was seen and solved.
        """
        squared = (self.residuals_ang**2).sum(axis=-1)
        count = np.isfinite(squared).sum(axis=axis)
        with np.errstate(invalid="ignore", divide="ignore"):
            rms: Array = np.sqrt(np.nansum(squared, axis=axis) / count)
        return rms
