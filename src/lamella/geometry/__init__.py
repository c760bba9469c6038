"""The one geometry: where a point of the specimen appears in each view, and what leaves the pictures unchanged."""

from lamella.geometry.field import ImageField
from lamella.geometry.projection import TiltGeometry
from lamella.geometry.rotations import angles_from_matrix, euler_matrix, rotation_x, rotation_y, rotation_z

__all__ = ["ImageField", "TiltGeometry", "angles_from_matrix", "euler_matrix", "rotation_x", "rotation_y", "rotation_z"]
