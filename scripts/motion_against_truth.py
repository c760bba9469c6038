"""How far the motion that a project found is from the truth beside simulated movies.

    python scripts/motion_against_truth.py PROJECT SIMULATED [RECORD]

SIMULATED is the folder that `lamella simulate` wrote; RECORD is ``motion`` where none is named. Errors are rms lengths
in movie pixels, of the motion about its mean over the frames.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from lamella.formats.relion_motion import read_movie_motion
from lamella.records import MovieMotion

PLACES = 9  # each way, at which motion over the field is compared


def rms(moved: np.ndarray) -> float:
    """Rms length of displacements ``(frames, …, 2)`` about their mean over the frames."""
    return float(np.sqrt(((moved - moved.mean(axis=0)) ** 2).sum(axis=-1).mean()))


def errors(found: MovieMotion, true: MovieMotion) -> tuple[float, float, float, float]:
    """Of the field's mean motion, as found and as stated; over the field, with local motion and without."""
    height, width = true.shape_px
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, PLACES), np.linspace(0, height - 1, PLACES)), axis=-1)
    ours, truth = found.displacement(grid), true.displacement(grid)
    stated = float("nan")
    if found.global_error_px is not None:
        stated = float(np.sqrt((found.global_error_px**2).sum(axis=1).mean()))
    whole = rms((ours - truth).mean(axis=(1, 2)))
    return whole, stated, rms(ours - truth), rms(found.global_px[:, None, None] - truth)


def main(project: Path, simulated: Path, record: str = "motion") -> None:
    """Print a row for each movie, and their means."""
    rows = []
    print(f"{'movie':32} {'field mean':>10} {'stated':>8} {'local':>8} {'global only':>12}")
    for table in sorted((simulated / "truth" / "motion").glob("*/*.star")):
        ours = project / record / table.parent.name / table.name
        if not ours.is_file():
            print(f"{table.stem:32} was left out")
            continue
        rows.append(errors(read_movie_motion(ours), read_movie_motion(table)))
        print(f"{table.stem:32} {rows[-1][0]:10.3f} {rows[-1][1]:8.3f} {rows[-1][2]:8.3f} {rows[-1][3]:12.3f}")
    if rows:
        mean = np.mean(rows, axis=0)
        print(f"{'mean':32} {mean[0]:10.3f} {mean[1]:8.3f} {mean[2]:8.3f} {mean[3]:12.3f}")


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
