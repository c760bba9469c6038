"""The table of one movie's motion, as RELION writes it beside a micrograph (rlnMicrographMetadata).

RELION states the *correction*: minus the motion. Its shifts are in pixels of the movie, its local model is a
polynomial, `z = frame − first frame`, `x = column / width − ½`, `y = row / height − ½`:

    shift = Σ c[3·s + p − 1] · space_s(x, y) · z^p,    space = (1, x, x², y, y², x·y),  p = 1, 2, 3

18 numbers for x, then 18 for y (the third-order polynomial of Zivanov et al., IUCrJ 6 (2019) 5; order and sign from
RELION's program, which a test runs). It is added to the global shift and is 0 in the first frame. lamella's own spline
has no such form, so RELION gets its least-squares fit, and the spline itself stands in blocks of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamella.errors import FormatError, GeometryError, InputError
from lamella.formats.star import StarTable, number_text, read_star, vector_text, write_star
from lamella.records import LocalMotion, MovieMotion

__all__ = ["polynomial_of", "polynomial_shift", "read_movie_motion", "write_movie_motion"]

Array = NDArray[np.float64]

GENERAL, GLOBAL, MODEL, HOT = "general", "global_shift", "local_motion_model", "hot_pixels"
OWN, OWN_ERROR, OWN_LOCAL = "lamella_motion", "lamella_global_error", "lamella_local_motion"
FRAME, SHIFT_X, SHIFT_Y = "rlnMicrographFrameNumber", "rlnMicrographShiftX", "rlnMicrographShiftY"
INDEX, COEFFICIENT = "rlnMotionModelCoeffsIdx", "rlnMotionModelCoeff"
BINNING, VERSION = "rlnMicrographBinning", "rlnMotionModelVersion"

_NOT_OBSERVED = -9999.0  # RELION's shift of a frame that was left out of the sum
_NO_MODEL, _POLYNOMIAL = 0, 1
_SPACE, _POWERS = 6, 3
_NUMBERS = 2 * _SPACE * _POWERS
_SAMPLES = 12  # places each way at which the spline is compared with the polynomial
_EXACT_GRID = 4  # a cubic spline of 4 × 4 coefficients is any polynomial of up to third degree in x and in y


def write_movie_motion(
    path: Path | str,
    motion: MovieMotion,
    *,
    movie_name: str,
    frames: int,
    voltage_kv: float | None = None,
    gain_name: str | None = None,
    eer: tuple[int, int] | None = None,
) -> None:
    """Write one movie's table, whole or not at all.

    Parameters
    ----------
    path
        the STAR file.
    motion
        the record.
    movie_name
        the frame file, as tables name it.
    frames
        how many frames (of EER: fractions) the movie has; those that the record leaves out are marked as RELION does.
    voltage_kv, gain_name
        left out where they are None.
    eer
        upsampling and raw frames per fraction, where the movie is an EER file.

    Raises
    ------
    InputError
        if the movie has fewer frames than the record.
    OutputError
        if the file cannot be written.
    """
    if motion.first_frame < 1 or frames < motion.first_frame - 1 + len(motion):
        raise InputError(
            f"{path}: motion of frames {motion.first_frame} to {motion.first_frame - 1 + len(motion)} of {frames}",
            mend="count the movie's frames again",
        )
    tables = [_general(motion, movie_name, frames, voltage_kv, gain_name, eer), _global(motion, frames)]
    if motion.local is not None:
        coefficients = polynomial_of(motion.local)
        numbers = {INDEX: tuple(map(str, range(_NUMBERS))), COEFFICIENT: _texts(coefficients.reshape(-1))}
        tables.append(StarTable(MODEL, numbers))
    bad = motion.bad_pixels_px
    if bad is not None and len(bad):
        tables.append(StarTable(HOT, {"rlnCoordinateX": _texts(bad[:, 0]), "rlnCoordinateY": _texts(bad[:, 1])}))
    write_star(path, [*tables, *_own_tables(motion)])


def read_movie_motion(path: Path | str) -> MovieMotion:
    """Read a movie's motion: what `write_movie_motion` wrote comes back exactly, RELION's polynomial as a spline.

    RELION states its polynomial in pixels of the binned frames that it aligned, its global shifts in pixels of the
    movie; both come out in pixels of the movie.

    Raises
    ------
    FormatError
        if the file is no such table, or its numbers contradict each other.
    """
    tables = read_star(path)
    general = _row(tables, GENERAL, str(path))
    own = _row(tables, OWN, str(path)) if OWN in tables else _Row({}, str(path))
    shifts, first = _read_global(tables, str(path))
    shape = (general.whole("rlnImageSizeY"), general.whole("rlnImageSizeX"))
    binning = general.number(BINNING, 1.0)
    errors = None
    if OWN_ERROR in tables:
        errors = np.stack([tables[OWN_ERROR].numbers(f"lamellaMotionError{axis}") for axis in "XY"], axis=-1)
    try:
        return MovieMotion(
            shape_px=shape,
            pixel_size_ang=general.number("rlnMicrographOriginalPixelSize"),
            global_px=_negated(shifts),
            global_error_px=errors,
            local=_read_local(tables, general, own, len(shifts), shape, binning),
            binning=binning,
            first_frame=first,
            pre_exposure=general.optional("rlnMicrographPreExposure"),
            dose_per_frame=general.optional("rlnMicrographDoseRate"),
            bad_pixels_px=_read_bad(tables, own),
        )
    except GeometryError as error:
        raise FormatError(f"{path}: {error.problem}", mend="take another table") from error


def polynomial_of(local: LocalMotion) -> Array:
    """RELION's coefficients ``(2, 18)`` (x, y) nearest to a local motion, as a correction, px."""
    height, width = local.shape_px
    y_px, x_px = (np.linspace(0, max(size - 1, 0), _SAMPLES) for size in (height, width))
    correction = -local.on_grid(y_px, x_px)  # (frames, 2, ny, nx)
    space = _space(*np.meshgrid(x_px / width - 0.5, y_px / height - 0.5)).reshape(-1, _SPACE)
    time = _time(np.arange(len(local)))
    design = np.einsum("fp,ns->fnsp", time, space).reshape(-1, _SPACE * _POWERS)
    scale = np.linalg.norm(design, axis=0)
    scale[scale == 0] = 1.0  # a single frame: there is nothing to state
    target = correction.reshape(len(local), 2, -1).transpose(0, 2, 1).reshape(-1, 2)
    solved = np.linalg.lstsq(design / scale, target, rcond=1e-10)[0]
    coefficients: Array = (solved / scale[:, None]).T
    return coefficients


def polynomial_shift(coefficients: ArrayLike, frames: ArrayLike, xy: ArrayLike) -> Array:
    """RELION's local shift ``(frames, n, 2)`` at ``(n, 2)`` places (x, y in −½ … ½), of frames counted from 0."""
    numbers = np.asarray(coefficients, np.float64).reshape(2, _SPACE, _POWERS)
    places = np.asarray(xy, np.float64)
    space = _space(places[:, 0], places[:, 1])
    shift: Array = np.einsum("csp,fp,ns->fnc", numbers, _time(np.asarray(frames)), space)
    return shift


def _space(x: Array, y: Array) -> Array:
    return np.stack([np.ones_like(x), x, x * x, y, y * y, x * y], axis=-1)


def _time(frames: NDArray[np.int64]) -> Array:
    z = np.asarray(frames, np.float64)
    return np.stack([z, z**2, z**3], axis=-1)


def _general(
    motion: MovieMotion,
    movie_name: str,
    frames: int,
    voltage_kv: float | None,
    gain_name: str | None,
    eer: tuple[int, int] | None,
) -> StarTable:
    height, width = motion.shape_px
    row = {"rlnImageSizeX": str(width), "rlnImageSizeY": str(height), "rlnImageSizeZ": str(frames)}
    row["rlnMicrographMovieName"] = movie_name
    if gain_name:
        row["rlnMicrographGainName"] = gain_name
    row[BINNING] = number_text(motion.binning)
    row["rlnMicrographOriginalPixelSize"] = number_text(motion.pixel_size_ang)
    numbers = {
        "rlnMicrographDoseRate": motion.dose_per_frame,
        "rlnMicrographPreExposure": motion.pre_exposure,
        "rlnVoltage": voltage_kv,
    }
    row |= {label: number_text(value) for label, value in numbers.items() if value is not None}
    row["rlnMicrographStartFrame"] = str(motion.first_frame)
    if eer is not None:
        row |= {"rlnEERUpsampling": str(eer[0]), "rlnEERGrouping": str(eer[1])}
    row[VERSION] = str(_NO_MODEL if motion.local is None else _POLYNOMIAL)
    return _list(GENERAL, row)


def _global(motion: MovieMotion, frames: int) -> StarTable:
    shifts = np.full((frames, 2), _NOT_OBSERVED)
    start = motion.first_frame - 1
    shifts[start : start + len(motion)] = _negated(motion.global_px)
    numbers = tuple(map(str, range(1, frames + 1)))
    return StarTable(GLOBAL, {FRAME: numbers, SHIFT_X: _texts(shifts[:, 0]), SHIFT_Y: _texts(shifts[:, 1])})


def _own_tables(motion: MovieMotion) -> list[StarTable]:
    """What RELION has no word for; it reads its own blocks alone."""
    row: dict[str, str] = {}
    if motion.bad_pixels_px is not None:
        row["lamellaBadPixels"] = str(len(motion.bad_pixels_px))
    tables = []
    if motion.global_error_px is not None:
        errors = np.asarray(motion.global_error_px)
        columns = {f"lamellaMotionError{axis}": _texts(errors[:, place]) for place, axis in enumerate("XY")}
        tables.append(StarTable(OWN_ERROR, columns))
    if motion.local is not None:
        nodes = motion.local.coefficients_px
        row |= {"lamellaMotionGridX": str(nodes.shape[3]), "lamellaMotionGridY": str(nodes.shape[2])}
        columns = {
            f"lamellaMotionSpline{axis}": tuple(vector_text(frame.reshape(-1)) for frame in nodes[:, place])
            for place, axis in enumerate("XY")
        }
        tables.append(StarTable(OWN_LOCAL, columns))
    return ([_list(OWN, row)] if row else []) + tables


def _read_global(tables: Mapping[str, StarTable], where: str) -> tuple[Array, int]:
    """Shifts of the frames that were summed, and the number of the first."""
    if GLOBAL not in tables:
        raise FormatError(f"{where}: no table {GLOBAL}", mend="give the table of one movie's motion")
    table = tables[GLOBAL]
    numbers = table.integers(FRAME)
    shifts = np.stack([table.numbers(SHIFT_X), table.numbers(SHIFT_Y)], axis=-1)
    seen = (shifts != _NOT_OBSERVED).all(axis=1)
    if not seen.any() or (np.diff(numbers[seen]) != 1).any():
        raise FormatError(f"{where}: the frames with a shift are not one run of frames", mend="correct the table")
    return shifts[seen], int(numbers[seen][0])


def _read_local(
    tables: Mapping[str, StarTable], general: _Row, own: _Row, frames: int, shape: tuple[int, int], binning: float
) -> LocalMotion | None:
    if OWN_LOCAL in tables:
        return LocalMotion(_read_spline(tables[OWN_LOCAL], own, frames), shape)
    if int(general.number(VERSION, 0.0)) != _POLYNOMIAL:
        return None
    if MODEL not in tables:
        raise FormatError(f"{general.where}: {VERSION} 1, but no table {MODEL}", mend="take another table")
    table = tables[MODEL]
    places, values = table.integers(INDEX), table.numbers(COEFFICIENT)
    if sorted(places) != list(range(_NUMBERS)):
        raise FormatError(f"{general.where}: {len(places)} coefficients in {MODEL}", mend=f"there must be {_NUMBERS}")
    return _as_spline(values[np.argsort(places)] * binning, frames, shape)


def _read_spline(table: StarTable, own: _Row, frames: int) -> Array:
    grid = (own.whole("lamellaMotionGridY"), own.whole("lamellaMotionGridX"))
    columns = [table.vectors(f"lamellaMotionSpline{axis}") for axis in "XY"]
    sizes = {len(values) for column in columns for values in column}
    if len(table) != frames or sizes != {grid[0] * grid[1]}:
        raise FormatError(
            f"{own.where}: {OWN_LOCAL} does not hold {frames} frames of {grid[0]} × {grid[1]} numbers",
            mend="write the table anew",
        )
    return np.stack([np.stack(column).reshape(frames, *grid) for column in columns], axis=1)


def _as_spline(coefficients: Array, frames: int, shape: tuple[int, int]) -> LocalMotion:
    """RELION's polynomial as a spline, exactly: each frame's is of second degree in x and in y."""
    height, width = shape
    places = [np.linspace(0, max(size - 1, 0), _EXACT_GRID) for size in (width, height)]
    x, y = np.meshgrid(places[0] / width - 0.5, places[1] / height - 0.5)
    shift = polynomial_shift(coefficients, np.arange(frames), np.stack([x, y], axis=-1).reshape(-1, 2))
    wanted = -shift.transpose(0, 2, 1).reshape(frames, 2, _EXACT_GRID, _EXACT_GRID)
    unit = LocalMotion(np.eye(_EXACT_GRID**2).reshape(-1, 1, _EXACT_GRID, _EXACT_GRID).repeat(2, axis=1), shape)
    basis = unit.on_grid(places[1], places[0])[:, 0].reshape(_EXACT_GRID**2, -1)  # (coefficient, place)
    solved = np.asarray(np.linalg.solve(basis.T, wanted.reshape(frames * 2, -1).T).T, np.float64)
    return LocalMotion(solved.reshape(wanted.shape), shape)


def _read_bad(tables: Mapping[str, StarTable], own: _Row) -> NDArray[np.int64] | None:
    if HOT in tables:
        table = tables[HOT]
        return np.stack([table.integers("rlnCoordinateX"), table.integers("rlnCoordinateY")], axis=-1)
    return np.zeros((0, 2), np.int64) if "lamellaBadPixels" in own.values else None


@dataclass(frozen=True)
class _Row:
    """A block of label–value pairs."""

    values: Mapping[str, str]
    where: str

    def number(self, label: str, otherwise: float | None = None) -> float:
        if label not in self.values and otherwise is not None:
            return otherwise
        text = self.values.get(label, "")
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise FormatError(f"{self.where}: {label} is {text!r}, no number", mend="correct the table")
        return value

    def optional(self, label: str) -> float | None:
        """A number that RELION gives as −1 where it does not know it."""
        value = self.number(label) if label in self.values else None
        return None if value is None or value == -1 else value

    def whole(self, label: str) -> int:
        value = self.number(label)
        if value != int(value) or value < 1:
            raise FormatError(f"{self.where}: {label} is {value:g}", mend="correct the table")
        return int(value)


def _row(tables: Mapping[str, StarTable], name: str, where: str) -> _Row:
    if name not in tables or len(tables[name]) != 1:
        raise FormatError(f"{where}: no table {name} of one row", mend="give the table of one movie's motion")
    return _Row({label: column[0] for label, column in tables[name].columns.items()}, where)


def _list(name: str, row: Mapping[str, str]) -> StarTable:
    return StarTable(name, {label: (value,) for label, value in row.items()}, is_list=True)


def _texts(values: ArrayLike) -> tuple[str, ...]:
    return tuple(number_text(value) for value in np.asarray(values).reshape(-1))


def _negated(values: ArrayLike) -> Array:
    return 0.0 - np.asarray(values, np.float64)  # 0 stays 0, where −0 would be written with its sign
