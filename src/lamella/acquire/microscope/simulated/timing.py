"""The microscope's clock, which runs by what the microscope does and not by the computer's time."""

from __future__ import annotations

from lamella.acquire.world_tables import TimingTable

__all__ = ["Clock"]


class Clock:
    """Seconds since the session's start, and how long each thing takes.

    Parameters
    ----------
    table
        what the world says of it.
    """

    def __init__(self, table: TimingTable) -> None:
        self.table = table
        self.now_s = 0.0

    def pass_time(self, seconds: float) -> None:
        """Let time go on."""
        self.now_s += seconds

    def tilt(self, by_deg: float) -> None:
        """The time of a turn."""
        self.pass_time(self.table.tilt + abs(by_deg) / self.table.tilt_speed)

    def move(self, by_um: float) -> None:
        """The time of a move of the stage."""
        self.pass_time(self.table.move + by_um / self.table.move_speed)

    def shift(self, by_um: float) -> None:
        """The time of a change of image shift."""
        self.pass_time(self.table.shift + by_um * self.table.shift_per_um)
