"""The real steps' own work: what they name, write and leave out."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.errors import PostconditionError, ProjectError
from lamella.formats.images import image_name, open_images
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.relion import read_tilt_table
from lamella.movies import MotionSettings
from lamella.records import TiltSeries
from lamella.tilts.clean_settings import CleanSettings
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.workflow.context import Context
from lamella.workflow.steps import clean, motion, reconstruct
from lamella.workflow.steps.excluded import REASON

VIEWS, SIZE = 11, 64


@pytest.fixture
def context(tmp_path) -> Context:
    (tmp_path / "step").mkdir()
    return Context(root=tmp_path, folder=tmp_path / "step", series="TS", device_name="cpu")


@pytest.fixture
def series(tmp_path, rng) -> TiltSeries:
    images = 1000 + rng.normal(0, 30, (VIEWS, SIZE, SIZE)).astype(np.float32)
    names = {}
    for field, ending in (("images", ""), ("even_images", "_even"), ("odd_images", "_odd")):
        write_mrc(tmp_path / f"TS{ending}.mrc", images + rng.normal(0, 1, images.shape).astype(np.float32), 8.0)
        names[field] = tuple(image_name(i, f"TS{ending}.mrc") for i in range(VIEWS))
    return TiltSeries(
        name="TS",
        pixel_size_ang=8.0,
        image_shape_px=(SIZE, SIZE),
        nominal_tilt_deg=np.linspace(-50, 50, VIEWS),
        nominal_axis_deg=np.full(VIEWS, 85.0),
        **names,
    )


def test_clean_writes_as_many_images_as_it_keeps(series, context):
    kept = clean.run(series, CleanSettings(exclude=(1, 7)), context)
    assert len(kept) == VIEWS - 2
    for names in (kept.images, kept.even_images, kept.odd_images):
        written = open_images(names, context.root)
        assert written.shape == (VIEWS - 2, SIZE, SIZE)
    stack, pixel = read_mrc(context.root / "step/TS.mrcs")
    assert stack.shape[0] == VIEWS - 2
    assert pixel == pytest.approx(8.0)
    raw, _ = read_mrc(context.root / "TS.mrc")
    np.testing.assert_array_equal(stack[0][20:30, 20:30], raw[1][20:30, 20:30])
    np.testing.assert_array_equal(kept.place, [2, 3, 4, 5, 6, 8, 9, 10, 11])


def test_excluded_views_stand_aside_with_their_reason(series, context):
    clean.run(series, CleanSettings(exclude=(1, 7)), context)
    excluded = read_tilt_table(context.root / "step/excluded/TS.star", context.root)
    np.testing.assert_array_equal(excluded.place, [1, 7])
    assert excluded.images == (series.images[0], series.images[6])
    assert "exclude" in excluded.other_columns[REASON][0]
    clean.run(series, CleanSettings(), context)
    assert not (context.root / "step/excluded/TS.star").exists()


def test_what_was_judged_bad_comes_back_by_include(series, context):
    raw, pixel = read_mrc(context.root / "TS.mrc")
    raw[[4, 8]] *= 0.05
    write_mrc(context.root / "TS.mrc", raw, pixel)
    kept = clean.run(series, CleanSettings(exclude=(1,)), context)
    np.testing.assert_array_equal(kept.place, [2, 3, 4, 6, 7, 8, 10, 11])
    said = "2 views were judged bad and stand in step/excluded/TS.star; clean.include = [5, 9] brings them back"
    assert said in context.messages
    kept = clean.run(series, CleanSettings(exclude=(1,), include=(5, 9)), context)
    assert len(kept) == VIEWS - 1
    assert any(message.startswith("view 9 stays by clean.include, although dark") for message in context.messages)


def test_clean_names_the_images_it_was_given_where_no_pixel_changes(series, context):
    kept = clean.run(series, CleanSettings(exclude=(3,), outliers=False), context)
    assert kept.images == series.images[:2] + series.images[3:]
    assert not list((context.root / "step").glob("*.mrcs"))


def test_clean_uses_one_mask_for_the_three_stacks(series, context):
    raw, pixel = read_mrc(context.root / "TS.mrc")
    raw[4, 30, 31] = 1e5
    write_mrc(context.root / "TS.mrc", raw, pixel)
    clean.run(series, CleanSettings(), context)
    for ending in ("", "_even", "_odd"):
        before, _ = read_mrc(context.root / f"TS{ending}.mrc")
        after, _ = read_mrc(context.root / f"step/TS{ending}.mrcs")
        assert after[4, 30, 31] != before[4, 30, 31]
        assert abs(after[4, 30, 31] - 1000) < 200
    assert context.quality["ReplacedPixels"] >= 1


def test_motion_passes_stacks_on(series, context):
    assert motion.run(series, MotionSettings(), context) is series
    assert context.passed_on


def test_reconstruct_wants_an_alignment(series, context):
    with pytest.raises(ProjectError, match="not aligned; run align first"):
        reconstruct.run(series, ReconstructSettings(), context)


def test_needs_are_those_of_the_files_that_come(series):
    settings = ReconstructSettings(pixel_size=16, thickness=512, halves="off")
    alone = reconstruct.needs(series, settings).disk
    assert alone == pytest.approx(4 * 32 * 32 * 32)
    assert reconstruct.needs(series, settings.model_copy(update={"halves": "tilts"})).disk == pytest.approx(3 * alone)
    assert clean.needs(series, CleanSettings()).disk == pytest.approx(3 * 4 * VIEWS * SIZE * SIZE)
    assert clean.needs(series, CleanSettings(outliers=False)).disk == 0


def test_constant_volume_gets_no_name(context):
    with (
        pytest.raises(PostconditionError, match="every pixel would be 2"),
        context.new_mrc(".mrc", (2, 4, 4), 1.0) as new,
    ):
        new(0, 0, 0, np.full((2, 4, 4), 2, np.float32))
    assert list(context.folder.iterdir()) == []
    assert context.outputs == []
