"""How large a particle is, as the settings or its record state it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from lamella.errors import SettingsError
from lamella.records import PARTICLE_DIAMETER, ParticleSet

__all__ = ["stated_diameter_ang"]


def stated_diameter_ang(particles: ParticleSet, stated: float | Literal["auto"], step: str) -> float:
    """The diameter that a step's settings state, or the median of what `extract` wrote into the records.

    Raises
    ------
    SettingsError
        if neither is there.
    """
    if stated != "auto":
        return float(stated)
    known = [member.quality[PARTICLE_DIAMETER] for member in particles.members if PARTICLE_DIAMETER in member.quality]
    if not known:
        raise SettingsError("nothing says how large the particle is", mend=f"set {step}.diameter, in Å")
    return float(np.median(known))
