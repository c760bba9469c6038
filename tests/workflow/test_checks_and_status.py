"""`check` before the work, `status` after it."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest

from lamella.formats.mrc import write_mrc
from lamella.formats.overrides import Imported
from lamella.workflow import steps
from lamella.workflow.checks import check_project
from lamella.workflow.digests import FileDigests, digest, file_digest
from lamella.workflow.new import create_project
from lamella.workflow.plan import line_of_jobs
from lamella.workflow.record_name import RAW, RecordName
from lamella.workflow.run_settings import RunSettings
from lamella.workflow.runner import run_jobs
from lamella.workflow.status import project_status
from lamella.workflow.tables import read_record

REAL_LINE = steps.LINE


def texts(project, kind="problem", **options):
    return [f"{entry.where}: {entry.text}" for entry in check_project(project, **options) if entry.kind == kind]


def run(project, **options):
    return run_jobs(project, line_of_jobs(project, project.read_settings()), **options)


def change(project, record, **values):
    settings = project.read_settings()
    settings.change(RecordName.parse(record), values)
    settings.save()


def states(project):
    return {(row.record, row.series): row.state for row in project_status(project)}


def test_sound_project_has_no_problem(project):
    assert texts(project) == []
    assert any("dose is unknown" in text for text in texts(project, "warning"))


def test_missing_and_broken_files_are_found(project):
    data = project.root.parent / "data"
    (data / "A.mrc").unlink()
    write_mrc(data / "B.mrc", np.ones((3, 12, 16), np.float32), 4.0)
    found = texts(project)
    assert len(found) == 2
    assert "A.mrc" in found[0]
    assert found[1].startswith("B: ")


def test_nan_is_found_in_the_views_that_are_looked_at(project):
    data = project.root.parent / "data/C.mrc"
    raw = bytearray(data.read_bytes())
    raw[1024 + 4 * 12 * 16 : 1024 + 4 * 12 * 16 + 4] = np.float32(np.nan).tobytes()  # the second view
    data.write_bytes(raw)
    assert texts(project) == []
    assert "000002@" in texts(project, every_pixel=True)[0]


def test_settings_that_cannot_be_read_are_the_problem(project):
    text = project.settings_path.read_text()
    project.settings_path.write_text(text.replace("factor = 2.0", "factor = -1"))
    assert "factor = -1" in texts(project)[0]


def test_full_disk_is_foreseen(tmp_path, project, monkeypatch):
    monkeypatch.setattr(steps, "LINE", REAL_LINE)
    fresh = create_project(tmp_path / "Q", Imported(tuple(read_record(project, RAW)), ()))
    assert texts(fresh) == []
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    assert "will be written" in texts(fresh)[0]


def test_movies_are_a_problem(tmp_path, project, monkeypatch):
    monkeypatch.setattr(steps, "LINE", REAL_LINE)
    one = read_record(project, RAW)[0]
    movies = replace(one, images=None, movies=tuple(f"{i}.tif" for i in range(len(one))))
    fresh = create_project(tmp_path / "Q", Imported((movies,), ()))
    assert any("movies" in text for text in texts(fresh))


def test_unreachable_scheduler_is_a_problem(project):
    found = texts(project, how=RunSettings(executor="dask", scheduler="tcp://127.0.0.1:9"))
    assert "no dask scheduler answers" in found[0]


def test_status_follows_what_happens(project):
    assert set(states(project).values()) == {"to do"}
    run(project)
    after = states(project)
    assert after["motion", "A"] == "passed on"
    assert {state for (record, _), state in after.items() if record != "motion"} == {"done"}
    change(project, "clean", factor=3.0)
    changed = states(project)
    assert changed["clean", "A"] == changed["reconstruct", "B"] == changed["denoise", "C"] == "outdated"
    change(project, "clean", refuse="B")
    run(project)
    failed = {(row.record, row.series): row for row in project_status(project)}
    assert failed["clean", "B"].state == "failed"
    assert "refused" in failed["clean", "B"].why
    assert failed["denoise", "A"].state == "done"
    assert failed["clean", "A"].quality == {"Factor": 3.0}
    change(project, "denoise", enabled=False)
    assert states(project)["denoise", "A"] == "done"  # what stands is still shown


@pytest.mark.parametrize("field", ["nominal_tilt_deg", "images", "name", "optics"])
def test_digest_tells_every_change_of_a_record(project, field):
    record = read_record(project, RAW)[0]
    assert digest(record) == digest(read_record(project, RAW)[0])
    changes = {
        "nominal_tilt_deg": np.nextafter(record.nominal_tilt_deg, 90),
        "images": (*record.images[:-1], "000001@other.mrc"),
        "name": "other",
        "optics": replace(record.optics, voltage_kv=200.0),
    }
    assert digest(replace(record, **{field: changes[field]})) != digest(record)


def test_digest_keeps_neighbours_apart():
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(1) != digest("1")
    assert digest(np.zeros(4)) != digest(np.zeros((2, 2)))


def test_digest_of_a_big_file_sees_both_ends_and_the_size(tmp_path):
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(80 * 2**20)
    first = file_digest(path)
    for place in (0, 80 * 2**20 - 1):
        with path.open("r+b") as file:
            file.seek(place)
            file.write(b"x")
        assert file_digest(path) != first
        first = file_digest(path)
    with path.open("ab") as file:
        file.write(b"\0")
    assert file_digest(path) != first


def test_digest_of_an_unchanged_file_is_not_taken_twice(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    files = FileDigests()
    first = files.of(path)

    def never(_):
        raise AssertionError("read again")

    monkeypatch.setattr("lamella.workflow.digests.file_digest", never)
    assert files.of(path) == first
    assert files.of(tmp_path / "other") == "missing"
