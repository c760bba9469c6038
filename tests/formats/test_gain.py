"""Gain, dark and defects: one asymmetric reference in every format, made byte by byte, and what cannot be one."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from lamella.errors import FormatError, ImageError
from lamella.formats.defect_list import read_defects
from lamella.formats.gain import as_factor, match_grid, read_gain, read_image_reference

# as it is seen, row 0 at the top; a camera whose top left corner is dead
SEEN = np.array([[0.0, 1.25, 1.0, 0.75], [1.0, 1.5, 1.0, 1.0], [0.5, 1.0, 1.0, 2.0]], np.float32)


def mrc(stored: np.ndarray, sections: int = 1) -> bytes:
    """Float32 sections, in the order of the array's rows."""
    height, width = stored.shape
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, width, height, sections, 2, 0, 0, 0, width, height, sections)
    struct.pack_into("<6f", header, 40, width, height, sections, 90, 90, 90)
    struct.pack_into("<3i3f", header, 64, 1, 2, 3, 0, 2, 1)
    header[208:216] = b"MAP \x44\x44\0\0"
    return bytes(header) + stored.astype("<f4").tobytes() * sections


def tiff(stored: np.ndarray, pages: int = 1) -> bytes:
    """Pages of float32 in one strip, in the order of the array's rows."""
    height, width = stored.shape
    data = stored.astype("<f4").tobytes()
    out = bytearray(b"II*\0" + struct.pack("<I", 8 + len(data)) + data)
    for page in range(pages):
        entries = [(256, 3, width), (257, 3, height), (258, 3, 32), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
        entries += [(277, 3, 1), (278, 3, height), (279, 4, len(data)), (339, 3, 3)]
        out += struct.pack("<H", len(entries))
        for tag, kind, value in entries:
            out += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
        out += struct.pack("<I", len(out) + 4 if page < pages - 1 else 0)
    return bytes(out)


@pytest.fixture
def dm4(dm_builder):
    """Makes a DM4 file of float32."""
    build = dm_builder()
    return lambda stored: build.file(build.picture(stored, 2))


def put(folder: Path, name: str, body: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(body.encode() if isinstance(body, str) else body)
    return path


@pytest.mark.parametrize(
    ("name", "make", "rows"),
    [
        ("gain.mrc", mrc, SEEN[::-1]),  # an MRC file begins with the bottom row
        ("gain.tif", tiff, SEEN),
        ("gain.dm4", "dm4", SEEN),
        ("20240101.gain", tiff, SEEN[::-1]),  # rows of EER frames and of their gain stay in file order
    ],
)
def test_one_reference_from_every_format(name, make, rows, dm4, tmp_path):
    make = dm4 if make == "dm4" else make
    reference = read_gain(put(tmp_path, name, make(rows)))
    np.testing.assert_array_equal(reference.values, SEEN[::-1])
    assert reference.multiplies
    assert reference.notes == ()
    np.testing.assert_array_equal(read_image_reference(tmp_path / name), SEEN[::-1])


@pytest.mark.parametrize(("name", "make", "multiplies"), [("g.mrc", mrc, False), ("g.tif", tiff, False)])
def test_gains_of_eer_movies_divide(name, make, multiplies, tmp_path):
    reference = read_gain(put(tmp_path, name, make(SEEN)), eer=True)
    assert reference.multiplies is multiplies


def test_a_thermo_fisher_gain_multiplies_eer_movies_and_may_have_further_pages(tmp_path):
    reference = read_gain(put(tmp_path, "g.gain", tiff(SEEN, pages=3)), eer=True)
    assert reference.multiplies
    assert "3 images" in reference.notes[0].text
    with pytest.raises(FormatError, match="no TIFF"):
        read_gain(put(tmp_path, "m.gain", mrc(SEEN)))


def test_factor_of_a_gain_that_multiplies(tmp_path):
    factor, dead = as_factor(read_gain(put(tmp_path, "g.mrc", mrc(SEEN))))
    np.testing.assert_array_equal(factor, SEEN)
    np.testing.assert_array_equal(dead, SEEN == 0)


def test_factor_of_a_gain_that_divides(tmp_path):
    factor, dead = as_factor(read_gain(put(tmp_path, "g.mrc", mrc(SEEN)), eer=True))
    mean = SEEN[SEEN > 0].mean()
    np.testing.assert_allclose(factor[~dead], mean / SEEN[SEEN > 0], rtol=1e-6)
    assert factor[dead] == 0
    assert dead.sum() == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number_is_named_with_its_place(value, tmp_path):
    broken = SEEN.copy()
    broken[1, 2] = broken[2, 3] = value
    with pytest.raises(ImageError, match=r"g\.mrc: 2 pixel.*x 2, y 1.*set them to 0"):
        read_gain(put(tmp_path, "g.mrc", mrc(broken)))
    with pytest.raises(ImageError, match="2 pixel"):
        read_image_reference(tmp_path / "g.mrc")


def test_constant_and_negative_gains_are_told(tmp_path):
    flat = read_gain(put(tmp_path, "flat.mrc", mrc(np.ones((3, 4)))))
    assert "corrects nothing" in flat.notes[0].text
    negative = SEEN.copy()
    negative[0, 1] = -1
    reference = read_gain(put(tmp_path, "neg.mrc", mrc(negative)))
    assert "1 pixels" in reference.notes[0].text
    assert as_factor(reference)[1].sum() == 2
    with pytest.raises(ImageError, match="67% of the gain"):
        as_factor(read_gain(put(tmp_path, "dead.mrc", mrc(np.array([[0.0, 0, 1]])))))


def test_a_stack_is_no_reference(tmp_path):
    for name, body in (("a.mrc", mrc(SEEN, 2)), ("a.tif", tiff(SEEN, 2))):
        with pytest.raises(ImageError, match="2 images where one gain reference"):
            read_gain(put(tmp_path, name, body))
    with pytest.raises(FormatError, match="ends early"):
        read_gain(put(tmp_path, "short.mrc", mrc(SEEN)[:-3]))
    with pytest.raises(FormatError, match=r"gone\.mrc"):
        read_gain(tmp_path / "gone.mrc")


def test_grids_of_half_and_whole_pixels():
    dead = SEEN == 0
    doubled, dead2 = match_grid(SEEN, dead, (6, 8))
    np.testing.assert_array_equal(doubled[::2, ::2], SEEN)
    np.testing.assert_array_equal(doubled[1::2, 1::2], SEEN)
    back, dead1 = match_grid(doubled, dead2, (3, 4))
    np.testing.assert_array_equal(back, SEEN)
    np.testing.assert_array_equal(dead1, dead)
    assert match_grid(SEEN, dead, (3, 4))[0] is SEEN
    with pytest.raises(ImageError, match="4 × 3 pixels for frames of 3 × 4"):
        match_grid(SEEN, dead, (4, 3))


# --- defects ------------------------------------------------------------------------------------------------------


def places(mask: np.ndarray) -> set[tuple[int, int]]:
    """(x, y) of the bad pixels, y from the bottom."""
    return {(int(x), int(y)) for y, x in zip(*np.nonzero(mask), strict=True)}


def test_a_defect_map_marks_by_any_number(dm4, tmp_path):
    bad = np.zeros((3, 4))
    bad[0, 1], bad[2, 3] = 1, -7  # seen from the top
    for name, body in (("d.mrc", mrc(bad[::-1])), ("d.tif", tiff(bad)), ("d.dm4", dm4(bad))):
        assert places(read_defects(put(tmp_path, name, body), (3, 4))) == {(1, 2), (3, 0)}
    with pytest.raises(ImageError, match="4 × 3 pixels for frames of 3 × 4"):
        read_defects(tmp_path / "d.mrc", (4, 3))
    with pytest.raises(ImageError, match="non-zero"):
        read_defects(put(tmp_path, "i.mrc", mrc(1 - bad)), (3, 4))


def test_rectangles_count_from_the_bottom_left(tmp_path):
    text = "# x y w h\n1 0 2 1\n\n5, 3, 1, 2\r\n7 -1 4 2\n"
    bad = read_defects(put(tmp_path, "d.txt", text), (6, 8))
    assert places(bad) == {(1, 0), (2, 0), (5, 3), (5, 4), (7, 0)}
    assert not read_defects(put(tmp_path, "e.txt", "\n# none\n"), (6, 8)).any()


@pytest.mark.parametrize(
    "line", ["1 2 3", "1 2 0 4", "1.5 2 3 4", "hello", "1 2 3 4 5", "a b c d", "9" * 30 + " 1 1 1"]
)
def test_lines_that_are_no_rectangles_are_named(line, tmp_path):
    with pytest.raises(FormatError, match=r"d\.txt: line 2"):
        read_defects(put(tmp_path, "d.txt", f"0 0 1 1\n{line}\n"), (6, 8))


def test_rectangles_outside_the_frames_are_of_another_camera(tmp_path):
    with pytest.raises(ImageError, match="x 8, y 0 lies outside frames of 8 × 6"):
        read_defects(put(tmp_path, "d.txt", "8 0 1 1\n"), (6, 8))


SERIALEM = """CameraSizeX 8
CameraSizeY 6
RotationAndFlip 3
WasScaled 0
K2Type 1
UsableArea 0 0 0 0
PartialBadColumn 6 2 1 2
PartialBadRow 5 1 0 1
BadPixels 0 0 3 2
BadColumns 4
"""


def test_serialems_list_counts_rows_from_the_top(tmp_path):
    bad = read_defects(put(tmp_path, "defects.txt", SERIALEM), (6, 8))
    expected = {(4, y) for y in range(6)}  # a whole column
    expected |= {(0, 5), (3, 3)}  # pixels in rows 0 and 2 from the top
    expected |= {(6, 4), (7, 4), (6, 3), (7, 3)}  # two columns, rows 1 to 2 from the top
    expected |= {(0, 0), (1, 0)}  # row 5 from the top is the bottom row
    assert places(bad) == expected


def test_serialems_list_on_super_resolution_frames(tmp_path):
    path = put(tmp_path, "defects.txt", SERIALEM)
    small, large = read_defects(path, (6, 8)), read_defects(path, (12, 16))
    np.testing.assert_array_equal(large, small.repeat(2, axis=0).repeat(2, axis=1))
    scaled = "CameraSizeX 16\nCameraSizeY 12\nWasScaled 1\nBadPixels 6 4\n"
    bad = read_defects(put(tmp_path, "s.txt", scaled), (12, 16))
    assert places(bad) == {(6, 7), (7, 7), (6, 6), (7, 6)}


def test_usable_area_bounds_what_is_good(tmp_path):
    text = "CameraSizeX 8\nCameraSizeY 6\nUsableArea 1 2 4 0\n"
    bad = read_defects(put(tmp_path, "d.txt", text), (6, 8))
    expected = {(x, y) for x in range(8) for y in range(6) if x < 2 or not 1 <= 5 - y <= 4}
    assert places(bad) == expected


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("BadColumns 3\n", FormatError, "CameraSizeX"),
        ("CameraSizeX 8\nCameraSizeY 6\nBadPixels 3\n", FormatError, "BadPixels with 1"),
        ("CameraSizeX 8\nCameraSizeY 6\nPartialBadRow 1 2 3\n", FormatError, "PartialBadRow with 3"),
        ("CameraSizeX 8\nCameraSizeY 6\nHotPixelList 3 4\n", FormatError, "HotPixelList"),
        ("CameraSizeX 8\nCameraSizeY 6\nBadColumns three\n", FormatError, "three"),
        ("CameraSizeX 4096\nCameraSizeY 4096\nBadColumns 3\n", ImageError, "4096 × 4096 pixels for frames of 8 × 6"),
        ("CameraSizeX 8\nCameraSizeY 6\nBadColumns 8\n", ImageError, "outside"),
    ],
)
def test_serialems_lists_that_do_not_fit(text, error, words, tmp_path):
    with pytest.raises(error, match=words):
        read_defects(put(tmp_path, "d.txt", text), (6, 8))
