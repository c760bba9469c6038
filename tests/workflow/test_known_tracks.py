"""An edit is solved from the tracks that were kept: dropped tracks, dropped views, imported ones; and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import lamella.tilts as tilts
from lamella.errors import InputError
from lamella.formats.images import image_name, open_images
from lamella.formats.mrc import write_mrc
from lamella.formats.tracks import read_followed_tracks, read_tracks, write_followed_tracks
from lamella.records import TiltSeries
from lamella.records.followed_tracks import FollowedTracks
from lamella.records.tracks import Tracks
from lamella.tilts import AlignSettings
from lamella.workflow.context import Context
from lamella.workflow.known_tracks import SOLVE_SETTINGS, image_samples
from lamella.workflow.steps import align
from lamella.workflow.tables import write_part

VIEWS, BEADS = 9, 12


@pytest.fixture
def series(tmp_path, rng) -> TiltSeries:
    write_mrc(tmp_path / "a.mrc", rng.normal(10, 2, (VIEWS, 40, 48)).astype(np.float32), 4.0)
    return TiltSeries(
        name="A",
        pixel_size_ang=4.0,
        image_shape_px=(40, 48),
        nominal_tilt_deg=np.linspace(-40, 40, VIEWS),
        nominal_axis_deg=np.full(VIEWS, 85.0),
        images=tuple(image_name(n, "a.mrc") for n in range(VIEWS)),
    )


@pytest.fixture
def context(tmp_path) -> Context:
    (tmp_path / "align").mkdir()
    return Context(root=tmp_path, folder=tmp_path / "align", series="A")


def again(context: Context) -> Context:
    return Context(root=context.root, folder=context.folder, series="A")


def said(context: Context, *words: str) -> bool:
    return any(all(word in text for word in words) for text in context.messages)


def test_settings_of_the_solve_are_settings():
    assert set(AlignSettings.model_fields) >= SOLVE_SETTINGS


def test_a_dropped_bead_is_left_out_and_can_come_back(series, context, followed):
    align.run(series, AlignSettings(), context)
    assert followed == [None]
    align.run(series, AlignSettings(drop_tracks=(3, 7)), edited := again(context))
    assert followed[1].labels.tolist() == [n for n in range(1, BEADS + 1) if n not in (3, 7)]
    assert said(edited, "12 beads followed before")
    assert said(edited, "left out", "3, 7")
    kept = read_tracks(context.folder / "A_tracks.star")
    assert kept.count == BEADS
    assert np.isnan(kept.points_ang[[2, 6]]).all()
    assert np.isfinite(np.delete(kept.points_ang, [2, 6], axis=0)).all()
    align.run(series, AlignSettings(), again(context))
    assert followed[2].count == BEADS


def test_views_that_leave_and_come_back(series, context, followed):
    align.run(series, AlignSettings(), context)
    fewer = series.select([0, 1, 2, 4, 5, 7, 8])
    align.run(fewer, AlignSettings(), again(context))
    assert followed[1].views == 7
    path = context.folder / "A_tracks.star"
    shown = read_tracks(path, fewer.place)
    assert shown.views == 7
    assert np.isfinite(shown.residuals_ang).all()
    assert np.isnan(read_tracks(path).residuals_ang[[3, 6]]).all()
    align.run(series, AlignSettings(), again(context))
    assert followed[2].views == VIEWS


def test_the_score_before_alignment_is_taken_over(series, context, followed, monkeypatch):
    """An edit scores its own geometry alone, as long as nothing that the score depends on has changed."""
    stand_in, told = tilts.align, []

    def scored(record, *rest, **named):
        told.append(record.quality.get("AlignScoreNone"))
        result = stand_in(record, *rest, **named)
        result.series = result.series.with_changes(quality={"AlignScoreNone": 0.125})
        return result

    monkeypatch.setattr(tilts, "align", scored)
    for record, settings in (
        (series, AlignSettings()),
        (series, AlignSettings(drop_tracks=(3,))),
        (series.select(range(1, VIEWS)), AlignSettings(tilt_angles="free")),
        (series, AlignSettings()),
        (series.with_changes(nominal_axis_deg=np.full(VIEWS, 80.0)), AlignSettings()),
    ):
        write_part(context.folder / ".done" / "A", align.run(record, settings, again(context)), context.root)
    # with all views again there is no geometry of every view to begin with; another axis is another geometry
    assert told == [None, 0.125, 0.125, None, None]


def test_only_what_the_solve_does_may_change(series, context, followed):
    align.run(series, AlignSettings(), context)
    align.run(series, AlignSettings(loss="none", tilt_angles="free", level=False), again(context))
    assert followed[1] is not None
    for changes in ({"working_size": 512}, {"reuse_tracks": False}, {"method": "coarse"}, {"method": "patches"}):
        align.run(series, AlignSettings(), again(context))
        align.run(series, AlignSettings(**changes), last := again(context))
        assert followed[-1] is None, changes
        assert said(last, "followed anew") == ("reuse_tracks" not in changes)


def test_other_pixels_are_followed_anew(series, context, followed, tmp_path, rng):
    align.run(series, AlignSettings(), context)
    stack = np.array([open_images(series.images, tmp_path).view(n) for n in range(VIEWS)])
    spots = stack.copy()
    spots[:, rng.integers(0, 40, 40), rng.integers(0, 48, 40)] = 0  # a few pixels were replaced otherwise
    write_mrc(tmp_path / "a.mrc", spots, 4.0)
    align.run(series, AlignSettings(), again(context))
    assert followed[1] is not None
    stack[4] += 0.5
    write_mrc(tmp_path / "a.mrc", stack, 4.0)
    align.run(series, AlignSettings(drop_tracks=(3,)), last := again(context))
    assert followed[2] is None
    assert said(last, "image of view 5 has changed")
    assert said(last, "3 were not dropped")


def test_a_view_that_was_never_followed(series, context, followed):
    align.run(series.select(range(1, VIEWS)), AlignSettings(), context)
    align.run(series, AlignSettings(), last := again(context))
    assert followed[1] is None
    assert said(last, "view 1 of the stack was not followed")


def test_a_labelled_rerun_takes_the_lines_tracks(series, context, followed, tmp_path):
    align.run(series, AlignSettings(), context)
    (tmp_path / "align.edit").mkdir()
    other = Context(root=tmp_path, folder=tmp_path / "align.edit", series="A")
    align.run(series, AlignSettings(drop_tracks=(1,)), other)
    assert followed[1].count == BEADS - 1
    assert read_followed_tracks(tmp_path / "align.edit" / "A_tracks.star").tracks.count == BEADS


def test_imported_tracks_serve_whatever_the_settings(series, context, followed, tmp_path, rng):
    tracks = Tracks.observed(rng.normal(0, 50, (VIEWS, BEADS, 2)), kind="beads")
    samples = image_samples(open_images(series.images, tmp_path))
    kept = FollowedTracks(tracks=tracks, place=series.place, samples=samples, origin="imod: A.fid")
    write_followed_tracks(context.folder / "A_tracks.star", kept)
    align.run(series, AlignSettings(working_size=512), context)
    np.testing.assert_allclose(followed[0].observations_ang, tracks.observations_ang, rtol=1e-5)
    assert said(context, "imod: A.fid")
    assert read_followed_tracks(context.folder / "A_tracks.star").origin == "imod: A.fid"


def test_bad_edits(series, context, followed):
    align.run(series, AlignSettings(), context)
    with pytest.raises(InputError, match="no track 99"):
        align.run(series, AlignSettings(drop_tracks=(99,)), again(context))
    with pytest.raises(InputError, match="every track"):
        align.run(series, AlignSettings(drop_tracks=tuple(range(1, BEADS + 1))), again(context))


def test_a_damaged_file_is_no_hindrance(series, context, followed):
    (context.folder / "A_tracks.star").write_text("data_general\n_lamellaTrackViews 3\n")
    align.run(series, AlignSettings(), context)
    assert followed == [None]
