"""Frames read ahead come in order; small movies are decoded once, large ones anew each time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from lamella.errors import FormatError
from lamella.movies.reading import kept_in_memory, read_ahead


@dataclass
class Counting:
    """A movie that counts how often each frame is decoded."""

    frames: np.ndarray
    broken: int = -1
    asked: list[int] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.frames.shape

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> np.ndarray:
        self.asked.append(index)
        if index == self.broken:
            raise FormatError("frame is damaged", mend="copy it again")
        return self.frames[index]


def movie(**more) -> Counting:
    return Counting(np.arange(7 * 4 * 5, dtype=np.uint8).reshape(7, 4, 5), **more)


@pytest.mark.parametrize("ahead", [1, 2, 20])
@pytest.mark.parametrize("places", [range(7), range(2, 5), [3], []])
def test_frames_come_in_the_order_asked_for(ahead, places):
    source = movie()
    found = list(read_ahead(source, places, ahead))
    assert len(found) == len(places)
    for frame, place in zip(found, places, strict=True):
        np.testing.assert_array_equal(frame, source.frames[place])
    assert sorted(source.asked) == sorted(places)


def test_a_damaged_frame_is_an_error_where_its_turn_comes():
    frames = read_ahead(movie(broken=2), range(7), 2)
    next(frames), next(frames)
    with pytest.raises(FormatError, match="damaged"):
        next(frames)


def test_small_movies_are_decoded_once():
    sources = [movie(), movie()]
    kept = kept_in_memory(sources)
    for _ in range(3):
        for one, source in zip(kept, sources, strict=True):
            np.testing.assert_array_equal([one.frame(index) for index in range(len(one))], source.frames)
    assert kept[0].shape == (7, 4, 5)
    assert [sorted(source.asked)[-6:] for source in sources] == [[1, 2, 3, 4, 5, 6]] * 2


def test_movies_too_large_together_are_left_alone():
    sources = [movie(), movie()]
    assert kept_in_memory(sources, most_bytes=2 * 7 * 4 * 5 - 1) == sources
    assert kept_in_memory(sources, most_bytes=2 * 7 * 4 * 5) != sources
    assert kept_in_memory([]) == []
