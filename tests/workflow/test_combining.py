"""`lamella combine`: the record it makes, when it is made again, and how it is told of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.tomograms.two_axes import SHAPE, VOXEL, TwoAxes, motion_of, series_of, tomogram_of, two_axes

from lamella.cli import main
from lamella.errors import InputError, ProjectError
from lamella.formats.mrc import open_mrc, write_mrc
from lamella.formats.overrides import Imported
from lamella.formats.star import StarTable, write_star
from lamella.records import Tomogram
from lamella.tomograms.combine_settings import CombineSettings
from lamella.workflow.checks import check_project
from lamella.workflow.combining import combine_series, is_outdated, make_again
from lamella.workflow.ledger import Ledger
from lamella.workflow.new import create_project
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.reporting import make_report
from lamella.workflow.status import project_status
from lamella.workflow.tables import read_record, write_record

MOTION = motion_of(90.4, (0.5, -0.4), (40.0, -28.0, 12.0))
RECONSTRUCT, COMBINE = RecordName("reconstruct"), RecordName("combine")
QUICK = CombineSettings(turn=90.0, warp=False)


@pytest.fixture(scope="module")
def scene() -> TwoAxes:
    return two_axes(MOTION)


@pytest.fixture
def project(tmp_path: Path, scene: TwoAxes) -> Project:
    """Two series of one specimen with tomograms, the first with halves."""
    series = []
    for name in ("S_a", "S_b"):
        stack = tmp_path / f"{name}.mrc"
        write_mrc(stack, np.random.default_rng(3).normal(size=(41, *SHAPE[1:])).astype(np.float32), VOXEL, stack=True)
        images = tuple(f"{i + 1:06d}@{stack}" for i in range(41))
        series.append(series_of(name, pre_exposure=np.arange(41) * 1.5, images=images))
    made = create_project(tmp_path / "P", Imported(tuple(one.with_changes(geometry=None) for one in series), ()))
    write_record(made, RecordName("align"), series)
    (made.root / "reconstruct").mkdir()
    records = []
    for one, volume in zip(series, (scene.first, scene.second), strict=True):
        names = [f"reconstruct/{one.name}{ending}.mrc" for ending in ("", "_even", "_odd")]
        for name in names:
            write_mrc(made.root / name, volume.array, VOXEL)
        record = tomogram_of(one)
        files = dict(zip(("volume", "even_volume", "odd_volume"), names, strict=True))
        records.append(Tomogram(tilt_series=one, size_px=record.size_px, **files))
    write_record(made, RECONSTRUCT, records)
    return made


def test_the_record_holds_views_and_volumes_of_both(project):
    made = combine_series(project, "S_a", "S_b", QUICK)
    assert made.series == "S"
    (record,) = read_record(project, COMBINE)
    assert isinstance(record, Tomogram)
    assert len(record.tilt_series) == 82
    for name in (record.volume, record.even_volume, record.odd_volume):
        assert open_mrc(project.root / name).shape == SHAPE
    point = np.array([[300.0, -200.0, 50.0]])
    there = record.tilt_series.geometry.project(point)[41:]
    wanted = series_of("S_b").geometry.project(MOTION.to_second(point))
    assert np.abs(there - wanted).max() < 8
    assert any("exposed after 61.5 e/Å²" in text for text in made.messages)
    assert record.quality["SecondAxisTurnDeg"] == pytest.approx(90.4, abs=0.3)
    assert record.quality["MeasuredFraction"] > 0.8  # one axis measures two thirds
    assert {"HalfFscResolutionAngst", "PositionThicknessAngst"} <= set(made.quality)
    assert (project.root / "combine/S_fsc.star").is_file()
    assert not is_outdated(project, COMBINE)


def test_it_is_made_again_where_a_volume_changed(project):
    combine_series(project, "S_a", "S_b", QUICK)
    volume = open_mrc(project.root / "reconstruct/S_b.mrc").read()
    write_mrc(project.root / "reconstruct/S_b.mrc", 2 * volume, VOXEL)
    assert is_outdated(project, COMBINE)
    rows = [row for row in project_status(project) if row.record == "combine"]
    assert [(row.series, row.state) for row in rows] == [("S", "outdated")]
    with Ledger(project.ledger_path) as ledger:
        run = ledger.start_run(command="test", version="0", executor="local", device="cpu")
        assert make_again(project, COMBINE, ledger, run) == "combine: combined again: S"
        assert make_again(project, COMBINE, ledger, run) == ""
    assert not is_outdated(project, COMBINE)


def test_a_second_pair_stands_beside_the_first(project):
    combine_series(project, "S_a", "S_b", QUICK)
    combine_series(project, "S_b", "S_a", QUICK.model_copy(update={"turn": -90.0}), name="other")
    assert {record.name for record in read_record(project, COMBINE)} == {"S", "other"}
    assert {row.series for row in project_status(project) if row.record == "combine"} == {"S", "other"}


def test_beads_are_read_from_the_tables_of_gold(project):
    rng = np.random.default_rng(1)
    first = rng.uniform(-1, 1, (12, 3)) * [1000, 1000, 200]
    records = []
    for record, places in zip(read_record(project, RECONSTRUCT), (first, MOTION.to_second(first)), strict=True):
        name = f"reconstruct/{record.name}_gold.star"
        columns = {
            f"rlnCenteredCoordinate{axis}Angst": tuple(f"{value:.3f}" for value in places[:, i])
            for i, axis in enumerate("XYZ")
        }
        write_star(project.root / name, [StarTable("gold", columns)])
        fields = {entry: getattr(record, entry) for entry in ("tilt_series", "size_px", "volume")}
        records.append(Tomogram(**fields, gold=name))
    write_record(project, RECONSTRUCT, records)
    made = combine_series(project, "S_a", "S_b", QUICK.model_copy(update={"register_by": "beads"}))
    assert "registered by 12 beads" in made.messages[1]
    assert made.messages[0] == "no halves: S_a and S_b have none"


def test_the_command(project, capsys):
    assert main(["combine", str(project.root), "S_a", "S_b", "--turn", "90", "--no-warp", "--as", "two", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["record"] == "combine.two"
    assert told["quality"]["SecondAxisTurnDeg"] == pytest.approx(90.4, abs=0.3)


def test_the_report_shows_what_was_combined(project):
    combine_series(project, "S_a", "S_b", QUICK)
    page = make_report(project).read_text()
    section = page[page.index('id="series-3"') :]
    assert "specimen turned between the axes by" in section
    assert "three orthogonal slices of S" in section
    assert "registered by" in section


def test_the_report_shows_labelled_records_and_what_the_data_support(project):
    combine_series(project, "S_a", "S_b", QUICK)
    combine_series(project, "S_a", "S_b", QUICK, label="two")
    odd, rng = project.root / "combine.two" / "S_odd.mrc", np.random.default_rng(4)
    volume = open_mrc(odd).read()
    write_mrc(odd, volume + rng.normal(size=volume.shape).astype(np.float32) * volume.std() / 5, VOXEL)
    words = ["denoise", str(project.root), "--method", "median", "--input", "combine.two"]
    assert main(words) == 0
    page = make_report(project).read_text()
    plain, labelled = page[page.index('id="series-3"') :].split('id="series-4"')
    assert "S (combine.two)" in labelled
    assert "what the data of S support" in labelled
    assert "what the data of S support" not in plain
    for section in (plain, labelled):
        assert "tilt axis, found" not in section


@pytest.mark.parametrize(
    ("pair", "words"),
    [(("S_a", "S_a"), "named twice"), (("S_a", "S_x"), "holds no S_x"), (("S_a", "S_b"), "is a series")],
)
def test_what_cannot_be_combined_is_said(project, pair, words):
    with pytest.raises((InputError, ProjectError), match=words):
        combine_series(project, *pair, QUICK, name="S_b" if "is a" in words else "N")


def test_a_record_without_tomograms_is_refused(project):
    with pytest.raises(ProjectError, match="no tomograms"):
        combine_series(project, "S_a", "S_b", QUICK, source=RecordName("align"))


def test_check_tells_that_a_record_is_still_to_be_made(project):
    settings = project.read_settings()
    settings.change(RECONSTRUCT, {}, COMBINE)
    settings.save()
    texts = [finding.text for finding in check_project(project)]
    assert any(
        "combine, which does not exist yet: make it with `lamella combine PROJECT A B`" in text for text in texts
    )
