"""`reconstruct` erases gold: what it writes, says and leaves in the record."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tomograms.gold_scene import PIXEL_ANG, gold_scene, matched

from lamella.formats.images import image_name
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.relion_tomograms import read_tomograms, write_tomograms
from lamella.formats.star import read_star
from lamella.tomograms.reconstruct_settings import ReconstructSettings
from lamella.workflow.context import Context
from lamella.workflow.steps import reconstruct

HOW = {"pixel_size": 10.0, "thickness": 1000.0, "halves": "frames"}
PLACE = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]


@pytest.fixture
def context(tmp_path) -> Context:
    (tmp_path / "step").mkdir()
    return Context(root=tmp_path, folder=tmp_path / "step", series="TS", device_name="cpu")


def stored(scene, root):
    """The series with its images in files."""
    names = {}
    for kind in ("images", "even", "odd"):
        write_mrc(root / f"{kind}.mrc", getattr(scene, kind).array, PIXEL_ANG)
        key = kind if kind == "images" else f"{kind}_images"
        names[key] = tuple(image_name(view, f"{kind}.mrc") for view in range(len(scene.series)))
    return scene.series.with_changes(**names)


def test_beads_are_erased_listed_and_counted(context):
    scene = gold_scene(beads=8, size=128, views=15)
    series = stored(scene, context.root)
    kept = reconstruct.run(series, ReconstructSettings(**HOW, gold="keep"), context)
    assert kept.gold is None
    assert "GoldBeads" not in context.quality
    before = {name: read_mrc(context.root / getattr(kept, name))[0] for name in ("volume", "even_volume", "odd_volume")}
    record = reconstruct.run(series, ReconstructSettings(**HOW), context)
    after = {name: read_mrc(context.root / getattr(record, name))[0] for name in before}

    assert any("8 gold beads of" in text and "painted over" in text for text in context.messages)
    assert context.quality["GoldBeads"] == 8
    assert 0 < context.quality["GoldPaintedFraction"] < 0.1
    assert record.gold == "step/TS_gold.star"
    (table,) = read_star(context.root / record.gold).values()
    places = np.stack([table.numbers(label) for label in PLACE], axis=-1)
    assert matched(places, scene.points_ang)[:2] == (1.0, 1.0)
    assert set(table.text("rlnTomoName")) == {"TS"}
    assert table.numbers("lamellaBeadDiameterAngst") == pytest.approx(100, rel=0.12)

    voxels = np.round(scene.points_ang[:, ::-1] / record.voxel_size_ang).astype(int)
    for name, volume in after.items():
        at = tuple((voxels + np.array(volume.shape) // 2).T)
        assert before[name][at].mean() < -2 * before[name].std()
        assert abs(volume[at].mean()) < 3 * volume.std() / np.sqrt(len(voxels))

    write_tomograms(context.root / "tomograms.star", [record], context.root)
    assert read_tomograms(context.root / "tomograms.star", context.root)[0].gold == record.gold


def test_erase_without_gold_says_so(context):
    series = stored(gold_scene(beads=0, size=96, views=9), context.root)
    record = reconstruct.run(series, ReconstructSettings(**HOW | {"halves": "off"}, gold="erase"), context)
    assert any(text.startswith("no gold beads: ") for text in context.messages)
    assert record.gold is None
    assert context.quality["GoldBeads"] == 0
    assert context.quality["GoldPaintedFraction"] == 0
