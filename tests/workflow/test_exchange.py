"""Alignments and tracks of other programs, in and out of a project; edits that the later steps see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.formats.images import image_name
from lamella.formats.imod_model import read_model
from lamella.formats.mrc import write_mrc
from lamella.formats.overrides import Imported
from lamella.formats.relion import read_tilt_series
from lamella.formats.tracks import read_followed_tracks, read_tracks
from lamella.records import TiltSeries
from lamella.workflow.new import create_project

VIEWS, BEADS = 9, 12


@pytest.fixture
def project(tmp_path, rng, followed) -> Path:
    """One series of nine small views, aligned by a stand-in and reconstructed."""
    write_mrc(tmp_path / "ts.mrc", rng.normal(100, 9, (VIEWS, 40, 48)).astype(np.float32), 4.0)
    series = TiltSeries(
        name="ts",
        pixel_size_ang=4.0,
        image_shape_px=(40, 48),
        nominal_tilt_deg=np.linspace(-40, 40, VIEWS),
        nominal_axis_deg=np.full(VIEWS, 85.0),
        images=tuple(image_name(n, str(tmp_path / "ts.mrc")) for n in range(VIEWS)),
    )
    create_project(tmp_path / "P", Imported((series,), ()))
    words = ["--set", "clean.bad_views=false", "--set", "reconstruct.pixel_size=8", "--set", "reconstruct.thickness=80"]
    assert main(["run", str(tmp_path / "P"), "--to", "reconstruct", "--no-report", *words]) == 0
    return tmp_path / "P"


def states(project: Path, capsys) -> dict[str, str]:
    capsys.readouterr()
    assert main(["status", str(project), "--json"]) == 0
    return {row["record"]: row["state"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]}


def test_later_steps_know_of_a_dropped_bead(project, followed, capsys):
    assert states(project, capsys)["reconstruct"] == "done"
    assert main(["align", str(project), "--drop-tracks", "3", "5"]) == 0
    assert followed[-1].labels.tolist() == [n for n in range(1, BEADS + 1) if n not in (3, 5)]
    now = states(project, capsys)
    assert now["align"] == "done"
    assert now["reconstruct"] == "outdated"
    table = read_tracks(project / "align/ts_tracks.star")
    assert np.isnan(table.points_ang[[2, 4]]).all()


def test_later_steps_know_of_a_dropped_view(project, followed, starts, capsys):
    assert main(["clean", str(project), "--exclude", "4"]) == 0
    assert states(project, capsys)["align"] == "outdated"
    assert main(["align", str(project)]) == 0
    assert followed[-1].views == VIEWS - 1
    assert starts[0] is None
    np.testing.assert_allclose(starts[-1].x_shift_ang, 0.01 * BEADS)  # the solve begins where the last one ended
    assert len(starts[-1]) == VIEWS - 1
    assert states(project, capsys)["reconstruct"] == "outdated"
    assert main(["run", str(project), "--to", "reconstruct", "--no-report"]) == 0
    assert states(project, capsys)["reconstruct"] == "done"


def test_tracks_go_to_imod_and_come_back(project, followed, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["align", str(project), "--drop-tracks", "3"]) == 0
    assert main(["export", str(project), str(out), "--format", "imod"]) == 0
    model = read_model(out / "ts/ts.fid")
    assert len(model.contours) == BEADS - 1
    assert [int(label) for label in model.labels] == [1, 2, *range(4, BEADS + 1)]
    assert main(["import", str(project), str(out / "ts"), "--format", "imod"]) == 0
    kept = read_followed_tracks(project / "align/ts_tracks.star")
    assert kept.origin == "imod: ts"
    before = read_tracks(project / "align/ts_tracks.star")
    assert before.count == BEADS - 1
    assert states(project, capsys)["align"] == "imported"
    assert main(["align", str(project), "--drop-tracks", "7"]) == 0
    assert followed[-1].count == BEADS - 2
    np.testing.assert_allclose(followed[-1].observations_ang, before.observations_ang[:, before.labels != 7])


def test_a_fiducial_model_alone_starts_from_the_nominal_geometry(project, followed, tmp_path):
    out = tmp_path / "out"
    assert main(["export", str(project), str(out), "--format", "imod"]) == 0
    for path in (out / "ts").iterdir():
        if path.suffix not in (".fid", ".rawtlt", ".prexg"):
            path.unlink()
    assert main(["import", str(project), str(out / "ts/ts.fid"), "--format", "imod"]) == 0
    (record,) = read_tilt_series(project / "align/tilt_series.star", project)
    np.testing.assert_array_equal(record.geometry.shifts_ang(), 0)
    np.testing.assert_allclose(record.geometry.y_tilt_deg, record.nominal_tilt_deg)
    assert main(["align", str(project)]) == 0
    assert followed[-1].count == BEADS


def test_warp_gets_files_to_start_from(project, tmp_path):
    assert main(["export", str(project), str(tmp_path / "out"), "--format", "warp"]) == 0
    assert (tmp_path / "out/tomostar/ts.tomostar").is_file()
    assert main(["import", str(project), str(tmp_path / "out"), "--format", "warp", "--as", "warp"]) == 0
    (ours,), (theirs,) = (
        read_tilt_series(project / name / "tilt_series.star", project) for name in ("align", "align.warp")
    )
    points = np.random.default_rng(0).uniform(-80, 80, (20, 3))
    np.testing.assert_allclose(theirs.geometry.project(points), ours.geometry.project(points), atol=1e-4)


def test_an_unknown_program_is_named(project, tmp_path, capsys):
    assert main(["import", str(project), str(tmp_path), "--format", "wrap"]) == 2
    assert "warp" in capsys.readouterr().err


def ctffind_text(defoci) -> str:
    rows = "".join(f"{n + 1:f} {u:f} {u - 200:f} 30.0 0.0 0.12 {7 + n:f}\n" for n, u in enumerate(defoci))
    return (
        "# Output from CTFFind version 4.1.14, run on 2023-02-02 15:13:07\n"
        "# Pixel size: 4.000 Angstroms ; acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm ; "
        f"amplitude contrast: 0.10\n{rows}"
    )


@pytest.mark.parametrize("name", ["ctffind", "gctf"])
def test_defoci_of_another_program_become_a_ctf_record(project, tmp_path, capsys, name):
    (tmp_path / "ts_ctf.txt").write_text(ctffind_text(30000 + 100 * np.arange(VIEWS)))
    assert main(["import", str(project), str(tmp_path / "ts_ctf.txt"), "--format", "ctffind"]) == 0
    said = capsys.readouterr().out
    assert "ctf: ts imported from ctffind" in said
    assert "the voltage, 300 kV, was taken from it" in said
    (record,) = read_tilt_series(project / "ctf/tilt_series.star", project)
    (aligned,) = read_tilt_series(project / "align/tilt_series.star", project)
    np.testing.assert_array_equal(record.geometry.y_tilt_deg, aligned.geometry.y_tilt_deg)
    np.testing.assert_allclose(record.defocus.u_ang - record.defocus.v_ang, 200, atol=1e-3)
    assert record.defocus.max_resolution_ang.tolist() == [7.0 + n for n in range(VIEWS)]
    assert record.optics.voltage_kv == 300
    assert states(project, capsys)["ctf"] == "imported"
    assert main(["export", str(project), str(tmp_path / "out"), "--format", name]) == 0
    assert "ctf: 1 files written" in capsys.readouterr().out
    assert main(["import", str(project), str(tmp_path / "out"), "--format", name, "--as", "again"]) == 0
    (again,) = read_tilt_series(project / "ctf.again/tilt_series.star", project)
    np.testing.assert_allclose(again.defocus.u_ang, record.defocus.u_ang, atol=1e-3)
    np.testing.assert_allclose(again.defocus.figure_of_merit, 0.12)


def test_defoci_go_out_with_an_alignment(project, tmp_path, capsys):
    (tmp_path / "ts_ctf.txt").write_text(ctffind_text(np.full(VIEWS, 30000.0)))
    assert main(["import", str(project), str(tmp_path / "ts_ctf.txt"), "--format", "ctffind"]) == 0
    assert main(["export", str(project), str(tmp_path / "bare"), "--format", "imod"]) == 0
    assert "--input ctf writes along" in capsys.readouterr().out
    assert not (tmp_path / "bare/ts/ts.defocus").exists()
    assert main(["export", str(project), str(tmp_path / "out"), "--format", "imod", "--input", "ctf"]) == 0
    assert (tmp_path / "out/ts/ts.defocus").is_file()
    assert main(["import", str(project), str(tmp_path / "out"), "--format", "imod", "--as", "imod"]) == 0
    (ours,), (theirs,) = (
        read_tilt_series(project / name / "tilt_series.star", project) for name in ("ctf", "align.imod")
    )
    np.testing.assert_allclose(theirs.defocus.u_ang, ours.defocus.u_ang, atol=0.1)


def test_bad_defoci_are_one_error(project, tmp_path, capsys):
    (tmp_path / "ts_ctf.txt").write_text(ctffind_text(np.full(VIEWS - 2, 30000.0)))
    assert main(["import", str(project), str(tmp_path), "--format", "ctffind"]) == 2
    assert f"{VIEWS - 2} rows do not fit the {VIEWS} views of ts" in capsys.readouterr().err
    assert main(["import", str(project), str(tmp_path), "--format", "ctffind", "--input", "raw"]) == 2
    (tmp_path / "ts_ctf.txt").write_text(ctffind_text(np.full(VIEWS, 30000.0)))
    assert main(["import", str(project), str(tmp_path), "--format", "ctffind", "--input", "raw"]) == 2
    assert "not aligned" in capsys.readouterr().err
    assert main(["export", str(project), str(tmp_path / "out"), "--format", "gctf"]) == 2
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
