"""Amplitudes restored for the eye: a tomogram divided by its contrast transfer where it carries signal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import ImageError, PostconditionError
from lamella.fourier import fast_size
from lamella.optics.ctf import phase_aberration
from lamella.optics.restoration import Restoration, restoring_filter, signal_to_noise, wiener_filter
from lamella.progress import Progress, no_progress
from lamella.records import Optics, TiltSeries, VolumeSink, VolumeSource
from lamella.runtime import free_memory_bytes, give_memory_back, prepare
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.tomograms.scratch import array_in_file

__all__ = ["RadialTransfer", "deconvolve"]

_PADDING = 0.1  # of each side, at least, mirrored and faded, so that opposite faces do not see each other
_BLOCK_BYTES = 16 * 2**20  # transformed at a time along z
_TABLE = 1 << 16  # entries of the filter over frequency
_SHARE = 0.4  # of the free memory, above which the spectrum is kept in a temporary file


@dataclass(frozen=True, kw_only=True)
class RadialTransfer:
    """The contrast transfer that a tomogram is taken to have at every place and in every direction.

    Attributes
    ----------
    optics, defocus_ang, phase_shift_deg
        of the least tilted view.
    corrected
        how the views were corrected before they were combined: what they were multiplied by is part of the transfer.
    """

    optics: Optics
    defocus_ang: float
    phase_shift_deg: float = 0.0
    corrected: Literal["none"] | Restoration = "none"

    @classmethod
    def of(cls, series: TiltSeries, corrected: Literal["none"] | Restoration) -> RadialTransfer:
        """That of a series with defocus and voltage."""
        assert series.defocus is not None
        view = int(np.argmin(np.abs(series.tilt_deg)))
        plate = series.defocus.phase_shift_deg
        return cls(
            optics=series.optics,
            defocus_ang=float(series.defocus.mean_ang[view]),
            phase_shift_deg=0.0 if plate is None else float(plate[view]),
            corrected=corrected,
        )

    def at(self, frequency_per_ang: Tensor, signal_to_noise: Tensor | None = None) -> Tensor:
        """The transfer at spatial frequencies; the ratio of signal to noise is for views corrected by ``wiener``."""
        assert self.optics.voltage_kv is not None
        chi = phase_aberration(
            torch.zeros_like(frequency_per_ang), frequency_per_ang,
            defocus_u_ang=self.defocus_ang, defocus_v_ang=self.defocus_ang, angle_deg=0.0,
            voltage_kv=self.optics.voltage_kv, spherical_aberration_mm=self.optics.spherical_aberration_mm,
        )  # fmt: skip
        phase = chi + math.radians(self.phase_shift_deg) + math.asin(self.optics.amplitude_contrast)
        if self.corrected == "none":
            return torch.sin(phase)
        return torch.sin(phase) * restoring_filter(phase, self.corrected, signal_to_noise)


def deconvolve(
    volume: VolumeSource,
    voxel_size_ang: float,
    transfer: RadialTransfer,
    settings: ReconstructSettings,
    sink: VolumeSink,
    *,
    progress: Progress = no_progress,
) -> None:
    """Restore a tomogram's amplitudes by Wiener's filter with a supposed fall of signal to noise: for looking only.

    Parameters
    ----------
    volume, voxel_size_ang
        `(z, y, x)`, contrast of either sign, which is kept.
    transfer
        contrast transfer t that the volume has.
    settings
        strength, falloff and high pass of the ratio s of signal to noise (`snr_…`).
    sink
        takes finished planes.

    Raises
    ------
    ImageError
        if the volume is empty or holds voxels that are not finite.
    PostconditionError
        if the result is constant.

    Notes
    -----
    t / (t² + 1 / s) in three dimensions (Tegunov & Cramer 2019, Nat. Methods 16:1146; Liu et al. 2022, Nat. Commun.
    13:6482). The mean of the volume is removed: s is 0 there. Depth and tilt change the transfer, so where it is about
    0 amplitudes are uncertain; phases do not change where the tomogram is corrected.

    Work: one transform of the volume and back, plane by plane and then along z. Memory: the half spectrum of the
    volume, 4 bytes per voxel and what pads it, in a temporary file where it is short; and some planes.
    """
    nz, ny, nx = volume.shape
    if min(volume.shape) == 0:
        raise ImageError(f"a volume of shape {volume.shape}", mend="reconstruct the tomogram again")
    prepare()
    padded = [_padded(n) for n in volume.shape]
    spectrum = _room((nz, padded[1], padded[2] // 2 + 1))
    level = _mean(volume, progress)
    for z in range(nz):
        plane = volume.block(slice(z, z + 1), slice(0, ny), slice(0, nx))[0] - np.float32(level)
        spectrum[z] = torch.fft.rfft2(torch.from_numpy(_extended(plane, padded[1:])))
        progress(0.1 + 0.3 * z / nz, "transforming planes")
    _filter_along_z(spectrum, padded, voxel_size_ang, transfer, settings, progress)
    low, high = math.inf, -math.inf
    for z in range(nz):
        whole = torch.fft.irfft2(spectrum[z], s=(padded[1], padded[2])).numpy()
        plane = np.ascontiguousarray(whole[None, :ny, :nx])
        low, high = min(low, float(plane.min())), max(high, float(plane.max()))
        sink(z, 0, 0, plane)
        progress(0.7 + 0.3 * z / nz, "writing planes")
    del spectrum
    give_memory_back()
    if not low < high:
        raise PostconditionError(
            f"every voxel of the deconvolved tomogram would be {low:g}", mend="raise reconstruct.snr_strength"
        )
    progress(1.0, "")


def _filter_along_z(
    spectrum: Tensor, padded: Sequence[int], voxel_size_ang: float, transfer: RadialTransfer,
    settings: ReconstructSettings, progress: Progress,
) -> None:  # fmt: skip
    """Multiply by the filter, some rows of the planes' spectra at a time, in place."""
    nz, rows, columns = spectrum.shape
    kz, ky, kx = torch.fft.fftfreq(padded[0]), torch.fft.fftfreq(padded[1]), torch.fft.rfftfreq(padded[2])
    frequency = torch.linspace(0, math.sqrt(0.75) / voxel_size_ang, _TABLE, dtype=torch.float64)  # to the corner
    ratio = signal_to_noise(
        frequency, strength=settings.snr_strength, falloff=settings.snr_falloff, high_pass_ang=settings.snr_high_pass
    )
    table = wiener_filter(transfer.at(frequency, ratio), ratio).float()
    at_once = max(1, _BLOCK_BYTES // (8 * padded[0] * columns))
    for start in range(0, rows, at_once):
        part = slice(start, min(start + at_once, rows))
        place = (kz[:, None, None] ** 2 + (ky[part, None] ** 2 + kx**2)).sqrt_().mul_((_TABLE - 1) / math.sqrt(0.75))
        factor = table[place.round_().to(torch.int32)]
        del place
        terms = torch.fft.fft(_extend_along_z(spectrum[:, part], padded[0]), dim=0)
        spectrum[:, part] = torch.fft.ifft(terms.mul_(factor), dim=0)[:nz]
        progress(0.4 + 0.3 * start / rows, "restoring amplitudes")


def _padded(size: int) -> int:
    return fast_size(max(math.ceil(size * (1 + _PADDING)), size + 8))


def _fades(count: int) -> NDArray[np.float32]:
    out: NDArray[np.float32] = (0.5 + 0.5 * np.cos(np.pi * (np.arange(count) + 1) / (count + 1))).astype(np.float32)
    return out


def _extended(plane: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """The plane in the corner of a larger one, its edges mirrored outwards and faded; the larger one is periodic."""
    out = np.zeros(tuple(shape), np.float32)
    height, width = plane.shape
    out[:height, :width] = plane
    for whole, size in ((out.T, width), (out, height)):
        _mirror(whole, size)
    return out


def _extend_along_z(terms: Tensor, planes: int) -> Tensor:
    out = torch.zeros(planes, *terms.shape[1:], dtype=terms.dtype)
    out[: len(terms)] = terms
    _mirror(out.numpy(), len(terms))
    return out


def _mirror(whole: NDArray[Any], size: int) -> None:
    """Fill what lies beyond the first `size` entries of the first axis: half from each edge, mirrored, faded to 0."""
    room = len(whole) - size
    for edge, count, step in ((size - 1, room // 2, 1), (0, room - room // 2, -1)):
        count = min(count, size)
        for i, fade in enumerate(_fades(count)):
            whole[(edge + step * (i + 1)) % len(whole)] = whole[edge - step * i] * fade


def _mean(volume: VolumeSource, progress: Progress) -> float:
    nz, ny, nx = volume.shape
    total = 0.0
    for z in range(nz):
        total += float(volume.block(slice(z, z + 1), slice(0, ny), slice(0, nx)).sum(dtype=np.float64))
        if not math.isfinite(total):
            raise ImageError(f"plane {z} of the volume holds NaN or infinity", mend="reconstruct the tomogram again")
        progress(0.1 * z / nz, "reading the tomogram")
    return total / (nz * ny * nx)


def _room(shape: tuple[int, int, int]) -> Tensor:
    """Room for a spectrum, complex64."""
    if 8 * math.prod(shape) < _SHARE * free_memory_bytes("cpu"):
        return torch.empty(shape, dtype=torch.complex64)
    return torch.from_numpy(array_in_file(shape, np.complex64))
