"""From raw tilt images to a solved geometry and defocus: clean, align, ctf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.tilts.align import AlignResult, align
    from lamella.tilts.align_settings import AlignSettings
    from lamella.tilts.candidate import Candidate
    from lamella.tilts.clean import CleanResult, clean
    from lamella.tilts.clean_settings import CleanSettings
    from lamella.tilts.compare import geometry_error
    from lamella.tilts.ctf import estimate_ctf
    from lamella.tilts.ctf_result import CtfProfiles, CtfResult
    from lamella.tilts.ctf_settings import CtfSettings
    from lamella.tilts.fiducials import BeadTracks, follow_beads
    from lamella.tilts.hand_fix import fix_hand, weigh_causes
    from lamella.tilts.matching import match_projections
    from lamella.tilts.outliers import erase_outliers
    from lamella.tilts.parameterisations import Best, solve_best
    from lamella.tilts.score import Score, held_out_score, verdict
    from lamella.tilts.slab_measure import SlabMeasure, measure_slab
    from lamella.tilts.solve import Solution, solve
    from lamella.tilts.terms import LocalTerm, SolveModel, Term
    from lamella.tilts.working import prepare

__all__ = [
    "AlignResult",
    "AlignSettings",
    "BeadTracks",
    "Best",
    "Candidate",
    "CleanResult",
    "CleanSettings",
    "CtfProfiles",
    "CtfResult",
    "CtfSettings",
    "LocalTerm",
    "Score",
    "SlabMeasure",
    "Solution",
    "SolveModel",
    "Term",
    "align",
    "clean",
    "erase_outliers",
    "estimate_ctf",
    "fix_hand",
    "follow_beads",
    "geometry_error",
    "held_out_score",
    "match_projections",
    "measure_slab",
    "prepare",
    "solve",
    "solve_best",
    "verdict",
    "weigh_causes",
]

open_room(
    __name__,
    {
        "AlignResult": "align",
        "AlignSettings": "align_settings",
        "BeadTracks": "fiducials",
        "Best": "parameterisations",
        "Candidate": "candidate",
        "CleanResult": "clean",
        "CleanSettings": "clean_settings",
        "CtfProfiles": "ctf_result",
        "CtfResult": "ctf_result",
        "CtfSettings": "ctf_settings",
        "LocalTerm": "terms",
        "Score": "score",
        "SlabMeasure": "slab_measure",
        "Solution": "solve",
        "SolveModel": "terms",
        "Term": "terms",
        "align": "align",
        "clean": "clean",
        "erase_outliers": "outliers",
        "estimate_ctf": "ctf",
        "fix_hand": "hand_fix",
        "follow_beads": "fiducials",
        "geometry_error": "compare",
        "held_out_score": "score",
        "match_projections": "matching",
        "measure_slab": "slab_measure",
        "prepare": "working",
        "solve": "solve",
        "solve_best": "parameterisations",
        "verdict": "score",
        "weigh_causes": "hand_fix",
    },
)
