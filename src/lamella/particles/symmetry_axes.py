"""Where the symmetry axes of a map lie: the frame in which it is most like itself under a point group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from lamella.geometry.angular_grid import angular_grid
from lamella.geometry.rotations import euler_matrix
from lamella.geometry.symmetry import point_group
from lamella.kernels.central_slices import padded_transform, take_terms
from lamella.particles.initial_model_maps import centre_of_mass_px
from lamella.particles.likelihood import PictureIndex, picture_index

__all__ = ["SymmetryFrame", "find_symmetry_axes", "generators_of", "self_correlation", "still_part"]

Array = NDArray[np.float64]
Complex = NDArray[np.complex64]

_ORDER = 3  # 7.5 degrees
_CLIMBED = 12
_NODES_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class SymmetryFrame:
    """A frame whose axes are those of a point group.

    Attributes
    ----------
    matrix, centre_px
        ``(3, 3)`` Q and ``(3,)`` c: a point x of the frame is Q x + c in the map, px from its voxel n // 2.
    correlation
        of the map with itself, turned by the group's generators; 1: it is symmetric.
    """

    matrix: Array
    centre_px: Array
    correlation: float


def find_symmetry_axes(volume: Tensor, symmetry: str, highest_shell: int) -> SymmetryFrame:
    """Find the axes of a point group in a map.

    Parameters
    ----------
    volume
        ``(n, n, n)``, mass positive, masked.
    symmetry
        a name that `point_group` knows.
    highest_shell
        finest detail that is compared.

    Notes
    -----
    Every frame of a grid, without those that the group makes the same, is scored by the correlation of the map's terms
    with those that the generators turn them to; from the best ones axes and centre are climbed to together. The search
    begins at the centre of mass, which lies on every axis. Terms count by the square root of their amplitude's shell
    mean, so that the coarsest shells, which are alike in any frame, do not decide alone.
    """
    group = point_group(symmetry)
    centre = centre_of_mass_px(volume)
    if len(group) == 1:
        return SymmetryFrame(matrix=np.eye(3), centre_px=centre, correlation=1.0)
    compare = _Comparison(volume, group, highest_shell)
    frames = euler_matrix(*angular_grid(_ORDER, symmetry).T)
    scores = np.concatenate(
        [compare(frames[i : i + _NODES_AT_ONCE], centre) for i in range(0, len(frames), _NODES_AT_ONCE)]
    )
    best: SymmetryFrame | None = None
    for node in np.argsort(-scores, kind="stable")[:_CLIMBED]:
        found = _climb(compare, frames[node], centre, group)
        if best is None or found.correlation > best.correlation:
            best = found
    assert best is not None
    return best


def self_correlation(volume: Tensor, symmetry: str, highest_shell: int) -> float:
    """Correlation of a map with itself under a point group as it stands; 1 for C1."""
    group = point_group(symmetry)
    if len(group) == 1:
        return 1.0
    return float(_Comparison(volume, group, highest_shell)(np.eye(3)[None], np.zeros(3))[0])


def generators_of(group: Array) -> Array:
    """Few rotations ``(k, 3, 3)`` whose products are the whole group ``(g, 3, 3)``."""
    known = [np.eye(3)]
    chosen: list[Array] = []
    for candidate in group[1:]:
        if _among(candidate, known):
            continue
        chosen.append(candidate)
        fresh = known
        while fresh:
            found: list[Array] = []
            for old in fresh:
                for turn in chosen:
                    if not _among(old @ turn, known + found):
                        found.append(old @ turn)
            known, fresh = known + found, found
    return np.array(chosen).reshape(-1, 3, 3)


def still_part(vector: Array, group: Array) -> Array:
    """The part of a vector ``(3,)`` that no rotation of a group moves."""
    still: Array = group.mean(axis=0) @ vector
    return still


class _Comparison:
    """The self-correlation of a map in any frame."""

    def __init__(self, volume: Tensor, group: Array, highest_shell: int) -> None:
        n = volume.shape[0]
        self._n = n
        self._at: PictureIndex = picture_index(n, highest_shell, volume=True)
        self._transform: Complex = padded_transform(volume).numpy()
        self._turns = np.concatenate([np.eye(3)[None], generators_of(group)])
        plain = take_terms(self._transform, self._at.index, np.eye(3)[None], n)[0]
        mean = np.bincount(self._at.shell, np.abs(plain)) / np.maximum(np.bincount(self._at.shell), 1)
        level = mean[self._at.shell]
        self._gain = (1 / np.sqrt(np.maximum(level, 1e-6 * level.max()))).astype(np.float32)

    def __call__(self, frames: Array, centre_px: Array) -> Array:
        """``(f,)`` correlation in each frame ``(f, 3, 3)`` about a centre."""
        # F'(k) = F(Q k) · exp(2πi Q k · c / n), and F(Mᵀ k) is what `take_terms` takes
        turned = np.einsum("fij,gjk->gfik", frames, self._turns)
        flat = turned.reshape(-1, 3, 3)
        terms = take_terms(self._transform, self._at.index, np.swapaxes(flat, 1, 2), self._n) * self._gain
        moves = np.einsum("i,fij->fj", centre_px, flat)
        terms = terms * np.exp(2j * np.pi / self._n * (moves @ self._at.index.T)).astype(np.complex64)
        parts = terms.reshape(len(self._turns), len(frames), -1)
        norms = np.sqrt((np.abs(parts) ** 2).sum(axis=-1, dtype=np.float64))
        cross = (parts[0].conj() * parts[1:]).real.sum(axis=-1, dtype=np.float64)
        correlation: Array = (cross / np.maximum(norms[0] * norms[1:], 1e-30)).mean(axis=0)
        return correlation


def _climb(compare: _Comparison, frame: Array, centre: Array, group: Array) -> SymmetryFrame:
    def place(numbers: Array) -> tuple[Array, Array]:
        turned = frame @ Rotation.from_rotvec(numbers[:3] / 10).as_matrix()
        return turned, centre + numbers[3:]

    def fall(numbers: Array) -> float:
        turned, middle = place(numbers)
        return -float(compare(turned[None], middle)[0])

    start = np.zeros((7, 6))
    start[1:] = 0.5 * np.eye(6)
    found = minimize(
        fall, np.zeros(6), method="Nelder-Mead",
        options={"initial_simplex": start, "xatol": 1e-3, "fatol": 1e-6, "maxfev": 300},
    )  # fmt: skip
    turned, middle = place(found.x)
    # along an axis that nothing crosses any place is as good: the centre of mass stays
    along = turned @ still_part(turned.T @ (centre - middle), group)
    return SymmetryFrame(matrix=turned, centre_px=middle + along, correlation=-float(found.fun))


def _among(rotation: Array, known: list[Array]) -> bool:
    return any(np.abs(rotation - one).max() < 1e-6 for one in known)
