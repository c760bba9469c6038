"""How a gain lies on the frames, found from counts."""

from __future__ import annotations

import numpy as np
import pytest
from tests.movies.camera import movies, sources, structured_gain

from lamella.errors import ImageError
from lamella.movies.defects import survey
from lamella.movies.gain_orientation import FLIPS, ROTATIONS, GainPosition, find_position, place_gain

SQUARE, OBLONG = (320, 320), (288, 352)


def stored(gain: np.ndarray, rotation: int, flip: str) -> np.ndarray:
    """The image that `rotation`, then `flip`, bring to `gain`, written out pixel by pixel with y upwards."""
    height, width = gain.shape if rotation % 180 == 0 else gain.shape[::-1]
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    h, w = height, width
    for _ in range(rotation // 90):  # counter-clockwise: (x, y) → (−y, x)
        x, y, h, w = h - 1 - y, x, w, h
    if flip == "up-down":
        y = h - 1 - y
    elif flip == "left-right":
        x = w - 1 - x
    return gain[y, x]


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("flip", FLIPS)
def test_positions_are_what_they_say(rotation: int, flip: str) -> None:
    gain = np.arange(6 * 8, dtype=np.float32).reshape(6, 8)
    np.testing.assert_array_equal(place_gain(stored(gain, rotation, flip), GainPosition(rotation, flip)), gain)


@pytest.mark.parametrize("shape", [SQUARE, OBLONG])
@pytest.mark.parametrize(
    ("rotation", "flip"), [(0, "none"), (90, "none"), (270, "up-down"), (180, "left-right"), (0, "up-down")]
)
def test_every_position_is_found(shape: tuple[int, int], rotation: int, flip: str, rng: np.random.Generator) -> None:
    gain = structured_gain(rng, shape)
    total = survey(sources(movies(rng, shape, 0.5, gain=gain))).total  # 16 counts per pixel
    fit = find_position(total, stored(gain, rotation, flip))
    np.testing.assert_array_equal(place_gain(stored(gain, rotation, flip), fit.position), gain)
    assert fit.share == pytest.approx(1, abs=0.15)
    assert fit.fits
    assert len(fit.notes) == 1
    assert not fit.notes[0].startswith("warning")


def test_a_stated_position_is_taken_and_judged(rng: np.random.Generator) -> None:
    gain = structured_gain(rng, SQUARE)
    total = survey(sources(movies(rng, SQUARE, 0.5, gain=gain))).total
    right = find_position(total, stored(gain, 90, "none"), rotation="90", flip="none")
    assert right.position == GainPosition(90, "none")
    assert right.notes == ()
    wrong = find_position(total, stored(gain, 90, "none"), rotation="0", flip="none")
    assert wrong.position == GainPosition(0, "none")
    assert "turned wrongly" in wrong.notes[0]
    assert "rotated by 90°" in wrong.notes[0]
    half = find_position(total, stored(gain, 90, "none"), flip="none")
    assert half.position.rotation == 90
    assert find_position(total, stored(gain, 180, "up-down"), flip="left-right").position == GainPosition(
        0, "left-right"
    )


def test_a_gain_of_another_camera_and_an_inverted_one_are_doubted(rng: np.random.Generator) -> None:
    gain = structured_gain(rng, SQUARE)
    total = survey(sources(movies(rng, SQUARE, 1.5, gain=gain))).total
    other = find_position(total, structured_gain(np.random.default_rng(9), SQUARE))
    assert not other.fits
    assert any("seems to be wrong" in note for note in other.notes)
    upside = find_position(total, (1 / gain).astype(np.float32))
    assert any("inverted" in note for note in upside.notes)


def test_a_gain_that_tells_nothing_is_said_to(rng: np.random.Generator) -> None:
    total = survey(sources(movies(rng, SQUARE, 1.0))).total
    flat = find_position(total, np.ones(SQUARE, np.float32))
    assert flat.position == GainPosition()
    assert "no structure" in flat.notes[0]
    rows = np.broadcast_to((1 + 0.05 * rng.normal(size=SQUARE[0]))[:, None], SQUARE).astype(np.float32)
    total = survey(sources(movies(rng, SQUARE, 1.0, gain=rows))).total
    alike = find_position(total, rows)  # the same after a flip left-right
    assert alike.position == GainPosition()
    assert alike.fits
    assert "looks the same" in alike.notes[0]


def test_defects_of_a_gain_do_not_decide(rng: np.random.Generator) -> None:
    gain = structured_gain(rng, SQUARE)
    total = survey(sources(movies(rng, SQUARE, 0.5, gain=gain))).total
    total[rng.integers(0, 320, 50), rng.integers(0, 320, 50)] *= 100
    given = stored(gain, 90, "up-down").copy()
    given[100, :] = 0
    given[50, 60] = np.nan
    given[70, 80] = 1e6
    assert find_position(total, given).position == GainPosition(90, "up-down")


def test_sizes_that_do_not_fit_are_named() -> None:
    total = np.ones((100, 120), np.float32)
    with pytest.raises(ImageError, match="64 × 32 pixels, the frames 120 × 100"):
        find_position(total, np.ones((32, 64), np.float32))
    with pytest.raises(ImageError, match="stated rotation"):
        find_position(total, np.ones((120, 100), np.float32), rotation="180")


def test_the_middle_of_large_frames_decides(rng: np.random.Generator) -> None:
    """Odd sides too: what is compared must be turned about the same centre."""
    shape = (2101, 2160)
    gain = (1 / (1 + 0.05 * rng.normal(size=shape))).astype(np.float32)
    total = rng.poisson(8 / gain).astype(np.float32)
    fit = find_position(total, stored(gain, 270, "up-down"))
    assert fit.position.code == GainPosition(270, "up-down").code
    assert fit.share == pytest.approx(1, abs=0.05)
