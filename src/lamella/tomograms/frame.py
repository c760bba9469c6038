"""The frame and the voxels in which a tomogram is worked on: turned, where rows of voxels then run along the views'
axis, and finer, where voxels are averaged; and the way back into the tomogram's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry, regauge
from lamella.geometry.rotations import rotation_z
from lamella.kernels.rows import Box
from lamella.records import TiltSeries, VolumeSink, VolumeSource
from lamella.tomograms.correction import Correction

__all__ = ["Frame"]

Block = NDArray[np.float32]

_LEAN_DEG = 10.0  # x-tilts up to this are no reason to turn


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """Where the work is done, and what it is there.

    Row loops want a tilt axis along y. The second series of a specimen, told in the frame of the first, has it along x:
    then the work is done in a frame that is turned by 90° about z, in which each voxel is a voxel of the tomogram.

    Attributes
    ----------
    series
        the series in this frame, with geometry and defocus.
    box
        its voxels here.
    turned
        whether x, y of the tomogram are y, −x here.
    finer
        how many voxels along each edge of one of the tomogram's.
    """

    series: TiltSeries
    box: Box
    turned: bool
    finer: int

    @classmethod
    def of(cls, series: TiltSeries, box: Box, finer: int = 1) -> Frame:
        """The frame for a series with geometry and a box of even sizes."""
        assert series.geometry is not None
        turned = _wants_turn(series.geometry)
        if not turned and finer == 1:
            return cls(series=series, box=box, turned=False, finer=1)
        nz, ny, nx = (n * finer for n in box.shape)
        voxel = box.voxel_size_ang / finer
        rotation = rotation_z(90.0) if turned else np.eye(3)
        # voxels averaged into one lie around its centre; and −y of voxels −n…n−1 is a voxel further on
        shift = rotation @ np.full(3, (finer - 1) / 2) + np.array([-1.0 if turned else 0.0, 0.0, 0.0])
        here = regauge(series.geometry, rotation, voxel * shift, hand=series.hand)
        defocus = series.defocus
        if defocus is not None:
            change = here.defocus_change_ang
            defocus = replace(defocus, u_ang=defocus.u_ang + change, v_ang=defocus.v_ang + change)
        shape = (nz, nx, ny) if turned else (nz, ny, nx)
        return cls(
            series=series.with_changes(geometry=here.geometry, defocus=defocus),
            box=Box(shape=shape, voxel_size_ang=voxel),
            turned=turned,
            finer=finer,
        )

    @property
    def plain(self) -> bool:
        """Whether it is the tomogram's own."""
        return not self.turned and self.finer == 1

    def corrected(self, correction: Correction) -> Correction:
        """A correction that was planned for the tomogram's planes, for those here."""
        if self.finer == 1:
            return correction
        up = (self.finer - 1) / 2 * self.box.voxel_size_ang
        layers = tuple(
            replace(
                layer,
                first=layer.first * self.finer,
                planes=layer.planes * self.finer,
                height_ang=layer.height_ang + up,
            )
            for layer in correction.layers
        )
        return replace(correction, layers=layers)

    def into(self, sink: VolumeSink) -> VolumeSink:
        """Takes blocks of this frame, whose edges are whole voxels of the tomogram, and passes them on in its own."""

        def take(z: int, y: int, x: int, block: Block) -> None:
            n = self.finer
            if n > 1:
                depth, height, width = (size // n for size in block.shape)
                block = block.reshape(depth, n, height, n, width, n).mean(axis=(1, 3, 5), dtype=np.float32)
                z, y, x = z // n, y // n, x // n
            if self.turned:
                rows = self.box.shape[2] // n
                block = np.ascontiguousarray(block.transpose(0, 2, 1)[:, ::-1])
                y, x = rows - (x + block.shape[1]), y
            sink(z, y, x, block)

        return take

    def seen(self, volume: VolumeSource | None) -> VolumeSource | None:
        """A volume of the tomogram's shape as it is in this frame, which must not be a finer one."""
        return _Turned(volume) if volume is not None and self.turned else volume


class _Turned:
    """A volume in a frame that is turned by 90° about z."""

    def __init__(self, volume: VolumeSource) -> None:
        self.volume = volume
        nz, ny, nx = volume.shape
        self.shape = (nz, nx, ny)

    def block(self, z: slice, y: slice, x: slice) -> Block:
        """Part of it, as of a volume."""
        width = self.shape[2]
        part = self.volume.block(z, slice(width - x.stop, width - x.start), y)
        return np.ascontiguousarray(part[:, ::-1].transpose(0, 2, 1))


def _wants_turn(geometry: TiltGeometry) -> bool:
    """Whether the views' axes lie nearer to x than to y."""
    if np.abs(geometry.x_tilt_deg).max() <= _LEAN_DEG:
        return False
    turned = regauge(geometry, rotation_z(90.0)).geometry
    return bool(_lean(turned) < 0.99 * _lean(geometry))


def _lean(geometry: TiltGeometry) -> float:
    """Mean size of the x-tilts' sines."""
    return float(np.abs(np.sin(np.deg2rad(geometry.x_tilt_deg))).mean())
