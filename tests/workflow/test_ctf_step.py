"""The step `ctf`: what it passes on, leaves out, warns of and writes; its estimate is stood in for."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import lamella.tilts as tilts
from lamella.cli import main
from lamella.errors import ImageError, InputError, PostconditionError, SettingsError
from lamella.formats.ctf_profiles import read_ctf_profiles
from lamella.formats.images import image_name
from lamella.formats.mrc import read_mrc, write_mrc
from lamella.formats.relion import read_tilt_series, read_tilt_table
from lamella.geometry import TiltGeometry
from lamella.records import Optics, TiltSeries
from lamella.tilts.ctf_result import CtfResult
from lamella.tilts.ctf_settings import CtfSettings
from lamella.workflow.checks import check_project
from lamella.workflow.context import Context
from lamella.workflow.project import Project
from lamella.workflow.steps import ctf
from lamella.workflow.steps.excluded import REASON

sys.path.insert(0, str(Path(__file__).parents[1]))
from stand_in_ctf import estimate

VIEWS, SIZE = 11, 64


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "ctf").mkdir()
    return Context(root=tmp_path, folder=tmp_path / "ctf", series="TS", device_name="cpu")


@pytest.fixture
def series(tmp_path: Path, rng: np.random.Generator) -> TiltSeries:
    write_mrc(tmp_path / "TS.mrc", rng.normal(size=(VIEWS, SIZE, SIZE)).astype(np.float32), 4.0)
    tilt = np.linspace(-50, 50, VIEWS)
    return TiltSeries(
        name="TS",
        pixel_size_ang=4.0,
        image_shape_px=(SIZE, SIZE),
        nominal_tilt_deg=tilt,
        nominal_axis_deg=np.full(VIEWS, 85.0),
        images=tuple(image_name(i, "TS.mrc") for i in range(VIEWS)),
        optics=Optics(voltage_kv=300.0),
        geometry=TiltGeometry.from_angles(tilt, 85.0),
    )


@pytest.fixture
def stood_in(monkeypatch: pytest.MonkeyPatch) -> list[TiltSeries]:
    """The estimate is the stand-in's; the records that it was given."""
    given: list[TiltSeries] = []

    def stand_in(series, images, settings, **options):
        assert len(images) == len(series)
        given.append(series)
        return estimate(series, images, settings, **options)

    monkeypatch.setattr(tilts, "estimate_ctf", stand_in, raising=False)
    return given


def said(context: Context) -> str:
    return "\n".join(context.messages)


@pytest.mark.usefixtures("stood_in")
def test_it_keeps_the_estimate_and_its_profiles(series, context):
    found = ctf.run(series, CtfSettings(), context)
    assert context.passed_on == ""
    assert len(found) == VIEWS
    assert "the hand is measured" in said(context)
    names = sorted(path.name for path in context.outputs)
    assert names == ["TS_profiles.star", "TS_spectra.mrcs"]
    profiles = read_ctf_profiles(context.folder / names[0], context.folder / names[1], found.place)
    assert len(profiles) == VIEWS
    assert "excluded" not in [path.name for path in context.folder.iterdir()]


def test_views_excluded_are_not_fitted_and_can_come_back(series, context, stood_in):
    found = ctf.run(series, CtfSettings(exclude=(1, 7)), context)
    assert [len(entry) for entry in stood_in] == [VIEWS - 2]
    np.testing.assert_array_equal(found.place, [2, 3, 4, 5, 6, 8, 9, 10, 11])
    aside = read_tilt_table(context.folder / "excluded/TS.star", context.root)
    np.testing.assert_array_equal(aside.place, [1, 7])
    assert aside.images == (series.images[0], series.images[6])
    assert set(aside.other_columns[REASON]) == {"excluded by ctf.exclude"}
    assert len(ctf.run(series, CtfSettings(), context)) == VIEWS
    assert not (context.folder / "excluded/TS.star").exists()


@pytest.mark.usefixtures("stood_in")
def test_views_that_reach_too_little_are_left_out_unless_included(series, context):
    # the stand-in reaches 7 Å + |tilt| / 6: 15.3 Å at 50°, 13.7 Å at 40°
    settings = CtfSettings(exclude=(6,), max_fit_resolution=13.0)
    found = ctf.run(series, settings, context)
    np.testing.assert_array_equal(found.place, [3, 4, 5, 7, 8, 9])
    aside = read_tilt_table(context.folder / "excluded/TS.star", context.root)
    np.testing.assert_array_equal(aside.place, [1, 2, 6, 10, 11])
    assert aside.other_columns[REASON][0] == "its fit reaches 15.3 Å, not ctf.max_fit_resolution of 13 Å"
    assert "ctf.include = [1, 2, 10, 11] brings them back" in said(context)
    profiles = read_ctf_profiles(context.folder / "TS_profiles.star", context.folder / "TS_spectra.mrcs")
    assert len(profiles) == VIEWS - 1  # those left out by their fit too
    again = ctf.run(series, settings.model_copy(update={"include": (1, 11)}), context)
    np.testing.assert_array_equal(again.place, [1, 3, 4, 5, 7, 8, 9, 11])
    with pytest.raises(ImageError, match=r"1 of 11 views reaches 7\.5 Å, 3 are needed"):
        ctf.run(series, CtfSettings(max_fit_resolution=7.5), context)
    with pytest.raises(SettingsError, match=r"ctf\.include names view 12"):
        ctf.run(series, CtfSettings(include=(12,)), context)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"imaging": "dark"}, "dark-field"),
        ({"optics": Optics()}, "voltage is unknown"),
        ({"pixel_size_ang": 33.6}, "pixels of 33.6 Å are too coarse"),
    ],
)
def test_what_can_have_no_estimate_passes_on(changes, why, series, context, stood_in):
    given = replace(series, **changes)
    assert ctf.run(given, CtfSettings(), context) is given
    assert why in context.passed_on
    assert stood_in == []
    (doubt,) = ctf.doubts(given, CtfSettings(), context.root, judge=True)
    assert why in doubt
    assert ctf.doubts(series, CtfSettings(), context.root, judge=True) == []


def test_views_leave_although_the_record_is_passed_on(series, context):
    assert len(ctf.run(replace(series, imaging="dark"), CtfSettings(exclude=(2,)), context)) == VIEWS - 1
    assert context.passed_on


def test_voltage_is_wanted_where_the_step_is_called_by_name(series, context):
    context.by_name = True
    with pytest.raises(InputError, match="its voltage is unknown; state it with --voltage"):
        ctf.run(replace(series, optics=Optics()), CtfSettings(), context)
    assert ctf.run(replace(series, imaging="dark"), CtfSettings(), context).defocus is None


def test_no_estimate_is_passed_on_in_the_estimates_own_words(series, context, monkeypatch):
    nothing = CtfResult(series=series, notes=("few rings",), passed_on="no view shows a ring")
    monkeypatch.setattr(tilts, "estimate_ctf", lambda *_, **__: nothing, raising=False)
    assert ctf.run(series, CtfSettings(), context) is series
    assert context.passed_on == "no view shows a ring"
    assert context.messages == ["few rings"]
    assert context.outputs == []
    known = estimate(series, None, CtfSettings()).series
    assert ctf.run(known, CtfSettings(), context) is known
    assert context.messages[-1] == "the defocus that the record came with stays"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("u_ang", np.nan, r"u_ang of view 4 is not finite; leave it out: ctf\.exclude = \[4\]"),
        ("max_resolution_ang", np.inf, "max_resolution_ang of view 4"),
    ],
)
def test_numbers_that_are_none_are_refused(field, value, told, series, context, monkeypatch):
    found = estimate(series, None, CtfSettings())
    getattr(found.series.defocus, field)[3] = value
    monkeypatch.setattr(tilts, "estimate_ctf", lambda *_, **__: found, raising=False)
    with pytest.raises(PostconditionError, match=told):
        ctf.run(series, CtfSettings(), context)


@pytest.mark.usefixtures("stood_in")
def test_a_defocus_outside_the_range_is_refused(series, context):
    with pytest.raises(PostconditionError, match=r"outside the range of 40000 to 90000 Å that was searched"):
        ctf.run(series, CtfSettings(min_defocus=40000, max_defocus=90000), context)


def test_lost_views_are_refused(series, context, monkeypatch):
    lost = estimate(series.select(range(5)), None, CtfSettings())
    monkeypatch.setattr(tilts, "estimate_ctf", lambda *_, **__: lost, raising=False)
    with pytest.raises(PostconditionError, match="lost views"):
        ctf.run(series, CtfSettings(), context)


def test_without_an_alignment_the_stated_angles_serve(series, context, stood_in):
    found = ctf.run(replace(series, geometry=None), CtfSettings(), context)
    assert found.geometry is None
    assert found.defocus is not None
    np.testing.assert_array_equal(stood_in[0].geometry.y_tilt_deg, series.nominal_tilt_deg)
    assert "not aligned" in said(context)


def test_frames_take_the_halves(series, context, monkeypatch):
    seen = {}

    def stand_in(*given, even=None, odd=None, **_):
        seen.update(even=even, odd=odd)
        return estimate(*given)

    monkeypatch.setattr(tilts, "estimate_ctf", stand_in, raising=False)
    ctf.run(series, CtfSettings(spectra="frames"), context)
    assert seen == {"even": None, "odd": None}
    assert "there are no images of even and odd frames" in said(context)
    halves = replace(series, even_images=series.images, odd_images=series.images)
    ctf.run(halves, CtfSettings(spectra="frames"), context)
    assert seen["even"].shape == seen["odd"].shape == (VIEWS, SIZE, SIZE)
    ctf.run(halves, CtfSettings(), context)
    assert seen == {"even": None, "odd": None}


@pytest.fixture
def inverted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate says +1."""
    monkeypatch.setattr(tilts, "estimate_ctf", partial(estimate, hand=1), raising=False)


@pytest.mark.usefixtures("inverted")
def test_a_hand_of_plus_one_is_told_with_its_causes_and_left(series, context):
    found = ctf.run(series, CtfSettings(), context)
    assert found.hand == 1
    assert "warning: a hand of +1 has two causes" in said(context)
    assert "two causes" in found.other["lamellaCtfHandCauses"]


@pytest.mark.usefixtures("inverted")
def test_the_axis_is_turned_where_that_is_asked_for(series, context):
    found = ctf.run(series, CtfSettings(fix="axis"), context)
    assert found.hand == -1
    assert np.abs((found.geometry.z_rot_deg - series.geometry.z_rot_deg) % 360) == pytest.approx(180)
    assert found.images == series.images
    assert found.other["lamellaCtfHandFixed"] == "axis"
    assert "the tilt axis was turned by 180°, so the hand is −1" in said(context)


@pytest.mark.usefixtures("inverted")
def test_images_are_mirrored_where_that_is_asked_for(series, context):
    halves = replace(series, even_images=series.images)
    settings = CtfSettings(fix="mirror", exclude=(1,), max_fit_resolution=15)
    found = ctf.run(halves, settings, context)
    assert found.hand == -1
    np.testing.assert_array_equal(found.place, [2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert found.images[0] == "000001@ctf/TS.mrcs"
    assert found.even_images[8] == "000009@ctf/TS_even.mrcs"
    before, after = (read_mrc(context.root / name)[0] for name in ("TS.mrc", "ctf/TS.mrcs"))
    # about the centre pixel, which stays
    np.testing.assert_array_equal(after[3][:, SIZE // 2], before[4][:, SIZE // 2])
    np.testing.assert_array_equal(after[3][:, SIZE // 2 + 5], before[4][:, SIZE // 2 - 5])
    assert ctf.needs(halves, settings).disk > ctf.needs(halves, CtfSettings()).disk + 2 * 4 * SIZE**2 * VIEWS - 1
    # pictures of the spectra follow: the measured half stays left, and rows turn over about frequency 0
    plain = estimate(halves, None, CtfSettings()).profiles.pictures
    turned = read_mrc(context.folder / "TS_spectra.mrcs")[0]
    side = plain.shape[1]
    assert turned.shape[0] == VIEWS - 1
    other = estimate(halves.select(range(1, VIEWS)), None, CtfSettings()).profiles.pictures
    np.testing.assert_array_equal(turned[0][side // 2 + 7], other[0][side // 2 - 7])


@pytest.mark.usefixtures("stood_in")
def test_nothing_is_mended_where_the_hand_is_right(series, context):
    found = ctf.run(series, CtfSettings(fix="axis"), context)
    np.testing.assert_array_equal(found.geometry.z_rot_deg, series.geometry.z_rot_deg)
    assert "ctf.fix = axis has nothing to mend: the data say -1" in said(context)


def test_an_undecided_hand_is_not_mended(series, context, monkeypatch):
    found = estimate(series, None, CtfSettings(), hand=1)
    doubtful = replace(found, series=found.series.with_changes(quality={"CtfHandConfidence": 0.8}))
    monkeypatch.setattr(tilts, "estimate_ctf", lambda *_, **__: doubtful, raising=False)
    assert ctf.run(series, CtfSettings(fix="mirror"), context).images == series.images
    assert "is not done: the hand is undecided (confidence 0.800)" in said(context)
    with pytest.raises(InputError, match=r"set ctf\.hand = auto, or ctf\.fix = none"):
        ctf.run(series, CtfSettings(fix="mirror", hand="-1"), context)


# The step in its line, through the command line.

STACK = 9


@pytest.fixture
def stack(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "TS_1.mrc"
    write_mrc(path, rng.normal(100, 10, (STACK, 48, 48)).astype(np.float32), 8.0)
    return path


def new(stack: Path, *more: str) -> Path:
    project = stack.parent / "P"
    words = ["new", str(project), "--stack", str(stack), "--angles", "-40,10", "--pixel-size", "8", "--tilt-axis", "85"]
    assert main([*words, *more]) == 0
    return project


def last_json(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def texts(project: Path) -> str:
    return "\n".join(f"{entry.where}: {entry.text}" for entry in check_project(Project.open(project)))


CTF = ["--from", "ctf", "--to", "ctf", "--no-report", "--json"]


def test_run_reaches_past_a_series_without_voltage(stack, capsys, followed):
    project = new(stack)
    assert "ctf: TS_1: its voltage is unknown, so no defocus will be estimated" in texts(project)
    assert main(["run", str(project), "--to", "align", "--no-report"]) == 0
    assert main(["run", str(project), *CTF]) == 0
    assert last_json(capsys)["steps"][0]["made"] == ["TS_1"]
    assert main(["status", str(project)]) == 0
    assert "passed on" in capsys.readouterr().out
    assert len(followed) == 1
    # by its name, it is an error that says what to give
    assert main(["ctf", str(project)]) == 2
    assert "state it with --voltage" in capsys.readouterr().err


@pytest.mark.usefixtures("followed")
def test_dark_field_passes_on_also_by_name(stack, capsys):
    project = new(stack, "--voltage", "300", "--imaging", "dark")
    assert "ctf: TS_1: dark-field images" in texts(project)
    assert main(["run", str(project), "--to", "ctf", "--no-report"]) == 0
    assert main(["ctf", str(project)]) == 0
    assert "dark-field" in capsys.readouterr().out


@pytest.mark.usefixtures("followed", "stood_in")
def test_record_of_the_step_reads_as_relions(stack, capsys):
    project = new(stack, "--voltage", "300")
    assert "voltage" not in texts(project)
    assert main(["run", str(project), "--to", "ctf", "--no-report", "--set", "ctf.max_fit_resolution=13"]) == 0
    (found,) = read_tilt_series(project / "ctf/tilt_series.star", project)
    assert len(found) == STACK - 2
    assert found.quality["CtfResolutionAngst"] > 0
    text = (project / "ctf/tilt_series/TS_1.star").read_text()
    for column in ("_rlnDefocusU", "_rlnCtfMaxResolution", "_rlnCtfScalefactor", "_rlnCtfFigureOfMerit"):
        assert column in text
    capsys.readouterr()
    # what comes next reads it, and a second run has nothing to do
    assert main(["run", str(project), *CTF]) == 0
    assert last_json(capsys)["steps"][0]["made"] == []
    (project / "ctf/TS_1_profiles.star").unlink()
    assert main(["run", str(project), *CTF]) == 0
    assert last_json(capsys)["steps"][0]["made"] == ["TS_1"]


def test_an_estimate_of_the_other_hand_is_kept_in_the_record(stack, followed, monkeypatch):
    monkeypatch.setattr(tilts, "estimate_ctf", partial(estimate, hand=1), raising=False)
    project = new(stack, "--voltage", "300")
    assert main(["run", str(project), "--to", "ctf", "--no-report"]) == 0
    (found,) = read_tilt_series(project / "ctf/tilt_series.star", project)
    assert found.hand == 1
    assert len(followed) == 1
