"""The missing wedge: which frequencies the views measured, and how a network learns to fill in the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lamella.errors import InputError
from lamella.records import TiltSeries
from lamella.tomograms.networks.noise2noise import mean_square

__all__ = ["Wedge", "random_rotations", "turned", "wedge_loss"]

_TURNED = 0.75  # of the patches are turned; the others teach what an unturned tomogram's noise is like
_INNER = 0.75  # of a patch's edge is kept after turning, so that its corners seldom lie outside


@dataclass(frozen=True)
class Wedge:
    """The tilts that were measured, about the tomogram's y axis, degrees: from `low_deg` to `high_deg`."""

    low_deg: float
    high_deg: float

    @classmethod
    def of(cls, series: TiltSeries) -> Wedge:
        """The range of a series' solved tilt angles, half a step wider on either side, as each view stands for a step.

        Raises
        ------
        InputError
            if the series is not aligned, or has fewer than two views.
        """
        if series.geometry is None or len(series) < 2:
            raise InputError(f"{series.name}: no tilt angles of its views are solved", mend="run align first")
        tilts = np.sort(series.geometry.y_tilt_deg)
        half = float(np.median(np.diff(tilts))) / 2
        return cls(float(tilts[0]) - half, float(tilts[-1]) + half)

    def measured(self, edge: int, turns: Tensor) -> Tensor:
        """Which frequencies of turned cubes were measured.

        Parameters
        ----------
        edge
            voxels of a cube.
        turns
            ``(n, 3, 3)`` rotations R (xyz): the cube at p shows the tomogram at R p.

        Returns
        -------
        mask
            ``(n, 1, edge, edge, edge // 2 + 1)`` 1 or 0, on the grid of a real transform.

        Notes
        -----
        A view tilted by t measures the plane spanned by y and (cos t, 0, sin t). What is turned in space is turned
        alike in Fourier space.
        """
        device = turns.device
        full, half = torch.fft.fftfreq(edge, device=device), torch.fft.rfftfreq(edge, device=device)
        kz, ky, kx = torch.meshgrid(full, full, half, indexing="ij")
        k = torch.stack([kx, ky, kz], dim=-1)  # (z, y, x, xyz)
        turned_k = torch.einsum("nij,zyxj->nizyx", turns.to(k.dtype), k)
        angle = torch.rad2deg(torch.atan2(turned_k[:, 2], turned_k[:, 0]))
        middle, width = (self.low_deg + self.high_deg) / 2, (self.high_deg - self.low_deg) / 2
        off = (angle - middle + 90.0) % 180.0 - 90.0
        on_axis = turned_k[:, 0] ** 2 + turned_k[:, 2] ** 2 < (0.25 / edge) ** 2
        # the highest frequency of an even grid stands for both of its signs, which a turn takes to different places
        sound = (k.abs() < 0.5 - 1e-6).all(dim=-1)
        return (((off.abs() <= width) | on_axis) & sound).to(torch.float32)[:, None]


def random_rotations(count: int, random: np.random.Generator) -> Tensor:
    """``(count, 3, 3)`` rotations, evenly spread over all, and some that turn nothing."""
    q = random.normal(size=(count, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out = np.moveaxis(np.array(rows), -1, 0)
    out[random.random(count) >= _TURNED] = np.eye(3)
    return torch.from_numpy(out.astype(np.float32))


def turned(cubes: Tensor, turns: Tensor, edge: int) -> Tensor:
    """The inner `edge`³ voxels of cubes ``(n, 1, s, s, s)``, turned: what they show at p stood at R p."""
    n, size = len(cubes), cubes.shape[-1]
    theta = torch.cat([turns * (edge / size), torch.zeros(n, 3, 1, device=cubes.device)], dim=2).to(cubes.dtype)
    grid = functional.affine_grid(theta, [n, 1, edge, edge, edge], align_corners=False)
    return functional.grid_sample(cubes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def wedge_loss(
    network: Callable[[Tensor], Tensor],
    first: Tensor,
    second: Tensor,
    wedge: Wedge,
    random: np.random.Generator,
    align: int,
) -> Tensor:
    """Mean squared difference of the restored first half and the second, at frequencies that were measured.

    Parameters
    ----------
    network
        being trained.
    first, second
        ``(n, 1, s, s, s)`` cubes of the two halves, normalised.
    wedge
        of their tomogram.
    random
        where the turns come from.
    align
        sizes that the network takes are multiples of it.

    Notes
    -----
    Wiedemann & Heckel 2024 (DeepDeWedge), equation 3: cubes are turned, and another wedge, where that of an unturned
    tomogram lies, is taken out of the first. What the network puts there is compared with the second half wherever that
    was measured in its turned frame; nowhere else does the loss see the network's output. Its two terms, inside and
    outside the wedge taken out, are orthogonal, so that their sum is one norm. Halves with noise of their own teach to
    denoise at the same time.
    """
    size = first.shape[-1]
    edge = max(align, int(size * _INNER) // align * align)
    turns = random_rotations(len(first), random).to(first.device)
    first, second = turned(first, turns, edge), turned(second, turns, edge)
    still = torch.eye(3, device=first.device)[None]
    lacking = _filtered(first, wedge.measured(edge, still))
    difference = network(lacking) - second
    return mean_square(_filtered(difference, wedge.measured(edge, turns)))


def _filtered(cubes: Tensor, mask: Tensor) -> Tensor:
    axes = (-3, -2, -1)
    out: Tensor = torch.fft.irfftn(torch.fft.rfftn(cubes, dim=axes) * mask, s=cubes.shape[-3:], dim=axes)
    return out
