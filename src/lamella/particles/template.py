"""The template: a map on the tomogram's voxels, mass positive, inside a soft mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.errors import ImageError, SettingsError
from lamella.fourier import band_pass, crop_volume, fast_size, soft_mask

__all__ = ["Template", "measured_diameter_ang", "prepare_template"]

Volume = NDArray[np.float32]

MASS_LEVEL = 0.1
"""Part of a map's highest values (99.9th percentile) from which a voxel counts as mass."""
EDGE_ANG = 30.0
"""Width of the soft edge of the mask."""
_SOLVENT_DEVIATIONS = 4.0
_ALIKE = 0.02  # voxel sizes that differ by a smaller part are of one sampling


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """A particle as it is looked for.

    Attributes
    ----------
    volume
        ``(n, n, n)`` zyx, n even, mass positive, multiplied by its mask, without its mean under the mask. Voxel n // 2
        is the particle's origin.
    mask
        ``(n, n, n)`` from 0 to 1: what of the tomogram is compared.
    spherical
        whether the mask is the same in all orientations.
    voxel_size_ang
        of both: the tomogram's.
    diameter_ang
        of the particle.
    notes
        what was found about it that its user should know.
    """

    volume: Volume
    mask: Volume
    spherical: bool
    voxel_size_ang: float
    diameter_ang: float
    notes: tuple[str, ...] = ()

    @property
    def box_px(self) -> int:
        """Edge."""
        return len(self.volume)

    def with_random_phases(self, seed: int) -> Template:
        """One of the same power spectrum without the particle's shape, under the same mask.

        Its score tells what any lump of that size would get; subtracting it leaves what the shape adds (Chaillet et al.
        2023, Int. J. Mol. Sci. 24:13375).
        """
        noise = torch.fft.rfftn(
            torch.from_numpy(np.random.default_rng(seed).standard_normal(self.volume.shape).astype(np.float32))
        )
        own = torch.fft.rfftn(torch.from_numpy(self.volume))
        turned = torch.fft.irfftn(own.abs() * noise / noise.abs().clamp_min(1e-20), s=self.volume.shape).numpy()
        # circular shift: random phases have no centre, and the mask would cut what lies at the corners
        volume = _centred(turned, self.mask)
        scale = math.sqrt(float((self.volume**2).sum()) / max(float((volume**2).sum()), 1e-30))
        return Template(
            volume=(volume * scale).astype(np.float32), mask=self.mask, spherical=self.spherical,
            voxel_size_ang=self.voxel_size_ang, diameter_ang=self.diameter_ang,
        )  # fmt: skip

    def mirrored(self) -> Template:
        """Its mirror image: a particle of the other hand."""
        return Template(
            volume=_through_origin(self.volume), mask=_through_origin(self.mask), spherical=self.spherical,
            voxel_size_ang=self.voxel_size_ang, diameter_ang=self.diameter_ang,
        )  # fmt: skip


def prepare_template(
    volume: Volume,
    voxel_size_ang: float,
    target_voxel_ang: float,
    *,
    diameter_ang: float | None = None,
    mask: Volume | None = None,
    resolution_ang: float = 0.0,
    stated_voxel_ang: float | None = None,
) -> Template:
    """Bring a map to the tomogram's voxels and put it under its mask.

    Parameters
    ----------
    volume
        ``(n, n, n)`` mass positive; its origin is voxel n // 2.
    voxel_size_ang
        of the map.
    target_voxel_ang
        of the tomogram.
    diameter_ang
        of the spherical mask; None measures the map.
    mask
        in the map's voxels, 0 … 1; None: a soft sphere of the diameter.
    resolution_ang
        finer detail is taken away; 0 keeps all that the tomogram's voxels hold.
    stated_voxel_ang
        the voxel size that another source states for the same map, where there is one.

    Raises
    ------
    ImageError
        if the map is no cube, not finite, constant, has its mass negative, or its mask does not fit.
    SettingsError
        if two voxel sizes are stated that differ, or the diameter is larger than the map.
    """
    _check(volume, voxel_size_ang, target_voxel_ang, mask)
    if stated_voxel_ang is not None and abs(stated_voxel_ang / voxel_size_ang - 1) > _ALIKE:
        raise SettingsError(
            f"the template's voxels are {voxel_size_ang:g} Å by its file and {stated_voxel_ang:g} Å by what was stated",
            mend="state the right one, or resample the map: lamella convert --pixel-size",
        )
    values = np.asarray(volume, np.float32)
    notes = []
    if diameter_ang is None:
        diameter_ang = measured_diameter_ang(values, voxel_size_ang)
        notes.append(f"the template measures {diameter_ang:.0f} Å across")
    edge = values.shape[0] * voxel_size_ang
    if diameter_ang > edge:
        raise SettingsError(
            f"a diameter of {diameter_ang:.0f} Å in a template that is {edge:.0f} Å wide in voxels of "
            f"{voxel_size_ang:g} Å",
            mend="see whether its file states the right voxel size (lamella convert --input-pixel-size); else give a "
            "smaller pick.diameter, or a map in a larger box: lamella convert --box",
        )
    if target_voxel_ang > diameter_ang / 4:
        raise SettingsError(
            f"a particle of {diameter_ang:.0f} Å in voxels of {target_voxel_ang:g} Å has no shape",
            mend="reconstruct with a smaller reconstruct.pixel_size",
        )
    size = fast_size(math.ceil((diameter_ang + 2 * EDGE_ANG) / target_voxel_ang) + 2)
    resampled = _resampled(values, voxel_size_ang, target_voxel_ang, size, resolution_ang)
    soft = _mask(mask, voxel_size_ang, target_voxel_ang, size, diameter_ang)
    return Template(
        volume=_centred(resampled, soft), mask=soft, spherical=mask is None, voxel_size_ang=target_voxel_ang,
        diameter_ang=diameter_ang, notes=tuple(notes),
    )  # fmt: skip


def measured_diameter_ang(volume: Volume, voxel_size_ang: float) -> float:
    """Diameter of the sphere around the origin that holds a map's mass, all but its outermost hundredth.

    Mass is what reaches `MASS_LEVEL` of the map's highest values, and stands out from the noise of its corners.
    """
    n = volume.shape[0]
    line = np.arange(n) - n // 2
    radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    outside = volume[radius > 0.48 * n]
    level, spread = (float(np.median(outside)), float(1.4826 * np.median(np.abs(outside - np.median(outside)))))
    highest = float(np.quantile(volume, 0.999))
    floor = max(level + MASS_LEVEL * (highest - level), level + _SOLVENT_DEVIATIONS * spread)
    mass = np.where((volume > floor) & (radius < n / 2), volume - level, 0.0)
    order = np.argsort(radius, axis=None)
    held = np.cumsum(mass.ravel()[order], dtype=np.float64)
    at = int(np.searchsorted(held, 0.99 * held[-1]))
    return float(2 * (radius.ravel()[order][min(at, len(order) - 1)] + 0.5) * voxel_size_ang)


def _check(volume: Volume, voxel_size_ang: float, target_voxel_ang: float, mask: Volume | None) -> None:
    if volume.ndim != 3 or len(set(volume.shape)) != 1 or volume.shape[0] < 8:
        raise ImageError(
            f"a template of {' × '.join(map(str, volume.shape))} voxels", mend="give a cubic map of 8 voxels or more"
        )
    if not (voxel_size_ang > 0 and target_voxel_ang > 0 and math.isfinite(voxel_size_ang)):
        raise ImageError(
            f"a template of voxels of {voxel_size_ang} Å", mend="state them: lamella convert IN OUT --pixel-size"
        )
    if not np.isfinite(volume).all():
        raise ImageError("the template holds values that are not numbers", mend="mend the map, or give another")
    if float(np.ptp(volume)) == 0:
        raise ImageError("the template is constant", mend="give a map of the particle")
    if mask is not None and (mask.shape != volume.shape or not np.isfinite(mask).all() or not mask.max() > 0):
        raise ImageError(
            f"a mask of {mask.shape} voxels for a template of {volume.shape}, or an empty one",
            mend="give a mask from 0 to 1 in the template's box",
        )
    _check_contrast(volume)


def _check_contrast(volume: Volume) -> None:
    """Refuse a map whose mass is negative: within its sphere the extremes below the corners' level are the greater."""
    n = volume.shape[0]
    line = np.arange(n) - n // 2
    square = line[:, None, None] ** 2 + line[:, None] ** 2 + line**2
    inside, outside = square < (0.35 * n) ** 2, square > (0.48 * n) ** 2
    level = float(np.median(volume[outside]))
    low, high = np.quantile(volume[inside], [0.005, 0.995]) - level
    spread = float(volume[outside].std())
    if -low > 1.5 * max(float(high), 0.0) and -low > 2 * spread:
        raise ImageError(
            "the template's mass is darker than what is around it",
            mend="give a map in which mass is positive (invert the contrast: multiply it by -1)",
        )


def _resampled(values: Volume, voxel: float, target: float, size: int, resolution_ang: float) -> Volume:
    """The map in a box of `size` target voxels, its origin in the middle; interpolated in Fourier space.

    The box is padded to a whole number of target voxels as nearly as possible, and what is left of the difference is
    made up by moving the terms' frequencies: not needed below a thousandth.
    """
    n = values.shape[0]
    level = float(np.median(values[[0, -1]]))
    wanted = max(n, math.ceil(size * target / voxel))
    old, new = _sizes(wanted + wanted % 2, voxel / target)
    padded = np.full((old,) * 3, level, np.float32)
    start = old // 2 - n // 2
    padded[(slice(start, start + n),) * 3] = values
    terms = torch.from_numpy(padded - level)
    if resolution_ang > 0:
        highest = voxel / resolution_ang
        filter = band_pass((old,) * 3, None, highest, 0.1 * highest)
        terms = torch.fft.irfftn(torch.fft.rfftn(terms) * filter, s=(old,) * 3)
    if new != old:  # pixel 0 stays; the origin old // 2 goes to new / 2 as both are even
        terms = crop_volume(terms, (new,) * 3)
    out = np.zeros((size,) * 3, np.float32)
    inner = min(size, new)
    here, there = size // 2 - inner // 2, new // 2 - inner // 2
    out[(slice(here, here + inner),) * 3] = terms.numpy()[(slice(there, there + inner),) * 3]
    return out


def _sizes(least: int, ratio: float) -> tuple[int, int]:
    """Even sizes (old, new), old at least `least`, whose ratio is nearest to `ratio`, to a thousandth if possible."""
    best = (math.inf, least, least)
    for old in range(least, least + 130, 2):
        new = max(8, 2 * round(old * ratio / 2))
        wrong = abs(new / (old * ratio) - 1)
        if wrong < best[0] - 1e-12:
            best = (wrong, old, new)
        if wrong < 5e-4:
            break
    return best[1], best[2]


def _mask(mask: Volume | None, voxel: float, target: float, size: int, diameter_ang: float) -> Volume:
    if mask is None:
        return soft_mask((size,) * 3, diameter_ang / 2 / target, EDGE_ANG / target).numpy()
    return np.clip(_resampled(np.asarray(mask, np.float32), voxel, target, size, 0.0), 0.0, 1.0)


def _centred(values: Volume, mask: Volume) -> Volume:
    """Values times the mask, of mean 0 under it."""
    mean = float((values * mask).sum(dtype=np.float64) / mask.sum(dtype=np.float64))
    out: Volume = ((values - mean) * mask).astype(np.float32)
    return out


def _through_origin(volume: Volume) -> Volume:
    """The volume inverted through voxel n // 2 of its even box."""
    return np.ascontiguousarray(np.roll(volume[::-1, ::-1, ::-1], 1, axis=(0, 1, 2)))
