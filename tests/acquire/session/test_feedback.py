"""What processing measured comes into a running session, once, and again in a resumed one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lamella.acquire.microscope.simulated import SimulatedCrash, SimulatedMicroscope
from lamella.acquire.session.events import (
    Event,
    FeedbackTaken,
    SeriesBegun,
    TargetEnded,
    ThicknessMeasured,
    TiltBegun,
    ViewRecorded,
)
from lamella.acquire.session.feedback import Measurement, add_feedback, read_feedback
from lamella.acquire.session.log import LOG_NAME
from lamella.acquire.session.run import resume_session, run_session
from lamella.acquire.simulated_session import session_settings, simulated_targets
from lamella.acquire.world import load_world
from lamella.errors import FormatError

CRASH = {"kind": "crash", "tilt": 6, "target": 2, "purpose": "record"}
WRONG_PEAKS = {"kind": "wrong-peak", "purpose": "record", "probability": 0.6, "times": 10000}
DEFOCUS_SD, SHIFT_SD = 0.03, 0.01


class Processing:
    """Tells a session the truth about views two tilts old, with random errors."""

    def __init__(self, folder, microscope, settings, targets, kinds, seed) -> None:
        self.folder, self.microscope, self.kinds = folder, microscope, kinds
        self.names = [target.name for target in targets]
        self.rng = np.random.default_rng(seed)
        self.events: list[Event] = []
        self.told = 0

    def watch(self, event) -> None:
        self.events.append(event)
        if not isinstance(event, TiltBegun) or not self.kinds:
            return
        views = [v for v in self.true_views() if v.purpose.tilt < event.tilt - 1]
        new, self.told = views[self.told :], len(views)
        measured = [one for view in new for one in self.measured(view)]
        if event.tilt == 3 and "axis_offset" in self.kinds:
            measured.append(self.axis())
        if event.tilt == 4 and "thickness" in self.kinds:
            measured.append(of("T02", 0.0, "thickness", 0.4, 0.02))
        # What a resumed session was told stands in its folder already.
        standing = {one.of for one in read_feedback(self.folder)}
        add_feedback(self.folder, [one for one in measured if one.of not in standing])

    def true_views(self):
        return [v for v in self.microscope.truth.views if v.purpose.kind == "record"]

    def measured(self, view):
        name = self.names[view.purpose.target]
        if "defocus" in self.kinds:
            yield of(name, view.tilt_deg, "defocus", view.defocus_um + DEFOCUS_SD * self.rng.normal(), DEFOCUS_SD)
        if "shift" in self.kinds:
            # As the session measures: against the first view, of which tracking says where it was.
            first = next(v for v in self.true_views() if v.purpose.target == view.purpose.target)
            begun = [e for e in self.events if isinstance(e, SeriesBegun) and e.target == view.purpose.target]
            shift = view.offset_um - first.offset_um + np.array(begun[0].displacement_um if begun else (0.0, 0.0))
            across, along = shift + SHIFT_SD * self.rng.normal(size=2)
            yield of(name, view.tilt_deg, "shift", across, SHIFT_SD, along_um=float(along))

    def axis(self) -> Measurement:
        """Where the axis lies against the places that the targets had when the session began."""
        truth = self.microscope.truth
        places = [truth.places_um[number][0] - x for number, (x, _) in enumerate(self.microscope.targets_um)]
        return of("", 0.0, "axis_offset", self.microscope.true_axis_um - float(np.mean(places)), 0.05)


def of(target, tilt_deg, kind, value_um, sd_um, **more) -> Measurement:
    return Measurement(
        target=target, tilt_deg=float(tilt_deg), kind=kind, value_um=float(value_um), sd_um=sd_um, **more
    )


def session(
    folder, kinds=(), *, script=(), resume=False, seed=5, predictor="shared", changes=None, targets=4, **settings
):
    """A few targets, 17 tilts where nothing else is set; heights far off the plane: focus is measured elsewhere."""
    world = load_world("bisect", {"faults.script": list(script), "grid.target_height": 1.0, **(changes or {})})
    microscope = SimulatedMicroscope(world, seed, targets=targets)
    overrides = {"predictor": predictor, "tilt_range": 24.0, "tilt_step": 3.0, **settings}
    chosen = session_settings(world, overrides)
    marked = simulated_targets(microscope)
    processing = Processing(folder, microscope, chosen, marked, kinds, seed)
    if resume:
        result = resume_session(folder, microscope, watch=processing.watch)
    else:
        result = run_session(microscope, marked, chosen, folder, feedback=True, watch=processing.watch)
    late = [v for v in processing.true_views() if v.purpose.tilt >= 6]
    defocus = float(np.median([abs(v.defocus_um - chosen.defocus) for v in late]))
    targeting = float(np.sqrt(np.mean([v.offset_um @ v.offset_um for v in late])))
    return result, defocus, targeting


def errors(folder, kinds, place, seeds=range(1, 6), **options) -> float:
    """Mean over seeds of one of `session`'s numbers: one session's luck is as large as the gain."""
    name = "-".join(kinds) or "none"
    return float(np.mean([session(folder / f"{name}{seed}", kinds, seed=seed, **options)[place] for seed in seeds]))


def logged_lines(folder):
    logged = (folder / LOG_NAME).read_text().splitlines()
    return [line for line in map(json.loads, logged[1:]) if "note" not in line]


@pytest.mark.parametrize("every", [0, 4])
def test_defoci_from_processing_bring_targets_into_focus(tmp_path, every) -> None:
    """Where focus is measured seldom, or at the start alone."""
    folder = tmp_path / "defocus"
    assert errors(folder, ("defocus",), 1, autofocus_every=every) < 0.75 * errors(folder, (), 1, autofocus_every=every)


@pytest.mark.parametrize("predictor", ["bisect", "flat"])
def test_a_known_axis_brings_targets_into_focus(tmp_path, predictor) -> None:
    options = {
        "predictor": predictor,
        "changes": {"stage.axis_offset": (1.0, 1.0), "grid.target_height": 0.1, "grid.pretilt": (0.0, 0.0)},
        "tilt_range": 36.0,
        "autofocus_every": 0,
    }
    assert errors(tmp_path, ("axis_offset",), 1, **options) < 0.7 * errors(tmp_path, (), 1, **options)


@pytest.mark.parametrize(("predictor", "gain"), [("bisect", 0.7), ("shared", 1.0)])
def test_shifts_stand_in_for_comparisons_that_were_not_believed(tmp_path, predictor, gain) -> None:
    options = {"predictor": predictor, "script": [WRONG_PEAKS]}
    assert errors(tmp_path, ("shift",), 2, **options) < gain * errors(tmp_path, (), 2, **options)


def test_a_target_that_is_too_thick_is_ended_early(tmp_path) -> None:
    result, *_ = session(tmp_path / "s", ("thickness",), max_thickness=0.3)
    ending = result.endings[1]
    assert (ending.kind, ending.views) == ("thick", 4)
    assert "0.40 ± 0.02 µm thick" in ending.reason
    assert result.counts == {"finished": 3, "limit": 0, "thick": 1, "lost": 0}
    assert [event.target for event in result.events if isinstance(event, TargetEnded)] == [1, 0, 2, 3]
    assert [event.thickness_um for event in result.events if isinstance(event, ThicknessMeasured)] == [0.4]
    # The thickness is known all the same where no limit is set.
    result, *_ = session(tmp_path / "t", ("thickness",))
    assert result.counts["finished"] == 4
    assert result.axis is None


def test_the_log_says_what_was_taken_in(tmp_path) -> None:
    result, *_ = session(tmp_path, ("defocus", "shift", "axis_offset"))
    taken = [event for event in result.events if isinstance(event, FeedbackTaken)]
    told = read_feedback(tmp_path)
    assert sum(event.defoci for event in taken) == sum(one.kind == "defocus" for one in told) > 20
    assert sum(event.shifts for event in taken) == sum(not view.learned for view in result.views if view.tilt) - sum(
        not view.learned for view in result.views if view.tilt > max(event.tilt for event in taken) - 2
    )
    axis = next(one for one in told if one.kind == "axis_offset")
    assert result.axis is not None
    assert (result.axis.axis_um, result.axis.sd_um) == (axis.value_um, axis.sd_um)


@pytest.mark.parametrize("predictor", ["shared", "bisect"])
def test_a_resumed_session_takes_in_the_same(tmp_path, predictor) -> None:
    kinds = ("defocus", "shift", "axis_offset", "thickness")
    options = {"predictor": predictor, "max_thickness": 0.3}
    session(tmp_path / "whole", kinds, script=[WRONG_PEAKS], **options)
    with pytest.raises(SimulatedCrash):
        session(tmp_path / "killed", kinds, script=[WRONG_PEAKS, CRASH], **options)
    result, *_ = session(tmp_path / "killed", kinds, script=[WRONG_PEAKS], resume=True, **options)
    assert sum(isinstance(event, ViewRecorded) for event in result.events) == len(result.views)
    assert logged_lines(tmp_path / "killed") == logged_lines(tmp_path / "whole")


def test_lines_that_are_none_are_left_out(tmp_path) -> None:
    good = Measurement(target="T01", tilt_deg=3.0, kind="defocus", value_um=2.5, sd_um=0.1)
    add_feedback(tmp_path, [good])
    with (tmp_path / "feedback.jsonl").open("a") as file:
        file.write(
            'nonsense\n{"target": "T01"}\n{"target": "T01", "tilt_deg": 1, "kind": "x", "value_um": 1, "sd_um": 1}\n'
        )
    add_feedback(tmp_path, [good])
    assert read_feedback(tmp_path) == (good, good)
    with pytest.raises(FormatError, match="T01"):
        Measurement(target="T01", tilt_deg=3.0, kind="defocus", value_um=float("nan"), sd_um=0.1)
