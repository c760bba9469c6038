"""What a project measured of a session's series is told to the session once, by the command line."""

from __future__ import annotations

import json

import numpy as np

from lamella.acquire.session.feedback import read_feedback
from lamella.cli import main
from lamella.formats.overrides import Imported
from lamella.geometry import TiltGeometry
from lamella.records import Defocus, TiltSeries
from lamella.workflow.new import create_project
from lamella.workflow.project import Project
from lamella.workflow.record_name import RecordName
from lamella.workflow.tables import write_record

TILT = np.array([-3.0, 0.0, 3.0])


def series(name: str) -> TiltSeries:
    return TiltSeries(
        name=name,
        pixel_size_ang=2.0,
        image_shape_px=(64, 64),
        nominal_tilt_deg=TILT,
        nominal_axis_deg=np.full(3, 85.0),
        geometry=TiltGeometry.from_angles(TILT, 85.0),
        defocus=Defocus(u_ang=np.full(3, 31000.0), v_ang=np.full(3, 29000.0), angle_deg=np.zeros(3)),
        scores={"CtfDefocusErrorAngst": np.array([300.0, np.nan, 200.0])},
    )


def with_ctf(root, *names: str) -> Project:
    project = create_project(root, Imported(series=(), notes=()), empty=True)
    write_record(project, RecordName("ctf"), [series(name) for name in names])
    return project


def test_measured_defoci_reach_the_session(tmp_path, capsys):
    session = tmp_path / "S"
    assert main(["acquire", "plan", str(session), "--targets", "2", "--tilt-range", "3"]) == 0
    assert main(["acquire", "run", str(session)]) == 0
    project = with_ctf(tmp_path / "P", "T01", "elsewhere")
    for count in (2, 0):  # what was told is not told again
        capsys.readouterr()
        assert main(["acquire", "feedback", str(session), str(project.root), "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["measurements"] == count
    told = read_feedback(session)
    assert [(one.target, one.tilt_deg, one.value_um) for one in told] == [("T01", -3.0, 3.0), ("T01", 3.0, 3.0)]
    np.testing.assert_allclose([one.sd_um for one in told], [0.03, 0.02])


def test_a_project_of_other_series_is_told_so(tmp_path, capsys):
    session = tmp_path / "S"
    assert main(["acquire", "plan", str(session), "--targets", "1", "--tilt-range", "3"]) == 0
    assert main(["acquire", "run", str(session)]) == 0
    project = with_ctf(tmp_path / "P", "elsewhere")
    assert main(["acquire", "feedback", str(session), str(project.root)]) == 2
    assert "no series of ctf is a target" in capsys.readouterr().err
