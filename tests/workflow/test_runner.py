"""Runs: what is done, what is skipped, what is done again, and what a failure leaves."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import starfile

from lamella.errors import InputError, ProjectError
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.workflow.ledger import Ledger
from lamella.workflow.plan import line_of_jobs, plan_job
from lamella.workflow.project import Project
from lamella.workflow.record_name import RAW, RecordName
from lamella.workflow.run_settings import RunSettings
from lamella.workflow.runner import run_jobs
from lamella.workflow.tables import read_record


def run(project: Project, first=None, last=None, **options):
    settings = project.read_settings()
    return run_jobs(project, line_of_jobs(project, settings, first, last), **options)


def change(project: Project, record: str, **values):
    settings = project.read_settings()
    settings.change(RecordName.parse(record), values)
    settings.save()


def counts(project: Project) -> dict[str, int]:
    return {path.stem: int(path.read_text()) for path in project.root.parent.glob("*.count")}


def made(result) -> dict[str, tuple[str, ...]]:
    return {str(entry.job.target): entry.made for entry in result.jobs}


def test_line_is_done_once_and_then_left_alone(project):
    first = run(project)
    assert made(first) == dict.fromkeys(("motion", "clean", "reconstruct", "denoise"), ("A", "B", "C"))
    assert first.exit_code == 0
    second = run(project)
    assert made(second) == dict.fromkeys(made(first), ())
    assert all(entry.kept == ("A", "B", "C") for entry in second.jobs)
    assert counts(project) == {"A": 1, "B": 1, "C": 1}


def test_results_are_those_of_the_steps(project):
    run(project)
    raw, _ = read_mrc(project.root.parent / "data/B.mrc")
    denoised, pixel = read_mrc(project.root / "denoise/B.mrc")
    np.testing.assert_allclose(denoised, -2.0 * raw[:6], rtol=1e-6)
    assert pixel == pytest.approx(4.0)
    table = starfile.read(project.root / "denoise/tomograms.star")
    table = table["global"] if isinstance(table, dict) else table
    assert list(table["rlnTomoName"]) == ["A", "B", "C"]


def test_tables_name_files_relative_to_the_project(project):
    run(project)
    record = read_record(project, RecordName("clean"))[0]
    assert record.images[0] == "000001@clean/A.mrcs"
    moved = project.root.with_name("moved")
    project.root.rename(moved)
    assert read_record(Project(moved), RecordName("denoise"))[2].denoised == "denoise/C.mrc"
    assert made(run(Project(moved))) == dict.fromkeys(("motion", "clean", "reconstruct", "denoise"), ())


def test_copied_project_is_not_done_again(project):
    run(project)
    shutil.copytree(project.root, project.root.with_name("copy"), copy_function=shutil.copyfile)
    assert not any(made(run(Project(project.root.with_name("copy")))).values())


def test_changed_setting_redoes_its_step_and_what_follows(project):
    run(project)
    change(project, "reconstruct", mode="other")
    assert made(run(project)) == {"motion": (), "clean": (), "reconstruct": ("A", "B", "C"), "denoise": ()}
    change(project, "clean", factor=3.0)
    result = made(run(project))
    assert result["clean"] == result["reconstruct"] == result["denoise"] == ("A", "B", "C")


def test_changed_image_redoes_only_its_series(project):
    run(project)
    path = project.root.parent / "data/B.mrc"
    stack, pixel = read_mrc(path)
    stack[3, 5, 5] += 1
    write_mrc(path, stack, pixel)
    result = made(run(project))
    assert result["clean"] == result["denoise"] == ("B",)


def test_touched_but_equal_image_redoes_nothing(project):
    run(project)
    (project.root.parent / "data/B.mrc").touch()
    assert not any(made(run(project)).values())


def test_new_code_version_redoes_the_step(project, toy_line, monkeypatch):
    run(project)
    from dataclasses import replace

    from lamella.workflow import steps

    line = tuple(replace(step, version=2) if step.name == "reconstruct" else step for step in toy_line.LINE)
    monkeypatch.setattr(steps, "LINE", line)
    assert made(run(project))["reconstruct"] == ("A", "B", "C")


def test_lost_output_is_made_again(project):
    run(project)
    (project.root / "reconstruct/C_even.mrc").unlink()
    assert made(run(project))["reconstruct"] == ("C",)
    assert (project.root / "reconstruct/C_even.mrc").is_file()


def test_table_changed_by_hand_is_kept_and_seen_by_the_next_step(project):
    run(project)
    table = project.root / "clean/tilt_series/B.star"
    table.write_text(table.read_text().replace("85.0", "80.0"))
    result = made(run(project))
    assert result["clean"] == ()
    assert result["reconstruct"] == ("B",)
    assert read_record(project, RecordName("clean"))[1].nominal_axis_deg[0] == 80.0


def test_files_that_a_step_no_longer_makes_go(project):
    run(project)
    change(project, "reconstruct", halves=False)
    run(project)
    assert not list((project.root / "reconstruct").glob("*_even.mrc"))
    assert read_record(project, RecordName("reconstruct"))[0].even_volume is None


def test_failed_series_does_not_stop_the_others(project):
    change(project, "clean", refuse="B")
    result = run(project)
    assert [(str(record), name) for record, name, _ in result.failures] == [("clean", "B")]
    assert "refused; ask for another" in str(result.failures[0][2])
    assert made(result)["denoise"] == ("A", "C")
    assert result.exit_code == 2  # what the user gave is at fault
    change(project, "clean", refuse="")
    assert made(run(project))["denoise"] == ("B",)
    assert [record.name for record in read_record(project, RecordName("denoise"))] == ["A", "B", "C"]


def test_unforeseen_error_is_a_failure_with_its_traceback_kept(project):
    change(project, "clean", refuse="bug")
    result = run(project, last="clean", only=["A"])
    assert result.exit_code == 1
    assert "nobody foresaw this" in str(result.failures[0][2])
    trace = sqlite3.connect(project.ledger_path).execute("SELECT trace FROM tasks WHERE state = 'failed'").fetchone()[0]
    assert "RuntimeError" in trace
    assert "toy_line.py" in trace


def test_failed_series_leaves_the_table(project):
    run(project)
    change(project, "clean", refuse="B")
    run(project)
    assert [record.name for record in read_record(project, RecordName("denoise"))] == ["A", "C"]


def test_only_named_series(project):
    result = run(project, only=["B"])
    assert made(result)["denoise"] == ("B",)
    assert made(run(project))["denoise"] == ("A", "C")
    with pytest.raises(InputError, match="no tilt series 'D'"):
        run(project, only=["D"])


def test_step_that_is_off_is_passed_over(project):
    change(project, "clean", enabled=False)
    result = run(project)
    assert [str(entry.job.source) for entry in result.jobs] == ["raw", "motion", "reconstruct"]
    assert not (project.root / "clean").exists()
    change(project, "reconstruct", enabled=False)
    with pytest.raises(InputError, match="denoise takes tomograms, and reconstruct is off"):
        run(project)


def test_range_of_steps(project):
    assert list(made(run(project, last="clean"))) == ["motion", "clean"]
    assert list(made(run(project, first="reconstruct"))) == ["reconstruct", "denoise"]
    with pytest.raises(InputError, match="comes before"):
        run(project, first="denoise", last="clean")
    with pytest.raises(InputError, match="did you mean clean"):
        run(project, last="clena")


def test_step_without_its_input_says_what_to_run(project):
    with pytest.raises(ProjectError, match=r"needs the record clean, .* --to clean"):
        run(project, first="reconstruct")


def test_labelled_rerun_has_its_own_folder_and_names_its_origin(project):
    run(project)
    settings = project.read_settings()
    target = RecordName.parse("denoise.strong")
    settings.change(target, {"offset": 5.0}, RecordName("reconstruct"))
    settings.save()
    result = run_jobs(project, [plan_job(project, project.read_settings(), target)])
    assert made(result) == {"denoise.strong": ("A", "B", "C")}
    plain, _ = read_mrc(project.root / "denoise/A.mrc")
    strong, _ = read_mrc(project.root / "denoise.strong/A.mrc")
    np.testing.assert_allclose(strong, plain + 5.0, rtol=1e-5)
    beside = json.loads((project.root / "denoise.strong/.done/A/completion.json").read_text())
    assert beside["made_from"] == ["reconstruct", "clean", "motion", "raw"]
    assert beside["settings"]["offset"] == 5.0
    # the step's own settings may change without touching the labelled ones
    change(project, "denoise", offset=7.0)
    again = run_jobs(project, [plan_job(project, project.read_settings(), target)])
    assert made(again) == {"denoise.strong": ()}
    assert made(run(project))["denoise"] == ("A", "B", "C")


def test_record_cannot_be_made_from_itself(project):
    settings = project.read_settings()
    with pytest.raises(ProjectError, match="made from itself"):
        plan_job(project, settings, RecordName("clean"), RecordName("clean"))


def test_wrong_kind_of_input_is_refused(project):
    run(project)
    job = plan_job(project, project.read_settings(), RecordName("denoise"), RecordName("clean"))
    with pytest.raises(ProjectError, match="takes tomograms"):
        run_jobs(project, [job])


def test_ledger_keeps_settings_hashes_versions_times_and_numbers(project):
    run(project)
    base = sqlite3.connect(project.ledger_path)
    base.row_factory = sqlite3.Row
    row = base.execute("SELECT * FROM tasks WHERE record = 'clean' AND series = 'A'").fetchone()
    assert row["state"] == "done"
    assert json.loads(row["settings"])["factor"] == 2.0
    inputs = json.loads(row["inputs"])
    assert inputs[str(project.root.parent / "data/A.mrc")]
    assert inputs["motion"]
    assert row["version"].startswith("lamella ")
    assert row["wall_s"] > 0
    assert row["peak_mib"] > 1
    assert json.loads(row["outputs"])["clean/A.mrcs"] == (project.root / "clean/A.mrcs").stat().st_size
    assert base.execute("SELECT value FROM numbers WHERE task = ? AND name = 'Factor'", (row["id"],)).fetchone()[0] == 2
    assert base.execute("SELECT text FROM messages WHERE task = ?", (row["id"],)).fetchone()[0] == "scaled"
    assert base.execute("SELECT state FROM runs").fetchone()[0] == "done"
    assert base.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    with Ledger(project.ledger_path) as ledger:
        assert ledger.notes()[0][1:] == ("assumed", "A.mdoc", "amplitude contrast 0.1")


def test_lost_database_is_made_anew_from_what_stands_beside_the_files(project):
    run(project)
    for path in project.root.glob("lamella.db*"):
        path.unlink()
    assert not any(made(run(project)).values())
    with Ledger(project.ledger_path) as ledger:
        rows = {(row.record, row.series): row for row in ledger.last_tasks()}
    assert rows["clean", "B"].quality == {"Factor": 2.0}


def test_second_process_is_refused_while_the_first_works(project):
    with project.lock(), pytest.raises(ProjectError, match="is being worked on"):
        run(project)
    assert run(project).exit_code == 0


def test_constant_result_fails_its_own_check(project):
    path = project.root.parent / "data/A.mrc"
    write_mrc(path, np.full((7, 12, 16), 3, np.float32), 4.0)
    result = run(project, only=["A"])
    assert result.failures[0][2].kind == "PostconditionError"
    assert "every pixel would be 6" in str(result.failures[0][2])
    assert not (project.root / "clean/A.mrcs").exists()


def test_workers_side_by_side_give_the_same(project):
    result = run(project, how=RunSettings(workers=2))
    assert made(result)["denoise"] == ("A", "B", "C")
    raw, _ = read_mrc(project.root.parent / "data/C.mrc")
    np.testing.assert_allclose(read_mrc(project.root / "denoise/C.mrc")[0], -2.0 * raw[:6], rtol=1e-6)


def test_dead_worker_is_a_failure_of_its_series(project):
    change(project, "clean", refuse="death")
    result = run(project, last="clean", how=RunSettings(workers=2), only=["A", "B"])
    assert {name for _, name, _ in result.failures} == {"A", "B"}
    assert "worker process died" in str(result.failures[0][2])


def test_dask_cluster_gives_the_same(project):
    result = run(project, how=RunSettings(executor="dask", workers=2))
    assert result.exit_code == 0, result.failures
    assert made(result)["denoise"] == ("A", "B", "C")
    raw, _ = read_mrc(project.root.parent / "data/C.mrc")
    np.testing.assert_allclose(read_mrc(project.root / "denoise/C.mrc")[0], -2.0 * raw[:6], rtol=1e-6)
    assert not any(made(run(project)).values())


def test_absent_scheduler_is_an_input_error(project):
    with pytest.raises(InputError, match="no dask scheduler answers"):
        run(project, how=RunSettings(executor="dask", scheduler="tcp://127.0.0.1:9"))


def test_raw_points_at_the_data_and_copies_nothing(project):
    assert sorted(path.name for path in (project.root / "raw").iterdir()) == ["A.star", "B.star", "C.star"]
    record = read_record(project, RAW)[0]
    assert Path(record.images[0].partition("@")[2]).is_absolute()
    assert not list(project.root.rglob("*.mrc*"))
