"""From frames to tilt images: detector correction, motion, sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.movies.detector import Detector
    from lamella.movies.estimate import estimate_motion
    from lamella.movies.find_detector import FoundDetector, References, find_detector
    from lamella.movies.motion_settings import MotionSettings
    from lamella.movies.sum_series import sum_series
    from lamella.movies.sums import Sums, sum_movie

__all__ = [
    "Detector",
    "FoundDetector",
    "MotionSettings",
    "References",
    "Sums",
    "estimate_motion",
    "find_detector",
    "sum_movie",
    "sum_series",
]

open_room(
    __name__,
    {
        "Detector": "detector",
        "FoundDetector": "find_detector",
        "MotionSettings": "motion_settings",
        "References": "find_detector",
        "Sums": "sums",
        "estimate_motion": "estimate",
        "find_detector": "find_detector",
        "sum_movie": "sums",
        "sum_series": "sum_series",
    },
)
