"""`lamella select`: which series are chosen, why others are not, and how later steps take the record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lamella.cli import main
from lamella.errors import InputError, ProjectError
from lamella.formats.overrides import Imported
from lamella.formats.relion import read_tilt_series
from lamella.formats.star import read_star
from lamella.records import Defocus, TiltSeries
from lamella.workflow import steps
from lamella.workflow.checks import check_project
from lamella.workflow.new import create_project
from lamella.workflow.plan import line_of_jobs, plan_job
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName
from lamella.workflow.runner import run_jobs
from lamella.workflow.selection import Criteria, excluded_from, is_outdated, select_series
from lamella.workflow.status import project_status
from lamella.workflow.tables import read_record, write_record

REAL_LINE = steps.LINE
RESIDUALS = {"A": 2.0, "B": 5.0, "C": 3.0}
RESOLUTIONS = {"A": 12.0, "B": 8.0, "C": 30.0}


def with_numbers(record: TiltSeries, residual: float | None, resolution: float | None) -> TiltSeries:
    n = len(record)
    quality = {} if residual is None else {"AlignResidualAngst": residual}
    changes = {}
    if resolution is not None:
        # one view that reaches nothing moves no median
        reached = np.r_[200.0, np.full(n - 1, resolution)]
        changes["defocus"] = Defocus(
            u_ang=np.full(n, 3e4), v_ang=np.full(n, 3e4), angle_deg=np.zeros(n), max_resolution_ang=reached
        )
    return record.with_changes(quality=quality, **changes)


@pytest.fixture
def measured(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Three series with a record `ctf`, in a project of the real line."""
    monkeypatch.setattr(steps, "LINE", REAL_LINE)
    records = read_record(project, RAW)
    fresh = create_project(tmp_path / "Q", Imported(tuple(records), ()))
    found = [with_numbers(one, RESIDUALS[one.name], RESOLUTIONS[one.name]) for one in records]
    write_record(fresh, RecordName("ctf"), found)
    return fresh


@pytest.mark.parametrize(
    ("criteria", "chosen", "why"),
    [
        ({"max_ctf_resolution": 15}, "AB", {"C": "CTF resolution of 30.0 Å, above 15 Å"}),
        ({"max_residual": 3}, "AC", {"B": "alignment residual of 5.0 Å, above 3 Å"}),
        ({"max_ctf_resolution": 15, "max_residual": 3}, "A", {"B": "alignment residual", "C": "CTF resolution"}),
        ({"keep": 1}, "B", {"A": "not among the best 1 by CTF resolution", "C": "not among"}),
        ({"keep": 1, "max_residual": 4}, "A", {"B": "alignment residual", "C": "not among the best 1"}),
        ({"keep": 9}, "ABC", {}),
    ],
)
def test_series_are_chosen_by_what_is_known_of_them(criteria, chosen, why, measured):
    selection = select_series(measured, Criteria(**criteria))
    assert selection.source == RecordName("ctf")
    assert "".join(selection.chosen) == chosen
    out = {one.series: one.why for one in selection.judged if one.why}
    assert set(out) == set(why)
    assert all(text in out[name] for name, text in why.items())
    table = read_tilt_series(measured.root / "select/tilt_series.star", measured.root)
    assert [one.name for one in table] == list(chosen)
    assert excluded_from(measured, RecordName("select")) == out


def test_best_are_told_by_residual_where_no_ctf_is_known(measured):
    records = [with_numbers(one, RESIDUALS[one.name], None) for one in read_record(measured, RAW)]
    write_record(measured, RecordName("align"), records)
    selection = select_series(measured, Criteria(keep=2), source=RecordName("align"))
    assert selection.chosen == ("A", "C")
    with pytest.raises(InputError, match=r"no series of align is left \(A: no CTF was estimated"):
        select_series(measured, Criteria(max_ctf_resolution=10), source=RecordName("align"))
    write_record(measured, RecordName("align"), [with_numbers(one, None, None) for one in records[:1]] + records[1:])
    bare = [one.with_changes(quality={}) for one in read_record(measured, RAW)]
    write_record(measured, RecordName("clean"), bare)
    with pytest.raises(InputError, match="neither a CTF resolution nor an alignment residual"):
        select_series(measured, Criteria(keep=1), source=RecordName("clean"))


def test_nothing_left_and_nothing_asked_are_errors(measured):
    with pytest.raises(InputError, match="nothing says what to select by"):
        Criteria()
    with pytest.raises(InputError, match="--keep 0; give a positive number"):
        Criteria(keep=0)
    with pytest.raises(InputError, match="no series of ctf is left"):
        select_series(measured, Criteria(max_ctf_resolution=5))
    assert not (measured.root / "select").exists()
    with pytest.raises(ProjectError, match="cannot be chosen from itself"):
        select_series(measured, Criteria(keep=1), source=RecordName("select"))


def test_another_choice_replaces_the_first_and_labels_stand_beside_it(measured):
    select_series(measured, Criteria(max_ctf_resolution=15))
    select_series(measured, Criteria(max_residual=3))
    select_series(measured, Criteria(keep=1), label="best")
    names = [record.name for record in read_record(measured, RecordName("select"))]
    assert names == ["A", "C"]
    assert sorted(path.name for path in (measured.root / "select/.done").iterdir() if any(path.glob("c*"))) == names
    assert not (measured.root / "select/tilt_series/B.star").exists()
    assert [record.name for record in read_record(measured, RecordName("select", "best"))] == ["B"]
    assert next(iter(read_star(measured.root / "select/excluded.star").values())).text("rlnTomoName") == ("B",)


def test_command_line_says_what_is_chosen_and_why_not(measured, capsys):
    assert main(["select", str(measured.root), "--max-ctf-resolution", "15", "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == "A: chosen (CTF to 12.0 Å, residual 2.0 Å)"
    assert lines[2].startswith("C: left out: CTF resolution of 30.0 Å, above 15 Å")
    assert lines[3].startswith("select: 2 of 3 series of ctf; steps take them with --input select")
    assert [one["series"] for one in json.loads(last)["series"] if not one["why"]] == ["A", "B"]
    assert main(["select", str(measured.root), "--max-ctf-resolution", "2"]) == 2
    assert main(["select", str(measured.root)]) == 2
    assert main(["select", str(measured.root), "--keep", "1", "--input", "nothing"]) == 2
    assert "no series of ctf is left" in capsys.readouterr().err


def states(project: Project) -> dict[tuple[str, str], str]:
    return {(row.record, row.series): row.state for row in project_status(project)}


def told_by_check(project: Project) -> str:
    return "\n".join(f"{entry.kind}: {entry.where}: {entry.text}" for entry in check_project(project))


def measure_clean(project: Project, residuals: dict[str, float]) -> None:
    records = read_record(project, RecordName("clean"))
    write_record(project, RecordName("clean"), [with_numbers(one, residuals[one.name], None) for one in records])


def test_steps_take_the_record_and_choose_again_where_it_is_old(project):
    """In the toy line: raw → motion → clean → select → reconstruct → denoise."""
    settings = project.read_settings()
    run_jobs(project, line_of_jobs(project, settings, None, "clean"))
    measure_clean(project, RESIDUALS)
    settings.change(RecordName("reconstruct"), {}, RecordName("select"))
    settings.save()
    assert "make it with `lamella select PROJECT`" in told_by_check(project)
    select_series(project, Criteria(max_residual=4))
    assert "select" not in told_by_check(project)
    result = run_jobs(project, line_of_jobs(project, project.read_settings(), "reconstruct"))
    assert [entry.made for entry in result.jobs] == [("A", "C"), ("A", "C")]
    beside = json.loads((project.root / "reconstruct/.done/A/completion.json").read_text())
    assert beside["made_from"] == ["select", "clean", "motion", "raw"]
    found = states(project)
    assert found["select", "A"] == found["reconstruct", "C"] == "done"
    assert found["select", "B"] == found["reconstruct", "B"] == found["denoise", "B"] == "left out"
    measure_clean(project, RESIDUALS | {"B": 1.0})
    assert is_outdated(project, RecordName("select"))
    assert "it will be chosen again" in told_by_check(project)
    assert states(project)["select", "A"] == "outdated"
    result = run_jobs(project, line_of_jobs(project, project.read_settings(), "reconstruct"))
    assert [entry.made for entry in result.jobs] == [("B",), ("B",)]
    assert [entry.kept for entry in result.jobs] == [("A", "C"), ("A", "C")]
    assert not is_outdated(project, RecordName("select"))


def test_a_choice_that_is_missing_says_which_command_makes_it(project):
    settings = project.read_settings()
    run_jobs(project, line_of_jobs(project, settings, None, "clean"))
    job = plan_job(project, settings, RecordName("reconstruct"), RecordName("select", "best"))
    with pytest.raises(ProjectError, match="`lamella select PROJECT --as best`"):
        run_jobs(project, [job])
