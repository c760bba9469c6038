"""The record of one movie's motion: where its specimen stands in each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import GeometryError

__all__ = ["LocalMotion", "MovieMotion"]

Array = NDArray[np.float64]

_DEGREE = 3


@dataclass(frozen=True, eq=False)
class LocalMotion:
    """What of the motion differs from place to place: a spline in x and y for each frame.

    Attributes
    ----------
    coefficients_px
        ``(frames, 2, my, mx)`` coefficients of a clamped uniform B-spline (cubic, or of degree m − 1 where m < 4) over
        the frame's width and height, displacement (x, y) in movie pixels.
    shape_px
        (height, width) of the frames: the spline spans pixel 0 to pixel n − 1 each way, and is flat beyond.
    """

    coefficients_px: Array
    shape_px: tuple[int, int]

    def __post_init__(self) -> None:
        coefficients = np.asarray(self.coefficients_px, dtype=np.float64)
        if coefficients.ndim != 4 or coefficients.shape[1] != 2 or min(coefficients.shape) < 1:
            raise GeometryError(
                f"local motion of shape {coefficients.shape}", mend="give coefficients (frames, 2, my, mx)"
            )
        if not np.isfinite(coefficients).all():
            raise GeometryError("local motion that is not finite", mend="leave it out")
        object.__setattr__(self, "coefficients_px", coefficients)

    def __len__(self) -> int:
        return len(self.coefficients_px)

    def displacement(self, xy_px: ArrayLike) -> Array:
        """Displacement ``(frames, ..., 2)`` in px at pixels ``(..., 2)`` (x, y), counted from 0."""
        places = np.asarray(xy_px, dtype=np.float64)
        flat = places.reshape(-1, 2)
        height, width = self.shape_px
        along_x = spline_basis(flat[:, 0], width, self.coefficients_px.shape[3])
        along_y = spline_basis(flat[:, 1], height, self.coefficients_px.shape[2])
        moved = np.einsum("fcyx,py,px->fpc", self.coefficients_px, along_y, along_x, optimize=True)
        displaced: Array = moved.reshape(len(self), *places.shape[:-1], 2)
        return displaced

    def on_grid(self, y_px: ArrayLike, x_px: ArrayLike) -> Array:
        """Displacement ``(frames, 2, ny, nx)`` in px on the grid of some rows and columns."""
        height, width = self.shape_px
        along_x = spline_basis(x_px, width, self.coefficients_px.shape[3])
        along_y = spline_basis(y_px, height, self.coefficients_px.shape[2])
        grid: Array = np.einsum("fcyx,py,qx->fcpq", self.coefficients_px, along_y, along_x, optimize=True)
        return grid


@dataclass(frozen=True, kw_only=True, eq=False)
class MovieMotion:
    """Motion of one movie: what the sum shows at a pixel p, frame f shows at p + displacement(f, p).

    Attributes
    ----------
    shape_px
        (height, width) of the frames, as they stand in the sum before binning (turned to the image's hand).
    pixel_size_ang
        of the frames.
    global_px
        ``(frames, 2)`` (x, y) motion of the whole field, px; 0 in the first frame.
    global_error_px
        ``(frames, 2)`` its standard error about the mean over the frames, px, or None where it was not estimated.
    local
        what differs over the field, added to it; None where no local model was accepted.
    binning
        movie pixels per pixel of the sum; need not be whole.
    first_frame
        number of the first frame that is summed, counted from 1.
    pre_exposure, dose_per_frame
        e/Å², or None where unknown.
    bad_pixels_px
        ``(n, 2)`` (x, y) of pixels that were replaced in every frame.
    """

    shape_px: tuple[int, int]
    pixel_size_ang: float
    global_px: Array
    global_error_px: Array | None = None
    local: LocalMotion | None = None
    binning: float = 1.0
    first_frame: int = 1
    pre_exposure: float | None = None
    dose_per_frame: float | None = None
    bad_pixels_px: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        motion = np.asarray(self.global_px, dtype=np.float64)
        if motion.ndim != 2 or motion.shape[1] != 2 or len(motion) == 0:
            raise GeometryError(f"global motion of shape {motion.shape}", mend="give (frames, 2)")
        if not np.isfinite(motion).all():
            raise GeometryError("global motion that is not finite", mend="leave the movie uncorrected")
        if self.local is not None and len(self.local) != len(motion):
            raise GeometryError(
                f"local motion of {len(self.local)} frames for {len(motion)}", mend="give one spline per frame"
            )
        object.__setattr__(self, "global_px", motion)

    def __len__(self) -> int:
        return len(self.global_px)

    def displacement(self, xy_px: ArrayLike) -> Array:
        """Displacement ``(frames, ..., 2)`` in px of what the sum shows at pixels ``(..., 2)``, global and local."""
        places = np.asarray(xy_px, dtype=np.float64)
        everywhere = self.global_px.reshape(len(self), *(1,) * (places.ndim - 1), 2)
        if self.local is None:
            return np.broadcast_to(everywhere, (len(self), *places.shape)).copy()
        moved: Array = everywhere + self.local.displacement(places)
        return moved


def spline_basis(places_px: ArrayLike, size: int, count: int) -> Array:
    """``(n, count)`` values of a clamped uniform B-spline's functions over pixels 0 … size − 1, at ``(n,)`` pixels."""
    from scipy.interpolate import BSpline  # late: records must load without scipy

    places = np.atleast_1d(np.asarray(places_px, dtype=np.float64))
    degree = min(_DEGREE, count - 1)
    knots = np.concatenate([np.zeros(degree), np.linspace(0, 1, count - degree + 1), np.ones(degree)])
    scaled = np.clip(places / max(size - 1, 1), 0, 1)
    if degree == 0:
        return np.ones((len(places), 1))
    basis: Array = BSpline.design_matrix(scaled, knots, degree).toarray()
    return basis
