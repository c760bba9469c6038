"""From simulated raw data to the report, and from a real tilt series to its tomogram, through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.formats.mrc import read_mrc
from lamella.formats.relion import read_tilt_series, read_tomograms

SMALL = {
    "width": 128,
    "height": 128,
    "pixel_size": 20,
    "tilt_step": 8,
    "particles": 30,
    "vesicles": 1,
    "beads": 6,
    "thickness": 1000,
}
# no local field and no magnification, which AreTomo's files and IMOD's cannot say in full
QUICK = [
    "--set",
    "align.local=off",
    "--set",
    "align.magnification=fixed",
    "--set",
    "reconstruct.pixel_size=40",
    "--set",
    "reconstruct.thickness=1600",
    "--set",
    "denoise.iterations=3",
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    words = ["simulate", str(folder), "--preset", "quick", "--seed", "5"]
    assert main(words + [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]) == 0
    return folder


@pytest.fixture(scope="module")
def project(raw: Path) -> Path:
    """The whole line, done once."""
    path = raw / "P"
    assert main(["new", str(path), "--mdoc", str(raw / "raw/*.mdoc")]) == 0
    assert main(["check", str(path)]) == 0
    assert main(["run", str(path), "--to", "denoise", *QUICK]) == 0
    return path


def test_every_record_is_there_and_names_its_files(project):
    (aligned,) = read_tilt_series(project / "align/tilt_series.star", project)
    assert aligned.geometry is not None
    (tomogram,) = read_tomograms(project / "denoise/tomograms.star", project)
    assert tomogram.voxel_size_ang == pytest.approx(40)
    for name in (tomogram.volume, tomogram.even_volume, tomogram.odd_volume, tomogram.denoised):
        volume, pixel = read_mrc(project / name)
        assert pixel == pytest.approx(40)
        assert np.isfinite(volume).all()
        assert volume.std() > 0
        depth, height, width = volume.shape
        assert depth == 40
        # The image's field, and as much more as most views lie beside the least tilted one.
        assert 64 <= height <= 80
        assert 64 <= width <= 80
    whole, _ = read_mrc(project / tomogram.volume)
    halves = [read_mrc(project / name)[0] for name in (tomogram.even_volume, tomogram.odd_volume)]
    # each half is scaled like the whole, so their mean is nearly it
    assert np.corrcoef(whole.ravel(), (halves[0] + halves[1]).ravel())[0, 1] > 0.8
    assert np.corrcoef(whole.ravel(), read_mrc(project / tomogram.denoised)[0].ravel())[0, 1] > 0.5


def test_found_axis_is_the_simulated_one(project, raw):
    (aligned,) = read_tilt_series(project / "align/tilt_series.star", project)
    (truth,) = read_tilt_series(next((raw / "truth").glob("tilt_series*.star")), raw)
    assert abs(aligned.geometry.z_rot_deg.mean() - truth.geometry.z_rot_deg.mean()) < 1.5


def test_report_is_there_and_needs_no_network(project):
    page = (project / "report/index.html").read_text(encoding="utf-8")
    assert "TS_01" in page
    assert 'src="http' not in page
    assert 'href="http' not in page.replace('href="https://doi.org', "")


def test_second_run_has_nothing_to_do(project, capsys):
    assert main(["run", str(project), "--to", "denoise", "--no-report", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [step["record"] for step in told["steps"]] == [
        "motion",
        "clean",
        "align",
        "ctf",
        "reconstruct",
        "denoise",
    ]
    assert all(step["made"] == [] and step["kept"] == ["TS_01"] for step in told["steps"])


def test_labelled_denoise_stands_beside_the_first(project, capsys):
    words = ["denoise", str(project), "--as", "median", "--input", "reconstruct", "--method", "median"]
    assert main(words) == 0
    plain, _ = read_mrc(project / "denoise/TS_01.mrc")
    median, _ = read_mrc(project / "denoise.median/TS_01.mrc")
    assert plain.shape == median.shape
    assert not np.array_equal(plain, median)
    text = (project / "lamella.toml").read_text()
    assert "[denoise.median]" in text
    assert 'input = "reconstruct"' in text
    capsys.readouterr()
    assert main(["status", str(project), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert {row["state"] for row in rows if row["record"] == "denoise.median"} == {"done"}


@pytest.mark.parametrize("program", ["imod", "aretomo", "relion5", "warp"])
def test_alignment_goes_out_and_comes_back(program, project, tmp_path, capsys):
    assert main(["export", str(project), str(tmp_path / "out"), "--format", program]) == 0
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    path = {"imod": tmp_path / "out/TS_01", "relion5": tmp_path / "out/tilt_series.star"}
    assert files
    assert (
        main(["import", str(project), str(path.get(program, tmp_path / "out")), "--format", program, "--as", program])
        == 0
    )
    (ours,) = read_tilt_series(project / "align/tilt_series.star", project)
    (theirs,) = read_tilt_series(project / f"align.{program}/tilt_series.star", project)
    points = np.random.default_rng(0).uniform(-500, 500, (20, 3))
    a, b = ours.geometry.project(points), theirs.geometry.project(points)
    if program in ("relion5", "warp"):
        np.testing.assert_allclose(a, b, atol=1e-3)
        return
    # the others may turn and move the specimen as a whole: fit one affine map of the points, which must explain it
    columns = np.concatenate([points, np.ones((20, 1))], axis=1)
    moved, *_ = np.linalg.lstsq(
        theirs.geometry.matrices().reshape(-1, 3),
        (a - theirs.geometry.shifts_ang()[:, None]).transpose(0, 2, 1).reshape(-1, 20),
        rcond=None,
    )
    rigid, *_ = np.linalg.lstsq(columns, moved.T, rcond=None)
    again = theirs.geometry.project(columns @ rigid)
    assert np.abs(a - again).max() < 2.0  # Å; an alignment file has some four digits
    assert abs(np.linalg.det(rigid[:3])) == pytest.approx(1, abs=0.01)


def test_line_goes_on_from_an_imported_alignment(project, tmp_path, capsys):
    import shutil

    copy = tmp_path / "P"
    shutil.copytree(project, copy)
    assert main(["export", str(copy), str(tmp_path / "out"), "--format", "relion5"]) == 0
    words = ["import", str(copy), str(tmp_path / "out/tilt_series.star"), "--format", "relion5"]
    assert main(words) == 0
    assert not (copy / "align/TS_01_tracks.star").exists()  # they belonged to the alignment that was replaced
    capsys.readouterr()
    assert main(["run", str(copy), "--no-report", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {step["record"]: step["made"] for step in told["steps"]}["align"] == []
    assert main(["status", str(copy)]) == 0
    assert "imported" in capsys.readouterr().out
    # views that go after the import are told, since the imported alignment does not know of it
    assert main(["run", str(copy), "--to", "align", "--no-report", "--set", "clean.exclude=1"]) == 0
    assert "was imported for another clean" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_in_each_step_the_line_goes_on(raw, tmp_path):
    quick = [*QUICK, "--set", "align.method=coarse"]

    def fresh(name: str) -> Path:
        assert main(["new", str(tmp_path / name), "--mdoc", str(raw / "raw/*.mdoc")]) == 0
        return tmp_path / name

    whole, killed = fresh("whole"), fresh("killed")
    assert main(["run", str(whole), "--no-report", *quick]) == 0
    command = [sys.executable, "-u", "-m", "lamella", "run", str(killed), "--no-report", *quick]
    for step, delay in (("motion", 0.0), ("clean", 0.05), ("align", 0.5), ("reconstruct", 0.1), ("denoise", 0.05)):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"{step} from"):
                break
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        done = [path.parent.name for path in killed.glob(f"{step}/.done/*/completion.json")]
        files = [path.name for path in killed.glob(f"{step}/*") if path.is_file() and not path.name.startswith(".")]
        assert done or not (killed / step / "tilt_series.star").exists(), files
    assert main(command[4:]) == 0
    for name in ("reconstruct/TS_01.mrc", "denoise/TS_01.mrc"):
        np.testing.assert_array_equal(read_mrc(killed / name)[0], read_mrc(whole / name)[0])
    assert not [path for path in killed.rglob(".*") if ".lamella-part" in path.name]


@pytest.mark.slow
def test_real_tilt_series(shared_data, tmp_path):
    data = shared_data / "haadf"
    project = tmp_path / "P"
    words = ["new", str(project), "--stack", str(data / "HAADF.mrc"), "--angles", str(data / "HAADF.rawtlt")]
    assert main([*words, "--pixel-size", "33.6", "--tilt-axis", "90"]) == 0
    assert main(["check", str(project)]) == 0
    assert main(["run", str(project), "--to", "denoise"]) == 0
    (aligned,) = read_tilt_series(project / "align/tilt_series.star", project)
    assert aligned.geometry.z_rot_deg.mean() == pytest.approx(92.8, abs=1.0)
    assert aligned.quality["AlignScore"] > aligned.quality["AlignScoreNone"]
    (tomogram,) = read_tomograms(project / "denoise/tomograms.star", project)
    volume, pixel = read_mrc(project / tomogram.denoised)
    assert pixel == pytest.approx(33.6)
    # The image's field of 256, and as much more as most views lie beside the least tilted one.
    assert all(256 <= side <= 288 for side in volume.shape[1:])
    assert (project / "report/index.html").is_file()
