"""Turns of frames: pictures turned by hand, titles as SerialEM writes them, files made byte by byte."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from lamella.errors import FormatError
from lamella.formats.frame_turn import (
    TurnTitle,
    inverse_turn,
    parse_turn_title,
    read_turn_title,
    turn_image,
    turn_shape,
    turn_to_do,
)

SEEN = """
ab.
c..
"""
# the picture above, turned by hand: rows from top to bottom as they are seen
TURNED = {
    0: "ab. c..",
    1: ".. b. ac",  # a quarter counter-clockwise: the right edge comes to the top
    2: "..c .ba",
    3: "ca .b ..",
    4: ".ba ..c",  # left and right exchanged
    5: "ac b. ..",  # exchanged, then a quarter counter-clockwise
    6: "c.. ab.",
    7: ".. .b ca",
}


def picture(text: str) -> np.ndarray:
    """What is seen, as an array whose row 0 is the bottom row."""
    return np.array([list(row) for row in text.split()])[::-1]


@pytest.mark.parametrize("turn", range(8))
def test_turned_as_seen(turn):
    turned = turn_image(picture(SEEN), turn)
    np.testing.assert_array_equal(turned, picture(TURNED[turn]))
    assert turned.shape == turn_shape((2, 3), turn)
    stack = turn_image(np.stack([picture(SEEN)] * 2)[None], turn)
    np.testing.assert_array_equal(stack[0, 1], turned)


@pytest.mark.parametrize("turn", range(8))
def test_inverse_undoes(turn, rng):
    images = rng.normal(size=(2, 5, 7))
    np.testing.assert_array_equal(turn_image(turn_image(images, turn), inverse_turn(turn)), images)
    np.testing.assert_array_equal(turn_image(turn_image(images, inverse_turn(turn)), turn), images)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("SerialEMCCD: Dose frac. image, scaled by 1.00  r/f 0", TurnTitle(0)),
        ("SerialEMCCD: Dose frac. image, scaled by 16.00  r/f 5", TurnTitle(5)),
        ("SerialEMCCD: Dose frac. image, 4 bits packed  r/f 0 need 3", TurnTitle(0, 3)),
        ("SerialEM: frames saved, r/f 1 need 0, scaled by 2.00", TurnTitle(1, 0)),
        ("frames\nSerialEMCCD: Dose frac. image, scaled by 1.00  r/f 7\n gain.dm4", TurnTitle(7)),
        ("r/f 9 need 3", None),
        ("r/f 12", None),
        ("tar/f 1", None),
        ("made by unblur", None),
        ("", None),
    ],
)
def test_titles(title, expected):
    assert parse_turn_title([title]) == expected


@pytest.mark.parametrize(
    ("title", "property_", "turn"),
    [
        (None, None, 0),
        (None, 0, 0),
        (None, 5, None),  # nobody can know
        (TurnTitle(5), 5, 0),  # done before they were saved
        (TurnTitle(0), None, 0),
        (TurnTitle(0), 3, 3),  # as the camera gave them, and the camera wants 3
        (TurnTitle(0, 3), None, 3),
        (TurnTitle(0, 0), 3, 0),  # the title decides
        (TurnTitle(3, 0), 3, 0),
    ],
)
def test_what_is_left_to_do(title, property_, turn):
    assert turn_to_do(title, property_) == turn


def mrc_with_labels(*labels: str) -> bytes:
    header = bytearray(1024)
    struct.pack_into("<10i", header, 0, 4, 3, 2, 0, 0, 0, 0, 4, 3, 2)
    struct.pack_into("<6f", header, 40, 4, 3, 2, 90, 90, 90)
    struct.pack_into("<3i3f", header, 64, 1, 2, 3, 0, 1, 0)
    header[208:216] = b"MAP \x44\x44\0\0"
    struct.pack_into("<i", header, 220, len(labels))
    for place, label in enumerate(labels):
        header[224 + 80 * place : 304 + 80 * place] = label.encode().ljust(80)
    return bytes(header) + bytes(24)


def tiff_with_description(text: str) -> bytes:
    """One page of 4 × 3 bytes, its ImageDescription at the end of the file."""
    words = text.encode() + b"\0"
    entries = [
        (256, 3, 1, 4),
        (257, 3, 1, 3),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (270, 2, len(words), 200),
        (273, 4, 1, 180),
        (277, 3, 1, 1),
        (278, 3, 1, 3),
        (279, 4, 1, 12),
    ]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(180, b"\0") + bytes(20) + words


@pytest.mark.parametrize("make", [mrc_with_labels, tiff_with_description])
def test_titles_of_files(make, tmp_path):
    path = tmp_path / "frames.any"
    path.write_bytes(make("SerialEMCCD: Dose frac. image, scaled by 1.00  r/f 0 need 6"))
    assert read_turn_title(path) == TurnTitle(0, 6)
    path.write_bytes(make("nothing of the kind"))
    assert read_turn_title(path) is None


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(FormatError, match=r"gone\.tif"):
        read_turn_title(tmp_path / "gone.tif")
    (tmp_path / "bad.tif").write_bytes(b"II*\0" + bytes(2))
    with pytest.raises(FormatError, match=r"bad\.tif"):
        read_turn_title(tmp_path / "bad.tif")
