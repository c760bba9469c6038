"""What a particle's pictures say of a pose: the likelihood of Gaussian noise, and its highest point nearby.

A pose is an orientation A and a place t (x, y, z, pixels of the pictures from where the particle was cut out). Picture
v, with frame R_v (the view's rotation times its magnification), shows the slice of the reference at M = R_v · A, moved
by R_v · t. A pseudo-subtomogram is one picture with terms in three dimensions and the frame A_subᵀ.

The data are x = T · picture and the squared transfers T²; with σ² the noise of a term of the picture,

    log L(A, t) = Σ 2 [ Re(x* S) − T² |S|² / 2 ] / σ²

over half of the terms, each of which stands for its mate at −k too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from lamella.kernels.central_slices import take_terms
from lamella.kernels.pose_likelihood import pose_slopes

__all__ = ["ParticleTerms", "Peak", "PictureIndex", "Prior", "climb", "likelihood", "picture_index"]

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Complex = NDArray[np.complex64]
Integers = NDArray[np.int32]

_EVALUATIONS = 14
_GAIN_LEFT = 0.003
"""Log-likelihood that a further step would gain: less is a twelfth of a standard deviation."""
_LEAST_DAMPING, _MOST_DAMPING = 1e-4, 1e4


@dataclass(frozen=True, eq=False)
class PictureIndex:
    """Which terms of pictures (or volumes) are compared: half of a disc (or ball), without the mean.

    Attributes
    ----------
    box_px
        of the pictures.
    index
        ``(t, 3)`` x, y, z in the pictures' transform, int32; z is 0 in pictures.
    flat
        ``(t,)`` place in the flattened rfft.
    shell
        ``(t,)`` length, rounded.
    """

    box_px: int
    index: Integers
    flat: NDArray[np.int64]
    shell: NDArray[np.int64]


def picture_index(box_px: int, highest_shell: int, *, volume: bool = False) -> PictureIndex:
    """All terms of shells 1 … `highest_shell`, which is at most box / 2 − 1."""
    highest = min(highest_shell, box_px // 2 - 1)
    line = np.arange(-highest, highest + 1)
    z, y, x = np.meshgrid(line if volume else [0], line, line[highest:], indexing="ij")
    length = np.sqrt(x**2 + y**2 + z**2)
    shell = np.rint(length).astype(np.int64)
    first_half = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    kept = first_half & (shell <= highest)
    x, y, z = x[kept], y[kept], z[kept]
    flat = ((z % box_px) * box_px + y % box_px) * (box_px // 2 + 1) + x
    return PictureIndex(box_px, np.stack([x, y, z], axis=-1).astype(np.int32), flat.astype(np.int64), shell[kept])


@dataclass(frozen=True, eq=False)
class ParticleTerms:
    """The terms of one particle.

    Attributes
    ----------
    at
        which terms they are.
    data, squares
        ``(v, t)`` x = T · picture, complex64, and T², float32.
    frames
        ``(v, 3, 3)`` R_v.
    """

    at: PictureIndex
    data: Complex
    squares: Floats
    frames: Array

    def up_to(self, shell: int) -> ParticleTerms:
        """Terms of shells up to one; itself where that is all of them."""
        kept = self.at.shell <= max(shell, 2)
        if kept.all():
            return self
        at = PictureIndex(self.at.box_px, self.at.index[kept], self.at.flat[kept], self.at.shell[kept])
        data, squares = np.compress(kept, self.data, axis=1), np.compress(kept, self.squares, axis=1)
        return ParticleTerms(at, data, squares, self.frames)

    def over_noise(self, noise: Array) -> ParticleTerms:
        """Both over half the noise ``(s,)`` of each shell: L is then Σ Re(x* S) − T² |S|² / 2."""
        gain = (2 / noise[self.at.shell]).astype(np.float32)
        return replace(self, data=self.data * gain, squares=self.squares * gain)

    def moved(self, places_px: Array) -> Complex:
        """``(..., v, t)`` data moved back from places t ``(..., 3)``: as if the particle were where it was cut out."""
        moves = np.einsum("vij,...j->...vi", self.frames, places_px)
        reach = int(np.abs(self.at.index).max(initial=0))
        line = 2j * np.pi / self.at.box_px * np.arange(-reach, reach + 1)
        factors = np.exp(moves[..., None] * line).astype(np.complex64)  # (..., v, 3, k)
        x, y, z = (self.at.index + reach).T
        turned: Complex = self.data * np.take(factors[..., 0, :], x, axis=-1)
        turned *= np.take(factors[..., 1, :], y, axis=-1)
        if self.at.index[:, 2].any():
            turned *= np.take(factors[..., 2, :], z, axis=-1)
        return turned


@dataclass(frozen=True, eq=False)
class Prior:
    """What is known of a pose before its pictures are seen.

    Attributes
    ----------
    place_px, place_width_px
        Gaussian prior of the place: ``(3,)`` and its standard deviation.
    residuals
        of an orientation: numbers whose half sum of squares is taken from the log-likelihood; None: there are none.
    """

    place_px: Array
    place_width_px: float
    residuals: Callable[[Array], Array] | None = None

    def of_places(self, places_px: Array) -> Array:
        """Logarithm ``(...)`` of the prior of places ``(..., 3)``, but for a constant."""
        square: Array = (((places_px - self.place_px) / self.place_width_px) ** 2).sum(axis=-1)
        return -0.5 * square

    def of_matrix(self, matrix: Array) -> float:
        """Logarithm of the prior of an orientation, but for a constant."""
        return 0.0 if self.residuals is None else -0.5 * float((self.residuals(matrix) ** 2).sum())

    def value(self, matrix: Array, place_px: Array) -> float:
        """Logarithm of the prior of a pose, but for a constant."""
        return float(self.of_places(place_px)) + self.of_matrix(matrix)

    def slopes(self, matrix: Array, place_px: Array) -> tuple[Array, Array]:
        """``(6,)`` slope and ``(6, 6)`` curvature of `value`, with respect to (ω, t)."""
        slope, curvature = np.zeros(6), np.zeros((6, 6))
        slope[3:] = -(place_px - self.place_px) / self.place_width_px**2
        curvature[3:, 3:] = np.eye(3) / self.place_width_px**2
        if self.residuals is not None:
            step = 1e-4
            here = self.residuals(matrix)
            moved = [self.residuals(matrix @ Rotation.from_rotvec(step * axis).as_matrix()) for axis in np.eye(3)]
            jacobian = np.stack([(there - here) / step for there in moved], axis=-1)
            slope[:3] -= here @ jacobian
            curvature[:3, :3] += jacobian.T @ jacobian
        return slope, curvature


@dataclass(frozen=True, eq=False)
class Peak:
    """A highest point of the posterior.

    Attributes
    ----------
    matrix, place_px
        ``(3, 3)`` and ``(3,)``: the pose.
    value
        log-likelihood and log-prior there.
    curvature
        ``(6, 6)`` of its fall with (ω, t), rad and px: the inverse of the covariance.
    """

    matrix: Array
    place_px: Array
    value: float
    curvature: Array

    @property
    def evidence(self) -> float:
        """Logarithm of the posterior's mass about this point: Laplace's approximation, but for a constant."""
        return self.value - 0.5 * float(np.linalg.slogdet(self.curvature)[1])


def likelihood(transform: Complex, terms: ParticleTerms, matrix: Array, place_px: Array) -> float:
    """Log-likelihood of one pose; `terms` are over the noise."""
    slices = take_terms(transform, terms.at.index, terms.frames @ matrix, terms.at.box_px)
    data = terms.moved(place_px)
    cross = np.vdot(data, slices).real
    return float(cross - 0.5 * np.vdot(terms.squares, slices.real**2 + slices.imag**2))


def climb(
    transform: Complex, terms: ParticleTerms, matrix: Array, place_px: Array, prior: Prior, most_turn_rad: float,
    most_move_px: float,
) -> Peak:  # fmt: skip
    """Climb from a pose to the highest point of the posterior near it.

    Parameters
    ----------
    transform
        of the reference (`padded_transform`).
    terms
        of the particle, over the noise.
    matrix, place_px
        where to begin.
    most_turn_rad, most_move_px
        longest step: about as far as the slope can be trusted.

    Notes
    -----
    Gauss and Newton's method, damped after Levenberg and Marquardt: each step costs one pass over the terms, and four
    to six find the place to a tenth of its standard deviation.
    """
    here = _evaluate(transform, terms, matrix, place_px, prior)
    damping = 1e-2
    for _ in range(_EVALUATIONS):
        value, slope, curvature, matrix, place_px = here
        damped = curvature + damping * np.diag(np.diag(curvature))
        step: Array = np.linalg.solve(damped, slope).astype(np.float64)
        step *= min(1.0, most_turn_rad / _length(step[:3]), most_move_px / _length(step[3:]))
        if slope @ step < 2 * _GAIN_LEFT:
            break
        turned = matrix @ Rotation.from_rotvec(step[:3]).as_matrix()
        there = _evaluate(transform, terms, turned, place_px + step[3:], prior)
        if there[0] > value:
            here, damping = there, max(damping / 10, _LEAST_DAMPING)
        elif damping < _MOST_DAMPING:
            damping *= 10
        else:
            break
    value, _, curvature, matrix, place_px = here
    return Peak(_orthonormal(matrix), place_px, value, curvature)


def _evaluate(
    transform: Complex, terms: ParticleTerms, matrix: Array, place_px: Array, prior: Prior
) -> tuple[float, Array, Array, Array, Array]:
    values, slopes, curvatures = pose_slopes(
        transform, terms.at.index, terms.frames @ matrix, terms.frames @ place_px, terms.data, terms.squares,
        terms.at.box_px,
    )  # fmt: skip
    # d = R_v · t
    onto = np.zeros((len(values), 6, 6))
    onto[:, :3, :3] = np.eye(3)
    onto[:, 3:, 3:] = terms.frames
    slope = np.einsum("vji,vj->i", onto, slopes)
    curvature = np.einsum("vji,vjk,vkl->il", onto, curvatures, onto, optimize=True)
    prior_slope, prior_curvature = prior.slopes(matrix, place_px)
    value = float(values.sum()) + prior.value(matrix, place_px)
    return value, slope + prior_slope, curvature + prior_curvature, matrix, place_px


def _length(vector: Array) -> float:
    return max(float(np.linalg.norm(vector)), 1e-12)


def _orthonormal(matrix: Array) -> Array:
    """The rotation nearest to a product of many."""
    left, _, right = np.linalg.svd(matrix)
    rotation: Array = left @ right
    return rotation
