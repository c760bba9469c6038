"""PACEtomo's rules against a worked example in PACEtomo's own frame: y across the axis, x along it."""

from __future__ import annotations

import numpy as np
import pytest

from lamella.acquire.predictor import IncrementalPredictor, Observation, TargetPlace, View, plane_height

# Dose-symmetric in groups of two: 0, +3, +6, -3, -6, +9, +12, -9, -12, +15, +18.
ANGLES = [0, 3, 6, -3, -6, 9, 12, -9, -12, 15, 18, -15, -18]
TARGETS = np.array([[0.5, 0.0], [6.0, 3.0], [-4.0, 2.0]])  # y across the axis, x along it
PRETILT, ROTATION = 8.0, 20.0
RNG = np.random.default_rng(11)
STAGE = RNG.normal(0.0, 0.1, (len(ANGLES), 2))
OWN = RNG.normal(0.0, 0.03, (len(ANGLES), 3, 2))


def ours(place: np.ndarray) -> np.ndarray:
    """A place of PACEtomo's (y, x) in the stage frame: its y is our −x."""
    return np.array([-place[0], place[1]])


class Worked:
    """The script's variables, one dictionary per target and branch: SS (aligned), IS set, focus, z0, increments."""

    def __init__(self) -> None:
        self.position = []
        for y, x in TARGETS:
            slope = np.tan(np.radians(PRETILT))
            z0 = slope * (np.cos(np.radians(ROTATION)) * y - np.sin(np.radians(ROTATION)) * x)
            branch = {"ss": np.array([y, x]), "set": np.array([y, x]), "n0": y, "z0": z0, "focus": -z0}
            self.position.append([{**branch, "shifts": [], "angles": [], "off": np.zeros(2)} for _ in range(2)])
        # The first tilt's increment is the predicted one, on the positive branch.
        for target in self.position:
            target[0]["shifts"].append(self.dy(0, 3, target[0]))
            target[0]["angles"].append((0, 3))

    @staticmethod
    def dy(tilt: float, step: float, state: dict, z0: float | None = None) -> float:
        now, before = np.radians(tilt), np.radians(tilt - step)
        z = state["z0"] if z0 is None else z0
        return state["n0"] * (np.cos(now) - np.cos(before)) - z * (np.sin(now) - np.sin(before))

    @staticmethod
    def dfocus(tilt: float, step: float, state: dict) -> float:
        now, before = np.radians(tilt), np.radians(tilt - step)
        return state["z0"] * (np.cos(now) - np.cos(before)) + state["n0"] * (np.sin(now) - np.sin(before))

    def predicted(self, target: int, tilt: float) -> tuple[np.ndarray, float]:
        step = 3 if tilt > 0 else -3
        state = self.position[target][0 if tilt > 0 else 1]
        return state["set"] + [self.dy(tilt, step, state), 0.0], state["focus"] - self.dfocus(tilt, step, state)

    def align(self, target: int, tilt: float, found: np.ndarray) -> None:
        step = 3 if tilt > 0 else -3
        pn = 0 if tilt > 0 else 1
        state = self.position[target][pn]
        place, focus = self.predicted(target, tilt)
        shift = found - place
        if target == 0:
            for other in self.position[1:]:
                other[pn]["set"] = other[pn]["set"] + shift
        elif np.hypot(*(shift - state["off"])) > 0.5:
            shift = state["off"]
        state["off"] = shift
        before = state["ss"][0]
        state["focus"] = focus
        state["ss"] = state["set"] = place + shift
        ddy = state["ss"][0] - before
        if pn == 1 and not state["shifts"]:
            ddy = self.dy(tilt, step, state)
        state["shifts"] = [*state["shifts"], ddy][-4:]
        state["angles"] = [*state["angles"], (tilt, step)][-4:]
        rows = [np.sin(np.radians(t)) - np.sin(np.radians(t - s)) for t, s in state["angles"]]
        rest = [d - self.dy(t, s, state, 0.0) for d, (t, s) in zip(state["shifts"], state["angles"], strict=True)]
        state["z0"] = float(np.linalg.lstsq(-np.array(rows)[:, None], np.array(rest), rcond=None)[0][0])


def view(target: int, tilt: int) -> View:
    angle = float(ANGLES[tilt])
    return View(
        target=target, tilt=tilt, tilt_deg=angle, time_s=60.0 * tilt, since_tilt_s=10.0, branch=int(np.sign(angle))
    )


def predictor_of_the_plane() -> IncrementalPredictor:
    places = {number: TargetPlace(place_um=(-y, x, 0.0)) for number, (y, x) in enumerate(TARGETS)}
    return IncrementalPredictor(places, pretilt_deg=PRETILT, rotation_deg=ROTATION)


def true_place(target: int, tilt: int) -> np.ndarray:
    y, x = TARGETS[target]
    angle = np.radians(ANGLES[tilt])
    z = 0.2 * target - 0.1 + np.tan(np.radians(PRETILT)) * y
    return np.array([y * np.cos(angle) - z * np.sin(angle), x]) + STAGE[tilt] + OWN[tilt, target]


def test_a_worked_session() -> None:
    worked, predictor = Worked(), predictor_of_the_plane()
    for target in range(3):
        place = predictor.predict(view(target, 0))
        assert np.allclose(place.shift_um, ours(TARGETS[target]))
    for tilt in range(1, len(ANGLES)):
        for target in range(3):
            expected, focus = worked.predicted(target, ANGLES[tilt])
            prediction = predictor.predict(view(target, tilt))
            assert np.allclose(prediction.shift_um, ours(expected), atol=1e-12)
            # The height is what the lens's focus must make up for.
            assert prediction.height_um == pytest.approx(-focus, abs=1e-12)
            found = true_place(target, tilt)
            worked.align(target, ANGLES[tilt], found)
            predictor.observe(Observation(view=view(target, tilt), kind="place", value_um=ours(found), sd_um=0.005))
            branch = int(np.sign(ANGLES[tilt]))
            z0 = worked.position[target][0 if branch > 0 else 1]["z0"]
            assert predictor.height_um(target, branch) == pytest.approx(z0, abs=1e-12)


def test_the_first_targets_shift_is_added_to_all_others_of_its_branch() -> None:
    predictor = predictor_of_the_plane()
    for target in range(3):
        predictor.predict(view(target, 0))
    before = predictor.predict(view(2, 1)).shift_um, predictor.predict(view(2, 3)).shift_um
    found = predictor.predict(view(0, 1)).shift_um + np.array([0.9, -0.2])
    predictor.observe(Observation(view=view(0, 1), kind="place", value_um=found, sd_um=0.005))
    assert np.allclose(predictor.predict(view(2, 1)).shift_um - before[0], [0.9, -0.2])
    assert np.allclose(predictor.predict(view(2, 3)).shift_um, before[1])


def test_views_too_far_apart_do_not_match_and_count_as_alike() -> None:
    predictor = predictor_of_the_plane()
    for tilt, off in ((1, 0.4), (2, 0.8), (5, 1.4)):
        predicted = predictor.predict(view(1, tilt)).shift_um
        value = predicted + np.array([0.0, off])
        predictor.observe(Observation(view=view(1, tilt), kind="place", value_um=value, sd_um=0.005))
        # 0.8 lies within 0.5 of 0.4, and is believed; 1.4 is not, and counts as 0.8.
        after = predictor.predict(view(1, tilt)).shift_um
        assert after[1] - predicted[1] == pytest.approx(min(off, 0.8))


def test_alignment_at_the_first_tilt_moves_the_positive_branch_alone() -> None:
    predictor = predictor_of_the_plane()
    at_start = predictor.predict(view(1, 0)).shift_um
    before = predictor.predict(view(1, 1)).shift_um, predictor.predict(view(1, 3)).shift_um
    value = at_start + np.array([0.0, 0.3])
    predictor.observe(Observation(view=view(1, 0), kind="place", value_um=value, sd_um=0.005))
    assert np.allclose(predictor.predict(view(1, 1)).shift_um - before[0], [0.0, 0.3])
    assert np.allclose(predictor.predict(view(1, 3)).shift_um, before[1])


def test_a_correction_beyond_the_limit_is_not_made() -> None:
    predictor = predictor_of_the_plane()
    predicted = predictor.predict(view(1, 1)).shift_um
    z = predictor.height_um(1, 1)
    predictor.observe(
        Observation(view=view(1, 1), kind="place", value_um=predicted + np.array([0.6, 0.0]), sd_um=0.005)
    )
    assert predictor.height_um(1, 1) == pytest.approx(z)


def test_a_height_before_the_first_tilt_sets_the_focus_and_later_ones_do_not() -> None:
    predictor = predictor_of_the_plane()
    before = predictor.predict(view(1, 0)).height_um
    at_start = View(target=0, tilt=-1, tilt_deg=0.0, time_s=0.0, since_tilt_s=9.0, branch=0)
    height = predictor.predict(view(0, 0)).height_um
    predictor.observe(Observation(view=at_start, kind="height", value_um=np.array([height + 0.25]), sd_um=0.1))
    assert predictor.predict(view(1, 0)).height_um - before == pytest.approx(0.25)
    predictor.observe(Observation(view=view(0, 1), kind="height", value_um=np.array([5.0]), sd_um=0.1))
    assert predictor.predict(view(1, 0)).height_um - before == pytest.approx(0.25)


def test_the_plane_is_pacetomos() -> None:
    assert plane_height(2.0, 0.0, 10.0, 0.0) == pytest.approx(-2.0 * np.tan(np.radians(10.0)))
    assert plane_height(0.0, 2.0, 10.0, 90.0) == pytest.approx(-2.0 * np.tan(np.radians(10.0)))
    for (y, x), state in zip(TARGETS, Worked().position, strict=True):
        assert plane_height(-y, x, PRETILT, ROTATION) == pytest.approx(state[0]["z0"])
