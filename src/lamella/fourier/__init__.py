"""Transforms of images and volumes: resampling, filters, shifts, correlation, shells. Torch tensors in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.fourier.chunks import per_image
    from lamella.fourier.correlate import cross_correlate, find_peak
    from lamella.fourier.filters import apply_filter, band_pass, gaussian_low_pass
    from lamella.fourier.grids import fast_size, frequency_axes, frequency_grid
    from lamella.fourier.masks import edge_taper, soft_mask, taper_edges
    from lamella.fourier.resample import crop_image, crop_spectrum, crop_volume
    from lamella.fourier.rescale import rescale, rescaled_size
    from lamella.fourier.resolved import ResolvedShells, equal_half_correlation, resolved_shells
    from lamella.fourier.shells import (
        resolution_at,
        shell_correlation,
        shell_count,
        shell_frequency,
        shell_index,
        shell_sums,
    )
    from lamella.fourier.shifts import shift_image
    from lamella.fourier.spectra import power_spectrum, radial_average

__all__ = [
    "ResolvedShells",
    "apply_filter",
    "band_pass",
    "crop_image",
    "crop_spectrum",
    "crop_volume",
    "cross_correlate",
    "edge_taper",
    "equal_half_correlation",
    "fast_size",
    "find_peak",
    "frequency_axes",
    "frequency_grid",
    "gaussian_low_pass",
    "per_image",
    "power_spectrum",
    "radial_average",
    "rescale",
    "rescaled_size",
    "resolution_at",
    "resolved_shells",
    "shell_correlation",
    "shell_count",
    "shell_frequency",
    "shell_index",
    "shell_sums",
    "shift_image",
    "soft_mask",
    "taper_edges",
]

open_room(
    __name__,
    {
        "ResolvedShells": "resolved",
        "apply_filter": "filters",
        "band_pass": "filters",
        "crop_image": "resample",
        "crop_spectrum": "resample",
        "crop_volume": "resample",
        "cross_correlate": "correlate",
        "edge_taper": "masks",
        "equal_half_correlation": "resolved",
        "fast_size": "grids",
        "find_peak": "correlate",
        "frequency_axes": "grids",
        "frequency_grid": "grids",
        "gaussian_low_pass": "filters",
        "per_image": "chunks",
        "power_spectrum": "spectra",
        "radial_average": "spectra",
        "rescale": "rescale",
        "rescaled_size": "rescale",
        "resolution_at": "shells",
        "resolved_shells": "resolved",
        "shell_correlation": "shells",
        "shell_count": "shells",
        "shell_frequency": "shells",
        "shell_index": "shells",
        "shell_sums": "shells",
        "shift_image": "shifts",
        "soft_mask": "masks",
        "taper_edges": "masks",
    },
)
