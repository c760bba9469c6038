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
        by method, of every candidate.
    verdict, why
        whether the series is aligned, and by what that is judged.
    notes
        what the user should know: refused and passed-over results, a series that failed.
    """

    candidate: Candidate
    score: Score
    scores: dict[Method, Score]
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
    candidates: Sequence[Candidate], judge: Judge, doubts: Sequence[str] = (), progress: Progress = no_progress
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

    Notes
    -----
    Taken is the candidate of the highest score; an earlier one where it scores as high but for one part in a hundred.
    Where none scores higher than the nominal geometry, that is the result.
    """
    scores: dict[Method, Score] = {}
    for number, candidate in enumerate(candidates):
        scores[candidate.method] = judge(candidate.geometry)
        progress((number + 1) / len(candidates), f"scoring {candidate.method}")
    values = {method: score.value for method, score in scores.items()}
    before = values[candidates[-1].method]
    better = [one for one in candidates[:-1] if values[one.method] > before]
    top = max((values[one.method] for one in better), default=before)
    alike = [one for one in better if values[one.method] >= top - judge.alike * abs(top)]
    taken = alike[0] if alike else candidates[-1]
    said, why = verdict(scores[taken.method])
    if doubts and said == "good":
        said, why = "doubtful", "; ".join(doubts)
    notes = [
        f"the geometry from {one.method} was refused: views are predicted no better than before alignment "
        f"(score {values[one.method]:.3f}, {before:.3f} before)"
        for one in candidates[:-1]
        if one not in better
    ]
    if taken is not candidates[0] and taken is not candidates[-1]:
        notes.append(
            f"the geometry from {taken.method} was taken: it predicts held-out views better ("
            + ", ".join(f"{method} {value:.3f}" for method, value in values.items())
            + ")"
        )
    if said != "good":
        notes.append(f"the alignment {'failed' if said == 'failed' else 'is doubtful'}: {why}")
    return Choice(candidate=taken, score=scores[taken.method], scores=scores, verdict=said, why=why, notes=tuple(notes))
