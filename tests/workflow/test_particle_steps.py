"""Steps on particles through the command line, on a small project whose particles are known."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.workflow.particle_project import DIAMETER_ANG, PIXEL, body_map, correlation, make_project, put_record

from lamella.cli import main
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.relion_particles import read_particles
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.steps import refine as refine_step
from lamella.workflow.steps.refine_iterations import Iterations
from lamella.workflow.tables import read_record

REFINE = ["--input", "extract", "--iterations", "3", "--angle-range", "8"]


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose particles were cut out, to be copied."""
    project, _ = make_project(tmp_path_factory.mktemp("particles"))
    assert main(["extract", str(project.root)]) == 0
    return project.root


@pytest.fixture
def project(extracted: Path, tmp_path: Path) -> Project:
    shutil.copytree(extracted, tmp_path / "P")
    return Project.open(tmp_path / "P")


def run(*words: object) -> int:
    return main([str(word) for word in words])


def picks(project: Project) -> list:
    return list(read_record(project, RecordName("pick")))


def test_pictures_of_both_series_are_of_one_size_and_half_sets_are_split(project):
    found = read_particles(project.root / "extract/optimisation_set.star", project.root)
    assert [len(member) for member in found.members] == [9, 9]
    assert {(member.images.box_px, member.images.pixel_size_ang) for member in found.members} == {(36, PIXEL)}
    assert all(member.quality["ParticleDiameterAngst"] == DIAMETER_ANG for member in found.members)
    for member in found.members:
        assert sorted(set(member.half_set.tolist())) == [1, 2]
        for name in member.images.names:
            stack, _ = read_mrc(project.root / name)
            assert stack.shape == (11, 36, 36)


def test_average_of_the_poses_given_shows_the_body(project, capsys):
    assert run("average", project.root, "--input", "extract") == 0
    volume, voxel = read_mrc(project.root / "average/map.mrc")
    assert correlation(volume, voxel) > 0.85
    assert {path.name for path in (project.root / "average").glob("*.*")} >= {
        "map.mrc", "map_half1.mrc", "map_half2.mrc", "fsc.star", "map.star", "particles.star"
    }  # fmt: skip


def test_average_in_other_voxels_is_cut_out_anew_and_leaves_no_pictures(project):
    assert run("average", project.root, "--input", "extract", "--binning", 2, "--as", "coarse") == 0
    volume, voxel = read_mrc(project.root / "average.coarse/map.mrc")
    assert (volume.shape, voxel) == ((18, 18, 18), 2 * PIXEL)
    assert correlation(volume, voxel) > 0.85
    assert not list((project.root / "average.coarse").rglob("*.mrcs"))


def test_picks_that_were_never_cut_out_are_averaged_too(project):
    assert run("average", project.root, "--input", "pick") == 0
    volume, voxel = read_mrc(project.root / "average/map.mrc")
    assert correlation(volume, voxel) > 0.85


@pytest.mark.slow
def test_refinement_killed_in_an_iteration_goes_on_to_the_same_map(project, tmp_path, monkeypatch, capsys):
    shutil.copytree(project.root, tmp_path / "whole")
    assert run("refine", tmp_path / "whole", *REFINE) == 0
    add = Iterations.add

    def killed(self, state):
        add(self, state)
        if state.iteration == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Iterations, "add", killed)
    with pytest.raises(SystemExit, match="130"):  # as Ctrl-C ends it
        run("refine", project.root, *REFINE)
    assert not (project.root / "refine/map.mrc").exists()
    monkeypatch.setattr(Iterations, "add", add)
    capsys.readouterr()
    assert run("refine", project.root, *REFINE) == 0
    assert "goes on after iteration 2" in capsys.readouterr().out
    for name in ("map.mrc", "map_half1.mrc", "map_half2.mrc", "fsc.star", "iterations/it03_half1.mrc"):
        if name.endswith(".mrc"):
            pairs = [read_mrc(root / "refine" / name)[0] for root in (project.root, tmp_path / "whole")]
            assert np.array_equal(*pairs), name
        else:
            assert (project.root / "refine" / name).read_text() == (tmp_path / "whole/refine" / name).read_text()
    assert not (project.root / "refine/iterations/state.npz").exists()
    volume, voxel = read_mrc(project.root / "refine/map.mrc")
    assert correlation(volume, voxel) > 0.9
    assert (project.root / "refine/iterations/it01_poses.star").is_file()
    # another setting begins anew
    capsys.readouterr()
    assert run("refine", project.root, *REFINE[:-2], "--angle-range", "9") == 0
    assert "goes on" not in capsys.readouterr().out


def test_pictures_of_mixed_pixel_sizes_are_one_error(project, capsys):
    first, second = read_record(project, RecordName("extract"))
    other = second.with_changes(images=replace(second.images, pixel_size_ang=1.1 * PIXEL))
    put_record(project, RecordName("extract"), [first, other])
    capsys.readouterr()
    assert run("refine", project.root, *REFINE) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "36 px of 10 Å, 36 px of 11 Å" in told[0]


def test_refinement_that_makes_the_halves_agree_less_is_undone(project, monkeypatch, capsys):
    real = refine_step.refine

    def scrambled(record, source, reference, settings, **more):
        settings = settings.model_copy(update={"iterations": 1})
        made = real(record, source, reference, settings, **more)
        rng = np.random.default_rng(1)
        turned = tuple(
            one.with_poses(matrices=Rotation.random(len(one), random_state=1).as_matrix())
            for one in made.particles.members
        )
        return replace(
            made,
            half2=rng.normal(size=made.half2.shape).astype(np.float32),
            particles=replace(made.particles, members=turned),
        )

    monkeypatch.setattr(refine_step, "refine", scrambled)
    assert run("refine", project.root, *REFINE) == 0
    assert "undone" in capsys.readouterr().out
    before = read_particles(project.root / "extract/optimisation_set.star", project.root)
    after = read_particles(project.root / "refine/optimisation_set.star", project.root)
    assert np.allclose(before.matrices(), after.matrices(), atol=1e-6)
    assert after.map.resolution_ang is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("one", "one half set"),
        ("half", "one half set"),
    ],
)
def test_no_two_half_sets(project, capsys, change, words):
    members = picks(project)
    if change == "one":
        members = [members[0].select([0]), members[1].select([])]
    else:
        members = [member.with_changes(half_set=np.ones(len(member), np.int64)) for member in members]
    put_record(project, RecordName("pick"), members)
    assert run("extract", project.root) == 0
    capsys.readouterr()
    assert run("refine", project.root, *REFINE) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert words in told[0]


def test_duplicates_and_particles_out_of_every_view_are_left_out_and_said(project, capsys):
    first, second = picks(project)
    places = first.coordinates_ang.copy()
    places[1] = places[0] + 5
    places[2] = (5000, 0, 0)
    put_record(project, RecordName("pick"), [first.with_changes(coordinates_ang=places), second])
    assert run("extract", project.root) == 0
    told = capsys.readouterr().out
    assert "7 of 9 particles" in told
    assert "1 left out: too close to a better one" in told
    assert "1 left out: in too few views" in told


def test_mixed_pixel_sizes_are_one_error(project, capsys):
    first, second = picks(project)
    series = replace(second.tilt_series, pixel_size_ang=1.1 * PIXEL)
    other = replace(second, tomogram=replace(second.tomogram, tilt_series=series))
    put_record(project, RecordName("pick"), [first, other])
    assert run("extract", project.root) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "pixel sizes" in told[0]
    assert run("status", project.root) == 0


def test_star_with_missing_columns_is_one_error(project, tmp_path, capsys):
    star = tmp_path / "particles.star"
    star.write_text("data_particles\n\nloop_\n_rlnTomoName #1\n_rlnCenteredCoordinateXAngst #2\nTS_1 10\n")
    assert (
        run("pick", project.root, "--input", "pick", "--as", "mine", "--method", "import", "--coordinates", star) == 2
    )
    told = capsys.readouterr().err.strip().splitlines()
    assert all("particles.star" in line for line in told)
    assert "oordinate" in told[0]


def test_points_of_a_file_become_particles(project, tmp_path, capsys):
    star = project.root / "pick/particles.star"
    words = ["--method", "import", "--coordinates", star, "--diameter", DIAMETER_ANG]
    assert run("pick", project.root, "--as", "again", "--input", "pick", *words) == 0
    again = read_particles(project.root / "pick.again/optimisation_set.star", project.root)
    for one, other in zip(again.members, picks(project), strict=True):
        assert np.allclose(one.positions_ang(), other.positions_ang())
        assert np.allclose(one.matrices(), other.matrices(), atol=1e-7)


def test_points_of_a_sphere_are_laid_over_it(project, tmp_path):
    rng = np.random.default_rng(1)
    ways = rng.normal(size=(12, 3))
    places = 20 + 150 * ways / np.linalg.norm(ways, axis=1, keepdims=True)
    rows = "".join(f"TS_1,{x:.3f},{y:.3f},{z:.3f}\n" for x, y, z in places)
    (tmp_path / "points.csv").write_text("tomogram,x_ang,y_ang,z_ang\n" + rows)
    words = ["--method", "sphere", "--coordinates", tmp_path / "points.csv", "--diameter", 100]
    assert run("pick", project.root, "--as", "sphere", "--input", "pick", *words) == 0
    first, second = read_particles(project.root / "pick.sphere/optimisation_set.star", project.root).members
    assert len(second) == 0
    assert len(first) > 50
    away = first.positions_ang() - 20
    assert np.allclose(np.linalg.norm(away, axis=1), 150, atol=0.01)
    assert np.allclose(first.matrices()[:, :, 2], away / 150, atol=1e-3)  # the reference's z axis stands outwards


def test_reference_is_brought_to_the_pictures(project, tmp_path, capsys):
    write_mrc(tmp_path / "reference.mrc", body_map(64, 7.0), 7.0)
    made = refine_step.on_pictures(tmp_path / "reference.mrc", 36, PIXEL, "refine.reference")
    assert made.shape == (36, 36, 36)
    truth = body_map(36, PIXEL)
    assert np.corrcoef(made.ravel(), truth.ravel())[0, 1] > 0.995
    write_mrc(tmp_path / "slab.mrc", body_map(64, 7.0)[:30], 7.0)
    assert run("refine", project.root, *REFINE, "--reference", tmp_path / "slab.mrc") == 2
    assert "refine.reference" in capsys.readouterr().err


@pytest.mark.slow
def test_from_images_to_a_postprocessed_map(tmp_path, capsys):
    project, _ = make_project(tmp_path, noise=0.04)
    shutil.rmtree(project.root / "pick")
    write_mrc(tmp_path / "template.mrc", body_map(64, 8.0), 8.0)
    sets = [f"{step}.enabled=false" for step in ("motion", "clean", "align", "ctf", "denoise")]
    sets += ["reconstruct.pixel_size=20", "reconstruct.thickness=600", "pick.method=template", "refine.iterations=5"]
    sets += [f"pick.template={tmp_path / 'template.mrc'}", f"pick.diameter={DIAMETER_ANG}", "pick.angle_step=30"]
    words = [word for text in sets for word in ("--set", text)]
    assert run("check", project.root) == 0
    assert run("run", project.root, "--to", "postprocess", *words) == 0
    for name in ("map.mrc", "map_half1.mrc", "map_half2.mrc", "fsc.star", "particles.star"):
        assert (project.root / "refine" / name).is_file()
    assert (project.root / "pick/TS_1_score.mrc").is_file()
    volume, voxel = read_mrc(project.root / "postprocess/map.mrc")
    assert correlation(volume, voxel) > 0.85
    page = (project.root / "report/index.html").read_text()
    assert "Picks of TS_1" in page
    assert "could not be drawn" not in page
    capsys.readouterr()
    assert run("run", project.root, "--to", "postprocess", "--no-report", "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert all(step["made"] == [] for step in told["steps"])
    assert run("check", project.root) == 0
    assert run("status", project.root) == 0


def test_template_of_another_pixel_size_is_one_error(tmp_path, capsys):
    project, _ = make_project(tmp_path, series=1)
    words = ["--input", "raw", "--pixel-size", 20, "--thickness", 600, "--halves", "off"]
    assert run("reconstruct", project.root, *words) == 0
    write_mrc(tmp_path / "template.mrc", body_map(64, 8.0), 2.0)  # its header says a quarter of what it is
    pick = ["--as", "mine", "--input", "reconstruct", "--template", tmp_path / "template.mrc"]
    capsys.readouterr()
    assert run("pick", project.root, *pick, "--diameter", DIAMETER_ANG) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "128 Å wide" in told[0]


def test_line_without_a_template_ends_before_pick_and_says_why(project, capsys):
    shutil.rmtree(project.root / "pick")
    assert run("run", project.root, "--from", "pick") == 2
    assert "pick has neither a template nor coordinates" in capsys.readouterr().err
