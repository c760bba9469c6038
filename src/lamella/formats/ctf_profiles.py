"""Profiles of the contrast transfer: a STAR table of the curves, and a stack of the pictures beside it.

::

    NAME_profiles.star
      data_general    numbers of views and frequencies, and the frequency at the pictures' edges, 1/Å
      data_views      one row per view: its place in the stack; sections of the pictures come in this order
      data_profiles   one row per view and frequency: view (1-based row of data_views), frequency in 1/Å, power over the
                      background measured and fitted, and their local correlation
    NAME_spectra.mrcs
                      one section per view; the pixel size is that of an image whose spectrum would reach as far
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamella.errors import FormatError, InputError
from lamella.formats.mrc import read_mrc
from lamella.formats.star import StarTable, number_text, read_star, write_star
from lamella.records import CtfProfiles

__all__ = ["CURVES", "PICTURES", "picture_pixel_ang", "read_ctf_profiles", "write_ctf_curves"]

CURVES, PICTURES = "_profiles.star", "_spectra.mrcs"
"""Endings of the two files, after the series' name."""

_VIEWS, _POINTS, _LIMIT = "lamellaCtfViews", "lamellaCtfFrequencies", "lamellaCtfPictureLimit"
_VIEW, _PLACE, _FREQUENCY = "lamellaCtfView", "lamellaPlace", "lamellaCtfFrequency"
_CURVES = {
    "lamellaCtfPowerMeasured": "measured",
    "lamellaCtfPowerFitted": "fitted",
    "lamellaCtfCorrelation": "correlation",
}
_MOST = 10_000_000  # numbers of a curve, over all views, of a file that is believed
_DIGITS = 6


def picture_pixel_ang(profiles: CtfProfiles) -> float:
    """Pixel size, Å, of an image whose spectrum would reach as far as the pictures."""
    return 0.5 / profiles.picture_limit_per_ang


def write_ctf_curves(path: Path | str, profiles: CtfProfiles, place: NDArray[np.int64]) -> None:
    """Write the curves and what is to be known of the pictures; the file appears whole or not at all.

    Parameters
    ----------
    path
        the STAR file.
    profiles
        of n views. Curves keep six digits.
    place
        ``(n,)`` the views' places in the stack.

    Raises
    ------
    OutputError
        if it cannot be written.
    """
    n, m = profiles.measured.shape
    general = {_VIEWS: (str(n),), _POINTS: (str(m),), _LIMIT: (number_text(profiles.picture_limit_per_ang),)}
    views = {_PLACE: tuple(str(int(number)) for number in place)}
    columns = {
        _VIEW: tuple(str(view + 1) for view in range(n) for _ in range(m)),
        _FREQUENCY: _short(profiles.frequency_per_ang) * n,
    }
    columns |= {label: _short(getattr(profiles, name).ravel()) for label, name in _CURVES.items()}
    tables = [StarTable("general", general, is_list=True), StarTable("views", views), StarTable("profiles", columns)]
    write_star(path, tables)


def read_ctf_profiles(curves: Path | str, pictures: Path | str, place: NDArray[np.int64] | None = None) -> CtfProfiles:
    """Read curves that `write_ctf_curves` wrote, and the pictures beside them.

    Parameters
    ----------
    curves, pictures
        the STAR file and the stack.
    place
        places in the stack of the views that are wanted, in order; None: all, in the file's order.

    Raises
    ------
    FormatError
        if a file is missing or damaged, or a view that is wanted is not in it.
    """
    tables = read_star(curves)
    for name in ("general", "views", "profiles"):
        if name not in tables:
            raise FormatError(f"{curves}: no table {name!r}", mend="run ctf again")
    general, rows = tables["general"], tables["profiles"]
    n, m = (int(general.integers(label)[0]) for label in (_VIEWS, _POINTS))
    places = tables["views"].integers(_PLACE)
    if n < 1 or m < 1 or n * m > _MOST or len(rows) != n * m or len(places) != n:
        raise FormatError(f"{curves}: {n} views of {m} frequencies cannot be right", mend="run ctf again")
    if not np.array_equal(rows.integers(_VIEW), np.repeat(np.arange(1, n + 1), m)):
        raise FormatError(f"{curves}: its views are not in order", mend="run ctf again")
    stack, _ = read_mrc(pictures)
    try:
        profiles = CtfProfiles(
            frequency_per_ang=rows.numbers(_FREQUENCY)[:m],
            pictures=np.asarray(stack, dtype=np.float32),
            picture_limit_per_ang=float(general.numbers(_LIMIT)[0]),
            **{name: rows.numbers(label).reshape(n, m) for label, name in _CURVES.items()},
        )
    except InputError as error:
        raise FormatError(f"{pictures}: {error.problem}", mend="run ctf again") from error
    return profiles if place is None else profiles.select(_rows(places, place, str(curves)))


def _rows(places: NDArray[np.int64], wanted: NDArray[np.int64], where: str) -> NDArray[np.int64]:
    rows = {int(place): row for row, place in enumerate(places)}
    missing = [int(place) for place in wanted if int(place) not in rows]
    if missing:
        raise FormatError(f"{where}: no profile of view {missing[0]}", mend="run ctf again")
    return np.array([rows[int(place)] for place in wanted], dtype=np.int64)


def _short(values: NDArray[np.float64]) -> tuple[str, ...]:
    return tuple(f"{value:.{_DIGITS}g}" for value in values)
