"""From two half maps to the map that is looked at: masked, sharpened, and judged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.particles.directional import DirectionalFsc, directional_fsc
from lamella.particles.guinier import GuinierPlot, fit_guinier, signal_weight
from lamella.particles.local_resolution import LocalResolution, filter_locally, local_resolution
from lamella.particles.map_fsc import check_halves, independent_part, masked_fsc
from lamella.particles.map_mask import MapMask, automatic_mask, check_mask
from lamella.particles.postprocess_settings import PostprocessSettings
from lamella.particles.postprocess_sharpen import sharpen
from lamella.progress import Progress, no_progress
from lamella.records.map_fsc import MapFsc

__all__ = ["Mtf", "Postprocessed", "postprocess"]

Volume = NDArray[np.float32]
Array = NDArray[np.float64]

_LEAST_TRANSFER = 0.05  # a detector that passes less is not undone further
_LEAST_AGREEMENT = 0.5  # of the first shell
_TIGHT = 0.2  # correlation of random phases, within the resolution, from which a mask is called tight


@dataclass(frozen=True, kw_only=True, eq=False)
class Mtf:
    """A detector's modulation transfer.

    Attributes
    ----------
    frequency
        ``(m,)`` cycles per detector pixel, rising.
    value
        ``(m,)``.
    pixel_size_ang
        of the detector at the specimen, Å.
    """

    frequency: Array
    value: Array
    pixel_size_ang: float

    def at(self, frequency_per_ang: Array) -> Array:
        """The transfer at frequencies in 1/Å, over its value at 0; held at the last beyond the curve's end."""
        found = np.interp(frequency_per_ang * self.pixel_size_ang, self.frequency, self.value)  # (1/Å) (Å/px) = 1/px
        transfer: Array = np.maximum(found / self.value[0], _LEAST_TRANSFER)
        return transfer


@dataclass(frozen=True, kw_only=True, eq=False)
class Postprocessed:
    """What came of two half maps.

    Attributes
    ----------
    sharpened, masked
        ``(n, n, n)`` the sharpened map, and the same under the mask.
    mask
        ``(n, n, n)``, 0…1.
    found_mask
        how it was found; None where it was given.
    fsc
        of the halves; its `correlation` is the corrected one.
    resolution_ang, unmasked_resolution_ang
        where the corrected and the unmasked correlation fall below 0.143 for good.
    limited
        whether the correlation never falls, so that the voxel size limits the resolution.
    guinier
        plot and line.
    b_factor_ang2
        that the map was sharpened with; 0 where no line could be fitted, or its fall is within the error.
    local, local_map
        resolution around each voxel, and the map filtered by it; None where not asked for.
    directional
        resolution by direction; None where not asked for.
    messages
        what the user should know.
    """

    sharpened: Volume
    masked: Volume
    mask: Volume
    found_mask: MapMask | None
    fsc: MapFsc
    resolution_ang: float
    unmasked_resolution_ang: float
    limited: bool
    guinier: GuinierPlot
    b_factor_ang2: float
    local: LocalResolution | None
    local_map: Volume | None
    directional: DirectionalFsc | None
    messages: tuple[str, ...]


def postprocess(
    half1: Volume,
    half2: Volume,
    voxel_size_ang: float,
    settings: PostprocessSettings,
    *,
    symmetry: str = "C1",
    mask: Volume | None = None,
    mtf: Mtf | None = None,
    progress: Progress = no_progress,
) -> Postprocessed:
    """Mask, judge and sharpen an average.

    Parameters
    ----------
    half1, half2
        ``(n, n, n)`` averages of two half sets that never met, mass positive.
    voxel_size_ang
        Å.
    settings
        see `PostprocessSettings`.
    symmetry
        point group that was imposed on both.
    mask
        ``(n, n, n)``; None: one is made from the mean of the halves.
    mtf
        of the detector, which is divided out, or None.
    progress
        told how far it is.

    Raises
    ------
    ImageError
        if the halves, or they and the mask, differ in size, hold NaN, are constant, or no mask is found.
    InputError
        if the halves are one map, or do not agree at all.
    """
    check_halves(half1, half2)
    mean: Volume = (0.5 * (half1 + half2)).astype(np.float32)
    progress(0.05, "mask")
    found = None if mask is not None else _find_mask(mean, voxel_size_ang, settings)
    window = found.mask if found is not None else np.clip(_checked(mask, mean.shape), 0, 1).astype(np.float32)
    progress(0.15, "shell correlation")
    fsc = masked_fsc(
        half1, half2, window, voxel_size_ang,
        symmetry=symmetry, phase_from_ang=_number(settings.phase_from), seed=settings.seed,
    )  # fmt: skip
    _check_agreement(fsc)
    transfer = None if mtf is None else mtf.at(fsc.frequency_per_ang)
    stated = fsc.resolution_ang() or fsc.finest_ang
    guinier = fit_guinier(
        mean * window, voxel_size_ang, fsc.correlation,
        to_ang=stated, from_ang=_number(settings.guinier_from), transfer=transfer,
    )  # fmt: skip
    given = _number(settings.b_factor)
    b_factor = _trusted(guinier) if given is None else given
    undone = partial(sharpen, mean, voxel_size_ang, b_factor_ang2=b_factor, transfer=transfer)
    sharpened = undone(weight=signal_weight(fsc.correlation), low_pass_ang=_number(settings.low_pass) or stated)
    local, local_map = None, None
    if settings.local_resolution:
        local, local_map = _by_place(half1, half2, window, undone(), voxel_size_ang, progress)
    progress(0.9, "correlation by direction")
    directional = _by_direction(half1, half2, window, voxel_size_ang, symmetry) if settings.directional else None
    progress(1.0, "postprocessed")
    return Postprocessed(
        sharpened=sharpened,
        masked=sharpened * window,
        mask=window,
        found_mask=found,
        fsc=fsc,
        resolution_ang=stated,
        unmasked_resolution_ang=_unmasked_ang(fsc),
        limited=fsc.resolution_ang() is None,
        guinier=guinier,
        b_factor_ang2=b_factor,
        local=local,
        local_map=local_map,
        directional=directional,
        messages=_messages(fsc, stated, guinier, settings),
    )


def _by_direction(half1: Volume, half2: Volume, window: Volume, voxel_size_ang: float, symmetry: str) -> DirectionalFsc:
    """Shell correlation by direction of the masked halves."""
    part = independent_part(window, symmetry)
    return directional_fsc(half1 * window, half2 * window, voxel_size_ang, part)


def _trusted(guinier: GuinierPlot) -> float:
    """The line's B-factor where amplitudes fall by more than its error, else 0."""
    b_factor, error = guinier.b_factor_ang2, guinier.b_factor_error_ang2
    return b_factor if b_factor is not None and error is not None and b_factor < -error else 0.0


def _by_place(
    half1: Volume, half2: Volume, window: Volume, plain: Volume, voxel_size_ang: float, progress: Progress
) -> tuple[LocalResolution, Volume]:
    """The local resolution, and the sharpened map filtered by it."""
    progress(0.3, "local resolution")
    local = local_resolution(half1, half2, window, voxel_size_ang, _part(progress, 0.3, 0.7))
    filtered = filter_locally(plain, local.resolution_ang, voxel_size_ang, _part(progress, 0.7, 0.9))
    return local, filtered * window


def _find_mask(mean: Volume, voxel_size_ang: float, settings: PostprocessSettings) -> MapMask:
    return automatic_mask(
        mean,
        voxel_size_ang,
        threshold=_number(settings.mask_threshold),
        low_pass_ang=settings.mask_low_pass,
        extend_px=settings.mask_extend,
        edge_px=settings.mask_edge,
    )


def _checked(mask: Volume | None, shape: tuple[int, ...]) -> Volume:
    assert mask is not None
    check_mask(mask, shape)
    return mask


def _check_agreement(fsc: MapFsc) -> None:
    """Refuse halves that show two things, or nothing.

    Raises
    ------
    InputError
        if even the coarsest shell does not correlate.
    """
    if fsc.correlation[1] < _LEAST_AGREEMENT:
        raise InputError(
            f"the half maps do not agree even in the first shell (correlation {fsc.correlation[1]:.2f})",
            mend="check that both are of one structure, in one orientation and with one sign",
        )


def _messages(
    fsc: MapFsc, resolution_ang: float, guinier: GuinierPlot, settings: PostprocessSettings
) -> tuple[str, ...]:
    out = []
    if fsc.resolution_ang() is None:
        out.append("the halves agree up to the last shell: voxels limit the resolution, average with less binning")
    assert fsc.randomised is not None
    beyond = fsc.randomised[fsc.frequency_per_ang >= 1 / resolution_ang]
    if len(beyond) and float(np.abs(beyond[:3]).max()) > _TIGHT:
        out.append(
            f"the mask alone correlates by {float(np.abs(beyond[:3]).max()):.2f} at the resolution: it is tight, "
            "which the stated resolution is corrected for; widen mask_extend or mask_edge"
        )
    if settings.b_factor == "auto" and not _trusted(guinier):
        line = f"Guinier's line from {guinier.from_ang:g} Å to {resolution_ang:.3g} Å"
        known = guinier.b_factor_ang2 is not None
        found = f"{guinier.b_factor_ang2:.0f} ± {guinier.b_factor_error_ang2:.0f} Å²" if known else "too few shells"
        out.append(f"not sharpened: {line} has {found}; set guinier_from coarser, or give b_factor")
    return tuple(out)


def _unmasked_ang(fsc: MapFsc) -> float:
    """Å where the correlation without a mask falls below 0.143 for good; the last shell's where it never does."""
    assert fsc.unmasked is not None
    alone = MapFsc(frequency_per_ang=fsc.frequency_per_ang, correlation=fsc.unmasked)
    return alone.resolution_ang() or alone.finest_ang


def _number(value: float | str) -> float | None:
    return None if isinstance(value, str) else value


def _part(progress: Progress, begin: float, end: float) -> Progress:
    return lambda share, text="": progress(begin + (end - begin) * share, text)
