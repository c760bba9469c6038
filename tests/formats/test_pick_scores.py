from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import FormatError
from lamella.formats.pick_scores import read_pick_scores, write_pick_scores
from lamella.formats.star import StarTable, write_star


@pytest.mark.parametrize("told", [True, False])
def test_a_histogram_comes_back(tmp_path, told):
    edges, peaks = np.arange(4.0, 7.0, 0.5), np.array([10.0, 4, 1, 0, 0, 3])
    noise = np.array([9.5, 4.2, 0.8, 0.1, 0.0, 0.0]) if told else None
    write_pick_scores(tmp_path / "s.star", edges, peaks, noise)
    found = read_pick_scores(tmp_path / "s.star")
    assert set(found) == {"edges", "peaks"} | ({"noise"} if told else set())
    np.testing.assert_allclose(found["edges"], edges)
    np.testing.assert_allclose(found["peaks"], peaks)
    if noise is not None:
        np.testing.assert_allclose(found["noise"], noise)


def test_another_file_is_refused(tmp_path):
    write_star(tmp_path / "s.star", [StarTable("scores", {"rlnCoordinateX": ("1",)})])
    with pytest.raises(FormatError, match="no histogram"):
        read_pick_scores(tmp_path / "s.star")
