"""Files of classes' maps, and what is said of classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamella.errors import PostconditionError
from lamella.formats.mrc import write_mrc
from lamella.records import ParticleSet
from lamella.workflow.context import Context

__all__ = ["tell_classes", "write_class_maps"]


def write_class_maps(context: Context, maps: NDArray[np.float32], voxel_size_ang: float) -> tuple[str, ...]:
    """Write ``(c, b, b, b)`` maps as ``class_1.mrc``, … in the step's folder; their names in records.

    Raises
    ------
    PostconditionError
        if a map is not finite.
    """
    names = []
    for number, volume in enumerate(maps, start=1):
        if not np.isfinite(volume).all():
            raise PostconditionError(f"the map of class {number} is not finite", mend="look for damaged pictures")
        path = context.folder / f"class_{number}.mrc"
        write_mrc(path, volume, voxel_size_ang)
        context.outputs.append(path)
        names.append(context.name(path))
    return tuple(names)


def tell_classes(particles: ParticleSet, classes: int, context: Context) -> None:
    """Say and keep how many particles each class holds."""
    numbers = np.concatenate([member.classes for member in particles.members if member.classes is not None])
    sizes = np.bincount(numbers, minlength=classes + 1)[1:]
    context.say("particles of the classes: " + ", ".join(f"{number}: {size}" for number, size in enumerate(sizes, 1)))
    context.measure(**{f"Class{number}Particles": float(size) for number, size in enumerate(sizes, 1)})
