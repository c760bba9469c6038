"""Particles that another program cut out, through the command line: on those of the small project, and on real ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.workflow.particle_project import DIAMETER_ANG, correlation, make_project

from lamella.cli import main
from lamella.formats.mrc import read_mrc
from lamella.formats.relion_particles import read_particles

WORDS = ["--format", "relion5", "--pictures"]


def test_an_extraction_becomes_a_record_of_a_project_of_its_own(tmp_path, capsys):
    project, _ = make_project(tmp_path)
    assert main(["extract", str(project.root)]) == 0
    for stack in tmp_path.rglob("TS_?.mrc"):
        stack.unlink()  # their tilt images are gone
    star = project.root / "extract/optimisation_set.star"
    assert main(["import", str(tmp_path / "Q"), str(star), *WORDS]) == 0
    before = read_particles(star, project.root)
    after = read_particles(tmp_path / "Q/extract/optimisation_set.star", tmp_path / "Q")
    np.testing.assert_array_equal(after.matrices(), before.matrices())
    np.testing.assert_allclose(after.positions_ang(), before.positions_ang())
    assert main(["average", str(tmp_path / "Q"), "--input", "extract", "--diameter", str(DIAMETER_ANG)]) == 0
    assert "averaged as they are" in capsys.readouterr().out
    assert correlation(*read_mrc(tmp_path / "Q/average/map.mrc")) > 0.85
    capsys.readouterr()
    assert main(["status", str(tmp_path / "Q"), "--json"]) == 0
    states = {row["record"]: row["state"] for row in json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]}
    assert states["extract"] == "imported"
    assert states["average"] == "done"


def test_pictures_that_are_not_there_are_one_error(tmp_path, capsys):
    project, _ = make_project(tmp_path)
    star = str(project.root / "pick/optimisation_set.star")
    assert main(["import", str(tmp_path / "Q"), star, *WORDS]) == 2
    assert "have no pictures" in capsys.readouterr().err
    assert main(["extract", str(project.root)]) == 0
    next((project.root / "extract").rglob("*_stack2d.mrcs")).unlink()
    capsys.readouterr()
    assert main(["import", str(tmp_path / "Q"), str(project.root / "extract/optimisation_set.star"), *WORDS]) == 2
    assert "pictures are not there" in capsys.readouterr().err
    assert not (tmp_path / "Q").exists()


@pytest.mark.filterwarnings("ignore::lamella.formats.warnings.FormatWarning")
def test_forty_real_particles(shared_data, tmp_path, capsys):
    """Their poses make half maps that agree; with random poses they do so to 64 Å."""
    name = "warptools_test_4-tomos_10-ptcls_box-32_angpix-12_optimisation_set.star"
    assert main(["import", str(tmp_path / "P"), str(shared_data / "particles_real" / name), *WORDS]) == 0
    assert "split at random" in capsys.readouterr().out
    assert main(["average", str(tmp_path / "P"), "--input", "extract"]) == 0
    found = read_particles(tmp_path / "P/average/optimisation_set.star", tmp_path / "P")
    assert found.map is not None
    assert found.map.resolution_ang < 45
