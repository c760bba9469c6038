"""How a long piece of work tells how far it is: one callable, so that no stage knows what a terminal is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "no_progress"]


class Progress(Protocol):
    """Called by a stage as it goes: `fraction` of this stage's work that is done (0…1), and what it does now."""

    def __call__(self, fraction: float, text: str = "") -> None:
        """Say that `fraction` is done."""
        ...


def no_progress(fraction: float, text: str = "") -> None:
    """Tell nobody."""
