"""Defocus at an image's centre, where other programs state it, and of the tomogram's centre voxel, where records do.

A program that looks at one image cannot know where the tomogram's centre lies in it. What it calls the image's defocus
is that of the specimen at the image's centre: of the point of the plane z = 0 that is seen there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lamella.geometry import TiltGeometry
from lamella.records import Defocus, Note

__all__ = ["at_centre_voxel", "at_image_centre", "centre_depth_ang", "note_of_move"]

Array = NDArray[np.float64]


def centre_depth_ang(geometry: TiltGeometry) -> Array:
    """``(n,)`` depth in each view of the point of the plane z = 0 that appears at the image's centre pixel, Å.

    Raises
    ------
    GeometryError
        if a view looks along that plane.
    """
    points = geometry.back_project(np.zeros((len(geometry), 1, 2)), 0.0)[:, 0]
    depth: Array = np.einsum("nj,nj->n", geometry.rotations()[:, 2], points)
    return depth


def at_image_centre(defocus: Defocus, geometry: TiltGeometry, hand: int) -> Defocus:
    """The defocus at the images' centres, of a record's."""
    return _changed(defocus, hand * centre_depth_ang(geometry))


def at_centre_voxel(defocus: Defocus, geometry: TiltGeometry, hand: int) -> Defocus:
    """The defocus of the tomogram's centre voxel, of one stated at the images' centres."""
    return _changed(defocus, -hand * centre_depth_ang(geometry))


def note_of_move(geometry: TiltGeometry, hand: int, where: str) -> Note:
    """By how much the two differ, for the user."""
    most = float(np.abs(centre_depth_ang(geometry)).max())
    text = (
        f"its defoci are those at the images' centres; the tomogram's centre differs by up to {most:.0f} Å, which was "
        f"reckoned with a hand of {hand:+d}"
    )
    return Note(kind="info", where=where, text=text)


def _changed(defocus: Defocus, change_ang: Array) -> Defocus:
    return replace(defocus, u_ang=defocus.u_ang + change_ang, v_ang=defocus.v_ang + change_ang)
