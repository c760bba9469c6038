"""The one geometry: where a point of the specimen appears in each view, and what leaves the pictures unchanged."""

from lamella.geometry.angular_grid import (
    angular_grid,
    directions_of,
    grid_spacing_deg,
    healpix_directions,
    local_grid,
    local_rotations,
    order_for_spacing,
    rotation_angle_deg,
)
from lamella.geometry.field import ImageField
from lamella.geometry.mirror import Mirrored, mirror
from lamella.geometry.projection import TiltGeometry
from lamella.geometry.regauge import Regauged, normalise_field, normalise_magnification, regauge
from lamella.geometry.rotations import (
    angles_from_matrix,
    euler_matrix,
    rotation_x,
    rotation_y,
    rotation_z,
    tilt_angles_from_matrix,
)
from lamella.geometry.symmetry import axis_rotation, point_group

__all__ = [
    "ImageField",
    "Mirrored",
    "Regauged",
    "TiltGeometry",
    "angles_from_matrix",
    "angular_grid",
    "axis_rotation",
    "directions_of",
    "euler_matrix",
    "grid_spacing_deg",
    "healpix_directions",
    "local_grid",
    "local_rotations",
    "mirror",
    "normalise_field",
    "normalise_magnification",
    "order_for_spacing",
    "point_group",
    "regauge",
    "rotation_angle_deg",
    "rotation_x",
    "rotation_y",
    "rotation_z",
    "tilt_angles_from_matrix",
]
