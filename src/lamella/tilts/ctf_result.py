"""What an estimate of the contrast transfer gives."""

from __future__ import annotations

from dataclasses import dataclass

from lamella.records import CtfProfiles, TiltSeries

__all__ = ["CtfProfiles", "CtfResult"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CtfResult:
    """What `estimate_ctf` gives.

    Attributes
    ----------
    series
        the record, with `Defocus`, hand, optics (where the amplitude contrast was fitted), the views' ``Ctf…`` scores
        and the series' ``Ctf…`` quality numbers; as it came where `passed_on` says why.
    profiles
        None where no estimate was made.
    notes
        what a user should know, a sentence each.
    passed_on
        why no estimate was possible; empty where there is one.
    """

    series: TiltSeries
    profiles: CtfProfiles | None = None
    notes: tuple[str, ...] = ()
    passed_on: str = ""
