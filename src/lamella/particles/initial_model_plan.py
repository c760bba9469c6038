"""The plan of a first model: how detail, grids, batches and temperature go from step to step."""

from __future__ import annotations

import numpy as np

from lamella.geometry.angular_grid import order_for_spacing
from lamella.particles.initial_model_steps import Setting, Step
from lamella.particles.model_settings import ModelSettings

__all__ = ["main_steps", "settling_shells", "start_steps"]

_COARSE = 4.5
"""The particle's diameter over the detail of random starts: 60 Å for a ribosome."""
_START_SHARE = 0.2  # of all steps, that each random start does
_FINEST_ORDER = 2
_TURN = 1.4  # spacing of orientations, in details of the random starts at the particle's rim
_FINER = 1.3  # how much finer the detail is at the end of the steps on that grid
_SETTLED = 3  # rounds of climbing from there to the finest detail
_MOVE = 0.3  # step of places, in details
_HOT, _WARM, _COLD = 1.0, 0.03, 0.01
_LEAST_BATCH = 60
_LEAST_SHELL = 3


def start_steps(setting: Setting, settings: ModelSettings, shell: int) -> list[Step]:
    """The steps of one random start."""
    count = max(8, round(_START_SHARE * settings.iterations))
    last = _coarse_shell(setting, shell)
    steps = []
    for part in np.linspace(0, 1, count).tolist():
        finest, heat = max(_LEAST_SHELL, last - round(2 * (1 - part))), _HOT * (_WARM / _HOT) ** part
        steps.append(_step(setting, settings, finest, 0.5 * part, heat, moves=False))
    return steps


def main_steps(setting: Setting, settings: ModelSettings, shell: int) -> list[Step]:
    """The steps that go on from the best start, with places, as fine as the grid of orientations allows."""
    count = max(4, round((1 - 3 * _START_SHARE) * settings.iterations))
    first = _coarse_shell(setting, shell)
    last = min(shell, round(_FINER * first))
    steps = []
    for part in np.linspace(0, 1, count).tolist():
        finest, heat = round(first + (last - first) * part), _WARM * (_COLD / _WARM) ** part
        steps.append(_step(setting, settings, finest, 0.5 + 0.5 * part, heat, moves=True))
    return steps


def settling_shells(setting: Setting, shell: int) -> list[int]:
    """The finest shell of each round of climbing."""
    first = min(shell, round(_FINER * _coarse_shell(setting, shell)))
    return [round(first + (shell - first) * (turn + 1) / _SETTLED) for turn in range(_SETTLED)]


def _step(setting: Setting, settings: ModelSettings, shell: int, grown: float, heat: float, *, moves: bool) -> Step:
    detail = setting.box_px / shell
    spacing = np.rad2deg(_TURN * setting.box_px / _coarse_shell(setting, shell) / setting.radius_px)
    count = len(setting)
    least = min(count, max(_LEAST_BATCH * settings.classes, count // 10))
    batch = round(least * (count / least) ** grown) if settings.batch == "auto" else int(settings.batch)
    return Step(
        shell=shell,
        order=min(order_for_spacing(max(float(spacing), 1.0)), _FINEST_ORDER),
        batch=int(np.clip(batch, 1, count)),
        heat=heat,
        shift_px=_MOVE * detail if moves else 0.0,
    )


def _coarse_shell(setting: Setting, shell: int) -> int:
    wanted = round(_COARSE * setting.box_px / (2 * setting.radius_px))
    return int(np.clip(wanted, min(_LEAST_SHELL, shell), shell))
