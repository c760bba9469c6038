"""The truth beside simulated raw data, read by starfile and projected by numpy, as the documentation tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import starfile

Array = np.ndarray


def axis_rotation(axis: str, degrees: float) -> Array:
    """Right-handed active rotation about an axis."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rows = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }
    return np.array(rows[axis], dtype=float)


def global_table(folder: Path) -> pandas.DataFrame:
    """One row per series."""
    table = starfile.read(folder / "truth/tilt_series.star", always_dict=True)["global"]
    return table.set_index("rlnTomoName")


def views(folder: Path, name: str = "TS_01") -> pandas.DataFrame:
    """One row per view of a series, by rising tilt."""
    return starfile.read(folder / f"truth/tilt_series/{name}.star", always_dict=True)[name]


def rotation_of(view: pandas.Series) -> Array:
    """From the specimen's frame to the microscope's."""
    turns = (("z", view.rlnTomoZRot), ("y", view.rlnTomoYTilt), ("x", view.rlnTomoXTilt))
    z, y, x = (axis_rotation(axis, angle) for axis, angle in turns)
    return z @ y @ x


def project(points: Array, view: pandas.Series) -> tuple[Array, Array]:
    """``(n, 2)`` Å from the image's centre pixel, and ``(n,)`` depth, of a series without deformation."""
    seen = points @ rotation_of(view).T
    shift = np.array([view.rlnTomoXShiftAngst, view.rlnTomoYShiftAngst], dtype=float)
    return view.lamellaMagnification * seen[:, :2] + shift, seen[:, 2]


def places(folder: Path, what: str, name: str = "TS_01") -> Array:
    """``(n, 3)`` of the beads or particles of a series, Å."""
    table = starfile.read(folder / f"truth/{what}.star", always_dict=True)[what]
    table = table[table.rlnTomoName == name]
    return table[[f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]].to_numpy(dtype=float)


def isolated(pixels: Array, shape: tuple[int, int], margin: float) -> Array:
    """Which of the points ``(n, 2)`` px have nothing else, and no edge, within a margin."""
    distance = np.linalg.norm(pixels[:, None] - pixels[None], axis=-1) + 1e9 * np.eye(len(pixels))
    inside = ((pixels > margin) & (pixels < np.array(shape[::-1]) - 1 - margin)).all(axis=1)
    return inside & (distance.min(axis=1) > 2 * margin)


def dark_spot(image: Array, near: Array, radius: float) -> Array:
    """(x, y) px of the centre of mass of what is missing within a circle that follows it."""
    found = np.array(near, dtype=float)
    y, x = np.indices(image.shape)
    for _ in range(6):
        distance = np.hypot(x - found[0], y - found[1])
        ring = (distance > radius) & (distance < radius + 4)
        # the edge of the circle is soft, so that it may lie between pixels
        weight = np.clip(radius + 0.5 - distance, 0, 1) * (np.median(image[ring]) - image)
        found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    return found
