"""The pages of a session, and what they say of it, against records whose faults are put in by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from lamella.records.acquisition import (
    SPENT_ON,
    Acquisition,
    AcquisitionTruth,
    AreaFocus,
    AreaTracking,
    Doubt,
    Fault,
    LeftOut,
    Timeline,
)
from lamella.report import plots
from lamella.report.session_findings import findings_of, spread
from lamella.report.session_page import write_live_page, write_session_page

TARGETS, TILTS = 4, 5
ANGLES = np.array([0.0, 6.0, -6.0, -12.0, 12.0])


def session(**changes: object) -> Acquisition:
    """A session without any fault: views 2 nm off, one tilt in 100 s."""
    shape = (TARGETS, TILTS)
    stood = 50.0 + 100.0 * np.arange(TILTS)
    sign = np.where(np.arange(TILTS) % 2, 1.0, -1.0)
    displacement = np.stack([np.broadcast_to(0.002 * sign, shape), np.zeros(shape)], axis=-1)
    turning, views = SPENT_ON.index("turning"), SPENT_ON.index("views")
    record = Acquisition(
        name="S",
        predictor="shared",
        targets=tuple(f"T0{number}" for number in range(1, TARGETS + 1)),
        places_um=np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, -3.0]]),
        height_um=np.array([-0.1, 0.1, 0.0, 0.0]),
        plane_um=np.array([-0.1, 0.1, 0.0, 0.0]),
        tilt_deg=ANGLES,
        stood_s=stood,
        shift_um=np.zeros((*shape, 2)),
        displacement_um=displacement,
        displacement_sd_um=np.full(shape, 0.002),
        predicted_sd_um=np.full(shape, 0.003),
        learned=np.ones(shape, bool),
        defocus_um=np.full(shape, 3.0),
        dose=np.full(shape, 3.0),
        time_s=stood + 10.0 + np.arange(TARGETS)[:, None],
        wanted_um=3.0,
        planned_dose={"own views": np.full(TARGETS, 15.0), "neighbours": np.zeros(TARGETS)},
        tracking=AreaTracking(
            tilt=np.repeat(np.arange(TILTS), 2),
            low=np.zeros(2 * TILTS, bool),
            left_nm=np.tile([60.0, 4.0], TILTS),
            shift_um=np.zeros((2 * TILTS, 2)),
            time_s=np.repeat(stood, 2) + np.tile([2.0, 4.0], TILTS),
        ),
        focus=AreaFocus(
            tilt=np.arange(1, TILTS),
            defocus_um=np.full(TILTS - 1, 3.05),
            sd_um=np.full(TILTS - 1, 0.03),
            time_s=stood[1:] + 6.0,
        ),
        timeline=Timeline(
            kind=np.tile([turning, views], TILTS),
            tilt=np.repeat(np.arange(TILTS), 2),
            start_s=np.repeat(stood, 2) + np.tile([-10.0, 0.0], TILTS),
            end_s=np.repeat(stood, 2) + np.tile([0.0, 90.0], TILTS),
        ),
        endings=("finished",) * TARGETS,
        reasons=("",) * TARGETS,
        thickness_um=np.full(TARGETS, np.nan),
        started_s=40.0,
        now_s=540.0,
        planned_s=480.0,
        ended=True,
    )
    return replace(record, **changes)


def told(record: Acquisition) -> str:
    return " ".join(f"{found.text} {found.mend}" for found in findings_of(record))


def test_a_good_session_is_told_in_good_sentences_alone():
    assert {found.kind for found in findings_of(session())} == {"good"}
    text = told(session())
    assert "All 4 targets have their series: 20 views" in text
    assert "It took 8 min of 8 that were planned" in text


def test_what_went_wrong_is_named():
    displacement = session().displacement_um.copy()
    displacement[1, 3] = (0.3, 0.0)
    displacement[2, 1:] += (0.0, 0.2)
    learned = np.ones((TARGETS, TILTS), bool)
    learned[3, 2] = False
    focus = replace(session().focus, defocus_um=np.full(TILTS - 1, 3.6))
    left_nm = session().tracking.left_nm.copy()
    left_nm[4] = 1500.0
    text = told(
        session(
            displacement_um=displacement,
            learned=learned,
            endings=("finished", "finished", "finished", "lost"),
            reasons=("", "", "", "4 views failed one after the other"),
            tracking=replace(session().tracking, left_nm=left_nm),
            focus=focus,
            planned_dose={"own views": np.full(TARGETS, 15.0), "tracking": np.array([0.0, 5.0, 0.0, 0.0])},
            found_plane=(9.4, 120.0),
            focus_axis_um=(-0.9, 0.2),
            focus_scales=(1.04, 0.01, 0.95, 0.02),
            planned_s=300.0,
            left_out=(LeftOut(target=3, tilt=4, where="T04 at 12°", kind="dark", reason="a dark picture"),),
            faults=(Fault(verb="tilt", problem="time-out", waited_s=5.0, time_s=100.0),),
            doubts=(Doubt(tilt=1, where="T01", place_sd_um=0.2, height_sd_um=0.1, done="tracked again", time_s=160.0),),
        )
    )
    for words in (
        "Target T04 is lost: 4 views failed",
        "the worst T02 at -12° by 302 nm",
        "The first view of T03 stands beside the others, by up to 200 nm",
        "T04 at -6°",
        "1.5 µm at -6°",
        "Focus was 0.600 ± 0.000 µm off",
        "autofocus_every = 1",
        "up to 5 e/Å² on T02",
        "pre_tilt = 9.4, plane_rotation = 120",
        "-0.90 ± 0.20 µm beside the middle of the beam",
        "1.040 ± 0.010 of what it says",
        "1 view that stayed dark",
        "(1 × tilt)",
        "unsure once",
    ):
        assert words in text, (words, text)


def test_a_spread_has_as_many_figures_as_it_tells():
    assert spread([1.0, 2.0, 3.0, np.nan], "µm") == "2.0 ± 1.0 µm"
    assert spread([0.0010, 0.0020, 0.0030], "nm", 1e3) == "2.0 ± 1.0 nm"
    assert spread([100.0, 200.0, 300.0], "s") == "200 ± 100 s"
    assert spread([], "nm") == "–"


class _Markup(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.outside: list[str] = []
        self.unnamed: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if re.fullmatch(r"h\d", tag):
            self.headings.append(tag)
        for name in ("src", "href", "xlink:href"):
            if given.get(name, "#").split(":")[0] in ("http", "https", "file", "//"):
                self.outside.append(given[name])
        if (tag == "svg" and not given.get("aria-label")) or (tag == "img" and not given.get("alt")):
            self.unnamed.append(tag)


def truth() -> AcquisitionTruth:
    shape = (TARGETS, TILTS)
    return AcquisitionTruth(
        targeting_um=np.full(shape, 0.004),
        defocus_error_um=np.full(shape, -0.1),
        own_dose=np.full(TARGETS, 15.0),
        other_dose=np.full(TARGETS, 1.0),
        height_um=np.zeros(TARGETS),
        axis_um=0.4,
    )


@pytest.mark.parametrize("write", [write_session_page, write_live_page])
@pytest.mark.parametrize("known", [None, "truth"])
def test_pages_stand_alone_and_are_named(write, known, tmp_path):
    write(tmp_path / "page.html", session(truth=truth() if known else None))
    text = (tmp_path / "page.html").read_text()
    seen = _Markup()
    seen.feed(text)
    assert seen.headings[0] == "h1"
    assert seen.headings.count("h1") == 1
    assert not seen.outside
    assert not seen.unnamed
    assert "could not be drawn" not in text
    assert (known is not None and write is write_session_page) == ("The truth, which only the simulation knows" in text)


def test_a_page_before_the_first_tilt(tmp_path):
    nothing = np.full((TARGETS, TILTS), np.nan)
    none = np.zeros(0)
    early = session(
        stood_s=np.full(TILTS, np.nan),
        displacement_um=np.full((TARGETS, TILTS, 2), np.nan),
        learned=np.zeros((TARGETS, TILTS), bool),
        time_s=nothing,
        dose=nothing,
        defocus_um=nothing,
        height_um=nothing[:, 0],
        plane_um=nothing[:, 0],
        tracking=AreaTracking(
            tilt=none.astype(int), low=none.astype(bool), left_nm=none, shift_um=np.zeros((0, 2)), time_s=none
        ),
        focus=AreaFocus(tilt=none.astype(int), defocus_um=none, sd_um=none, time_s=none),
        timeline=Timeline(kind=none.astype(int), tilt=none.astype(int), start_s=none, end_s=none),
        endings=("",) * TARGETS,
        now_s=45.0,
        ended=False,
    )
    write_live_page(tmp_path / "live.html", early)
    text = (tmp_path / "live.html").read_text()
    assert "0 % done, 8 min left" in text
    assert "could not be drawn" not in text
    assert 'content="5"' in text


def test_the_time_line_tells_the_time_of_the_day_where_the_clock_does():
    of_day = session(started_s=1.7e9, now_s=1.7e9 + 3600.0)
    label = plots.plot_session_timeline(of_day).axes[0].get_xlabel()
    assert label.startswith("time of the day, from 2023-11-14")
    assert "since the session began" in plots.plot_session_timeline(session()).axes[0].get_xlabel()


def test_views_of_the_tilt_that_goes_on_are_not_missing_yet():
    going = session(ended=False, time_s=np.where(np.arange(TILTS) < TILTS - 1, session().time_s, np.nan))
    assert going.over.tolist() == [True] * (TILTS - 1) + [False]
    assert session().over.all()
