"""Rigid bodies as volumes of potential: band-limited samples of clouds of Gaussians, of balls, and of maps.

A body is sampled once, without the error of any grid, and appears many times; pictures of it are central slices of
its Fourier transform.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.simulate.gaussians import Gaussians, render_volume

__all__ = ["Template", "ball_template", "band_limit", "box_size", "cloud_template", "resampled"]

Volume = NDArray[np.float32]

OVERSAMPLING = 1.5
"""Of the grid on which Gaussians are sampled before frequencies beyond the template's Nyquist are cut off."""
SPREAD = 1.1
"""Width, in voxels of that grid, by which they are widened there; undone in Fourier space. Aliases stay below 4e-4."""
ROLL_OFF = 0.85
"""Fraction of Nyquist from which the low-pass falls, as a raised cosine, to nothing at Nyquist."""
LARGEST_BOX = 768


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """One kind of rigid body.

    Attributes
    ----------
    name
        the packaged model's, or the file's.
    volume
        ``(d, d, d)`` zyx, d even: electrostatic potential above that of ice, V, without power beyond a sphere of
        radius Nyquist. Voxel ``d // 2`` is the origin of its poses.
    voxel_size_ang
        edge of a voxel; the images' pixel size.
    radius_ang
        how far its matter reaches from the origin.
    absorption
        amplitude taken away per V·Å in place of phase contrast (gold); 0: the microscope's amplitude contrast.
    damaged
        whether it fades with the dose (gold and ice crystals do not).
    particle
        whether its poses go into the table of truth.
    """

    name: str
    volume: Volume
    voxel_size_ang: float
    radius_ang: float
    absorption: float = 0.0
    damaged: bool = True
    particle: bool = True

    def __post_init__(self) -> None:
        size = self.volume.shape[0]
        if self.volume.shape != (size, size, size) or size % 2 or not np.isfinite(self.volume).all():
            raise InputError(
                f"template {self.name}: {self.volume.shape} voxels are no even cube of finite numbers",
                mend="give a cubic volume of even size",
            )

    def total_potential(self) -> float:
        """Volume integral of the potential, V·Å³."""
        return float(self.volume.sum(dtype=np.float64)) * self.voxel_size_ang**3


def box_size(radius_ang: float, voxel_size_ang: float) -> int:
    """Edge in voxels of a box for matter that reaches this far: a multiple of 4 that transforms fast.

    Raises
    ------
    InputError
        if it would be above `LARGEST_BOX`.
    """
    least = 2 * radius_ang / voxel_size_ang + 8
    size = 4 * scipy.fft.next_fast_len(int(np.ceil(least / 4)), real=True)
    if size > LARGEST_BOX:
        raise InputError(
            f"a body of radius {radius_ang:.0f} Å needs {size}³ voxels of {voxel_size_ang:g} Å",
            mend="image it at a larger pixel size, or give a smaller model",
        )
    return int(size)


def cloud_template(
    name: str, cloud: Gaussians, voxel_size_ang: float, *, particle: bool = True, damaged: bool = True
) -> Template:
    """Sample a cloud of Gaussians.

    Parameters
    ----------
    name
        of the template.
    cloud
        potential above ice, V·Å³, about the origin of the poses.
    voxel_size_ang
        of the template.
    particle, damaged
        as in `Template`.

    Notes
    -----
    The Gaussians are widened by a known width, sampled on a finer grid that they then cannot alias on, transformed,
    narrowed again, and cropped to the template's Nyquist frequency: non-uniform fast Fourier transform by Gaussian
    gridding (Greengard & Lee 2004).
    """
    reach = float(np.linalg.norm(cloud.places_ang, axis=1).max()) if len(cloud) else voxel_size_ang
    radius = reach + 2.0 * float(np.median(cloud.sigma_ang)) if len(cloud) else reach
    size = box_size(radius, voxel_size_ang)
    fine = round(size * OVERSAMPLING)
    step = voxel_size_ang * size / fine
    extra = SPREAD * step
    widened = Gaussians(cloud.places_ang, cloud.weights, np.sqrt(cloud.sigma_ang**2 + extra**2))
    values = render_volume(widened, step, (fine, fine, fine))
    terms = scipy.fft.rfftn(values, workers=1)
    del values
    terms = _cropped(terms, fine, size)
    k = _frequency(size) / voxel_size_ang
    terms *= (np.exp(2 * (np.pi * extra * k) ** 2) * _low_pass(k * voxel_size_ang)).astype(np.float32)
    volume = scipy.fft.irfftn(terms, s=(size, size, size), workers=1) * (size / fine) ** 3
    return Template(
        name=name,
        volume=np.ascontiguousarray(volume, dtype=np.float32),
        voxel_size_ang=voxel_size_ang,
        radius_ang=radius,
        particle=particle,
        damaged=damaged,
    )


def ball_template(
    name: str, diameter_ang: float, potential_v: float, voxel_size_ang: float, *, absorption: float = 0.0
) -> Template:
    """A ball of one potential, from its analytic transform 4π R³ (sin x − x cos x) / x³, x = 2π k R."""
    radius = diameter_ang / 2
    size = box_size(radius + 2 * voxel_size_ang, voxel_size_ang)
    k = _frequency(size)
    x = np.maximum(2 * np.pi * k * radius / voxel_size_ang, 1e-3)
    shape = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    total = potential_v * np.pi / 6 * diameter_ang**3
    # The transform of a volume centred on voxel size // 2: alternating signs move it there.
    phase = np.where(sum(np.indices(k.shape, sparse=True)) % 2, -1.0, 1.0)
    volume = scipy.fft.irfftn(total / voxel_size_ang**3 * shape * _low_pass(k) * phase, s=(size,) * 3)
    return Template(
        name=name,
        volume=volume.astype(np.float32),
        voxel_size_ang=voxel_size_ang,
        radius_ang=radius,
        absorption=absorption,
        damaged=False,
        particle=False,
    )


def band_limit(volume: Volume) -> Volume:
    """The volume without power beyond a sphere of radius Nyquist."""
    terms = scipy.fft.rfftn(volume) * _low_pass(_frequency(volume.shape[0])).astype(np.float32)
    return np.asarray(scipy.fft.irfftn(terms, s=volume.shape), dtype=np.float32)


def resampled(template: Template, voxel_size_ang: float, oversampling: int = 1) -> Template:
    """A template low-passed to the Nyquist frequency of another grid, on samples some times finer than that.

    Parameters
    ----------
    template
        any.
    voxel_size_ang
        of the grid that it shall be painted on; where that is finer than the template, nothing is lost.
    oversampling
        how much finer the samples are, about: the box keeps whole voxels.
    """
    size, box = template.volume.shape[0], template.volume.shape[0] * template.voxel_size_ang
    limit = max(2, 2 * round(box / voxel_size_ang / 2))
    fine = max(limit * oversampling, 4)
    kept = min(size, limit)
    terms = _cropped(scipy.fft.rfftn(template.volume), size, kept)
    terms *= _low_pass(_frequency(kept) * min(1.0, kept / limit)).astype(np.float32) if kept < size else np.float32(1)
    padded = np.zeros((fine, fine, fine // 2 + 1), dtype=np.complex64)
    half = min(kept, fine) // 2
    rows = np.r_[0:half, fine - half : fine]
    padded[np.ix_(rows, rows, np.arange(half))] = terms[:, :, :half]
    volume = scipy.fft.irfftn(padded, s=(fine, fine, fine)) * (fine / size) ** 3
    return replace(template, volume=np.asarray(volume, dtype=np.float32), voxel_size_ang=box / fine)


def _frequency(size: int) -> NDArray[np.float64]:
    """Length of k of each term of a cube's real transform, cycles per voxel."""
    full, half = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    return np.asarray(np.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2))


def _low_pass(k: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 below `ROLL_OFF` × Nyquist, 0 from Nyquist on; `k` in cycles per voxel."""
    along = np.clip((k / 0.5 - ROLL_OFF) / (1 - ROLL_OFF), 0, 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * along))


def _cropped(terms: NDArray[np.complex64], old: int, new: int) -> NDArray[np.complex64]:
    """Terms of a smaller cube over the same field; that cube's voxel n // 2 lies where the larger one's does."""
    half = new // 2
    keep = np.r_[0:half, old - half : old]
    # Both origins are half a box from the first voxel, so the phases agree as they are.
    return np.ascontiguousarray(terms[np.ix_(keep, keep, np.arange(half + 1))])
