"""copick's picks: a JSON file per run, tool and object, in ``ExperimentRuns/RUN/Picks``.

Locations are Å from the centre of the tomogram's first voxel; ``transformation_`` is a 4 × 4 matrix that takes the
object's frame to the tomogram's: its rotation is A, its translation is added to the location.

Source: the models of copick's own data format.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError
from lamella.formats.atomic import atomic_text
from lamella.formats.point_lists import CONTOUR, SCORE, PointColumns, named_tomogram, tomogram_of_file
from lamella.formats.voxels import to_voxels
from lamella.records import Note, Particles, ParticleSet, Tomogram

__all__ = ["read_copick", "write_copick"]

Array = NDArray[np.float64]

_LARGEST_FILE = 2**30
_NOT_TURNED = 1e-3
USER, SESSION, OBJECT = "lamella", "0", "particle"


def read_copick(path: Path | str, tomograms: Sequence[Tomogram]) -> ParticleSet:
    """Read picks.

    Parameters
    ----------
    path
        a JSON file, or a folder with ``RUN/Picks/*.json`` or JSON files somewhere below it.
    tomograms
        which runs are named after; runs of other names are an error.

    Raises
    ------
    FormatError
        if a file holds no picks, another unit than Å, or a matrix that is no rotation; or the folder has picks of
        several objects.
    """
    files = _files(Path(path))
    owner: list[int] = []
    places: list[Array] = []
    matrices: list[Array] = []
    scores: list[float] = []
    instances: list[float] = []
    for file in files:
        picks = _picks(file)
        run = picks.get("run_name")
        place = named_tomogram(run, tomograms, str(file)) if run else tomogram_of_file(file, tomograms)
        for number, point in enumerate(picks["points"] or (), start=1):
            turned = picks.get("trust_orientation", True) is not False
            where, matrix = _pose(point, f"{file}: point {number}", turned=turned)
            owner.append(place)
            places.append(where / tomograms[place].voxel_size_ang)
            matrices.append(matrix)
            scores.append(float(point.get("score") if point.get("score") is not None else 1.0))
            instances.append(float(point.get("instance_id") or 0))
    return PointColumns(
        owner=np.array(owner, dtype=np.int64),
        index=np.array(places).reshape(-1, 3),
        matrices=np.array(matrices).reshape(-1, 3, 3),
        scores={SCORE: np.array(scores), CONTOUR: np.array(instances)},
    ).particles(tomograms)


def write_copick(particles: ParticleSet, folder: Path, root: Path) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
    """Write ``ExperimentRuns/NAME/Picks/lamella_0_particle.json`` of each tomogram that has particles."""
    files = []
    for one in particles.members:
        if len(one):
            files.append(folder / "ExperimentRuns" / one.name / "Picks" / f"{USER}_{SESSION}_{OBJECT}.json")
            atomic_text(files[-1], json.dumps(_document(one), indent=1) + "\n")
    notes = []
    if any(one.half_set is not None for one in particles.members):
        notes.append(Note(kind="dropped", where=str(folder), text="picks have no half sets"))
    return tuple(files), tuple(notes)


def _document(one: Particles) -> dict[str, Any]:
    voxel = one.tomogram.voxel_size_ang
    places = to_voxels(one.tomogram, one.positions_ang()) * voxel
    matrices = np.broadcast_to(np.eye(4), (len(one), 4, 4)).copy()
    matrices[:, :3, :3] = one.matrices()
    scores, instances = one.scores.get(SCORE, np.ones(len(one))), one.scores.get(CONTOUR, np.zeros(len(one)))
    points = [
        {
            "location": dict(zip("xyz", map(float, place), strict=True)),
            "transformation_": matrix.tolist(),
            "instance_id": int(instance) if np.isfinite(instance) else 0,
            "score": float(score) if np.isfinite(score) else 1.0,
        }
        for place, matrix, score, instance in zip(places, matrices, scores, instances, strict=True)
    ]
    return {
        "pickable_object_name": OBJECT,
        "user_id": USER,
        "session_id": SESSION,
        "run_name": one.name,
        "voxel_spacing": voxel,
        "unit": "angstrom",
        "points": points,
        "trust_orientation": True,
    }


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.rglob("Picks/*.json")) or sorted(path.rglob("*.json"))
    objects = {file.stem for file in files if file.parent.name == "Picks"}
    if len(objects) > 1:
        raise FormatError(
            f"{path}: picks of several objects or tools ({', '.join(sorted(objects)[:3])})",
            mend="give a folder with one of them in each run",
        )
    if not files:
        raise FormatError(f"{path}: no picks (.json) in this folder", mend="check the path")
    return files


def _picks(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise FormatError(f"{file}: too large for picks", mend="check the file")
        picks = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"{file}: {error.strerror}", mend="check the name and the permissions") from error
    except ValueError as error:
        raise FormatError(f"{file}: no JSON that can be read ({error})", mend="check the file") from error
    if not isinstance(picks, dict) or not isinstance(picks.get("points", 0), list | None):
        raise FormatError(f"{file}: no picks of copick (points) in it", mend="check the file")
    if picks.get("unit", "angstrom") != "angstrom":
        raise FormatError(f"{file}: locations in {picks['unit']}", mend="give them in angstrom")
    return picks


def _pose(point: Any, where: str, *, turned: bool) -> tuple[Array, Array]:
    """Place, Å from the first voxel, and orientation of one pick."""
    try:
        place = np.array([float(point["location"][axis]) for axis in "xyz"])
        given = point.get("transformation_")
        matrix = np.eye(4) if given is None else np.array(given, dtype=np.float64)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise FormatError(f"{where} has no location x, y, z", mend="mend or remove it") from None
    rotation = matrix[:3, :3] if matrix.shape == (4, 4) else np.zeros((3, 3))
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=_NOT_TURNED) or np.linalg.det(rotation) < 0:
        raise FormatError(f"{where}: its transformation is no rotation", mend="mend or remove it")
    place = place + matrix[:3, 3]
    if not np.isfinite(place).all():
        raise FormatError(f"{where} has a location that is not finite", mend="mend or remove it")
    return place, rotation if turned else np.eye(3)
