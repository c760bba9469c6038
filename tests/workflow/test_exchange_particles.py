"""Particles in and out of a project by the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.formats.images import image_name
from lamella.formats.mrc import write_mrc
from lamella.formats.overrides import Imported
from lamella.formats.relion_particles import read_particles, write_particles
from lamella.geometry import TiltGeometry
from lamella.records import ParticleImages, Particles, ParticleSet, TiltSeries, Tomogram
from lamella.workflow.new import create_project
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.tables import read_particle_set, write_record

TILTS = np.array([-40.0, -20.0, 0.0, 20.0, 40.0])


def series(root: Path, name: str, tilts=TILTS, **terms) -> TiltSeries:
    n = len(tilts)
    return TiltSeries(
        name=name,
        pixel_size_ang=4.0,
        image_shape_px=(64, 64),
        nominal_tilt_deg=tilts,
        nominal_axis_deg=np.full(n, 85.0),
        images=tuple(image_name(number, str(root / f"{name}.mrc")) for number in range(n)),
        geometry=TiltGeometry.from_angles(tilts, 85.0, **terms),
    )


def particles(tomogram: Tomogram, rng: np.random.Generator, count: int) -> Particles:
    return Particles(
        tomogram=tomogram,
        coordinates_ang=rng.uniform(-60, 60, (count, 3)),
        origin_ang=rng.normal(0, 3, (count, 3)),
        angles_deg=rng.uniform([-180, 0, -180], [180, 180, 180], (count, 3)),
        half_set=np.arange(count) % 2 + 1,
        scores={"PickScore": rng.random(count)},
    )


@pytest.fixture
def project(tmp_path, rng) -> Path:
    """Two aligned series whose tomograms, of 8 Å, are made on paper."""
    names = ("ts_1", "ts_2")
    for name in names:
        write_mrc(tmp_path / f"{name}.mrc", rng.normal(0, 1, (5, 64, 64)).astype(np.float32), 4.0)
    known = tuple(series(tmp_path, name) for name in names)
    root = tmp_path / "P"
    create_project(root, Imported(tuple(replace(one, geometry=None) for one in known), ()))
    tomograms = [Tomogram(tilt_series=one, size_px=(64, 64, 32), binning=2.0) for one in known]
    write_record(Project.open(root), RecordName("reconstruct"), tomograms)
    return root


@pytest.fixture
def theirs(project, tmp_path, rng) -> Path:
    """A RELION project of the same series less a view, with its own frame for the second one."""
    root = tmp_path / "relion"
    members = []
    for name, shift in (("ts_1", 0.0), ("ts_2", 40.0)):
        one = Tomogram(tilt_series=series(tmp_path, name, TILTS[1:], x_shift_ang=shift), size_px=(64, 64, 32))
        found = particles(one, rng, 3)
        seen = np.ones((3, 4), dtype=bool)
        pictures = ParticleImages(names=("a.mrcs",) * 3, pixel_size_ang=8.0, box_px=16)
        members.append(found.with_changes(visible=seen, images=pictures))
    write_particles(root / "Refine3D", ParticleSet(members=tuple(members)), root)
    return root


def say(capsys) -> tuple[str, dict]:
    lines = capsys.readouterr().out.splitlines()
    return "\n".join(lines[:-1]), json.loads(lines[-1])


def test_relions_particles_become_picks(project, theirs, capsys):
    star = theirs / "Refine3D/optimisation_set.star"
    assert main(["import", str(project), str(star), "--format", "relion5", "--json"]) == 0
    text, told = say(capsys)
    assert told["record"] == "pick"
    assert told["series"] == ["ts_1", "ts_2"]
    assert "extract makes them anew" in text
    assert "ts_2: RELION's alignment puts its particles 10 px" in text
    assert "ts_1: RELION" not in text
    found = read_particle_set(Project.open(project), RecordName("pick"))
    before = read_particles(star, theirs)
    np.testing.assert_allclose(found.positions_ang(), before.positions_ang())
    np.testing.assert_allclose(found.matrices(), before.matrices())
    for one, two in zip(found.members, before.members, strict=True):
        assert len(one.tilt_series) == 5
        assert one.visible is None
        assert one.images is None
        np.testing.assert_array_equal(one.half_set, two.half_set)
        np.testing.assert_array_equal(one.scores["PickScore"], two.scores["PickScore"])


def test_particles_whose_tomograms_are_gone(project, theirs, capsys):
    (theirs / "Refine3D/tomograms.star").unlink()
    words = ["import", str(project), str(theirs / "Refine3D/particles.star"), "--format", "relion5", "--as", "r"]
    assert main([*words, "--only", "ts_2", "--json"]) == 0
    text, told = say(capsys)
    assert told["record"] == "pick.r"
    assert told["series"] == ["ts_2"]
    assert "they are taken to be the project's" in text
    assert [one.name for one in read_particle_set(Project.open(project), RecordName("pick", "r")).members] == ["ts_2"]


@pytest.mark.parametrize("form", ["relion5", "dynamo", "stopgap", "peet", "copick", "csv", "imod"])
def test_out_and_in_again(project, theirs, tmp_path, form, capsys):
    star = theirs / "Refine3D/optimisation_set.star"
    assert main(["import", str(project), str(star), "--format", "relion5"]) == 0
    assert main(["export", str(project), str(tmp_path / "out"), "--format", form, "--input", "pick", "--json"]) == 0
    files = [Path(file) for file in say(capsys)[1]["files"]]
    path = {"relion5": files[-1], "peet": tmp_path / "out", "copick": tmp_path / "out"}.get(form, files[0])
    words = ["import", str(project), str(path), "--format", form, "--as", "again"]
    if form == "imod":
        words += ["--only", "ts_1"]
        path.rename(tmp_path / "out/ts_1.mod")
    assert main(words) == 0
    first, again = (read_particle_set(Project.open(project), RecordName("pick", label)) for label in (None, "again"))
    for one, two in zip(first.members, again.members, strict=False):
        np.testing.assert_allclose(two.positions_ang(), one.positions_ang(), atol=1e-4)
        if form != "imod":
            np.testing.assert_allclose(two.matrices(), one.matrices(), atol=1e-9)


def test_an_import_replaces_the_last_one(project, tmp_path, capsys):
    for count in (3, 2):
        (tmp_path / "ts_1.csv").write_text("x,y,z\n" + "8,8,4\n" * count)
        assert main(["import", str(project), str(tmp_path / "ts_1.csv"), "--format", "csv"]) == 0
        assert len(read_particle_set(Project.open(project), RecordName("pick"))) == count


@pytest.mark.parametrize(
    ("name", "text", "words", "message"),
    [
        ("a.csv", "x,y,z,tomogram\n1,2,3,ts_1\n", ["--format", "dynamo"], "say --format csv"),
        ("a.csv", "x,y,z,tomogram\n1,2,3,ts_9\n", ["--format", "csv"], "points in ts_9"),
        ("a.csv", "x,y,z,tomogram\n1,2,3,ts_1\n", ["--format", "csv", "--only", "ts_2"], "no particles in ts_2"),
        ("a.csv", "x,y,z\n1,2,3\n", ["--format", "csv"], "which of 2 tomograms"),
        ("a.csv", "x,y,z,tomogram\n1,2,3,ts_1\n", ["--format", "csv", "--input", "pick"], "no record pick"),
        ("a.xf", "1 0 0 1 0 0\n", ["--format", "imod", "--pixel-size", "3"], "--pixel-size is about particles"),
        ("a.csv", "x,y,z\n1,2,3\n", ["--format", "cvs"], "did you mean csv"),
    ],
)
def test_bad_imports_are_one_line(project, tmp_path, capsys, name, text, words, message):
    (tmp_path / name).write_text(text)
    assert main(["import", str(project), str(tmp_path / name), *words]) == 2
    assert message in capsys.readouterr().err


def test_nothing_to_export(project, tmp_path, capsys):
    assert main(["export", str(project), str(tmp_path / "out"), "--format", "dynamo"]) == 2
    assert "there are no particles yet" in capsys.readouterr().err
    assert main(["export", str(project), str(tmp_path / "out"), "--format", "csv", "--input", "reconstruct"]) == 2
    assert "reconstruct holds no particles" in capsys.readouterr().err


def test_relion3_wants_pictures(project, tmp_path, capsys):
    (tmp_path / "ts_1.csv").write_text("x,y,z\n8,8,4\n")
    assert main(["import", str(project), str(tmp_path / "ts_1.csv"), "--format", "csv"]) == 0
    assert main(["export", str(project), str(tmp_path / "out"), "--format", "relion3"]) == 2
    assert "some particles have no pictures; run extract" in capsys.readouterr().err
