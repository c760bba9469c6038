from __future__ import annotations

import numpy as np
import pytest

import lamella.tilts.choose as choosing
from lamella.geometry import TiltGeometry
from lamella.tilts.candidate import Candidate, Method
from lamella.tilts.choose import choose
from lamella.tilts.score import Score


def score(value: float, significance: float = 100.0) -> Score:
    curve = np.full(5, 0.5)
    return Score(
        value=value,
        near=value,
        far=value,
        distant=value,
        reprojected=value,
        per_view=np.full(3, value),
        frequency=np.linspace(0.01, 0.05, 5),
        correlation=curve,
        significance=significance,
    )


class FixedJudge:
    """States the score of each geometry by its axis."""

    alike = 0.01

    def __init__(self, values: dict[float, float]) -> None:
        self.values = values

    def __call__(self, geometry: TiltGeometry) -> Score:
        return score(self.values[float(geometry.z_rot_deg[0])])


def candidate(method: Method, axis: float) -> Candidate:
    return Candidate(method=method, geometry=TiltGeometry.from_angles([-10.0, 0.0, 10.0], axis))


CANDIDATES = [candidate("matching", 1.0), candidate("patches", 2.0), candidate("coarse", 3.0), candidate("none", 4.0)]


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ((0.6, 0.5, 0.4, 0.1), "matching"),
        ((0.5, 0.6, 0.4, 0.1), "patches"),
        ((0.5970, 0.6, 0.4, 0.1), "matching"),  # alike: the more exact kind
        ((0.05, 0.08, 0.4, 0.1), "coarse"),
        ((0.05, 0.08, 0.09, 0.1), "none"),
    ],
)
def test_the_highest_score_wins(values: tuple[float, ...], taken: str) -> None:
    choice = choose(CANDIDATES, FixedJudge(dict(zip((1.0, 2.0, 3.0, 4.0), values, strict=True))))  # type: ignore[arg-type]
    assert choice.candidate.method == taken
    assert {method: one.value for method, one in choice.scores.items()} == dict(
        zip(("matching", "patches", "coarse", "none"), values, strict=True)
    )
    refused = [one for one in choice.notes if "was refused" in one]
    assert len(refused) == sum(value <= values[-1] for value in values[:-1])


def test_a_passed_over_result_and_a_poor_series_are_told() -> None:
    choice = choose(CANDIDATES, FixedJudge({1.0: 0.02, 2.0: 0.03, 3.0: 0.01, 4.0: 0.0}))  # type: ignore[arg-type]
    assert choice.candidate.method == "patches"
    assert any("the geometry from patches was taken" in note for note in choice.notes)
    assert choice.verdict == "failed"
    assert any("the alignment failed" in note for note in choice.notes)


def test_every_candidate_is_judged_with_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[object, ...]] = []

    def held_out(images: object, geometry: TiltGeometry, *rest: object) -> Score:
        seen.append((images, *rest))
        return score(0.5)

    monkeypatch.setattr(choosing, "held_out_score", held_out)
    images, mask = object(), object()
    choose(CANDIDATES, choosing.Judge(images, "film", 900.0, mask))  # type: ignore[arg-type]
    assert seen == [(images, 900.0, "film", mask)] * 4


@pytest.mark.parametrize(("before", "taken", "asked"), [(0.1, "beads", {1.0}), (0.7, "none", {1.0, 4.0})])
def test_a_known_score_is_not_taken_again(before: float, taken: str, asked: set[float]) -> None:
    """The nominal geometry is scored only where it is the result."""
    scored: set[float] = set()

    class Asked(FixedJudge):
        def __call__(self, geometry: TiltGeometry) -> Score:
            scored.add(float(geometry.z_rot_deg[0]))
            return super().__call__(geometry)

    judge = Asked({1.0: 0.6, 4.0: before})
    choice = choose([candidate("beads", 1.0), candidate("none", 4.0)], judge, before=before)  # type: ignore[arg-type]
    assert (choice.candidate.method, choice.before, scored) == (taken, before, asked)
