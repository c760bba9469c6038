"""Faults by a script: which call fails, in what way, how often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamella.acquire.world_tables import Fault, FaultTable

__all__ = ["Call", "FaultScript", "SimulatedCrash"]


class SimulatedCrash(Exception):
    """The program is killed at this call; nothing of the session may catch it."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call to the microscope.

    Attributes
    ----------
    verb
        the method.
    number
        of the call, from 1.
    time_s
        of the clock.
    tilt
        number of the tilt that it belongs to, −1 before the first.
    target, purpose
        of the picture; None in calls that take none.
    """

    verb: str
    number: int
    time_s: float
    tilt: int
    target: int | None = None
    purpose: str | None = None


class FaultScript:
    """Decides at every call which faults it meets.

    Parameters
    ----------
    table
        the script.
    rng
        its own stream of random numbers.
    """

    def __init__(self, table: FaultTable, rng: np.random.Generator) -> None:
        self.costs_s = table.costs
        self._entries = [_Entry(fault) for fault in table.script]
        self._rng = rng

    def __bool__(self) -> bool:
        return bool(self._entries)

    def met(self, kind: str, call: Call) -> Fault | None:
        """The fault of a kind that a call meets, or None; it has happened then."""
        for entry in self._entries:
            if entry.fault.kind == kind and entry.meets(call, self._rng):
                return entry.fault
        return None


class _Entry:
    """One line of the script, and how much of it is left."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._left = fault.times
        self._until_s = -np.inf

    def meets(self, call: Call, rng: np.random.Generator) -> bool:
        if call.time_s < self._until_s:
            return True
        if not self._left or not self._holds(call):
            return False
        if self.fault.probability < 1 and rng.random() >= self.fault.probability:
            return False
        self._left -= 1
        self._until_s = call.time_s + self.fault.lasts if self.fault.lasts else -np.inf
        return True

    def _holds(self, call: Call) -> bool:
        fault = self.fault
        if fault.kind == "nonsense" and (fault.answer == "status") != (call.verb == "status"):
            return False
        return (
            (fault.tilt is None or call.tilt == fault.tilt)
            and (fault.target is None or call.target == fault.target)
            and (fault.purpose is None or call.purpose == fault.purpose)
            and (fault.after is None or call.time_s >= fault.after)
            and (fault.call is None or call.number >= fault.call)
        )
