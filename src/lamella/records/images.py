"""How stage functions see pixels: a view or a block at a time, whatever file holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lamella.errors import ImageError

__all__ = [
    "ArrayFrames",
    "ArrayImages",
    "ArrayParticles",
    "ArrayVolume",
    "FrameSource",
    "ImageSink",
    "ImageSource",
    "ParticleSink",
    "ParticleSource",
    "VolumeSink",
    "VolumeSource",
]


class ImageSource(Protocol):
    """The tilt images of one series, in the order of its record; nothing is read before it is asked for."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(views, height, width)."""
        ...

    def __len__(self) -> int: ...

    def view(self, index: int) -> NDArray[np.float32]:
        """One image `(height, width)`, float32, row 0 at the bottom."""
        ...


class FrameSource(Protocol):
    """The frames of one movie, before any correction; nothing is read before it is asked for."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, height, width)."""
        ...

    def __len__(self) -> int: ...

    def frame(self, index: int) -> NDArray[Any]:
        """One frame `(height, width)` as it is stored (counts: uint8, uint16, int16, float32), in MRC's row order."""
        ...


class ImageSink(Protocol):
    """Takes finished tilt images one by one: the step behind it writes a file."""

    def __call__(self, index: int, image: NDArray[np.float32]) -> None:
        """Take image number `index`, counted from 0."""
        ...


class VolumeSource(Protocol):
    """A volume whose blocks are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x)."""
        ...

    def block(self, z: slice, y: slice, x: slice) -> NDArray[np.float32]:
        """A part of the volume, float32."""
        ...


class VolumeSink(Protocol):
    """Takes finished blocks of a volume, each once, in any order: the step behind it writes a file."""

    def __call__(self, z: int, y: int, x: int, block: NDArray[np.float32]) -> None:
        """Take the block whose first voxel is (z, y, x)."""
        ...


class ParticleSource(Protocol):
    """The pictures of particles, in the order of their `ParticleSet`; nothing is read before it is asked for."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> NDArray[np.float32]:
        """Pictures of one particle `(visible views, box, box)`, or its volume `(box, box, box)`; mass positive."""
        ...


class ParticleSink(Protocol):
    """Takes the finished pictures of particles one by one: the step behind it writes files."""

    def __call__(
        self, name: str, pictures: NDArray[np.float32], weights: NDArray[np.float32] | None
    ) -> tuple[str, str | None]:
        """Take a particle's pictures and, for a volume, its weights; returns what the record names them by."""
        ...


@dataclass(frozen=True, eq=False)
class ArrayParticles:
    """Pictures of particles that are in memory already, in the order of their `ParticleSet`."""

    arrays: Sequence[NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.arrays)

    def read(self, index: int) -> NDArray[np.float32]:
        """Pictures or volume of one particle, float32."""
        return np.asarray(self.arrays[index], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ArrayVolume:
    """A volume in memory, `(z, y, x)`: both a source and, called, a sink."""

    array: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x)."""
        nz, ny, nx = self.array.shape
        return nz, ny, nx

    def block(self, z: slice, y: slice, x: slice) -> NDArray[np.float32]:
        """A part of the volume, float32."""
        return np.asarray(self.array[z, y, x], dtype=np.float32)

    def __call__(self, z: int, y: int, x: int, block: NDArray[np.float32]) -> None:
        """Take the block whose first voxel is (z, y, x)."""
        nz, ny, nx = block.shape
        self.array[z : z + nz, y : y + ny, x : x + nx] = block


@dataclass(frozen=True, eq=False)
class ArrayFrames:
    """Frames that are in memory already: ``(frames, height, width)``, any kind of number."""

    array: NDArray[Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, height, width)."""
        n, height, width = self.array.shape
        return n, height, width

    def __len__(self) -> int:
        return len(self.array)

    def frame(self, index: int) -> NDArray[Any]:
        """One frame as it is."""
        frame: NDArray[Any] = self.array[index]
        return frame


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images that are in memory already: ``(views, height, width)``."""

    array: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise ImageError(f"a stack of shape {self.array.shape}", mend="give views × height × width")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(views, height, width)."""
        n, height, width = self.array.shape
        return n, height, width

    def __len__(self) -> int:
        return len(self.array)

    def view(self, index: int) -> NDArray[np.float32]:
        """One image, float32."""
        return np.asarray(self.array[index], dtype=np.float32)
