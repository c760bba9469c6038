from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import FormatError
from lamella.formats.angles import angles_from_steps, check_angles, read_angles, read_text, write_angles


def test_reads_what_imod_and_people_write(tmp_path):
    file = tmp_path / "a.rawtlt"
    file.write_bytes(b"\xef\xbb\xbf -60.00\r\n\r\n  -57.5  # by hand\r\n3e0\r\n")
    np.testing.assert_array_equal(read_angles(file), [-60.0, -57.5, 3.0])


def test_written_angles_have_imods_columns_and_come_back(tmp_path):
    write_angles(tmp_path / "a.tlt", [-60, -0.001, 3.456])
    assert (tmp_path / "a.tlt").read_text() == "  -60.00\n   -0.00\n    3.46\n"
    write_angles(tmp_path / "b.tlt", [-60, 3.45678], decimals=5)
    np.testing.assert_allclose(read_angles(tmp_path / "b.tlt"), [-60, 3.45678])


@pytest.mark.parametrize(("text", "named"), [("1\nnan\n", "line 2"), ("1\n2\nx3\n", "line 3"), ("1 2\n", "line 1")])
def test_a_line_that_is_no_angle_is_named(tmp_path, text, named):
    (tmp_path / "a.tlt").write_text(text)
    with pytest.raises(FormatError, match=named):
        read_angles(tmp_path / "a.tlt")


def test_files_that_are_no_text_are_refused(tmp_path):
    for name, raw, word in (("empty", b" \n", "empty"), ("binary", b"1\0\0\0", "binary"), ("no", b"# 1\n", "no angle")):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(FormatError, match=word):
            read_angles(tmp_path / name)
    with pytest.raises(FormatError, match="No such file"):
        read_angles(tmp_path / "absent")
    (tmp_path / "big").touch()
    with (tmp_path / "big").open("r+b") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(FormatError, match="too many"):
        read_text(tmp_path / "big")


def test_start_and_step():
    steps = angles_from_steps("-6, 3", 4)
    assert steps is not None
    np.testing.assert_array_equal(steps, [-6, -3, 0, 3])
    assert angles_from_steps("a.tlt", 4) is None
    assert angles_from_steps("1,2,3", 4) is None
    for text in ("nan,3", "0,inf", "5,0"):
        with pytest.raises(FormatError, match="START,STEP"):
            angles_from_steps(text, 4)


def test_impossible_angles_are_refused_and_twins_told():
    labels = ["one", "two", "three"]
    assert check_angles(np.array([0.0, 90.0, -90.0]), "f", labels) == ()
    with pytest.raises(FormatError, match=r"two has a tilt angle of 90\.5"):
        check_angles(np.array([0, 90.5, 3]), "f", labels)
    with pytest.raises(FormatError, match="three has a tilt angle of nan"):
        check_angles(np.array([0, 1, np.nan]), "f", labels)
    (note,) = check_angles(np.array([3.0, 1.0, 3.0]), "f", labels)
    assert note.kind == "warning"
    assert "one and three" in note.text
