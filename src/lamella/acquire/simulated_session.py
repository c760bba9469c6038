"""One session on the simulated microscope, and how well it hit its targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamella.acquire.acquire_settings import AcquireSettings
from lamella.acquire.microscope.simulated import SimulatedMicroscope, score_session
from lamella.acquire.microscope.simulated.score import SessionScore
from lamella.acquire.session.result import SessionResult
from lamella.acquire.session.run import run_session
from lamella.acquire.targets import Target, places_of, with_shots
from lamella.acquire.world import World
from lamella.checked_settings import validate
from lamella.progress import Progress, no_progress

__all__ = ["SimulatedSession", "session_settings", "simulate_session", "simulated_targets"]

TARGETS = 25


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedSession:
    """A session and the truth about it.

    Attributes
    ----------
    result
        what the session itself knows.
    score
        what only the simulation knows.
    """

    result: SessionResult
    score: SessionScore


def session_settings(world: World, overrides: Mapping[str, Any]) -> AcquireSettings:
    """Settings of a session in a world: the world's, and what the user sets beside them.

    Raises
    ------
    SettingsError
        if a value is none that the settings allow.
    """
    return validate(AcquireSettings, {**world.session, **overrides}, "the session")


def simulated_targets(microscope: SimulatedMicroscope) -> list[Target]:
    """The targets of a simulated grid, as a user would have marked them: T01, T02, …"""
    return [
        Target(name=f"T{number:02d}", x_um=float(x), y_um=float(y))
        for number, (x, y) in enumerate(microscope.targets_um, start=1)
    ]


def simulate_session(
    world: World,
    seed: int,
    *,
    targets: int = TARGETS,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
) -> SimulatedSession:
    """Record one session in a world and score it by the truth.

    Parameters
    ----------
    world
        the microscope, the grid and the faults.
    seed
        of every random number.
    targets
        how many.
    overrides
        settings of the session beside the world's own, such as ``predictor``.
    progress
        told the fraction done.

    Raises
    ------
    InputError
        if the session's plan finds something wrong before it begins.
    MicroscopeError
        if a fault ends the session before it has begun.
    """
    settings = session_settings(world, overrides or {})
    microscope = SimulatedMicroscope(world, seed, targets=targets)
    marked = simulated_targets(microscope)
    if settings.shots > 1:
        # Every shot is a target of its own, for the one who knows the truth too.
        shots = with_shots(marked, settings.shots, settings.shot_radius)
        microscope = SimulatedMicroscope(world, seed, targets=places_of(shots)[:, :2])
    result = run_session(microscope, marked, settings, progress=progress)
    score = score_session(
        microscope,
        tilts=len(settings.tilt_scheme()),
        defocus_um=settings.defocus,
        finished=[target for target, ending in result.endings.items() if ending.kind != "lost"],
    )
    return SimulatedSession(result=result, score=score)
