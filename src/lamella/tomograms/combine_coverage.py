"""What a tilt series measures of each spatial frequency: its wedge, its views and what dose left of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamella.errors import ProjectError
from lamella.geometry import rotation_x
from lamella.records import TiltSeries
from lamella.tomograms.weights import angular_spacing, dose_weights

__all__ = ["Coverage"]

Array = NDArray[np.float64]

_ANGLES = 1801  # of the table: a tenth of a degree from −90 to 90
_FREQUENCIES = 129  # of the table, 0 … √3 / 2 cycles per voxel


@dataclass(frozen=True, kw_only=True, eq=False)
class Coverage:
    """How much a tilt series says of each frequency.

    Attributes
    ----------
    rotation
        ``(3, 3)`` from the frame of the frequencies to one in which the tilt axis is y and the untilted ray is z.
    range_deg
        the outermost tilts.
    table
        ``(angles, frequencies)`` views per radian at each tilt angle, weighted by their dose and by the square of what
        dose left of each frequency.
    voxel_ang, thickness_ang
        of the tomogram; a view says something of frequencies up to half of 1 / thickness beside its plane.
    """

    rotation: Array
    range_deg: tuple[float, float]
    table: NDArray[np.float32]
    voxel_ang: float
    thickness_ang: float

    @classmethod
    def of(cls, series: TiltSeries, voxel_ang: float, thickness_ang: float) -> Coverage:
        """The coverage of a series, seen from its own tomogram's frame.

        Raises
        ------
        ProjectError
            if the series has no geometry.
        GeometryError
            if all views have one tilt.
        """
        if series.geometry is None:
            raise ProjectError(f"{series.name}: the views are not aligned", mend="run align first")
        tilt = series.geometry.y_tilt_deg
        order = np.argsort(tilt, kind="stable")
        per_range = 1 / angular_spacing(tilt)[order]
        frequency = np.linspace(0, np.sqrt(3) / 2, _FREQUENCIES)
        left = dose_weights(series, frequency, voxel_ang)
        kept = np.ones((len(tilt), _FREQUENCIES)) if left is None else np.stack(left)[order] ** 2
        dose = series.view_dose
        if dose is not None and (dose > 0).all():
            kept *= dose[order][:, None]
        place = np.interp(np.linspace(-90, 90, _ANGLES), tilt[order], np.arange(len(tilt)))
        low = np.minimum(place.astype(int), max(len(tilt) - 2, 0))
        part = (place - low)[:, None]
        density = per_range[:, None] * kept
        table = density[low] * (1 - part) + density[np.minimum(low + 1, len(tilt) - 1)] * part
        return cls(
            rotation=rotation_x(float(series.geometry.x_tilt_deg.mean())),
            range_deg=(float(tilt.min()), float(tilt.max())),
            table=table.astype(np.float32),
            voxel_ang=voxel_ang,
            thickness_ang=thickness_ang,
        )

    def turned(self, to_own: Array) -> Coverage:
        """The same seen from a frame that `to_own` ``(3, 3)`` turns into the one that it was seen from."""
        return replace(self, rotation=self.rotation @ to_own)

    def at(self, kz: Tensor, ky: Tensor, kx: Tensor) -> tuple[Tensor, Tensor]:
        """Coverage and weight of frequencies, cycles per voxel; the three broadcast against each other.

        Returns
        -------
        measured
            1 where the series measures, 0 in its missing wedge, over half of 1 / thickness in between.
        weight
            `measured` times the number of views that speak of the frequency, by their dose: the inverse of the variance
            of the noise there.

        Notes
        -----
        Central sections (Crowther et al. 1970): a view tilted by θ measures the plane kz = kx · tan θ. At a distance k
        from the tilt axis, views spread over an angle overlap as much as k times that angle fits into the planes'
        thickness, 1 / thickness.
        """
        r = self.rotation
        x = r[0, 0] * kx + r[0, 1] * ky + r[0, 2] * kz
        z = r[2, 0] * kx + r[2, 1] * ky + r[2, 2] * kz
        tilt = torch.atan(z / torch.where(x.abs() < 1e-9, 1e-9, x))
        radius = (x * x + z * z).sqrt_()
        depth = self.thickness_ang / self.voxel_ang
        low, high = (float(np.deg2rad(angle)) for angle in self.range_deg)
        beyond = torch.maximum(low - tilt, tilt - high).clamp_(0, np.pi / 2)
        off = (radius * torch.sin(beyond)).mul_(2 * depth).clamp_(0, 1)  # in halves of planes' thicknesses
        measured = torch.cos(off.mul_(np.pi / 2)).square_()
        k = (kx * kx + ky * ky + kz * kz).sqrt_()
        row = ((tilt * (180 / np.pi) + 90) * ((_ANGLES - 1) / 180)).round_().long()
        column = (k * ((_FREQUENCIES - 1) / (np.sqrt(3) / 2))).round_().long().clamp_max_(_FREQUENCIES - 1)
        views = torch.from_numpy(self.table).to(kx.device)[row, column]
        weight = views.mul_(measured) / (radius * depth).clamp_min_(0.5)
        return measured, weight
