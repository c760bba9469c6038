"""Where the specimen lies in a tomogram: its faces, what is left of its tilt, the height of its middle, its thickness.

Two witnesses are heard, as in `align`: texture (`position_energy`), which fills the specimen, and gold beads, which lie
on its faces. Nothing is moved here; `lamella level` does that, by `geometry.regauge`.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.features.slab_density import DensitySlab, fit_slab
from lamella.features.slab_faces import Faces, fit_faces
from lamella.features.slab_search import information, search_slab
from lamella.records import VolumeSource
from lamella.tomograms.position_energy import Energy, measure_energy

__all__ = ["SpecimenPosition", "measure_position", "position_of"]

Array = NDArray[np.float64]

_FEWEST_TILES = 30
_LEAST_INFORMATION = 60.0  # nats; noise alone reaches 10 (benchmarks/bench_position.py)
_EMPTIEST = (-3.0, -1.0)  # standard deviations: less may be emptier, or hidden from some views
_LARGEST_ERROR_DEG = 4.0  # of the normal, above which no slab was found
_FEWEST_BEADS = 5
_SURE_DEG = 1.0  # error of the normal by beads, below which texture is not asked for it
_CUT = 0.3  # part of the field where a face lies beyond the box, from which on the box cuts the specimen
_SURE_INFORMATION = 300.0  # nats, below which texture does not tell the face that bears no beads
_MODEL_ERROR = 0.05  # of a thickness by texture of two halves: how bodies lie at the faces is not known
_MODEL_ERROR_WHOLE = 0.12  # without halves: the faces are seen unequally well in noise and in what rays leave outside
_NOISE_RANGE = (-3.0, 6.0)  # standard deviations between which values are compared along z
_FARTHEST_ANG = 400.0  # over which values along z are compared
_DEEPEST_ONSET_ANG = 200.0
_ONSET = 1.5  # of the mean profile's onset: a body's outer shell has less detail than its core (simulations)


@dataclass(frozen=True, kw_only=True, eq=False)
class SpecimenPosition:
    """Where a specimen lies in its tomogram; what is not known is NaN, and its error infinite.

    Attributes
    ----------
    x_tilt_deg, y_tilt_deg
        by how much the specimen is turned from level: its normal is Rx(x_tilt) · Ry(y_tilt) · ẑ. The y axis is the tilt
        axis.
    x_tilt_error_deg, y_tilt_error_deg
        standard errors.
    offset_ang, offset_error_ang
        z of its mid-plane in the middle of the field.
    thickness_ang, thickness_error_ang
        distance of its faces.
    source
        what tells its normal best.
    unknown
        why nothing is known, in words; empty where something is.
    """

    x_tilt_deg: float = np.nan
    x_tilt_error_deg: float = np.inf
    y_tilt_deg: float = np.nan
    y_tilt_error_deg: float = np.inf
    offset_ang: float = np.nan
    offset_error_ang: float = np.inf
    thickness_ang: float = np.nan
    thickness_error_ang: float = np.inf
    source: Literal["texture", "beads"] = "texture"
    unknown: str = ""

    def quality(self) -> dict[str, float]:
        """Its finite numbers by the names that a record has for them."""
        numbers = {
            "PositionXTiltDeg": self.x_tilt_deg,
            "PositionXTiltErrorDeg": self.x_tilt_error_deg,
            "PositionYTiltDeg": self.y_tilt_deg,
            "PositionYTiltErrorDeg": self.y_tilt_error_deg,
            "PositionOffsetAngst": self.offset_ang,
            "PositionOffsetErrorAngst": self.offset_error_ang,
            "PositionThicknessAngst": self.thickness_ang,
            "PositionThicknessErrorAngst": self.thickness_error_ang,
        }
        return {name: float(value) for name, value in numbers.items() if np.isfinite(value)}

    def in_words(self) -> str:
        """One sentence."""
        if self.unknown:
            return f"where the specimen lies is unknown: {self.unknown}"
        tilt = (
            f"tilted by {self.x_tilt_deg:.1f} ± {self.x_tilt_error_deg:.1f}° about x and {self.y_tilt_deg:.1f} ± "
            f"{self.y_tilt_error_deg:.1f}° about y"
        )
        if not np.isfinite(self.thickness_ang):
            return (
                f"the specimen is {tilt}; beads lie on one face alone, so neither its middle nor its thickness is known"
            )
        return (
            f"the specimen is {self.thickness_ang:.0f} ± {self.thickness_error_ang:.0f} Å thick, its middle at z = "
            f"{self.offset_ang:.0f} ± {self.offset_error_ang:.0f} Å, {tilt}"
        )


@dataclass(frozen=True, eq=False)
class _Slab:
    """(a, b, c, half the depth along z) of a slab, and their ``(4, 4)`` covariance."""

    values: Array
    covariance: Array
    source: Literal["texture", "beads"] = "texture"


def measure_position(
    volume: VolumeSource,
    voxel_size_ang: float,
    beads_ang: ArrayLike | None = None,
    halves: tuple[VolumeSource, VolumeSource] | None = None,
) -> SpecimenPosition:
    """Measure where the specimen lies in a tomogram.

    Parameters
    ----------
    volume
        ``(z, y, x)``, not denoised: noise is what the specimen is told from. Empty space above and below is needed.
    voxel_size_ang
        edge of a voxel, Å.
    beads_ang
        ``(g, 3)`` where gold beads lie, xyz, if that is known, as they may have been erased; else they are looked for.
    halves
        the even and the odd half tomogram, where there are two: what they share stands out better than the whole.

    Returns
    -------
    SpecimenPosition
        ``unknown`` says why where the box cuts the specimen, or nothing stands out of the noise.

    Raises
    ------
    ImageError
        if a voxel is not finite, the volume is constant or too narrow, or the halves have another shape.

    Notes
    -----
    The slab is the one whose inside and outside are distributed most differently (`slab_search`), refined by its
    likelihood (`slab_density`), with errors by the jackknife. Texture ends where the outermost bodies do; they lie
    within the ice, so its faces are stated farther out by half of what texture takes to set in.
    """
    energy = measure_energy(volume, voxel_size_ang, halves)
    beads = energy.gold_ang if beads_ang is None else np.asarray(beads_ang, dtype=np.float64).reshape(-1, 3)
    return position_of(energy, beads)


def position_of(energy: Energy, beads_ang: Array) -> SpecimenPosition:
    """Where a specimen lies, of the energy of its tomogram and the places ``(g, 3)`` of beads."""
    known = np.isfinite(energy.values[:, 0])
    if known.sum() < _FEWEST_TILES:
        return SpecimenPosition(unknown="most of the field is empty, or hidden by gold")
    values, places = energy.values[known], energy.places_ang[known]
    faces = _by_beads(beads_ang)
    found = search_slab(values, energy.z_ang, places, slopes=None if faces is None else faces.slopes)
    if faces is not None and faces.both:
        slab = _Slab(np.array([*faces.slopes, faces.height_ang, _half_depth(faces)]), faces.covariance, "beads")
        return _stated(slab, places, energy.z_ang)
    if found is None or found[1] < (_LEAST_INFORMATION if faces is None else _SURE_INFORMATION):
        if faces is not None:
            return _only_tilt(faces)
        return SpecimenPosition(unknown="no texture stands out of the noise")
    texture = _refined(values, places, energy.z_ang, found[0])
    if texture is None or (faces is None and _error_deg(texture.covariance) > _LARGEST_ERROR_DEG):
        return SpecimenPosition(unknown="texture stands out of the noise in too few places")
    slab = _by_texture(texture, values, places, energy)
    return _stated(slab if faces is None else _with_face(slab, faces), places, energy.z_ang)


def _refined(values: Array, places: Array, z_ang: Array, near: Array) -> DensitySlab | None:
    """The likeliest slab near another, of two that differ in how far empty tiles count: the one that explains more."""
    fits = [fit_slab(np.maximum(values, least), z_ang, places, near=near, vary_onset=False) for least in _EMPTIEST]
    told = [
        (information(values, z_ang, places, np.array([*fit.slopes, fit.height_ang, _core(fit)])), fit)
        for fit in fits
        if fit is not None
    ]
    return max(told, key=itemgetter(0))[1] if told else None


def _core(slab: DensitySlab) -> float:
    """Half the depth between the planes where half of the bodies have ended."""
    return (slab.depth_ang - slab.onset_ang) / 2


def _by_beads(beads_ang: Array) -> Faces | None:
    """The faces that gold lies on, where it tells the normal."""
    faces = fit_faces(beads_ang) if len(beads_ang) >= _FEWEST_BEADS else None
    if faces is None or not (faces.face != 0).any() or _error_deg(faces.covariance) > _SURE_DEG:
        return None
    return faces


def _half_depth(faces: Faces) -> float:
    return float(faces.separation_ang / 2 * np.sqrt(1 + faces.slopes @ faces.slopes))


def _error_deg(covariance: Array) -> float:
    return float(np.rad2deg(np.sqrt(np.trace(covariance[:2, :2]))))


def _by_texture(slab: DensitySlab, values: Array, places: Array, energy: Energy) -> _Slab:
    """The slab with its faces where bodies end, not where half of them do."""
    core = _core(slab)
    body = 2 * _body_half_height(slab, core, values, places, energy.z_ang)
    onset = min(_ONSET * slab.onset_ang, body, _DEEPEST_ONSET_ANG)
    covariance = slab.covariance.copy()
    model = ((_MODEL_ERROR if energy.halves else _MODEL_ERROR_WHOLE) * (core + onset / 2)) ** 2
    covariance[3, 3] += (body - onset / 2) ** 2 / 48 + model
    if not energy.halves:  # each face may be off by itself: the middle is then off by as much as the half depth
        covariance[2, 2] += model
    return _Slab(np.array([*slab.slopes, slab.height_ang, core + onset / 2]), covariance)


def _body_half_height(slab: DensitySlab, core: float, values: Array, places: Array, z_ang: Array) -> float:
    """Half width at half height, Å, of the covariance of values along z: inside beyond outside."""
    step = float(z_ang[1] - z_ang[0])
    off = np.abs(z_ang - (places @ slab.slopes + slab.height_ang)[:, None])
    count = min(int(_FARTHEST_ANG / step), len(z_ang) - 1)
    inside, outside = (_along_z(values, part, count) for part in (off < core - 100.0, off > core + 150.0))
    excess = inside - outside
    excess = excess - np.median(excess[3 * count // 4 :])
    below = np.flatnonzero(excess < excess[0] / 2)
    return float(below[0] * step) if below.size and excess[0] > 0 else 0.0


def _along_z(values: Array, part: NDArray[np.bool_], count: int) -> Array:
    """Covariance of values with those so many layers away, both in one part; 0 where there is no such pair."""
    if part.sum() < 2:
        return np.zeros(count)
    clipped = np.clip(values, *_NOISE_RANGE)
    centred = np.where(part, clipped - clipped[part].mean(), 0.0)
    layers = values.shape[1]
    pairs = [
        (
            (centred[:, : layers - lag] * centred[:, lag:]).sum(),
            (part[:, : layers - lag] & part[:, lag:]).sum(),
        )
        for lag in range(count)
    ]
    return np.array([total / number if number else 0.0 for total, number in pairs])


def _only_tilt(faces: Faces) -> SpecimenPosition:
    """What beads on one face say."""
    covariance = faces.covariance.copy()
    covariance[2:, 2:] = np.diag([np.inf, np.inf])
    return _in_numbers(_Slab(np.array([*faces.slopes, np.nan, np.nan]), covariance, "beads"))


def _with_face(texture: _Slab, faces: Faces) -> _Slab:
    """The slab of texture with the slopes of one face's beads, and that face where they lie."""
    values, covariance = texture.values.copy(), texture.covariance.copy()
    values[:2], covariance[:2, :2] = faces.slopes, faces.covariance[:2, :2]
    covariance[:2, 2:] = covariance[2:, :2] = 0.0
    below, above = values[2] - values[3], values[2] + values[3]
    upper = abs(faces.height_ang - above) < abs(faces.height_ang - below)
    if abs(faces.height_ang - (above if upper else below)) < values[3] / 2:
        below, above = (below, faces.height_ang) if upper else (faces.height_ang, above)
        values[2:] = (below + above) / 2, (above - below) / 2
    return _Slab(values, covariance, "beads")


def _stated(slab: _Slab, places: Array, z_ang: Array) -> SpecimenPosition:
    middle, half = places @ slab.values[:2] + slab.values[2], slab.values[3]
    ends = (
        ("top", float(np.mean(middle + half > z_ang[-1]))),
        ("bottom", float(np.mean(middle - half < z_ang[0]))),
    )
    cut = [name for name, part in ends if part > _CUT]
    if cut:
        return SpecimenPosition(unknown=f"the box cuts the specimen at its {' and '.join(cut)}")
    return _in_numbers(slab)


def _in_numbers(slab: _Slab) -> SpecimenPosition:
    a, b, height, half = (float(value) for value in slab.values)
    errors = np.sqrt(np.diag(slab.covariance).clip(0))
    steep = np.sqrt(1 + a * a + b * b)
    return SpecimenPosition(
        x_tilt_deg=float(np.rad2deg(np.arctan(b))),
        x_tilt_error_deg=float(np.rad2deg(errors[1])),
        y_tilt_deg=float(-np.rad2deg(np.arctan(a / np.sqrt(1 + b * b)))),
        y_tilt_error_deg=float(np.rad2deg(errors[0])),
        offset_ang=height,
        offset_error_ang=float(errors[2]),
        thickness_ang=2 * half / steep,
        thickness_error_ang=2 * float(errors[3]) / steep,
        source=slab.source,
    )
