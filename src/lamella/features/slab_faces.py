"""Surfaces of a slab from points that lie on them, such as gold beads: two parallel planes, or one.

Beads settle on the faces of the ice. The model is z = a·x + b·y + c + s·h with s = +1 or −1 for the two faces, plus a
few points that belong to neither (inside the ice, or solved wrongly). The slopes are searched on a grid, where the best
split of the residual heights into two groups is exact, and refined by expectation and maximisation over the faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Faces", "fit_faces"]

Array = NDArray[np.float64]

_STEEPEST_DEG = 20.0  # inclination that is searched
_STEP_DEG = 2.0
_STARTS = 8  # slopes of the grid that are refined
_FEWEST = 4  # points that two planes need: they have four parameters
_STRAY = 0.1  # share of points that lie on neither face
_FLATNESS_ANG = 25.0  # scatter of beads about a face: sizes, and ice that is not flat
_THINNEST_ANG = 150.0  # faces closer than this are one
_BETTER = 6.0  # log likelihood by which a second face must gain
_MOST_BLURRED = 0.12  # scatter about the faces over their distance; of points throughout the ice it is 0.29
_ROUGHEST_ANG = 150.0  # scatter about a face, above which it is none
_MOST_STRAYS = 0.3  # share of points on no face, above which there are no faces
_USUAL_DEG = 12.0  # standard deviation of a specimen's inclination in its microscope


@dataclass(frozen=True, kw_only=True, eq=False)
class Faces:
    """Faces of a slab.

    Attributes
    ----------
    slopes
        ``(2,)`` a and b of z = a·x + b·y + c.
    height_ang
        c: z of the middle between the faces at x = y = 0; of the only face where there is one.
    separation_ang
        distance of the two faces along their normal; NaN where there is one.
    covariance
        ``(4, 4)`` of a, b, c and half the separation along z.
    scatter_ang
        of points about their face.
    face
        ``(p,)`` +1 or −1; 0 for points on neither. All 0 where the points lie throughout the ice: then the plane is the
        middle of them all.
    """

    slopes: Array
    height_ang: float
    separation_ang: float
    covariance: Array
    scatter_ang: float
    face: NDArray[np.int64]

    @property
    def both(self) -> bool:
        """Whether two faces were found."""
        return bool(np.isfinite(self.separation_ang))


def fit_faces(points_ang: ArrayLike, prior: tuple[ArrayLike, ArrayLike] | None = None) -> Faces | None:
    """Find the faces that points ``(p, 3)`` lie on.

    Parameters
    ----------
    points_ang
        solved places, Å; those that are not finite are left out of account.
    prior
        slopes ``(2,)`` known otherwise, and their covariance ``(2, 2)``: what makes few points enough.

    Returns
    -------
    Faces or None
        None where the points say nothing: fewer than three, or along a line, and no prior.
    """
    points = np.asarray(points_ang, dtype=np.float64).reshape(-1, 3)
    usable = np.isfinite(points).all(axis=1)
    face = np.zeros(len(points), dtype=np.int64)
    if usable.sum() < 3 and (prior is None or not usable.any()):
        return None
    fit = _Fit(points[usable], prior)
    found = fit.best()
    if found is None:
        return None
    parameters, covariance, scatter, face[usable], two = found
    along_normal = 1 / np.sqrt(1 + parameters[0] ** 2 + parameters[1] ** 2)
    return Faces(
        slopes=parameters[:2],
        height_ang=float(parameters[2]),
        separation_ang=float(2 * parameters[3] * along_normal) if two else float("nan"),
        covariance=covariance,
        scatter_ang=scatter,
        face=face,
    )


_Found = tuple[Array, Array, float, NDArray[np.int64], bool]


class _Fit:
    """Likelihoods of one set of points."""

    def __init__(self, points: Array, prior: tuple[ArrayLike, ArrayLike] | None) -> None:
        self.xy, self.z = points[:, :2], points[:, 2]
        self.design = np.column_stack([self.xy, np.ones(len(points))])
        self.range = max(float(np.ptp(self.z)), 4 * _FLATNESS_ANG)
        self.mean, self.precision = np.zeros(2), np.eye(2) / np.tan(np.deg2rad(_USUAL_DEG)) ** 2
        self.informed = prior is not None
        if prior is not None:
            self.mean = np.asarray(prior[0], dtype=np.float64)
            self.precision = np.linalg.inv(np.asarray(prior[1], dtype=np.float64))

    def best(self) -> _Found | None:
        """The faces of the greatest likelihood; two only where they explain clearly more than one."""
        one = max((self._refined(slopes, None) for slopes in self._starts(two=False)), key=lambda fit: fit[0])
        chosen, two = one, False
        if len(self.z) >= _FEWEST or (self.informed and len(self.z) >= 2):
            pairs = [self._refined(*start) for start in self._splits()]
            pairs = [fit for fit in pairs if self._faces_apart(fit[1], fit[3]) and self._populated(fit[2])]
            if pairs:
                other = max(pairs, key=lambda fit: fit[0])
                if other[0] > one[0] + _BETTER:
                    chosen, two = other, True
        return self._stated(chosen, two)

    def _starts(self, *, two: bool) -> Array:
        """Slopes to begin from: the prior's, the least-squares plane's, and (for two faces) those of a grid."""
        plane = np.linalg.lstsq(self.design, self.z, rcond=None)[0][:2]
        starts = [self.mean, plane]
        if two:
            one = np.tan(np.deg2rad(np.arange(-_STEEPEST_DEG, _STEEPEST_DEG + 0.1, _STEP_DEG)))
            starts.extend(np.stack(np.meshgrid(one, one), axis=-1).reshape(-1, 2))
        return np.array(starts)

    def _splits(self) -> list[tuple[Array, float]]:
        """(slopes, height that parts the two groups) of the starts whose residual heights split best."""
        starts = self._starts(two=True)
        heights = self.z - starts @ self.xy.T  # (starts, p)
        ordered = np.sort(heights, axis=1)
        count = np.arange(1, len(self.z))
        sums, squares = np.cumsum(ordered, axis=1), np.cumsum(ordered**2, axis=1)
        low = squares[:, :-1] - sums[:, :-1] ** 2 / count
        high_sum, high_squares = sums[:, -1:] - sums[:, :-1], squares[:, -1:] - squares[:, :-1]
        high = high_squares - high_sum**2 / (len(self.z) - count)
        within = low + high  # (starts, p − 1)
        where = within.argmin(axis=1)
        off = starts - self.mean
        cost = within.min(axis=1) / _FLATNESS_ANG**2 + np.einsum("si,ij,sj->s", off, self.precision, off)
        best = np.argsort(cost, kind="stable")[:_STARTS]
        return [(starts[i], float(ordered[i, where[i] : where[i] + 2].mean())) for i in best]

    def _refined(self, slopes: Array, parting: float | None) -> tuple[float, Array, Array, float]:
        """(log likelihood, (a, b, c, h), ``(p, 2)`` share of each face in each point, scatter) of one start."""
        heights = self.z - self.xy @ slopes
        two = parting is not None
        if parting is not None:
            up = heights > parting
            share = np.stack([up, ~up], axis=1).astype(np.float64)
        else:
            off = np.abs(heights - np.median(heights))
            share = np.stack([off <= np.quantile(off, 0.7), np.zeros(len(off))], axis=1).astype(np.float64)
        scatter, likelihood = 2 * _FLATNESS_ANG, -np.inf
        parameters = np.zeros(4)
        for _ in range(60):
            parameters = self._solved(share, scatter, two=two)
            mean = self.design @ parameters[:3]
            off = self.z[:, None] - mean[:, None] - parameters[3] * np.array([1.0, -1.0])
            # a few points pin their own plane: the scatter has a prior worth four of them
            spread = (share * off**2).sum() + 4 * _FLATNESS_ANG**2
            scatter = float(np.sqrt(spread / (share.sum() + 4)))
            each = np.exp(-0.5 * (off / scatter) ** 2) / (scatter * np.sqrt(2 * np.pi)) * (1 - _STRAY)
            each = each * 0.5 if two else each * np.array([1.0, 0.0])
            total = each.sum(axis=1) + _STRAY / self.range
            before, likelihood = likelihood, self._likelihood(total, scatter, parameters)
            share = each / total[:, None]
            if share.sum() < 2:
                return -np.inf, parameters, share, scatter
            if abs(likelihood - before) < 1e-6:
                break
        return likelihood, parameters, share, scatter

    def _likelihood(self, each: Array, scatter: float, parameters: Array) -> float:
        off = parameters[:2] - self.mean
        prior = -2 * np.log(scatter) - 2 * (_FLATNESS_ANG / scatter) ** 2  # inverse gamma
        return float(np.log(each).sum() + prior - 0.5 * off @ self.precision @ off)

    def _normal(self, share: Array, scatter: float, *, two: bool) -> tuple[Array, Array]:
        """Normal equations of (a, b, c, h) where each point belongs to the faces by its shares."""
        weight, sign = share.sum(axis=1), share[:, 0] - share[:, 1]
        matrix, right = np.zeros((4, 4)), np.zeros(4)
        matrix[:3, :3] = (self.design * weight[:, None]).T @ self.design
        matrix[:3, 3] = matrix[3, :3] = self.design.T @ sign
        matrix[3, 3] = weight.sum()
        right[:3], right[3] = self.design.T @ (weight * self.z), sign @ self.z
        matrix, right = matrix / scatter**2, right / scatter**2
        if not two:
            matrix[3, :3] = matrix[:3, 3] = right[3] = 0.0
            matrix[3, 3] = 1.0
        matrix[:2, :2] += self.precision
        right[:2] += self.precision @ self.mean
        return matrix, right

    def _solved(self, share: Array, scatter: float, *, two: bool) -> Array:
        matrix, right = self._normal(share, scatter, two=two)
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-12)[0])

    def _faces_apart(self, parameters: Array, scatter: float) -> bool:
        """Whether two faces are so far apart, and so sharp, that they are two."""
        apart = 2 * float(parameters[3])
        return apart > _THINNEST_ANG and scatter < _MOST_BLURRED * apart

    def _populated(self, share: Array) -> bool:
        """Whether each face has points enough to be one: two, and as many as strays would not bring."""
        least = 0.9 if self.informed else 1.5
        kept = share.sum() >= (1 - _MOST_STRAYS) * len(self.z)
        return bool(kept and share.sum(axis=0).min() >= max(least, 0.05 * len(self.z)))

    def _stated(self, fit: tuple[float, Array, Array, float], two: bool) -> _Found | None:
        likelihood, parameters, share, scatter = fit
        few = share.sum() < (1 - _MOST_STRAYS) * len(self.z)
        throughout = not two and (few or scatter > _ROUGHEST_ANG)
        if throughout:
            share = np.column_stack([np.ones(len(self.z)), np.zeros(len(self.z))])
            for _ in range(3):
                parameters = self._solved(share, scatter, two=False)
                scatter = max(float((self.z - self.design @ parameters[:3]).std()), _FLATNESS_ANG)
        matrix, _ = self._normal(share, scatter, two=two)
        scale = np.sqrt(np.diag(matrix).clip(1e-300))
        if not np.isfinite(likelihood) or np.linalg.eigvalsh(matrix / np.outer(scale, scale))[0] < 1e-6:
            return None
        covariance = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
        on = share.sum(axis=1) > 0.5
        face = np.where(on, np.where(share[:, 0] >= share[:, 1], 1, -1), 0)
        face = np.zeros_like(face) if throughout else face
        return parameters, covariance, scatter, face.astype(np.int64), two
