"""PACEtomo's prediction: from the last view to the next, each branch of the scheme for itself (Eisenstein et al. 2023).

F. Eisenstein, H. Yanagisawa, H. Kashihara et al., Parallel cryo electron tomography on in situ lamellae, Nat. Methods
20, 131–138 (2023). Its y (across the tilt axis) is our −x, its x our y, its z is ours:

    Δy = y₀ (cosθ − cosθ₋) − z (sinθ − sinθ₋)          from the branch's last angle θ₋ to θ
    Δfocus = z (cosθ − cosθ₋) + y₀ (sinθ − sinθ₋)       taken off the lens's focus

The rules, in the order in which they act:

- z begins on the grid's plane: z = tan(pre-tilt) · (cos(rotation) y₀ − sin(rotation) x₀).
- A target's view is set to the place where its last view of the branch was aligned, moved by Δy.
- What the first target was off by is added to all the others' places of that branch, before they are recorded.
- Each view is aligned to the previous one of its branch; where they lie more than 0.5 µm apart no match counts, and the
  view as off by what the one before it was (the first target has no limit).
- z is refitted after each view, from the last four increments of the aligned place, as they are: the stage's own
  motion is in them.
- At the first tilt the increment counts as predicted, and so does, by default, the first one of the negative branch.
- What a target but the first was aligned by at the first tilt moves its place on the positive branch alone.
- Focus is carried on from view to view, with the z that is known at each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lamella.acquire.predictor.interface import Observation, Prediction, TargetPlace, View
from lamella.acquire.predictor.turning import checked_places, place_of, turned

__all__ = ["IncrementalPredictor", "plane_height"]

Array = NDArray[np.float64]

FIRST_TARGET = 0


def plane_height(x_um: float, y_um: float, pretilt_deg: float, rotation_deg: float) -> float:
    """z of a point on the plane of PACEtomo's pre-tilt and rotation, as its users measure and type them.

    In the stage frame: x across the tilt axis, y along it; a plane of positive pre-tilt rises where the tilt raises it
    further (towards negative x).
    """
    pretilt, rotation = np.deg2rad([pretilt_deg, rotation_deg])
    return float(-np.tan(pretilt) * (np.cos(rotation) * x_um + np.sin(rotation) * y_um))


@dataclass
class _Branch:
    """A target on one side of the scheme.

    Attributes
    ----------
    tilt_deg
        of its last view.
    aligned_um
        ``(2,)`` where that view was aligned: the increments are between these.
    set_um
        ``(2,)`` from where the next view's place is predicted: `aligned_um` plus what the first target found since.
    off_um
        ``(2,)`` by how much that view was off, as measured.
    height_um
        of that view.
    z_um
        as known now, in our sign.
    angles, increments
        of the last views: (angle before, angle after), and by how much the aligned place moved across the axis.
    """

    tilt_deg: float
    aligned_um: Array
    set_um: Array
    height_um: float
    z_um: float
    off_um: Array = field(default_factory=lambda: np.zeros(2))
    angles: list[tuple[float, float]] = field(default_factory=list)
    increments: list[float] = field(default_factory=list)
    residual_sd_um: float = 0.0
    z_sd_um: float = 0.0


class IncrementalPredictor:
    """Each target's place from its last one, its height from its last increments.

    Parameters
    ----------
    places
        by the targets' numbers; 0 is the first target, whose shift all others share.
    axis_um
        x of the tilt axis from the middle of the beam.
    start_deg
        the first tilt's angle, at which the series begin; None: the first view's.
    pretilt_deg, rotation_deg
        of the grid's plane, which gives z; None: the places' own z.
    increments
        from which z is fitted.
    limit_um
        how far apart two views in succession match at most, of a target other than the first.
    ignore_first_negative
        whether the first increment of the negative branch counts as predicted.
    follow_focus
        whether heights measured after the first tilt correct the focus; by PACEtomo's default they do not.
    """

    tracks_on: ClassVar[Literal["area", "first"]] = "first"
    focuses_on: ClassVar[Literal["focus-area", "tracking-area"]] = "focus-area"

    def __init__(
        self,
        places: Mapping[int, TargetPlace],
        *,
        axis_um: float = 0.0,
        start_deg: float | None = None,
        pretilt_deg: float | None = None,
        rotation_deg: float = 0.0,
        increments: int = 4,
        limit_um: float = 0.5,
        ignore_first_negative: bool = True,
        follow_focus: bool = False,
    ) -> None:
        self._places = checked_places(places)
        self._given_sd = {target: np.array(place.sd_um) for target, place in places.items()}
        self._axis_um = axis_um
        self._window = increments
        self._limit_um = limit_um
        self._ignore_first_negative = ignore_first_negative
        self._follow_focus = follow_focus
        self._branches: dict[tuple[int, int], _Branch] = {}
        self._focus_um = 0.0
        self._start_deg = start_deg
        self._tilt = 0
        if pretilt_deg is not None:
            for place in self._places.values():
                place[2] = plane_height(place[0] - axis_um, place[1], pretilt_deg, rotation_deg)

    def height_um(self, target: int, branch: int) -> float:
        """z of a target as a branch knows it now; before its first view, the plane's."""
        known = self._branches.get((target, _side(branch)))
        return float(self._places[target][2]) if known is None else known.z_um

    def predict(self, view: View) -> Prediction:
        """From the branch's last view by the published increments."""
        state = self._branch(view)
        change = self._change(view.target, state.z_um, state.tilt_deg, view.tilt_deg)
        return Prediction(
            shift_um=state.set_um + np.array([change[0], 0.0]),
            height_um=float(state.height_um + change[1] + self._focus_um),
            covariance_um2=self._covariance(view, state),
        )

    def observe(self, observation: Observation) -> None:
        """Align the view, share the first target's shift, refit z; a height before the first tilt sets the focus."""
        view = observation.view
        if observation.kind == "axis":
            self._move_axis(float(observation.value_um[0]))
        elif observation.kind == "height":
            if view.tilt < 0 or self._follow_focus:
                self._focus_um += float(observation.value_um[0]) - self._height_now(view)
        elif observation.kind == "place" and view.tilt >= self._tilt:
            self._tilt = view.tilt
            self._align(view, observation.value_um)

    def _move_axis(self, axis_um: float) -> None:
        """Go on with an axis that is better known; where views were aligned stays as it was measured."""
        by_um = axis_um - self._axis_um
        for state in self._branches.values():
            state.height_um += by_um * float(np.sin(np.deg2rad(state.tilt_deg)))
        self._axis_um = axis_um

    def _branch(self, view: View) -> _Branch:
        """A target's state on a view's side, made when it is first asked for."""
        place = place_of(self._places, view)
        if self._start_deg is None:
            self._start_deg = view.tilt_deg
        key = (view.target, _side(view.branch))
        if key not in self._branches:
            at_start = turned(place, self._start_deg, self._axis_um)
            self._branches[key] = _Branch(
                tilt_deg=self._start_deg,
                aligned_um=at_start[:2].copy(),
                set_um=at_start[:2].copy(),
                height_um=float(at_start[2]),
                z_um=float(place[2]),
                z_sd_um=float(self._given_sd[view.target][2]),
            )
        return self._branches[key]

    def _change(self, target: int, z_um: float, before_deg: float, after_deg: float) -> Array:
        """``(2,)`` by which x and height change from one angle to another."""
        place = np.array([*self._places[target][:2], z_um])
        step = turned(place, after_deg, self._axis_um) - turned(place, before_deg, self._axis_um)
        change: Array = step[[0, 2]]
        return change

    def _height_now(self, view: View) -> float:
        """The height that would be predicted of any area."""
        if view.tilt >= 0:
            return self.predict(view).height_um
        return float(turned(place_of(self._places, view), view.tilt_deg, self._axis_um)[2]) + self._focus_um

    def _align(self, view: View, value_um: Array) -> None:
        """One view's alignment, and what follows from it."""
        states = [self._branch(view)]
        predicted = self.predict(view)
        shift = value_um - predicted.shift_um
        last_um = states[0].off_um
        if view.target != FIRST_TARGET and float(np.hypot(*(shift - last_um))) > self._limit_um:
            shift = last_um
        if view.branch == 0:
            # Both branches go on from the first tilt.
            states.append(self._branch(_other_side(view)))
        if view.target == FIRST_TARGET:
            self._share(view, shift)
        for number, state in enumerate(states):
            self._take(view, state, predicted, shift, follows=not number or view.target == FIRST_TARGET)

    def _share(self, view: View, shift_um: Array) -> None:
        """Add the first target's shift to all other targets' places, on its branch (at the first tilt: on both)."""
        for target in self._places:
            if target != FIRST_TARGET:
                for side in {_side(view.branch), -1} if view.branch == 0 else {_side(view.branch)}:
                    state = self._branch(_view_of(view, target, side))
                    state.set_um = state.set_um + shift_um

    def _take(self, view: View, state: _Branch, predicted: Prediction, shift_um: Array, *, follows: bool) -> None:
        """Go on to the aligned place (where the branch `follows` it), and refit z from the last increments."""
        aligned = predicted.shift_um + shift_um
        before = state.tilt_deg
        if view.branch != 0:
            moved = float(aligned[0] - state.aligned_um[0])
            self._add(view, state, before, moved)
            change = self._change(view.target, state.z_um, before, view.tilt_deg)
            state.height_um += float(change[1])
            self._refit(view, state)
        state.tilt_deg = view.tilt_deg
        state.off_um = shift_um
        state.aligned_um = aligned
        if follows:
            state.set_um = aligned.copy()

    def _add(self, view: View, state: _Branch, before_deg: float, moved_um: float) -> None:
        """Keep an increment; those that count as predicted hold z where it is."""
        first = not state.increments
        if first and view.branch > 0:
            # The first tilt's own increment, of one step before it, as predicted.
            before_start = 2 * before_deg - view.tilt_deg
            state.angles.append((before_start, before_deg))
            state.increments.append(float(self._change(view.target, state.z_um, before_start, before_deg)[0]))
        if first and view.branch < 0 and self._ignore_first_negative:
            moved_um = float(self._change(view.target, state.z_um, before_deg, view.tilt_deg)[0])
        state.angles.append((before_deg, view.tilt_deg))
        state.increments.append(moved_um)
        del state.angles[: -self._window], state.increments[: -self._window]

    def _refit(self, view: View, state: _Branch) -> None:
        """Least squares of z in Δx = x₀ Δcosθ + z Δsinθ over the increments kept."""
        flat = np.array([self._change(view.target, 0.0, *angles)[0] for angles in state.angles])
        steps = np.diff(np.sin(np.deg2rad(np.array(state.angles))), axis=1)[:, 0]
        lever = float(steps @ steps)
        if lever <= 0.0:
            return
        residues = np.array(state.increments) - flat
        state.z_um = float(steps @ residues) / lever
        misfit = residues - state.z_um * steps
        state.residual_sd_um = float(np.sqrt(misfit @ misfit / max(len(steps) - 1, 1)))
        state.z_sd_um = state.residual_sd_um / float(np.sqrt(lever))

    def _covariance(self, view: View, state: _Branch) -> Array:
        """Of z's error over the next increment (place) and over the tilt (height), and of the increments' residual."""
        sine, cosine = np.sin(np.deg2rad(view.tilt_deg)), np.cos(np.deg2rad(view.tilt_deg))
        step = sine - np.sin(np.deg2rad(state.tilt_deg))
        by_z = np.array([step, 0.0, cosine])
        given = self._given_sd[view.target]
        own = given[:2] ** 2 if not state.increments else np.full(2, state.residual_sd_um**2)
        return np.asarray(state.z_sd_um**2 * np.outer(by_z, by_z) + np.diag([*own, 0.0]), dtype=np.float64)


def _side(branch: int) -> int:
    """The branch that a view belongs to; the first tilt to the positive one."""
    return -1 if branch < 0 else 1


def _view_of(view: View, target: int, branch: int) -> View:
    """The same moment for another target, or another branch."""
    return View(
        target=target,
        tilt=view.tilt,
        tilt_deg=view.tilt_deg,
        time_s=view.time_s,
        since_tilt_s=view.since_tilt_s,
        branch=branch,
    )


def _other_side(view: View) -> View:
    return _view_of(view, view.target, -1)
