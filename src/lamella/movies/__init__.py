"""From frames to tilt images: detector correction, motion, sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.rooms import open_room

if TYPE_CHECKING:
    from lamella.movies.motion_settings import MotionSettings

__all__ = ["MotionSettings"]

open_room(__name__, {"MotionSettings": "motion_settings"})
