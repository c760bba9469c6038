"""Settings of `motion`."""

from __future__ import annotations

from lamella.settings import StepSettings

__all__ = ["MotionSettings"]


class MotionSettings(StepSettings):
    """Settings of `motion`: there are none yet, since stacks of tilt images need no motion correction."""
