"""How a record's particles compare with the simulated ones: which were found, and how far off they are.

python scripts/poses_against_truth.py PROJECT RECORD TRUTH_FOLDER [SYMMETRY]

The specimen's frame that an alignment finds differs from the simulated one by a motion; it is fitted to the places.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lamella.formats.relion_particles import read_particles
from lamella.formats.star import read_star
from lamella.geometry import euler_matrix, rotation_angle_deg
from lamella.records import Particles

Array = NDArray[np.float64]

FOUND_ANG = 60.0
"""A particle counts as found if a pick stands no farther from it."""


def main(project: Path, record: str, truth: Path, symmetry: str = "C1") -> None:
    """Print a line for each tomogram."""
    table = next(iter(read_star(truth / "particles.star").values()))
    names = np.array(table.text("rlnTomoName"))
    places = np.stack([table.numbers(f"rlnCenteredCoordinate{axis}Angst") for axis in "XYZ"], axis=-1)
    matrices = euler_matrix(*(table.numbers(f"rlnAngle{angle}") for angle in ("Rot", "Tilt", "Psi")))
    for member in read_particles(project / record / "optimisation_set.star", project).members:
        mine = names == member.name
        print(compared(member, places[mine], matrices[mine], symmetry))


def compared(found: Particles, places: Array, matrices: Array, symmetry: str) -> str:
    """Recall, precision and errors of the particles of one tomogram, in words."""
    positions = found.positions_ang()
    turn, shift = np.eye(3), np.zeros(3)
    for reach in (150.0, 100.0, FOUND_ANG):
        away, nearest = neighbours(places @ turn.T + shift, positions)
        turn, shift = rigid_motion(places[nearest[away < reach]], positions[away < reach])
    away, nearest = neighbours(places @ turn.T + shift, positions)
    hit = away < FOUND_ANG
    angle = rotation_angle_deg(turn @ matrices[nearest[hit]], found.matrices()[hit], symmetry)
    return (
        f"{found.name}: {len(found)} particles of {len(places)}: recall {len(set(nearest[hit])) / len(places):.3f}, "
        f"precision {hit.mean():.3f}; angle {np.median(angle):.2f}° (90 %: {np.quantile(angle, 0.9):.2f}°), "
        f"place {np.median(away[hit]):.2f} Å (90 %: {np.quantile(away[hit], 0.9):.2f} Å)"
    )


def neighbours(places: Array, positions: Array) -> tuple[Array, NDArray[np.int64]]:
    """Distance and number of the place nearest to each position."""
    away, nearest = cKDTree(places).query(positions)
    return np.asarray(away), np.asarray(nearest)


def rigid_motion(before: Array, after: Array) -> tuple[Array, Array]:
    """Rotation and shift that bring points onto others, least squares (Kabsch 1976)."""
    middle, goal = before.mean(axis=0), after.mean(axis=0)
    left, _, right = np.linalg.svd((before - middle).T @ (after - goal))
    hand = np.diag([1.0, 1.0, np.sign(np.linalg.det(right.T @ left.T))])
    turn: Array = right.T @ hand @ left.T
    return turn, goal - turn @ middle


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
