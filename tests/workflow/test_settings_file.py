"""lamella.toml: everything in it at first, and clear words for what is wrong in it later."""

from __future__ import annotations

import tomllib

import pytest

from lamella.errors import ProjectError, SettingsError
from lamella.workflow import steps
from lamella.workflow.record_name import RecordName
from lamella.workflow.settings_file import SettingsFile, parse_value


def edit(project, old: str, new: str) -> None:
    text = project.settings_path.read_text()
    assert old in text
    project.settings_path.write_text(text.replace(old, new, 1))


def test_new_file_has_every_setting_at_its_default(project):
    tables = tomllib.loads(project.settings_path.read_text())
    for step in steps.LINE:
        settings = step.settings_class()
        expected = {name: value for name, value in settings().model_dump(mode="json").items() if value is not None}
        assert tables[step.name] == expected
    assert tables["run"]["executor"] == "local"


def test_new_file_tells_sentence_unit_and_bounds(project):
    text = project.settings_path.read_text()
    assert "factor = 2.0 # what pixels are multiplied by [> 0, ≤ 100]" in text
    assert "pause = 0.0 # time taken before and after each view [in s, ≥ 0]" in text
    assert "# mode =      # a word, or nothing" in text


def test_real_line_has_a_table_for_every_step(tmp_path):
    settings = SettingsFile.default(tmp_path / "lamella.toml")
    settings.check()
    settings.save()
    assert [str(name) for name in SettingsFile.read(tmp_path / "lamella.toml").records()] == [
        step.name for step in steps.LINE
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("factor = 2.0", "factor = 200.0", r"\[clean\] factor = 200.0: .* 100; give > 0, ≤ 100 \(default 2.0\)"),
        ("factor = 2.0", "factro = 2.0", r"\[clean\] has no setting 'factro'; did you mean factor\?"),
        ("factor = 2.0", 'factor = "much"', r"\[clean\] factor = 'much'"),
        ("[clean]", "[claen]", r"no step \[claen\]; did you mean clean\?"),
        ("[clean]", "[clean", "lamella.toml"),
        ('executor = "local"', 'executor = "slurm"', r"\[run\] executor = 'slurm'"),
        ("factor = 2.0", 'input = "../../etc"', r"\[clean\] input: .* not the name of a record"),
    ],
)
def test_mistakes_are_named(project, old, new, said):
    edit(project, old, new)
    with pytest.raises(SettingsError, match=said):
        project.read_settings()


def test_comments_and_order_survive_a_change(project):
    edit(project, "factor = 2.0", "factor = 2.0 # mine")
    settings = project.read_settings()
    assert settings.change(RecordName("clean"), {"pause": 0.5}) == ["clean.pause = 0.5"]
    settings.save()
    text = project.settings_path.read_text()
    assert "factor = 2.0 # mine" in text
    assert "pause = 0.5 # time taken" in text
    assert text.index("[clean]") < text.index("[reconstruct]")
    assert settings.change(RecordName("clean"), {"pause": 0.5}) == []


def test_optional_setting_comes_and_goes(project):
    settings = project.read_settings()
    settings.change(RecordName("reconstruct"), {"mode": "fine"})
    settings.save()
    again = project.read_settings()
    assert again.settings(RecordName("reconstruct")).mode == "fine"
    again.change(RecordName("reconstruct"), {"mode": None})
    again.save()
    assert project.read_settings().settings(RecordName("reconstruct")).mode is None


def test_labelled_table_is_a_copy_that_stands_for_itself(project):
    settings = project.read_settings()
    settings.change(RecordName("clean"), {"factor": 3.0})
    settings.change(RecordName("clean", "fine"), {"pause": 1.0}, RecordName("raw"))
    settings.change(RecordName("clean"), {"factor": 4.0})
    settings.save()
    again = project.read_settings()
    assert again.settings(RecordName("clean", "fine")).factor == 3.0
    assert again.settings(RecordName("clean", "fine")).pause == 1.0
    assert again.settings(RecordName("clean")).factor == 4.0
    assert again.input_of(RecordName("clean", "fine")) == RecordName("raw")
    with pytest.raises(ProjectError, match=r"no table \[clean\.coarse\]"):
        again.settings(RecordName("clean", "coarse"))


def test_refused_change_does_not_reach_the_file(project):
    before = project.settings_path.read_text()
    settings = project.read_settings()
    with pytest.raises(SettingsError):
        settings.change(RecordName("clean"), {"factor": -1.0})
    assert project.settings_path.read_text() == before


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("factor", "3", 3.0),
        ("factor", "1e1", 10.0),
        ("views", "1,5, 7", (1, 5, 7)),
        ("views", "[1, 5]", (1, 5)),
        ("views", "4", (4,)),
        ("views", "", ()),
        ("views", "1 2", (1, 2)),
        ("refuse", "300", "300"),
        ("refuse", "word", "word"),
        ("enabled", "false", False),
    ],
)
def test_values_from_the_command_line(toy_line, name, text, value):
    assert parse_value(toy_line.ScaleSettings, name, text, "clean") == value


@pytest.mark.parametrize(("name", "text"), [("factor", "0"), ("factor", "nan"), ("views", "a,b"), ("views", "1.5")])
def test_bad_values_from_the_command_line(toy_line, name, text):
    with pytest.raises(SettingsError, match=name):
        parse_value(toy_line.ScaleSettings, name, text, "clean")


@pytest.mark.parametrize(
    "name", ["", ".", "raw.x", "align/..", "../raw", "align.", "align.a.b", "align.a/b", "nothing"]
)
def test_record_names_stay_inside_the_project(name):
    with pytest.raises(ProjectError):
        RecordName.parse(name)
