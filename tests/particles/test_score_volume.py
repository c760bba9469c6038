"""A search that is stopped anywhere goes on to the same result."""

from __future__ import annotations

import numpy as np
import pytest
from tests.particles.blobs import DIAMETER, blob_map, series_of

from lamella.errors import InputError
from lamella.particles import PickSettings, prepare_template
from lamella.particles.score_volume import search_tomogram
from lamella.particles.search_plan import plan_search
from lamella.particles.search_state import SearchState
from lamella.particles.template_weights import SearchWeights
from lamella.records import ArrayVolume
from lamella.runtime import prepare

VOXEL, SHAPE = 12.0, (64, 120, 64)
SETTINGS = PickSettings(angle_step=60.0, diameter=DIAMETER, memory=0.03)


class Kept:
    """Keeps states as a file would, and stops the search at one of them."""

    def __init__(self, stop: int = 0, last: SearchState | None = None) -> None:
        self.offers, self.stop, self.state = 0, stop, last

    def last(self) -> SearchState | None:
        return self.state

    def keep(self, state: SearchState) -> None:
        self.offers += 1
        if self.offers == self.stop:
            copied = {name: np.array(value) for name, value in state.arrays().items()}
            self.state = SearchState.from_arrays(copied)
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def search():
    prepare(torch=True)  # as pick does: numba's first loop would set torch's threads, and they decide how it rounds
    volume = ArrayVolume(np.random.default_rng(3).normal(size=SHAPE).astype(np.float32))
    template = prepare_template(blob_map(30, VOXEL), VOXEL, VOXEL, diameter_ang=DIAMETER)
    plan = plan_search(template, SETTINGS)
    weights = SearchWeights.of(series_of(), VOXEL, DIAMETER, None, highest_px=VOXEL / plan.resolution_ang)

    def run(keeper=None):
        return search_tomogram(volume, template, weights, plan, SETTINGS, keeper=keeper)

    return run


def test_a_search_stopped_anywhere_gives_the_same_bits(search):
    counted = Kept()
    whole = search(counted)
    assert counted.offers >= 3  # within the template's orientations, after them, after the background's
    for stop in range(1, counted.offers + 1):
        stopped = Kept(stop)
        with pytest.raises(KeyboardInterrupt):
            search(stopped)
        assert stopped.state is not None
        rest = Kept(last=stopped.state)
        again = search(rest)
        assert rest.offers == counted.offers - stop
        for name in ("score", "which", "background_which"):
            np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_a_state_of_another_tomogram_or_other_blocks_is_not_used(search):
    stopped = Kept(1)
    with pytest.raises(KeyboardInterrupt):
        search(stopped)
    assert stopped.state is not None
    other = {**stopped.state.arrays(), "blocks": np.array(99)}
    unused = Kept(last=SearchState.from_arrays(other))
    np.testing.assert_array_equal(search(unused).score, search().score)
    assert unused.offers >= 3
    with pytest.raises(InputError, match="no which"):
        SearchState.from_arrays({name: value for name, value in other.items() if name != "which"})
