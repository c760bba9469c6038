"""Whether and how the contrast transfer of the views is corrected: chosen once for a tomogram."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.geometry import TiltGeometry
from lamella.kernels.rows import Box
from lamella.optics.electrons import electron_wavelength_ang
from lamella.records import TiltSeries
from lamella.tomograms.reconstruct_settings import ReconstructSettings

if TYPE_CHECKING:
    from lamella.optics.restoration import Restoration  # torch comes with it, which a plan does not need

__all__ = ["Correction", "Layer", "depth_planes", "depth_tolerance_ang", "obstacle", "plan_correction"]

Array = NDArray[np.float64]

AUTO: Restoration = "phase-flip"
_ITERATIVE = ("sirt", "sart")  # which compare images with one volume
_PHASE_RAD = math.pi / 8  # allowed at the tomogram's highest frequency
_STEEP = 0.15  # cos of a tilt beyond which a view is corrected as a whole, for the centre's depth
_STEEPEST = 0.3  # cos of the steepest tilt that makes layers thinner


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Planes of a tomogram that read the same corrected images: those for one height.

    Attributes
    ----------
    first, planes
        the first plane's number from 0, and how many there are.
    height_ang
        z of the plane for which the images are corrected, Å from the centre voxel.
    """

    first: int
    planes: int
    height_ang: float


@dataclass(frozen=True, kw_only=True)
class Correction:
    """How the contrast transfer of the views is corrected.

    Attributes
    ----------
    method
        ``none``, ``phase-flip``, ``multiply`` or ``wiener``.
    why_not
        why nothing is corrected, where that was not asked for.
    layers
        from the lowest to the highest, together all planes; one where images are corrected in strips.
    tolerance_ang
        greatest distance of a voxel's depth from one that it is corrected for.
    """

    method: Literal["none"] | Restoration
    why_not: str = ""
    layers: tuple[Layer, ...]
    tolerance_ang: float = math.inf

    def in_strips(self) -> Correction:
        """The same for images of the whole box at once, at the height of the specimen's mid-plane."""
        planes = sum(layer.planes for layer in self.layers)
        return replace(self, layers=(Layer(first=0, planes=planes, height_ang=0.0),))

    def in_words(self) -> str:
        """What is done, a sentence's end: ``corrected by …``."""
        if self.method == "none":
            return f"not corrected: {self.why_not}" if self.why_not else "not corrected"
        how = {"phase-flip": "by flipped phases", "multiply": "by multiplication", "wiener": "by Wiener's filter"}
        where = "in strips" if len(self.layers) == 1 else f"in strips for each of {len(self.layers)} slabs"
        return f"corrected {how[self.method]} {where}, depth within {self.tolerance_ang:.0f} Å"


def plan_correction(series: TiltSeries, box: Box, settings: ReconstructSettings) -> Correction:
    """Choose the correction of a tomogram's views.

    Raises
    ------
    InputError
        if a correction is asked for that the record does not allow, or one that sirt does not.
    """
    planes = box.shape[0]
    whole: tuple[Layer, ...] = (Layer(first=0, planes=planes, height_ang=0.0),)
    if settings.ctf == "none":
        return Correction(method="none", layers=whole)
    if settings.ctf_depth == "slabs" and settings.method != "wbp":
        raise InputError(
            f"{settings.method} takes images that are corrected once, not for each slab",
            mend="set reconstruct.ctf_depth to strips or auto, or reconstruct.method to wbp",
        )
    if settings.ctf in ("multiply", "wiener") and settings.method in _ITERATIVE and settings.non_negative:
        raise InputError(
            f"{settings.ctf} takes the images' mean level away, from which reconstruct.non_negative counts mass",
            mend="set reconstruct.ctf to phase-flip, or reconstruct.non_negative to false",
        )
    why_not, mend = obstacle(series)
    if why_not:
        if settings.ctf != "auto":
            raise InputError(f"{series.name}: the contrast transfer cannot be corrected: {why_not}", mend=mend)
        return Correction(method="none", why_not=why_not, layers=whole)
    assert series.optics.voltage_kv is not None
    tolerance = (
        depth_tolerance_ang(series.optics.voltage_kv, box.voxel_size_ang)
        if settings.ctf_tolerance == "auto"
        else settings.ctf_tolerance
    )
    layers = whole
    if settings.ctf_depth != "strips" and settings.method == "wbp" and series.geometry is not None:
        layers = _layers(series.geometry, box, tolerance)
    return Correction(method=AUTO if settings.ctf == "auto" else settings.ctf, layers=layers, tolerance_ang=tolerance)


def obstacle(series: TiltSeries) -> tuple[str, str]:
    """Why a record does not allow its contrast transfer to be corrected, and what mends it; empty where it does."""
    if series.imaging == "dark":
        return "dark-field images have none", "set reconstruct.ctf to none or auto"
    if series.defocus is None:
        return "no defocus is known", "run ctf first, or set reconstruct.ctf to none or auto"
    if series.optics.voltage_kv is None:
        return "no voltage is known", "state it with `lamella new --voltage`, or set reconstruct.ctf to none or auto"
    numbers = [series.defocus.u_ang, series.defocus.v_ang, series.defocus.angle_deg]
    if series.defocus.phase_shift_deg is not None:
        numbers.append(series.defocus.phase_shift_deg)
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=0))
    if len(bad):
        place = series.place[bad[0]] if series.place is not None else bad[0] + 1
        return f"the defocus of view {place} is not a number", "exclude the view, or run ctf again"
    return "", ""


def depth_tolerance_ang(voltage_kv: float, voxel_size_ang: float) -> float:
    """Depth that turns the phase of the voxels' Nyquist frequency by π/8: π λ δ k² = π/8."""
    highest = 0.5 / voxel_size_ang
    return _PHASE_RAD / (math.pi * electron_wavelength_ang(voltage_kv) * highest**2)


def depth_planes(geometry: TiltGeometry) -> Array:
    """``(n, 4)``: in each view the depth of what appears at q and lies at height z is c₀ + c₁ q_x + c₂ q_y + c₃ z, Å.

    Local fields, which move a point by some Å, are left out. A view along the specimen's plane has no such depth: it
    gets that of the centre, 0.
    """
    out = np.zeros((len(geometry), 4))
    places = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    heights = np.array([0.0, 0.0, 0.0, 1.0])
    for view in np.flatnonzero(_cos(geometry) > _STEEP):
        one = geometry.select([view]).with_terms(field=None)
        depth = one.depth_ang(one.back_project(places[None], heights[None])[0])[0]
        out[view] = depth[0], *(depth[1:] - depth[0])
    return out


def _cos(geometry: TiltGeometry) -> Array:
    """Cosine of each view's angle between beam and the specimen's normal."""
    cos: Array = np.abs(geometry.rotations()[:, 2, 2])
    return cos


def _layers(geometry: TiltGeometry, box: Box, tolerance_ang: float) -> tuple[Layer, ...]:
    """Layers so thin that their outer planes differ by no more than the tolerance from the middle, in any view.

    What stands at one place of an image lies deeper by Δz / cos t in a plane that is Δz higher.
    """
    planes = box.shape[0]
    cos = _cos(geometry)
    steepest = max(float(cos[cos > _STEEP].min(initial=1.0)), _STEEPEST)
    count = math.ceil(planes * box.voxel_size_ang / (2 * tolerance_ang * steepest))
    edges = np.unique(np.linspace(0, planes, min(count, planes) + 1).round().astype(int)).tolist()
    middle = planes // 2
    return tuple(
        Layer(first=a, planes=b - a, height_ang=((a + b - 1) / 2 - middle) * box.voxel_size_ang)
        for a, b in itertools.pairwise(edges)
    )
