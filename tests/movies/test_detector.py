"""What the camera does to a frame, undone."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import ImageError
from lamella.movies.detector import Detector

H, W = 96, 128


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", ">i2", "float32", ">f4"])
def test_dark_then_gain(dtype: str, rng: np.random.Generator) -> None:
    frame = rng.integers(0, 100, (H, W)).astype(dtype)
    gain = rng.uniform(0.9, 1.1, (H, W)).astype(np.float32)
    dark = rng.normal(2, 0.1, (H, W)).astype(np.float32)
    corrected = Detector(shape_px=(H, W), gain=gain, dark=dark).correct(frame)
    assert corrected.dtype == np.float32
    np.testing.assert_allclose(corrected, (frame.astype(np.float64) - dark) * gain, rtol=1e-5)
    np.testing.assert_array_equal(Detector(shape_px=(H, W)).correct(frame, threads=2), frame.astype(np.float32))


@pytest.mark.parametrize("turn", range(8))
def test_the_frame_is_turned_after_its_correction(turn: int, rng: np.random.Generator) -> None:
    """SerialEM's rule: 4 mirrors left and right first, then quarter turns counter-clockwise; row 0 is the bottom."""
    frame = rng.integers(0, 100, (H, W)).astype(np.uint8)
    gain = rng.uniform(0.9, 1.1, (H, W)).astype(np.float32)
    expected = {}
    for y in range(0, H, 7):
        for x in range(0, W, 5):
            height, width, at = H, W, (x, y)
            if turn & 4:
                at = (width - 1 - at[0], at[1])
            for _ in range(turn & 3):
                at, height, width = (height - 1 - at[1], at[0]), width, height  # (x, y) → (−y, x)
            expected[at] = frame[y, x] * gain[y, x]
    camera = Detector(shape_px=(H, W), gain=gain, turn=turn)
    corrected = camera.correct(frame)
    assert corrected.shape == camera.image_shape_px
    for (x, y), value in expected.items():
        assert corrected[y, x] == pytest.approx(value, rel=1e-6)


def test_replaced_pixels_are_like_their_neighbours_and_unlike_each_other(rng: np.random.Generator) -> None:
    level = 2.0 + 0.03 * np.arange(W)
    stack = rng.poisson(level, (80, H, W)).astype(np.uint8)
    bad = np.zeros((H, W), bool)
    bad[:, 50] = bad[30, :] = bad[60:75, 90:110] = True
    bad[5, 5] = bad[0, 0] = True
    stack[:, bad] = 200
    camera = Detector(shape_px=(H, W), bad=bad)
    out = np.stack([camera.correct(frame) for frame in stack])
    assert out.max() < 40
    column = out[:, :, 50]
    assert column.mean() == pytest.approx(level[50], rel=0.03)
    assert column.var() == pytest.approx(level[50], rel=0.08)
    # nothing of it comes again in another frame
    smooth = out.mean(axis=0)
    assert smooth[:, 50].std() == pytest.approx(np.sqrt(level[50] / 80), rel=0.25)
    a, b = (part - part.mean() for part in (out[::2, :, 50].mean(axis=0), out[1::2, :, 50].mean(axis=0)))
    assert abs(np.mean(a * b)) / (a.std() * b.std()) < 0.35
    block = smooth[60:75, 90:110]
    assert block.mean() == pytest.approx(level[90:110].mean(), rel=0.04)
    np.testing.assert_array_equal(camera.correct(stack[3]), out[3])  # the same frame, the same image


def test_bad_pixels_stand_where_the_image_shows_them() -> None:
    bad = np.zeros((H, W), bool)
    bad[3, 10] = True
    np.testing.assert_array_equal(Detector(shape_px=(H, W), bad=bad).bad_pixels_px, [[10, 3]])
    # a quarter turn counter-clockwise: (x, y) → (h − 1 − y, x)
    np.testing.assert_array_equal(Detector(shape_px=(H, W), bad=bad, turn=1).bad_pixels_px, [[H - 4, 10]])


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ImageError, match=r"gain of 96 × 128 pixels for frames of 128 × 96"):
        Detector(shape_px=(H, W), gain=np.ones((W, H), np.float32))
    with pytest.raises(ImageError, match="marked bad"):
        Detector(shape_px=(H, W), bad=np.ones((H, W), bool))
    camera = Detector(shape_px=(H, W))
    with pytest.raises(ImageError, match="a frame of 12 × 10 pixels"):
        camera.correct(np.zeros((10, 12), np.uint8))
    broken = np.zeros((H, W), np.float32)
    broken[1, 1] = np.inf
    with pytest.raises(ImageError, match="1 pixels of a frame are NaN"):
        camera.correct(broken)
