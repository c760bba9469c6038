"""Lists of points of every program: a marker placed by each one's own published matrix, and back again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamella.errors import FormatError, InputError
from lamella.formats.imod_model import ImodModel, read_model, write_model
from lamella.formats.points import POINT_PROGRAMS, point_format, read_points, write_points
from lamella.formats.voxels import from_voxels, to_voxels, zxz_angles, zxz_matrix
from lamella.formats.warnings import FormatWarning
from lamella.geometry import TiltGeometry, euler_matrix
from lamella.records import Particles, ParticleSet, TiltSeries, Tomogram

MARKER = np.array([3.0, -5.0, 8.0])
VOXEL = 10.0


def tomogram(name: str = "ts_1", binning: float = 4.0) -> Tomogram:
    """400 × 320 × 200 pixels of 2.5 Å."""
    series = TiltSeries(
        name=name,
        pixel_size_ang=2.5,
        image_shape_px=(320, 400),
        nominal_tilt_deg=np.array([-40.0, 0.0, 50.0]),
        nominal_axis_deg=np.full(3, 85.0),
        geometry=TiltGeometry.from_angles([-40.0, 0.0, 50.0], 85.0),
    )
    return Tomogram(tilt_series=series, size_px=(400, 320, 200), binning=binning, volume=f"reconstruct/{name}.mrc")


TOMOGRAMS = [tomogram(), tomogram("ts_11")]


def placed(found: ParticleSet, member: int = 0, row: int = 0) -> np.ndarray:
    """Where the marker of a particle is, Å from the tomogram's centre voxel."""
    one = found.members[member]
    return one.positions_ang()[row] + one.matrices()[row] @ MARKER


def turn(axis: str, angle_deg: float) -> np.ndarray:
    """A right-handed rotation about a fixed axis, written out for these tests."""
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]] if axis == "x" else [[c, -s, 0], [s, c, 0], [0, 0, 1]])


def many(rng: np.random.Generator, counts: tuple[int, ...] = (5, 3)) -> ParticleSet:
    members = []
    for one, count in zip(TOMOGRAMS, counts, strict=True):
        angles = rng.uniform([-180, 0, -180], [180, 180, 180], (count, 3))
        members.append(
            Particles(
                tomogram=one,
                coordinates_ang=rng.uniform(-200, 200, (count, 3)),
                origin_ang=rng.normal(0, 5, (count, 3)),
                subtomogram_deg=angles[::-1],
                angles_deg=angles,
                classes=rng.integers(1, 4, count),
                half_set=np.arange(count) % 2 + 1,
                scores={"PickScore": rng.random(count)},
            )
        )
    return ParticleSet(members=tuple(members))


def test_voxel_0_is_the_first_and_the_origin_is_the_volumes_own():
    one = TOMOGRAMS[0]
    nz, ny, nx = one.shape
    np.testing.assert_allclose(from_voxels(one, [[nx // 2, ny // 2, nz // 2]]), [[0, 0, 0]])
    np.testing.assert_allclose(from_voxels(one, [[0, 0, 0]]), [[-500, -400, -250]])
    odd = tomogram(binning=3.0)
    np.testing.assert_allclose(to_voxels(odd, [[0, 0, 0]]), [np.array(odd.shape[::-1]) // 2])


@given(st.tuples(st.floats(-180, 180), st.floats(0, 180), st.floats(-180, 180)))
def test_zxz_angles_make_their_matrix(angles):
    matrix = zxz_matrix(*angles)
    np.testing.assert_allclose(matrix, turn("z", angles[2]) @ turn("x", angles[1]) @ turn("z", angles[0]), atol=1e-12)
    np.testing.assert_allclose(zxz_matrix(*zxz_angles(matrix)), matrix, atol=1e-7)


@pytest.mark.parametrize("form", POINT_PROGRAMS)
def test_everything_comes_back(form, tmp_path, rng):
    first = many(rng)
    files, notes = write_points(form, first, tmp_path / "out", tmp_path)
    assert all(file.is_file() for file in files)
    path = files[-1] if form == "relion5" else files[0] if form in ("dynamo", "stopgap", "csv") else tmp_path / "out"
    assert point_format(path) == form
    back = read_points(path, TOMOGRAMS, tmp_path)
    for one, two in zip(first.members, back.members, strict=True):
        exact = 1e-4 if form == "imod" else 1e-9  # a model holds 32-bit numbers
        np.testing.assert_allclose(two.positions_ang(), one.positions_ang(), atol=exact)
        if form != "imod":
            np.testing.assert_allclose(two.matrices(), one.matrices(), atol=1e-9)
            np.testing.assert_allclose(two.scores["PickScore"], one.scores["PickScore"], atol=1e-12)
        if form in ("relion5", "stopgap", "csv"):
            np.testing.assert_array_equal(two.half_set, one.half_set)
            np.testing.assert_array_equal(two.classes, one.classes)
    dropped = " ".join(str(note) for note in notes)
    assert ("half sets" in dropped) == (form in ("dynamo", "peet", "copick"))
    assert ("orientations" in dropped) == (form == "imod")


def test_dynamo_places_a_marker_by_the_inverse_of_its_own_matrix(tmp_path):
    """dynamo_euler2matrix([30, 60, 90]) as Dynamo prints it turns a particle to the reference."""
    printed = np.array([[-0.25, -0.4330127, 0.8660254], [0.8660254, -0.5, 0], [0.4330127, 0.75, 0.5]])
    row = np.zeros(36)
    row[3:6], row[6:9], row[9], row[19], row[21], row[23:26] = (0.25, -0.5, 1), (30, 60, 90), 0.7, 1, 2, (51, 41, 26)
    (tmp_path / "a.tbl").write_text(" ".join(f"{value:g}" for value in row) + "\n")
    found = read_points(tmp_path / "a.tbl", TOMOGRAMS[:1], tmp_path)
    np.testing.assert_allclose(placed(found), VOXEL * np.array([0.25, -0.5, 1]) + printed.T @ MARKER, atol=1e-6)
    assert found.members[0].scores["PickScore"] == [0.7]
    assert found.members[0].classes.tolist() == [2]


def test_dynamo_and_relion_angles_of_one_particle(tmp_path):
    """A pair that the eulerangles package was tested with, from a real project."""
    row = np.zeros(26)
    row[6:9], row[19], row[23:26] = (-47.2730, 1.1777, -132.3000), 1, (51, 41, 26)
    (tmp_path / "a.tbl").write_text(" ".join(f"{value:.4f}" for value in row) + "\n")
    found = read_points(tmp_path / "a.tbl", TOMOGRAMS[:1], tmp_path)
    np.testing.assert_allclose(found.members[0].angles_deg, [[137.7000, 1.1777, 42.7270]], atol=1e-4)


def test_dynamo_states_its_voxel_and_numbers_its_tomograms(tmp_path):
    row = np.zeros(36)
    row[19], row[23:26], row[35] = 7, (26, 21, 13.5), 20.0
    (tmp_path / "a.tbl").write_text(" ".join(f"{value:g}" for value in row) + "\n")
    with pytest.raises(FormatError, match="tomogram number 7 is none of 2"):
        read_points(tmp_path / "a.tbl", TOMOGRAMS, tmp_path)
    (tmp_path / "tomograms.doc").write_text("3 /data/ts_1.rec\n7 /data/ts_11_rec.mrc\n")
    with pytest.warns(FormatWarning, match="voxels of 20 Å"):
        found = read_points(tmp_path / "a.tbl", TOMOGRAMS, tmp_path)
    assert [len(one) for one in found.members] == [0, 1]
    np.testing.assert_allclose(found.positions_ang(), [[0, 0, 0]])


MOTL = """
data_stopgap_motivelist

loop_
_motl_idx
_tomo_num
_object
_subtomo_num
_halfset
_orig_x
_orig_y
_orig_z
_score
_x_shift
_y_shift
_z_shift
_phi
_psi
_the
_class

1 1 1 1 A 51 41 26 0.5 0.25 -0.5 1.0 20 -35 70 3
2 1 1 2 B 52 41 26 0.4 0 0 0 0 0 0 1
"""


def test_stopgap_places_a_marker_as_tom_does(tmp_path):
    (tmp_path / "motl.star").write_text(MOTL)
    found = read_points(tmp_path / "motl.star", TOMOGRAMS[:1], tmp_path)
    matrix = turn("z", -35) @ turn("x", 70) @ turn("z", 20)
    np.testing.assert_allclose(placed(found), VOXEL * np.array([0.25, -0.5, 1]) + matrix @ MARKER, atol=1e-9)
    np.testing.assert_allclose(placed(found, 0, 1), np.add(MARKER, [10, 0, 0]))
    assert found.members[0].half_set.tolist() == [1, 2]
    assert found.members[0].classes.tolist() == [3, 1]


def test_stopgaps_own_reader_finds_every_row(tmp_path, rng):
    """It takes labels to the line's end, and rows from the second line after the last label."""
    (file, _), _ = write_points("stopgap", many(rng), tmp_path, tmp_path)
    lines = file.read_text().splitlines()
    labels = [number for number, line in enumerate(lines) if line.startswith("_")]
    assert [lines[number] for number in labels] == [line for line in MOTL.splitlines() if line.startswith("_")]
    assert lines[labels[-1] + 1] == ""
    assert len([line for line in lines[labels[-1] + 2 :] if line]) == 8
    assert all(len(line.split()) == 16 for line in lines[labels[-1] + 2 :])


def test_peet_places_a_marker_from_its_model(tmp_path):
    """pIndex chooses the model's point; a model's voxel (i, j, k) is at (i + 0.5, j + 0.5, k)."""
    points = np.array([[1.5, 1.5, 1.0], [50.5, 40.5, 25.0]])
    write_model(tmp_path / "ts_1.mod", ImodModel(contours=(points,), size_px=(100, 80, 50), pixel_ang=10.0))
    row = [0.6, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0.25, -0.5, 1, 0, 0, 0, 20, -35, 70, 0]
    head = "CCC,reserved,reserved,pIndex,wedgeWT,NA,NA,NA,NA,NA,xOffset,yOffset,zOffset,NA,NA,reserved,"
    head += "EulerZ(1),EulerZ(3),EulerX(2),reserved,CREATED WITH PEET Version 1.14.0 21-Feb-2020\n"
    (tmp_path / "ts_1_MOTL_Tom1_Iter2.csv").write_text(head + ",".join(map(str, row)) + "\n")
    found = read_points(tmp_path / "ts_1_MOTL_Tom1_Iter2.csv", TOMOGRAMS, tmp_path)
    matrix = turn("z", -35) @ turn("x", 70) @ turn("z", 20)
    np.testing.assert_allclose(placed(found), VOXEL * np.array([0.25, -0.5, 1]) + matrix @ MARKER, atol=1e-5)
    row[3] = 3
    (tmp_path / "ts_1_MOTL_Tom1_Iter2.csv").write_text(head + ",".join(map(str, row)) + "\n")
    with pytest.raises(FormatError, match="point 3 of a model of 2"):
        read_points(tmp_path, TOMOGRAMS, tmp_path)
    (tmp_path / "ts_1.mod").unlink()
    with pytest.raises(FormatError, match="the model that its points belong to"):
        read_points(tmp_path, TOMOGRAMS, tmp_path)


def test_imod_contours_are_numbered_and_go_back(tmp_path):
    contours = (np.array([[50.5, 40.5, 25.0], [60.5, 40.5, 25.0]]), np.array([[50.5, 42.5, 27.0]]))
    write_model(tmp_path / "any.mod", ImodModel(contours=contours, size_px=(100, 80, 50), pixel_ang=10.0))
    found = read_points(tmp_path / "any.mod", TOMOGRAMS[:1], tmp_path)
    np.testing.assert_allclose(found.positions_ang(), [[0, 0, 0], [100, 0, 0], [0, 20, 20]], atol=1e-4)
    assert found.members[0].scores["PickContour"].tolist() == [1, 1, 2]
    write_points("imod", found, tmp_path / "out", tmp_path)
    again = read_model(tmp_path / "out/ts_1.mod")
    assert [len(one) for one in again.contours] == [2, 1]
    with pytest.raises(FormatError, match="which of 2 tomograms"):
        read_points(tmp_path / "any.mod", TOMOGRAMS, tmp_path)
    write_model(tmp_path / "any.mod", ImodModel(contours=contours, size_px=(200, 160, 100), pixel_ang=5.0))
    with pytest.warns(FormatWarning, match="voxels of 5 Å"):
        found = read_points(tmp_path / "any.mod", TOMOGRAMS[:1], tmp_path)
    np.testing.assert_allclose(found.positions_ang()[0], [-250, -200, -125])
    write_model(tmp_path / "any.mod", ImodModel(contours=contours, size_px=(100, 50, 80), pixel_ang=10.0))
    with pytest.warns(FormatWarning, match="drawn on a volume of 100 × 50 × 80"):
        read_points(tmp_path / "any.mod", TOMOGRAMS[:1], tmp_path)


def copick_file(folder: Path, **changes) -> Path:
    matrix = np.eye(4)
    matrix[:3, :3] = turn("z", 40) @ turn("x", 25)
    matrix[:3, 3] = [1, 2, 3]
    point = {
        "location": {"x": 510, "y": 400, "z": 250},
        "transformation_": matrix.tolist(),
        "instance_id": 4,
        "score": 0.3,
    }
    picks = {
        "pickable_object_name": "ribosome", "user_id": "me", "session_id": "1", "run_name": "ts_11",
        "voxel_spacing": 10.0, "unit": "angstrom", "points": [point | changes.pop("point", {})],
    }  # fmt: skip
    path = folder / "ExperimentRuns/ts_11/Picks/me_1_ribosome.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(picks | changes))
    return path


def test_copick_places_a_marker_by_its_matrix(tmp_path):
    path = copick_file(tmp_path)
    for where in (path, tmp_path):
        found = read_points(where, TOMOGRAMS, tmp_path)
        expected = [11, 2, 3] + turn("z", 40) @ turn("x", 25) @ MARKER
        np.testing.assert_allclose(placed(found, 1), expected, atol=1e-9)
    assert found.members[1].scores["PickContour"] == [4]
    copick_file(tmp_path, trust_orientation=False)
    np.testing.assert_allclose(placed(read_points(path, TOMOGRAMS, tmp_path), 1), np.add(MARKER, [11, 2, 3]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run_name": "ts_2"}, "points in ts_2, which is none"),
        ({"unit": "nm"}, "locations in nm"),
        ({"points": 3}, "no picks of copick"),
        ({"point": {"location": {"x": 1, "y": 2}}}, "point 1 has no location"),
        ({"point": {"location": {"x": 1, "y": 2, "z": float("nan")}}}, "not finite"),
        ({"point": {"transformation_": np.diag([1, 1, -1, 1]).tolist()}}, "no rotation"),
    ],
)
def test_bad_picks_of_copick(tmp_path, changes, message):
    with pytest.raises(FormatError, match=message):
        read_points(copick_file(tmp_path, **changes), TOMOGRAMS, tmp_path)


def test_csv_in_voxels_and_in_angstrom(tmp_path):
    head = "\ufeffX, Y, Z, rot, tilt, psi, tomogram, radius, score\n"
    (tmp_path / "a.csv").write_text(head + "50.25,39.5,26,10,20,30,ts_1,3,\n50,40,25,0,0,0,ts_11,4,0.5\n")
    found = read_points(tmp_path / "a.csv", TOMOGRAMS, tmp_path)
    np.testing.assert_allclose(placed(found), [2.5, -5, 10] + euler_matrix(10, 20, 30) @ MARKER)
    assert found.members[1].scores["SphereRadiusAngst"] == [40]
    assert np.isnan(found.members[0].scores["PickScore"]).all()
    (tmp_path / "ts_11.csv").write_text("x_ang,y_ang,z_ang\n1,2,3\n")
    found = read_points(tmp_path / "ts_11.csv", TOMOGRAMS, tmp_path)
    np.testing.assert_allclose(found.members[1].positions_ang(), [[1, 2, 3]], atol=1e-9)
    (tmp_path / "b.csv").write_text("x,y,z\n50,40,25\n0,0,0\n")
    found = read_points(tmp_path / "b.csv", TOMOGRAMS[:1], tmp_path, voxel_size_ang=20.0)
    np.testing.assert_allclose(found.positions_ang(), [[500, 400, 260], [-500, -400, -240]])  # its own 26 voxels
    assert found.members[0].tomogram.binning == 4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "1,2,3\n4,5,6\n", "no header with x, y, z"),
        ("a.csv", "x,y\n4,5\n", "no header with x, y, z"),
        ("a.csv", "x,y,z\n1,2,nan\n", "row 2: z is 'nan'"),
        ("a.csv", "x,y,z\n1,2\n", "row 2 has 2 values for 3"),
        ("a.csv", "x,y,z,x\n1,2,3,4\n", "comes twice"),
        ("a.csv", "x,y,z,half_set\n1,2,3,4\n", "neither 1 nor 2"),
        ("a.csv", "x,y,z,tomogram\n1,2,3,other\n", "points in other"),
        ("a.tbl", "1 2 3\n", "line 1 has 3 columns"),
        ("a.tbl", "1 2 x\n", "line 1 is no row of numbers"),
        ("a.tbl", "nan " * 26 + "\n", "not finite"),
        ("a.json", "{", "no JSON"),
        ("a.csv", "CCC,reserved\n1,2\n", "line 2 is no row of 20 numbers"),
        ("a.star", MOTL.replace("_orig_y", "_orig_v"), "no column orig_y"),
        ("a.star", "data_\nloop_\n_rlnTomoName\n_rlnCoordinateX\nts_1 3\n", "no coordinates"),
        ("a.mod", "IMODV1.2 cut", "reaches beyond the file's end"),
        ("a.xyz", "1 2 3\n", "no list of points that is known"),
    ],
)  # fmt: skip
def test_bad_lists_are_one_clear_error(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_points(tmp_path / name, TOMOGRAMS[:1], tmp_path)


def test_paths_that_hold_nothing(tmp_path):
    with pytest.raises(FormatError, match="no such file or folder"):
        read_points(tmp_path / "gone.csv", TOMOGRAMS, tmp_path)
    with pytest.raises(FormatError, match="no list of points for each tomogram"):
        read_points(tmp_path, TOMOGRAMS, tmp_path)
    with pytest.raises(InputError, match="no format of points is called tbl"):
        write_points("tbl", ParticleSet(members=()), tmp_path, tmp_path)


def test_a_folder_of_files_by_tomogram(tmp_path):
    for number, name in enumerate(("ts_1", "ts_11")):
        (tmp_path / f"{name}_points.csv").write_text(f"x,y,z\n{50 + number},40,25\n")
    found = read_points(tmp_path, TOMOGRAMS, tmp_path)
    np.testing.assert_allclose([one.positions_ang()[0, 0] for one in found.members], [0, 10])
