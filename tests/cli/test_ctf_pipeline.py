"""The contrast transfer from simulated raw data to the report, and what has none, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.formats.ctf_profiles import read_ctf_profiles
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.relion import read_tilt_series

SMALL = {
    "frames": 0,
    "truth_binning": 0,
    "width": 384,
    "height": 384,
    "pixel_size": 4,
    "tilt_step": 10,
    "particles": 30,
    "vesicles": 0,
    "beads": 0,
    "thickness": 1500,
    "defocus": 32000,
}


def simulate(folder: Path, **changes: object) -> Path:
    words = ["simulate", str(folder), "--preset", "quick", "--seed", "3"]
    assert (
        main(words + [word for name, value in (SMALL | changes).items() for word in ("--set", f"{name}={value}")]) == 0
    )
    return folder


def with_true_geometry(raw: Path, project: Path) -> Path:
    """A project whose alignment is the simulated one, so that this is about the contrast transfer alone."""
    assert main(["new", str(project), "--mdoc", str(raw / "raw/*.mdoc")]) == 0
    assert main(["run", str(project), "--to", "clean", "--no-report"]) == 0
    truth = raw / "truth/tilt_series.star"
    assert main(["import", str(project), str(truth), "--format", "relion5"]) == 0
    return project


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def project(raw: Path) -> Path:
    path = with_true_geometry(raw, raw / "P")
    assert main(["run", str(path), "--to", "ctf"]) == 0
    return path


def test_defocus_found_is_the_simulated_one(project, raw):
    (found,) = read_tilt_series(project / "ctf/tilt_series.star", project)
    (truth,) = read_tilt_series(raw / "truth/tilt_series.star", raw)
    assert len(found) == len(truth) == 13
    order = np.argsort(truth.nominal_tilt_deg)
    apart = found.defocus.mean_ang - truth.defocus.mean_ang[order]
    assert np.median(np.abs(apart)) < 350  # 384² of 4 Å: a seventh of the signal of 1024²
    errors = found.scores["CtfDefocusErrorAngst"]
    assert np.mean(np.abs(apart) < 3 * errors) > 0.8
    assert found.hand == truth.hand == -1


def test_profiles_stand_beside_the_record_and_in_the_report(project):
    (found,) = read_tilt_series(project / "ctf/tilt_series.star", project)
    curves, pictures = project / "ctf/TS_01_profiles.star", project / "ctf/TS_01_spectra.mrcs"
    profiles = read_ctf_profiles(curves, pictures, found.place)
    flat = int(np.argmin(np.abs(found.nominal_tilt_deg)))
    used = profiles.fitted[flat] != 0
    assert np.corrcoef(profiles.measured[flat][used], profiles.fitted[flat][used])[0, 1] > 0.7
    page = (project / "report/index.html").read_text(encoding="utf-8")
    sure = found.quality["CtfHandConfidence"] >= 0.95  # so small a field may leave it open
    hand = "as for a hand of −1" if sure else "The hand is undecided: −1 is the likelier"
    for text in ("<h3>Defocus</h3>", "Spectra of all views", "CTF resolution, median", hand):
        assert text in page, text


def test_later_steps_and_select_take_the_record(project, capsys):
    assert main(["select", str(project), "--max-ctf-resolution", "40", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["source"] == "ctf"
    assert told["series"][0]["ctf_resolution_ang"] < 20
    assert main(["select", str(project), "--max-ctf-resolution", "5"]) == 2
    assert "no series of ctf is left (TS_01: CTF resolution of" in capsys.readouterr().err
    words = ["--pixel-size", "16", "--thickness", "1600", "--halves", "off"]
    assert main(["reconstruct", str(project), "--as", "chosen", "--input", "select", *words]) == 0
    beside = json.loads((project / "reconstruct.chosen/.done/TS_01/completion.json").read_text())
    assert beside["made_from"] == ["select", "ctf", "align", "clean", "motion", "raw"]


def test_one_view_is_an_image_by_itself(project, raw, tmp_path, capsys):
    (found,) = read_tilt_series(project / "ctf/tilt_series.star", project)
    flat = int(np.argmin(np.abs(found.nominal_tilt_deg)))
    stack = raw / "raw/TS_01.mrc"
    words = ["ctf", "--image", str(stack), "--section", str(int(found.place[flat])), "--pixel-size", "4"]
    assert main([*words, "--voltage", "300", "--json", "--output", str(tmp_path / "rings.png")]) == 0
    (one,) = json.loads(capsys.readouterr().out.splitlines()[-1])["estimates"]
    mean = (one["defocus_u_ang"] + one["defocus_v_ang"]) / 2
    assert mean == pytest.approx(found.defocus.mean_ang[flat], abs=5 * one["defocus_error_ang"])
    assert one["max_resolution_ang"] < 25
    assert (tmp_path / "rings.png").is_file()


def test_noise_has_no_estimate(tmp_path, rng, capsys):
    write_mrc(tmp_path / "noise.mrc", rng.normal(size=(512, 512)).astype(np.float32), 4.0)
    words = ["ctf", "--image", str(tmp_path / "noise.mrc"), "--pixel-size", "header", "--voltage", "300"]
    assert main(words) == 1
    assert "no estimate" in capsys.readouterr().out


def test_sound_project_is_told_nothing_of_ctf_by_the_check(project, capsys):
    assert main(["check", str(project)]) == 0
    assert "defocus" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("fix", ["axis", "mirror"])
def test_a_series_of_the_other_hand_is_mended(fix, tmp_path, capsys):
    raw = simulate(tmp_path / "S", hand=1, width=512, height=512, tilt_step=5)
    project = with_true_geometry(raw, tmp_path / "P")
    assert main(["run", str(project), "--to", "ctf", "--no-report", "--set", f"ctf.fix={fix}"]) == 0
    (aligned,) = read_tilt_series(project / "align/tilt_series.star", project)
    (found,) = read_tilt_series(project / "ctf/tilt_series.star", project)
    assert found.hand == -1
    assert found.other["lamellaCtfHandFixed"] == fix
    axis, before = found.geometry.z_rot_deg, aligned.geometry.z_rot_deg
    if fix == "axis":
        np.testing.assert_allclose((axis - before) % 360, 180, atol=1e-6)
        # a hand that the user states stays, and the data are heard
        capsys.readouterr()
        assert main(["ctf", str(project), "--as", "stated", "--input", "align", "--fix", "none", "--hand", "-1"]) == 0
        assert "ctf.hand = -1 contradicts the data" in capsys.readouterr().out
        (stated,) = read_tilt_series(project / "ctf.stated/tilt_series.star", project)
        assert (stated.hand, stated.quality["CtfMeasuredHand"]) == (-1, 1)
        return
    np.testing.assert_allclose(axis, -before, atol=1e-6)
    # the new images under the new axis are estimated to have the hand that the record states
    assert main(["ctf", str(project), "--as", "again", "--input", "ctf", "--fix", "none"]) == 0
    (again,) = read_tilt_series(project / "ctf.again/tilt_series.star", project)
    assert again.quality["CtfMeasuredHand"] == -1
    np.testing.assert_allclose(again.defocus.mean_ang, found.defocus.mean_ang, atol=60)


@pytest.mark.parametrize(
    ("options", "why"),
    [([], "pixels of 33.6 Å are too coarse"), (["--imaging", "dark"], "dark-field")],
)
def test_a_series_of_materials_reaches_past_ctf(options, why, shared_data, tmp_path, capsys):
    data, project = shared_data / "haadf", tmp_path / "P"
    words = ["new", str(project), "--stack", str(data / "HAADF.mrc"), "--angles", str(data / "HAADF.rawtlt")]
    assert main([*words, "--pixel-size", "33.6", "--tilt-axis", "90", *options]) == 0
    capsys.readouterr()
    assert main(["check", str(project)]) == 0
    assert f"warning: ctf: HAADF: {why}" in capsys.readouterr().out
    assert main(["run", str(project), "--to", "ctf", "--no-report", "--set", "align.enabled=false"]) == 0
    said = capsys.readouterr().out
    assert "ctf: HAADF passed on: " in said
    assert why in said
    (record,) = read_tilt_series(project / "ctf/tilt_series.star", project)
    assert record.defocus is None
    assert read_mrc(project / "clean/HAADF.mrcs")[0].shape[0] == len(record)
