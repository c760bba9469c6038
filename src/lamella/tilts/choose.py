"""Which of several geometries is the result: all are scored alike, and what predicts held-out views best wins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from lamella.geometry import TiltGeometry
from lamella.progress import Progress, no_progress
from lamella.tilts.candidate import Candidate, Method
from lamella.tilts.compact import score_compact
from lamella.tilts.score import Score, Verdict, held_out_score, verdict
from lamella.tilts.working import SpecimenShape, WorkingImages

__all__ = ["Choice", "Judge", "choose"]

_ALIKE = 0.01  # of the score: between kinds that score so much alike the more exact one by nature is taken
_ALIKE_COMPACT = 0.0  # a compact object's is a correlation near 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """The geometry that was taken, and what all were worth.

    Attributes
    ----------
    candidate
        the one that was taken.
    score
        its score.
    scores
        by method, of every candidate that was scored now.
    before
        score of the nominal geometry.
    verdict, why
        whether the series is aligned, and by what that is judged.
    notes
        what the user should know: refused and passed-over results, a series that failed.
    """

    candidate: Candidate
    score: Score
    scores: dict[Method, Score]
    before: float
    verdict: Verdict
    why: str
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores geometries of one series, all with the same images, masks and thickness."""

    images: WorkingImages
    shape: SpecimenShape
    thickness_ang: float
    mask: Tensor | None = None

    @property
    def alike(self) -> float:
        """Part of the score by which geometries may differ and yet be alike."""
        return _ALIKE_COMPACT if self.shape == "compact" else _ALIKE

    def __call__(self, geometry: TiltGeometry) -> Score:
        """The held-out-view score of a geometry."""
        if self.shape == "compact":
            return score_compact(self.images, geometry)
        return held_out_score(self.images, geometry, self.thickness_ang, self.shape, self.mask)


def choose(
    candidates: Sequence[Candidate],
    judge: Judge,
    doubts: Sequence[str] = (),
    progress: Progress = no_progress,
    *,
    before: float | None = None,
) -> Choice:
    """Score candidates and take one.

    Parameters
    ----------
    candidates
        the more exact kinds first, the nominal geometry last.
    judge
        what scores them.
    doubts
        what speaks against the series whatever its score.
    progress
        told the fraction done.
    before
        score of the nominal geometry where it is known: that is then scored only if it is the result.

    Notes
    -----
    Taken is the candidate of the highest score; an earlier one where it scores as high but for one part in a hundred.
    Where none scores higher than the nominal geometry, that is the result.
    """
    scores: dict[Method, Score] = {}
    judged = candidates if before is None else candidates[:-1]
    for number, candidate in enumerate(judged):
        scores[candidate.method] = judge(candidate.geometry)
        progress((number + 1) / len(judged), f"scoring {candidate.method}")
    nominal = candidates[-1]
    values = {method: score.value for method, score in scores.items()}
    before = values.setdefault(nominal.method, before if before is not None else 0.0)
    better = [one for one in candidates[:-1] if values[one.method] > before]
    top = max((values[one.method] for one in better), default=before)
    alike = [one for one in better if values[one.method] >= top - judge.alike * abs(top)]
    taken = alike[0] if alike else nominal
    if taken.method not in scores:
        scores[taken.method] = judge(taken.geometry)
    said, why = verdict(scores[taken.method])
    if (against := (*doubts, *taken.doubts)) and said != "failed":
        why = "; ".join(against if said == "good" else (why, *against))
        said = "doubtful"
    notes = [
        f"the geometry from {one.method} was refused: views are predicted no better than before alignment "
        f"(score {values[one.method]:.3f}, {before:.3f} before)"
        for one in candidates[:-1]
        if one not in better
    ]
    if taken is not candidates[0] and taken is not nominal:
        notes.append(
            f"the geometry from {taken.method} was taken: it predicts held-out views better ("
            + ", ".join(f"{method} {value:.3f}" for method, value in values.items())
            + ")"
        )
    if said != "good":
        notes.append(f"the alignment {'failed' if said == 'failed' else 'is doubtful'}: {why}")
    return Choice(
        candidate=taken,
        score=scores[taken.method],
        scores=scores,
        before=before,
        verdict=said,
        why=why,
        notes=tuple(notes),
    )
