"""CTFFIND's text against files in the layout that its programs print, and in and out of a record."""

from __future__ import annotations

import numpy as np
import pytest
from tests.formats.defocused import a_series, assert_same_defocus, said, seen_at_centre, some_defocus

from lamella.errors import FormatError, InputError
from lamella.formats.ctffind import export_series, import_series
from lamella.formats.ctffind_file import read_ctffind
from lamella.records import Optics

HEADER = """\
# Output from CTFFind version {version}, run on 2023-02-02 15:13:07
# Input file: test_img.mrc ; Number of micrographs: {count}
# Pixel size: {pixel:.3f} Angstroms ; acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm ; \
amplitude contrast: {contrast:.2f}
# Box size: 512 pixels ; min. res.: 30.0 Angstroms ; max. res.: 5.0 Angstroms ; min. def.: 5000.0 um; \
max. def. 50000.0 um
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; \
#5 - additional phase shift [radians]; #6 - cross correlation; #7 - spacing (in Angstroms) up to which CTF rings were \
fit successfully{more}
"""
TILT = "; #8 - Estimated tilt axis angle; #9 - Estimated tilt angle ; #10 Estimated sample thickness (in Angstroms)"


def text_of(rows, *, version="4.1.14", pixel=2.5, contrast=0.07, more=""):
    head = HEADER.format(version=version, count=len(rows), pixel=pixel, contrast=contrast, more=more)
    return head + "".join(" ".join(f"{value:f}" for value in row) + "\n" for row in rows)


def some_rows(count=9, phase=0.0):
    return [(n + 1, 30000 + 100 * n, 29500 + 100 * n, 5.0 * n - 20, phase, 0.1 + 0.01 * n, 6 + n) for n in range(count)]


def test_columns_and_header_of_version_4(tmp_path):
    (tmp_path / "a.txt").write_text(text_of([(1, 9982.502930, 9882.5, -33.25, np.pi / 2, 0.565683, 1.980663)]))
    read = read_ctffind(tmp_path / "a.txt")
    one = read.defocus
    assert (one.u_ang[0], one.v_ang[0], one.angle_deg[0]) == (9982.50293, 9882.5, -33.25)
    assert one.phase_shift_deg[0] == pytest.approx(90, abs=1e-4)
    assert (one.figure_of_merit[0], one.max_resolution_ang[0]) == (0.565683, 1.980663)
    assert vars(read.optics) == {
        "pixel_size_ang": 2.5,
        "voltage_kv": 300.0,
        "spherical_aberration_mm": 2.7,
        "amplitude_contrast": 0.07,
    }
    assert read.tilt is None
    assert read.hand is None


def test_version_5_adds_tilt_and_thickness(tmp_path):
    rows = [(*row, 221.912292, 12.251187, 1619.773438) for row in some_rows()]
    (tmp_path / "ts.txt").write_text(text_of(rows, version="5.0.2", more=TILT))
    read = read_ctffind(tmp_path / "ts.txt")
    np.testing.assert_allclose(read.tilt, np.tile([221.912292, 12.251187, 1619.773438], (9, 1)))
    assert read.defocus.phase_shift_deg is None
    _, notes = import_series(tmp_path, a_series())
    assert said(notes, "dropped", "thickness")


@pytest.mark.parametrize("hand", [-1, 1])
def test_a_record_states_the_defocus_of_its_centre(tmp_path, hand):
    (tmp_path / "ts_ctf.txt").write_text(text_of(some_rows(phase=1.0)))
    back, notes = import_series(tmp_path, a_series(hand=hand))
    for view, row in enumerate(some_rows()):
        assert seen_at_centre(back, view) == pytest.approx((row[1], row[2]), abs=0.01)
    np.testing.assert_allclose(back.defocus.phase_shift_deg, np.degrees(1), atol=1e-4)
    assert back.hand == hand
    assert said(notes, "info", "images' centres", f"{hand:+d}")
    assert not said(notes, "warning")


def test_there_and_back(tmp_path):
    series = a_series(defocus=some_defocus(phase=True))
    (path,), _ = export_series([series], tmp_path / "out", tmp_path)
    for view, u in enumerate(read_ctffind(path).defocus.u_ang):
        assert u == pytest.approx(seen_at_centre(series, view)[0], abs=1e-3)
    back, _ = import_series(tmp_path / "out", a_series())
    assert_same_defocus(back.defocus, series.defocus, atol=1e-3)


def test_rows_are_sections_of_the_stack(tmp_path):
    """The stack in order of recording, two of its eleven sections gone; the record by tilt angle."""
    place = np.array([9, 7, 5, 3, 1, 2, 4, 8, 11])
    series = a_series(place=place, defocus=some_defocus())
    whole = [(n + 1, 1000.0 * (n + 1), 1000.0 * (n + 1), 0, 0, 0.1, 9) for n in range(11)]
    (tmp_path / "whole.txt").write_text(text_of(whole))
    back, _ = import_series(tmp_path / "whole.txt", series.with_changes(defocus=None))
    for view in range(9):
        assert seen_at_centre(back, view)[0] == pytest.approx(1000 * place[view], abs=0.01)
    (path,), _ = export_series([series], tmp_path, tmp_path)
    back, notes = import_series(path, series.with_changes(defocus=None))
    assert_same_defocus(back.defocus, series.defocus, atol=1e-3)
    assert said(notes, "info", "kept sections")
    some = [row for row in whole if row[0] in place]
    (tmp_path / "some.txt").write_text(text_of(some))
    back, _ = import_series(tmp_path / "some.txt", series.with_changes(defocus=None))
    assert seen_at_centre(back, 0)[0] == pytest.approx(9000, abs=0.01)


def test_a_file_for_each_view(tmp_path):
    names = tuple(f"frames/x_{angle:.1f}.mrc" for angle in np.linspace(-40, 40, 9))
    for name, row in zip(names, some_rows(), strict=True):
        stem = name.removeprefix("frames/").removesuffix(".mrc")
        (tmp_path / f"{stem}_PS.txt").write_text(text_of([(1, *row[1:])]))
    back, _ = import_series(tmp_path, a_series(images=names))
    for view, row in enumerate(some_rows()):
        assert seen_at_centre(back, view) == pytest.approx((row[1], row[2]), abs=0.01)
    (tmp_path / "x_0.0_PS.txt").unlink()
    with pytest.raises(FormatError, match=r"8 files for 9 views, none for x_0\.0"):
        import_series(tmp_path, a_series(images=names))


def test_other_constants_are_told_and_an_unknown_voltage_is_taken(tmp_path):
    (tmp_path / "ts.txt").write_text(text_of(some_rows(), contrast=0.1, pixel=5.0))
    back, notes = import_series(tmp_path, a_series(optics=Optics(amplitude_contrast=0.07)))
    assert said(notes, "warning", "amplitude contrast of 0.1", "0.07")
    assert said(notes, "warning", "pixels of 5 Å", "2.5 Å")
    assert said(notes, "assumed", "300 kV")
    assert back.optics == Optics(voltage_kv=300.0, amplitude_contrast=0.07)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("# only comments\n", "no line of numbers"),
        ("1 2 3\n", "line 1 is '1 2 3', not 7 numbers"),
        ("1 30000 nan 0 0 0.1 5\n", "line 1"),
        ("1 30000 29000 0 0 0.1 5\n2 30000 29000 0 0 0.1 5 7 7 7\n", "line 2"),
        ("1 30000 abc 0 0 0.1 5\n", "line 1"),
        ("1e300 30000 29000 0 0 0.1 5\n", "line 1"),
        ("# Pixel size: 1.2.3 Angstroms\n1 30000 29000 0 0 0.1 5\n", "no number"),
        ("1 30000 29000 0 0 0.1 5 2\n", "dfHand"),
    ],
)
def test_damage_is_said(tmp_path, text, word):
    (tmp_path / "ts.txt").write_text(text)
    with pytest.raises(FormatError, match=word):
        import_series(tmp_path, a_series())


def test_what_does_not_fit_is_said(tmp_path):
    (tmp_path / "ts.txt").write_text(text_of(some_rows(7)))
    with pytest.raises(FormatError, match="7 rows do not fit the 9 views of ts"):
        import_series(tmp_path, a_series())
    (tmp_path / "ts.txt").write_text(text_of(some_rows()))
    with pytest.raises(InputError, match="not aligned"):
        import_series(tmp_path, a_series(geometry=None))
    with pytest.raises(FormatError, match="not there"):
        import_series(tmp_path / "none", a_series())
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="no files by the views' names"):
        import_series(tmp_path / "empty", a_series())
    with pytest.raises(InputError, match="no defocus"):
        export_series([a_series()], tmp_path, tmp_path)
