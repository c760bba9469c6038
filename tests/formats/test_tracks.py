from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import starfile

from lamella.errors import FormatError
from lamella.formats.tracks import read_tracks, write_tracks
from lamella.records.tracks import Tracks


@pytest.fixture
def tracks(rng: np.random.Generator) -> Tracks:
    seen_at = rng.normal(size=(6, 5, 2)) * 1000
    seen_at[rng.uniform(size=(6, 5)) < 0.3] = np.nan
    residuals = np.where(np.isnan(seen_at), np.nan, rng.normal(size=(6, 5, 2)))
    points = rng.normal(size=(5, 3)) * 500
    points[2], residuals[:, 2] = np.nan, np.nan
    observed = Tracks.observed(seen_at, rng.uniform(0.1, 2, size=(6, 5)), [1, 2, 2, 3, 5], "patches")
    return observed.with_solution(points, residuals)


def test_comes_back_as_it_was(tmp_path: Path, tracks: Tracks) -> None:
    write_tracks(tmp_path / "t.star", tracks)
    back = read_tracks(tmp_path / "t.star")
    for name in ("observations_ang", "weights", "points_ang", "residuals_ang"):
        np.testing.assert_allclose(getattr(back, name), getattr(tracks, name), rtol=1e-6, atol=1e-5, err_msg=name)
    np.testing.assert_array_equal(back.labels, [1, 2, 2, 3, 5])
    assert back.kind == "patches"


def test_another_program_reads_it(tmp_path: Path, tracks: Tracks) -> None:
    write_tracks(tmp_path / "t.star", tracks)
    tables = starfile.read(tmp_path / "t.star", always_dict=True)
    assert len(tables["observations"]) == tracks.seen.sum()
    row = tables["observations"].iloc[0]
    place = tracks.observations_ang[int(row["lamellaTrackView"]) - 1, int(row["lamellaTrackPoint"]) - 1]
    np.testing.assert_allclose([row["lamellaTrackXAngst"], row["lamellaTrackYAngst"]], place, rtol=1e-5)


def test_refuses_a_view_that_there_is_not(tmp_path: Path, tracks: Tracks) -> None:
    path = tmp_path / "t.star"
    write_tracks(path, tracks)
    text = path.read_text().splitlines()
    place = next(i for i, line in enumerate(text) if line.startswith("_lamellaTrackViews") or "TrackViews" in line)
    text[place] = text[place].replace("6", "3")
    path.write_text("\n".join(text))
    with pytest.raises(FormatError, match="view or point"):
        read_tracks(path)


def test_refuses_another_table(tmp_path: Path) -> None:
    (tmp_path / "t.star").write_text("data_general\n\n_lamellaTrackViews 3\n_lamellaTrackPoints 2\n")
    with pytest.raises(FormatError, match="no table"):
        read_tracks(tmp_path / "t.star")
