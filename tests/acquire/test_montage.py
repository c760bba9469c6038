"""Holes found on montages whose holes are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lamella.acquire.montage import find_holes, hole_targets
from lamella.errors import ImageError, InputError
from lamella.formats.mrc import read_mrc

Array = NDArray[np.float64]

PIXEL = 200.0  # Å; holes of 1.2 µm are 60 pixels wide
SIZE = 1000


def montage(angle: float = 17.0, seed: int = 1) -> tuple[NDArray[np.float32], Array, dict[str, Array]]:
    """A film of holes 60 pixels wide 125 apart, some missing, thick, empty or broken: image, good ones, the others."""
    rng = np.random.default_rng(seed)
    turn = np.deg2rad(angle)
    basis = 125.0 * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    grid = np.array([(i, j) for i in range(-8, 9) for j in range(-8, 9)])
    places = grid @ basis + (SIZE / 2 + 3.3, SIZE / 2 - 7.7)
    places = places[((places > 32) & (places < SIZE - 33)).all(axis=1)]
    rng.shuffle(places)
    kinds = {"missing": places[:3], "thick": places[3:6], "empty": places[6:8], "broken": places[8:10]}
    y, x = np.indices((SIZE, SIZE))
    image = np.full((SIZE, SIZE), 60.0) + 8.0 * x / SIZE
    for number, (column, row) in enumerate(places):
        level = 0.0 if number < 3 else 70.0 if number < 6 else 130.0 if number < 8 else 100.0
        if level:
            inside = np.clip(30.5 - np.hypot(x - column, y - row), 0, 1)
            image += inside * (level - image)
        if 8 <= number < 10:
            image[(np.hypot(x - column, y - row) < 29) & (x > column + 5)] = 140.0
    return rng.poisson(image).astype(np.float32), places[10:], kinds


@pytest.mark.parametrize("angle", [0.0, 17.0, 45.0])
def test_good_holes_are_found_and_no_others(angle: float) -> None:
    image, good, kinds = montage(angle)
    holes = find_holes(image, PIXEL, 1.2)
    found = np.array([(one.x_px, one.y_px) for one in holes if one.good])
    off = np.hypot(*(found[:, None] - good[None]).transpose(2, 0, 1))
    assert len(found) == len(good)
    assert off.min(axis=0).max() < 1.0
    assert off.min(axis=0).mean() < 0.5
    for one in holes:
        for kind in ("thick", "empty", "broken"):
            if np.hypot(*(kinds[kind] - (one.x_px, one.y_px)).T).min() < 3:
                assert one.fault
        assert np.hypot(*(kinds["missing"] - (one.x_px, one.y_px)).T).min() > 10


def test_targets_are_turned_by_the_tilt_axis() -> None:
    image, good, _ = montage()
    targets = hole_targets(find_holes(image, PIXEL, 1.2), image.shape, PIXEL, 90.0, most=5)
    nearest = good[np.argsort(np.hypot(*(good - SIZE // 2).T))[:5]] - SIZE // 2
    # The axis lies along the image's -x: its y is -x of the image, its x is the image's y.
    for target, (x, y) in zip(targets, nearest * PIXEL * 1e-4, strict=True):
        assert (target.x_um, target.y_um) == pytest.approx((y, -x), abs=0.03)
    assert [one.name for one in targets] == ["H01", "H02", "H03", "H04", "H05"]


def test_what_is_no_montage() -> None:
    image, _, _ = montage()
    with pytest.raises(ImageError, match="no image"):
        find_holes(np.zeros((10, 10)), PIXEL, 1.2)
    with pytest.raises(InputError, match="pixels wide"):
        find_holes(image, PIXEL, 0.05)
    with pytest.raises(InputError, match="within reach"):
        hole_targets(find_holes(image, PIXEL, 1.2), image.shape, PIXEL, 0.0, reach_um=0.01)


def test_a_real_holey_film(shared_data: Path) -> None:
    path = shared_data / "acquisition" / "leginon_tilt1.mrc"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    image = read_mrc(path)[0].squeeze()
    holes = find_holes(image, 100.0, 1.38)
    # Two holes are wholly in the picture; their middles as read off it (row 0 at the bottom). Dirt on one side of the
    # first draws it by 2 % of its width.
    assert len(holes) == 2
    for x, y in ((225.5, 511 - 135.5), (125.5, 511 - 393.0)):
        assert min(np.hypot(x - one.x_px, y - one.y_px) for one in holes) < 0.03 * 138
