"""`lamella level`: the record that it makes, how later steps take it, and when it is made again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.errors import InputError, LamellaError, ProjectError
from lamella.formats.images import image_name
from lamella.formats.mrc import write_mrc
from lamella.formats.overrides import Imported
from lamella.formats.tracks import read_followed_tracks, write_followed_tracks
from lamella.geometry import TiltGeometry, rotation_x, rotation_y
from lamella.records import Defocus, TiltSeries, Tomogram
from lamella.records.followed_tracks import FollowedTracks
from lamella.records.tracks import Tracks
from lamella.tomograms import LevelSettings
from lamella.workflow.checks import check_project
from lamella.workflow.completion import Completion
from lamella.workflow.ledger import Ledger
from lamella.workflow.levelling import is_outdated, level_series, make_again
from lamella.workflow.new import create_project
from lamella.workflow.plan import ancestors, plan_job
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName
from lamella.workflow.status import project_status
from lamella.workflow.tables import read_record, write_part, write_record

sys.path.insert(0, str(Path(__file__).parents[1]))
from noisy_slab import SHAPE, VOXEL_ANG, slab

VIEWS = 11
RECONSTRUCT, LEVEL = RecordName("reconstruct"), RecordName("level")
X_TILT, Y_TILT, OFFSET = 2.0, -2.5, 100.0


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return slab(np.random.default_rng(21), x_tilt_deg=X_TILT, y_tilt_deg=Y_TILT, offset_ang=OFFSET)


@pytest.fixture
def project(tmp_path: Path, volume: np.ndarray, rng: np.random.Generator) -> Project:
    """A series whose tomogram is not level, with the tracks that it was aligned by."""
    write_mrc(tmp_path / "TS.mrc", rng.normal(size=(VIEWS, 16, 16)).astype(np.float32), 4.0)
    tilt = np.linspace(-50, 50, VIEWS)
    raw = TiltSeries(
        name="TS",
        pixel_size_ang=4.0,
        image_shape_px=(16, 16),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(VIEWS, 85.0),
        images=tuple(image_name(n, str(tmp_path / "TS.mrc")) for n in range(VIEWS)),
    )
    project = create_project(tmp_path / "P", Imported((raw,), ()))
    aligned = raw.with_changes(
        geometry=TiltGeometry.from_angles(tilt, 85.0, x_tilt_deg=1.0, x_shift_ang=rng.normal(0, 20, VIEWS)),
        defocus=Defocus(u_ang=np.full(VIEWS, 3e4), v_ang=np.full(VIEWS, 2.9e4), angle_deg=np.zeros(VIEWS)),
    )
    write_record(project, RecordName("align"), [aligned])
    points = rng.uniform(-500, 500, (5, 3))
    tracks = Tracks(
        observations_ang=aligned.geometry.project(points),
        weights=np.ones((VIEWS, 5)),
        points_ang=points,
        residuals_ang=np.zeros((VIEWS, 5, 2)),
        kind="beads",
    )
    place = np.arange(1, VIEWS + 1)
    followed = FollowedTracks(tracks=tracks, place=place, samples=np.zeros((VIEWS, 0), np.float32), origin="test")
    write_followed_tracks(project.root / "align/TS_tracks.star", followed)
    keep_tomogram(project, aligned, volume)
    return project


def keep_tomogram(
    project: Project, series: TiltSeries, volume: np.ndarray, made_from: tuple[str, ...] = ("align", "raw")
) -> None:
    """Leave a record as `reconstruct` does."""
    size = tuple(int(n * VOXEL_ANG / 4) for n in SHAPE[::-1])
    tomogram = Tomogram(tilt_series=series, size_px=size, binning=VOXEL_ANG / 4, volume="reconstruct/TS.mrc")
    folder = project.folder(RECONSTRUCT)
    folder.mkdir(exist_ok=True)
    write_mrc(folder / "TS.mrc", volume, VOXEL_ANG)
    write_record(project, RECONSTRUCT, [tomogram])
    place = project.completion(RECONSTRUCT, "TS")
    write_part(place, tomogram, project.root)
    done = Completion(fingerprint="x", made_from=made_from, settings={}, inputs={}, version="test")
    done.write(place)


def only(project: Project, name: RecordName) -> TiltSeries:
    (record,) = read_record(project, name)
    return record.tilt_series if isinstance(record, Tomogram) else record


def test_the_record_is_level_and_no_picture_changes(project: Project, rng: np.random.Generator) -> None:
    before = {path: path.stat().st_mtime_ns for path in (project.root / "reconstruct").rglob("*.star")}
    made = level_series(project, LevelSettings())
    assert (str(made.target), str(made.source)) == ("level", "reconstruct")
    old, new = only(project, RECONSTRUCT), only(project, LEVEL)
    quality = made.levelled[0].quality
    assert quality["LevelXTiltDeg"] == pytest.approx(X_TILT, abs=0.7)
    assert quality["LevelYTiltDeg"] == pytest.approx(Y_TILT, abs=0.7)
    assert quality["LevelOffsetAngst"] == pytest.approx(OFFSET, abs=30)
    assert new.thickness_ang == pytest.approx(quality["LevelThicknessAngst"], abs=0.1)
    # the motion of the frame, from what both geometries say of it, moves points so that no picture changes
    turn = np.linalg.lstsq(
        new.geometry.rotations().reshape(-1, 3), old.geometry.rotations().reshape(-1, 3), rcond=None
    )[0]
    followed = read_followed_tracks(project.root / "level/TS_tracks.star")
    points = read_followed_tracks(project.root / "align/TS_tracks.star").tracks.points_ang
    moved = followed.tracks.points_ang
    np.testing.assert_allclose(moved - moved[0], (points - points[0]) @ turn.T, atol=0.05)
    np.testing.assert_allclose(new.geometry.project(moved), old.geometry.project(points), atol=0.05)
    for now, then in zip(new.defocus_at(moved), old.defocus_at(points), strict=True):
        np.testing.assert_allclose(now, then, atol=0.1)
    normal = turn @ rotation_x(X_TILT) @ rotation_y(Y_TILT) @ [0, 0, 1]
    assert np.rad2deg(np.arccos(normal[2])) < 0.9
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_tomograms_in_its_frame_may_replace_those_that_were_measured(project: Project, volume: np.ndarray) -> None:
    level_series(project, LevelSettings(turn=False, lift=False, y_tilt=5.0))
    assert plan_job(project, project.read_settings(), RECONSTRUCT, LEVEL).source == LEVEL
    levelled = only(project, LEVEL)
    keep_tomogram(project, levelled, volume, made_from=("level", "reconstruct", "align", "raw"))
    assert not is_outdated(project, LEVEL)
    assert ancestors(project, RECONSTRUCT) == ("reconstruct", "level", "align")
    series = only(project, RecordName("align"))
    write_record(project, RecordName("align"), [series.with_changes(hand=1)])
    assert is_outdated(project, LEVEL)
    with Ledger(project.ledger_path) as ledger, pytest.raises(ProjectError, match=r"align has changed.*--input align"):
        make_again(project, LEVEL, ledger, ledger.start_run(command="x", version="x", executor="local", device="cpu"))
    write_record(project, RecordName("align"), [series])
    again = level_series(project, LevelSettings(turn=False, lift=False, y_tilt=1.0))
    assert again.target == LEVEL
    np.testing.assert_allclose(only(project, LEVEL).geometry.y_tilt_deg, levelled.geometry.y_tilt_deg - 1, atol=0.2)
    assert not is_outdated(project, LEVEL)


def test_later_steps_take_it_under_a_label(project: Project) -> None:
    level_series(project, LevelSettings(turn=False, lift=False, y_tilt=5.0))
    settings = project.read_settings()
    labelled = RecordName("reconstruct", "level")
    settings.change(labelled, {}, LEVEL)
    assert plan_job(project, settings, labelled).source == LEVEL
    done = Completion.read(project.completion(LEVEL, "TS"))
    assert done is not None
    assert done.made_from == ("reconstruct", "align")


def test_it_is_made_again_where_its_tomogram_changed(project: Project, volume: np.ndarray) -> None:
    by_eye = LevelSettings(turn=False, lift=False, y_tilt=5.0)
    level_series(project, by_eye)
    assert not is_outdated(project, LEVEL)
    assert [(row.state, row.made_from) for row in project_status(project) if row.record == "level"] == [
        ("done", "reconstruct")
    ]
    first = only(project, LEVEL)
    series = only(project, RECONSTRUCT)
    moved = series.with_changes(geometry=series.geometry.with_terms(x_tilt_deg=3.0))
    keep_tomogram(project, moved, volume)
    assert is_outdated(project, LEVEL)
    assert {row.state for row in project_status(project) if row.record == "level"} == {"outdated"}
    settings = project.read_settings()
    settings.change(RecordName("ctf"), {"enabled": True}, LEVEL)
    settings.save()
    told = [entry.text for entry in check_project(project, last="ctf") if entry.where == "level"]
    assert any("it will be made again, as it was" in text for text in told)
    with project.lock(), Ledger(project.ledger_path) as ledger:
        run = ledger.start_run(command="test", version="0", executor="local", device="cpu")
        assert "levelled again" in make_again(project, LEVEL, ledger, run)
        assert make_again(project, LEVEL, ledger, run) == ""
    assert only(project, LEVEL).geometry.x_tilt_deg[0] == pytest.approx(first.geometry.x_tilt_deg[0] + 2, abs=0.05)
    assert not is_outdated(project, LEVEL)


def test_bad_input_is_said_in_one_line(project: Project, capsys: pytest.CaptureFixture) -> None:
    root = str(project.root)
    assert main(["level", root, "--input", "align"]) == 2
    assert main(["level", root, "--only", "nothing"]) == 2
    assert main(["level", root, "--input", "denoise"]) == 2
    assert main(["level", root, "--x-tilt", "90"]) == 2
    said = capsys.readouterr().err
    assert "align holds no tomograms" in said
    assert "no tilt series 'nothing'" in said
    assert "there is no record denoise yet" in said
    assert "x_tilt" in said or "x-tilt" in said
    with pytest.raises(ProjectError, match="cannot be made from itself"):
        level_series(project, LevelSettings(), source=LEVEL)
    path = project.root / "reconstruct/TS.mrc"
    np.memmap(path, dtype="<f4", mode="r+", offset=1024, shape=SHAPE)[40, 10:20, 10:20] = np.nan
    with pytest.raises(LamellaError, match="NaN"):
        level_series(project, LevelSettings())
    path.unlink()
    with pytest.raises(LamellaError):
        level_series(project, LevelSettings())
    assert not (project.root / "level/tilt_series.star").exists()


def test_the_command_tells_what_was_done(project: Project, capsys: pytest.CaptureFixture) -> None:
    assert main(["level", str(project.root), "--as", "eye", "--no-turn", "--centre-x", "100", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert any(line.startswith("TS: offset of") for line in lines)
    assert "lamella reconstruct PROJECT --input level.eye --as eye" in lines[-1]
    told = json.loads(last)
    assert (told["record"], told["source"]) == ("level.eye", "reconstruct")
    assert "LevelThicknessErrorAngst" in told["series"][0]["quality"]
    assert RecordName.parse("level.eye").maker == "lamella level PROJECT --as eye"
    with pytest.raises((ProjectError, InputError)):
        RecordName.parse("level.")
    assert RAW.maker
