"""Curves and pictures of the contrast transfer, written and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile

from lamella.errors import FormatError, InputError
from lamella.formats.ctf_profiles import picture_pixel_ang, read_ctf_profiles, write_ctf_curves
from lamella.formats.mrc import write_mrc
from lamella.records import CtfProfiles

VIEWS, POINTS, SIDE = 4, 30, 16
PLACE = np.array([2, 3, 5, 9])


@pytest.fixture
def profiles(rng: np.random.Generator) -> CtfProfiles:
    curves = {name: rng.normal(size=(VIEWS, POINTS)) for name in ("measured", "fitted", "correlation")}
    return CtfProfiles(
        frequency_per_ang=np.sqrt(np.linspace(0.0004, 0.04, POINTS)),
        pictures=rng.uniform(-1, 1, (VIEWS, SIDE, SIDE)).astype(np.float32),
        picture_limit_per_ang=0.2,
        **curves,
    )


def written(folder: Path, profiles: CtfProfiles) -> tuple[Path, Path]:
    curves, pictures = folder / "TS_profiles.star", folder / "TS_spectra.mrcs"
    write_ctf_curves(curves, profiles, PLACE)
    write_mrc(pictures, profiles.pictures, picture_pixel_ang(profiles))
    return curves, pictures


def test_they_come_back(tmp_path, profiles):
    again = read_ctf_profiles(*written(tmp_path, profiles))
    for name in ("frequency_per_ang", "measured", "fitted", "correlation"):
        np.testing.assert_allclose(getattr(again, name), getattr(profiles, name), rtol=1e-5)
    np.testing.assert_array_equal(again.pictures, profiles.pictures)
    assert again.picture_limit_per_ang == 0.2
    assert picture_pixel_ang(profiles) == pytest.approx(2.5)  # Nyquist of 2.5 Å pixels is 0.2 1/Å


def test_views_are_found_by_their_place(tmp_path, profiles):
    paths = written(tmp_path, profiles)
    some = read_ctf_profiles(*paths, np.array([9, 3]))
    np.testing.assert_array_equal(some.pictures, profiles.pictures[[3, 1]])
    np.testing.assert_allclose(some.fitted, profiles.fitted[[3, 1]], rtol=1e-5)
    with pytest.raises(FormatError, match="no profile of view 4"):
        read_ctf_profiles(*paths, np.array([4]))


def test_another_reader_sees_the_same_table(tmp_path, profiles):
    tables = starfile.read(written(tmp_path, profiles)[0])
    third = tables["profiles"][tables["profiles"]["lamellaCtfView"] == 3]
    np.testing.assert_allclose(third["lamellaCtfPowerMeasured"], profiles.measured[2], rtol=1e-5)
    assert list(tables["views"]["lamellaPlace"]) == list(PLACE)


@pytest.mark.parametrize(("old", "new"), [("data_views", "data_other"), ("_lamellaCtfViews", "_lamellaCtfVews")])
def test_damage_is_told(tmp_path, profiles, old, new):
    curves, pictures = written(tmp_path, profiles)
    curves.write_text(curves.read_text().replace(old, new))
    with pytest.raises(FormatError):
        read_ctf_profiles(curves, pictures)


def test_rows_that_are_missing_are_told(tmp_path, profiles):
    curves, pictures = written(tmp_path, profiles)
    lines = curves.read_text().rstrip().splitlines()
    curves.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(FormatError, match="run ctf again"):
        read_ctf_profiles(curves, pictures)


def test_pictures_of_other_views_are_told(tmp_path, profiles):
    curves, pictures = written(tmp_path, profiles)
    write_mrc(pictures, profiles.pictures[:3], 2.5)
    with pytest.raises(FormatError, match="run ctf again"):
        read_ctf_profiles(curves, pictures)


def test_parts_that_do_not_fit_are_no_profiles(profiles):
    with pytest.raises(InputError, match="give each view one of each"):
        CtfProfiles(**{**vars(profiles), "fitted": profiles.fitted[:2]})
