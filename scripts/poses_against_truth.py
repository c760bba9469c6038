"""How a record's particles compare with the simulated ones: which were found, and how far off they are.

python scripts/poses_against_truth.py PROJECT RECORD TRUTH_FOLDER [SYMMETRY]

Counted beside the particles of the table are the bodies that lie beyond the untilted view: the table leaves them out,
yet tilted and shifted views show them, and a tomogram reaches as far. A pick at one of them is neither found nor false.
They are known where the folder has the simulation's settings.

Two frames are free, and are fitted: the specimen's, which an alignment finds but for a motion, to the places of each
tomogram; and the map's, which a first model finds but for a motion that is common to all particles.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lamella.formats.relion_particles import read_particles
from lamella.formats.star import read_star
from lamella.geometry import euler_matrix, point_group, rotation_angle_deg
from lamella.records import Particles
from lamella.simulate import SimulateSettings, mounted_specimen
from lamella.simulate.true_series import series_name

Array = NDArray[np.float64]

FOUND_ANG = 60.0
"""A particle counts as found if a pick stands no farther from it."""
WRONG_DEG = 20.0
TRIED = 60
"""Particles whose own orientation is tried as that of the map."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Particles of one tomogram beside the simulated ones, in its found frame.

    Attributes
    ----------
    name
        of the tomogram.
    simulated, nearest
        how many there are, and the number ``(n,)`` of the one nearest to each found particle.
    places, matrices
        ``(n, 3)`` and ``(n, 3, 3)`` of those nearest.
    found_places, found_matrices
        of the found.
    beyond
        ``(n,)`` which stand at a body that lies beyond the untilted view.
    """

    name: str
    simulated: int
    nearest: NDArray[np.int64]
    places: Array
    matrices: Array
    found_places: Array
    found_matrices: Array
    beyond: NDArray[np.bool_]

    @property
    def hit(self) -> NDArray[np.bool_]:
        """``(n,)`` which have a simulated one near by."""
        return np.asarray(np.linalg.norm(self.found_places - self.places, axis=1) < FOUND_ANG)


@dataclass(frozen=True, eq=False)
class Frame:
    """The found map's frame: a point x of it is Q x + c in the body's, Å."""

    turn: Array
    centre_ang: Array

    def __str__(self) -> str:
        angle = rotation_angle_deg(np.eye(3), self.turn)
        return f"the map is turned by {angle:.2f}° and moved by {np.linalg.norm(self.centre_ang):.2f} Å"


def main(project: Path, record: str, truth: Path, symmetry: str = "C1") -> None:
    """Print the map's frame, and a line for each tomogram."""
    names, places, matrices = read_truth(truth)
    others = bodies_beyond(truth)
    members = [one for one in read_particles(project / record / "optimisation_set.star", project).members if len(one)]
    centre = np.zeros(3)
    for _ in range(3):
        pairs = [
            paired(one, places[names == one.name], matrices[names == one.name], centre, others.get(one.name))
            for one in members
        ]
        frame = common_frame(pairs, symmetry, centre)
        centre = frame.centre_ang
    print(frame)
    for one in pairs:
        print(compared(one, frame, symmetry))


def read_truth(folder: Path) -> tuple[NDArray[np.str_], Array, Array]:
    """Tomograms ``(n,)``, places ``(n, 3)`` and orientations ``(n, 3, 3)`` of the simulated particles."""
    table = next(iter(read_star(folder / "particles.star").values()))
    places = np.stack([table.numbers(f"rlnCenteredCoordinate{axis}Angst") for axis in "XYZ"], axis=-1)
    matrices = euler_matrix(*(table.numbers(f"rlnAngle{angle}") for angle in ("Rot", "Tilt", "Psi")))
    return np.array(table.text("rlnTomoName")), places, matrices


def bodies_beyond(folder: Path) -> dict[str, Array]:
    """Places ``(n, 3)`` of each series' bodies whose centre the untilted view does not hold; none without settings."""
    path = folder / "settings.json"
    if not path.exists():
        return {}
    settings = SimulateSettings.model_validate_json(path.read_text())
    out = {}
    for index in range(settings.series * (2 if settings.dual_axis else 1)):
        specimen = mounted_specimen(settings, index).specimen
        places = specimen.particles().places_ang
        outside = (np.abs(places[:, :2]) > np.array(specimen.field_ang[:2]) / 2).any(axis=1)
        out[series_name(settings, index)] = places[outside]
    return out


def paired(found: Particles, places: Array, matrices: Array, centre_ang: Array, others: Array | None = None) -> Pairs:
    """Found and simulated particles of a tomogram; places are of a point ``(3,)`` of the body, Å.

    `others` are the places ``(m, 3)`` of bodies that the table leaves out.
    """
    positions = found.positions_ang()
    places = places + matrices @ centre_ang
    turn, shift = np.eye(3), np.zeros(3)
    for reach in (150.0, 100.0, FOUND_ANG):
        away, nearest = neighbours(places @ turn.T + shift, positions)
        turn, shift = rigid_motion(places[nearest[away < reach]], positions[away < reach])
    _, nearest = neighbours(places @ turn.T + shift, positions)
    moved = places @ turn.T + shift
    missed = np.linalg.norm(positions - moved[nearest], axis=1) >= FOUND_ANG
    if others is not None and len(others):
        missed &= neighbours(others @ turn.T + shift, positions)[0] < FOUND_ANG
    else:
        missed[:] = False
    return Pairs(
        found.name, len(places), nearest, moved[nearest], turn @ matrices[nearest], positions, found.matrices(), missed
    )


def common_frame(pairs: Sequence[Pairs], symmetry: str, centre_ang: Array) -> Frame:
    """The map's frame that most particles agree on; `centre_ang` is what the pairs' places are of."""
    hits = [one.hit for one in pairs]
    true = np.concatenate([one.matrices[hit] for one, hit in zip(pairs, hits, strict=True)])
    found = np.concatenate([one.found_matrices[hit] for one, hit in zip(pairs, hits, strict=True)])
    away = np.concatenate([one.found_places[hit] - one.places[hit] for one, hit in zip(pairs, hits, strict=True)])
    turns = np.swapaxes(true, 1, 2) @ found
    # found = true · g · Q, g any rotation of the body's symmetry
    tried = turns[:: max(1, len(turns) // TRIED)]
    turn = min(tried, key=lambda one: float(np.median(rotation_angle_deg(true, found @ one.T, symmetry))))
    for _ in range(3):
        back = found @ turn.T
        same = np.stack([rotation_angle_deg(true @ g, back) for g in point_group(symmetry)])
        near = same.min(axis=0) <= max(2 * np.median(same.min(axis=0)), 0.1)
        sides = true[near] @ point_group(symmetry)[same.argmin(axis=0)[near]]
        left, _, right = np.linalg.svd((np.swapaxes(sides, 1, 2) @ found[near]).mean(axis=0))
        turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    moves = np.einsum("nji,nj->ni", found @ turn.T, away)
    return Frame(turn, centre_ang + np.median(moves, axis=0))


def compared(pairs: Pairs, frame: Frame, symmetry: str) -> str:
    """Recall, precision and errors of the particles of one tomogram, in words."""
    hit, nearest = pairs.hit, pairs.nearest
    away = np.linalg.norm(pairs.found_places - pairs.places, axis=1)[hit]
    angle = rotation_angle_deg(pairs.matrices[hit], pairs.found_matrices[hit] @ frame.turn.T, symmetry)
    beyond = f" ({pairs.beyond.sum()} more beyond the untilted view)" if pairs.beyond.any() else ""
    return (
        f"{pairs.name}: {len(nearest)} particles of {pairs.simulated}{beyond}: "
        f"recall {len(set(nearest[hit])) / pairs.simulated:.3f}, precision {hit[~pairs.beyond].mean():.3f}; "
        f"angle {np.median(angle):.2f}° (90 %: {np.quantile(angle, 0.9):.2f}°; {(angle > WRONG_DEG).sum()} beyond "
        f"{WRONG_DEG:g}°), place {np.median(away):.2f} Å (90 %: {np.quantile(away, 0.9):.2f} Å)"
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
