"""What `refine` keeps of its iterations: maps, correlations and changes to look at, and the state to go on from."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamella.errors import InputError
from lamella.formats.atomic import atomic_path, output_errors
from lamella.formats.map_fsc import write_map_fsc
from lamella.formats.mrc import write_mrc
from lamella.formats.star import StarTable, number_text, write_star
from lamella.geometry import angles_from_matrix
from lamella.geometry.angular_grid import rotation_angle_deg
from lamella.particles.refine_state import RefineState
from lamella.records import ParticleSet
from lamella.workflow.context import Context
from lamella.workflow.steps.average_files import map_fsc

__all__ = ["HISTORY", "ITERATIONS", "Iterations", "history_label"]

ITERATIONS, HISTORY = "iterations", "iterations.star"
"""Folder of the iterations' files, and the table in it of what each iteration reached."""

_STATE, _MARK = "state.npz", "fingerprint"
_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_PLACES = tuple(f"lamellaPosition{axis}Angst" for axis in "XYZ")


class Iterations:
    """The folder ``refine/iterations``.

    Each iteration leaves ``itNN_half1.mrc``, ``itNN_half2.mrc``, ``itNN_fsc.star`` and ``itNN_poses.star`` (turned by
    how much, moved by how much), where they are kept, and always ``iterations.star`` and the state. A state is used
    again only by work of the same fingerprint: the same particles, pictures, settings and version.

    Parameters
    ----------
    record
        the particles that are refined, in the order of the states.
    box_px, voxel_size_ang
        of the maps.
    symmetry
        under which turns are told.
    keep
        whether maps and poses of each iteration stay.
    """

    def __init__(
        self, context: Context, record: ParticleSet, box_px: int, voxel_size_ang: float, symmetry: str, *, keep: bool
    ) -> None:
        self._context, self._folder = context, context.folder / ITERATIONS
        self._names = [name for member in record.members for name in member.names or ()]
        self._box, self._voxel, self._symmetry, self._keep = box_px, voxel_size_ang, symmetry, keep
        self._before: tuple[NDArray[np.float64], NDArray[np.float64]] = (record.matrices(), record.positions_ang())

    def last(self) -> RefineState | None:
        """The state that a stopped run of the same work left; None where there is none, and the folder is emptied."""
        state = self._read()
        if state is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            return None
        self._before = (state.matrices, state.positions_ang)
        self._context.outputs += [
            path
            for path in sorted(self._folder.iterdir())
            if path.name == HISTORY or (path.name[:2] == "it" and _number(path) <= state.iteration)
        ]
        return state

    def add(self, state: RefineState) -> None:
        """Keep an iteration; the state is written last."""
        with output_errors(self._folder, every=True):
            self._folder.mkdir(parents=True, exist_ok=True)
        if self._keep:
            self._write_maps(state)
            self._write_poses(state)
        self._write_history(state)
        with atomic_path(self._folder / _STATE) as path, path.open("wb") as file:
            kept: dict[str, Any] = {**state.arrays(), _MARK: np.array(self._context.fingerprint)}
            np.savez(file, **kept)
        self._before = (state.matrices, state.positions_ang)

    def finish(self) -> None:
        """The work is done: nobody will go on from the state."""
        (self._folder / _STATE).unlink(missing_ok=True)

    def _read(self) -> RefineState | None:
        try:
            with np.load(self._folder / _STATE, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored.files}
            mark = str(found.pop(_MARK))
            return RefineState.from_arrays(found) if mark == self._context.fingerprint else None
        except (OSError, ValueError, KeyError, EOFError, InputError):
            return None  # no state, or one that cannot be used: the work begins anew

    def _path(self, state: RefineState, ending: str) -> Path:
        path = self._folder / f"it{state.iteration:02d}_{ending}"
        self._note(path)
        return path

    def _note(self, path: Path) -> None:
        if path not in self._context.outputs:
            self._context.outputs.append(path)

    def _write_maps(self, state: RefineState) -> None:
        for number, volume in enumerate(state.half_maps, start=1):
            write_mrc(self._path(state, f"half{number}.mrc"), volume, self._voxel)
        write_map_fsc(self._path(state, "fsc.star"), map_fsc(state.fsc, self._box, self._voxel))

    def _write_poses(self, state: RefineState) -> None:
        turned = rotation_angle_deg(self._before[0], state.matrices, self._symmetry)
        moved = np.linalg.norm(state.positions_ang - self._before[1], axis=1)
        columns: dict[str, tuple[str, ...]] = {"rlnTomoParticleName": tuple(self._names)}
        for label, values in zip(_ANGLES, angles_from_matrix(state.matrices), strict=True):
            columns[label] = _texts(values)
        for label, values in zip(_PLACES, state.positions_ang.T, strict=True):
            columns[label] = _texts(values)
        columns["lamellaTurnedDeg"] = _texts(turned)
        columns["lamellaMovedAngst"] = _texts(moved)
        columns["lamellaCertainty"] = _texts(state.certainty)
        write_star(self._path(state, "poses.star"), [StarTable("poses", columns)])

    def _write_history(self, state: RefineState) -> None:
        rows = [asdict(entry) for entry in state.history]
        columns = {"lamellaIteration": tuple(str(number) for number in range(1, len(rows) + 1))}
        for name in rows[0]:
            columns[history_label(name)] = _texts(np.array([float(row[name]) for row in rows]))
        path = self._folder / HISTORY
        write_star(path, [StarTable("iterations", columns)])
        self._note(path)


def history_label(name: str) -> str:
    """The column of one of an iteration's numbers: ``resolution_ang`` → ``lamellaResolutionAng``."""
    return "lamella" + "".join(part.capitalize() for part in name.split("_"))


def _texts(values: NDArray[np.float64]) -> tuple[str, ...]:
    return tuple(number_text(round(float(value), 5)) for value in values)


def _number(path: Path) -> int:
    digits = path.name[2:].partition("_")[0]
    return int(digits) if digits.isdigit() else 0
