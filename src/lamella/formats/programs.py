"""Programs with which alignments and defoci are exchanged, by the name that ``lamella import --format`` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from lamella.records import Note, TiltSeries
from lamella.records.tracks import Tracks

__all__ = ["PROGRAMS", "Program"]

Import = Callable[[Path, TiltSeries], tuple[TiltSeries, tuple[Note, ...]]]
Export = Callable[[Sequence[TiltSeries], Path, Path], tuple[tuple[Path, ...], tuple[Note, ...]]]
ImportTracks = Callable[[Path, TiltSeries], tuple[Tracks | None, tuple[Note, ...]]]
ExportTracks = Callable[[TiltSeries, Tracks, Path, Path], tuple[tuple[Path, ...], tuple[Note, ...]]]


@dataclass(frozen=True)
class Program:
    """How to take one program's alignment or defoci, and how to give it ours.

    Attributes
    ----------
    title
        the program's own name.
    import_series
        ``(path, series)`` -> the record with that program's alignment or defoci, and what was assumed or dropped.
    export_series
        ``(series, folder, root)`` -> the files written, and what could not be said in them.
    import_tracks, export_tracks
        the same of what was followed: ``(path, series)`` -> tracks in the record's views, or None where there are none;
        ``(series, tracks, folder, root)`` -> files. None where the program's files hold no tracks.
    """

    title: str
    import_series: Import
    export_series: Export
    import_tracks: ImportTracks | None = None
    export_tracks: ExportTracks | None = None
    gives: Literal["align", "ctf"] = "align"


def _program(title: str, module: str, *, tracks: bool = False, gives: Literal["align", "ctf"] = "align") -> Program:
    """A program whose module is loaded when it is first used."""

    def import_series(path: Path, series: TiltSeries) -> tuple[TiltSeries, tuple[Note, ...]]:
        call: Import = import_module(module).import_series
        return call(path, series)

    def export_series(
        series: Sequence[TiltSeries], folder: Path, root: Path
    ) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
        call: Export = import_module(module).export_series
        return call(series, folder, root)

    def import_tracks(path: Path, series: TiltSeries) -> tuple[Tracks | None, tuple[Note, ...]]:
        call: ImportTracks = import_module(module).import_tracks
        return call(path, series)

    def export_tracks(
        series: TiltSeries, tracks: Tracks, folder: Path, root: Path
    ) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
        call: ExportTracks = import_module(module).export_tracks
        return call(series, tracks, folder, root)

    if not tracks:
        return Program(title, import_series, export_series, gives=gives)
    return Program(title, import_series, export_series, import_tracks, export_tracks, gives)


PROGRAMS: Mapping[str, Program] = MappingProxyType(
    {
        "imod": _program("IMOD", "lamella.formats.imod", tracks=True),
        "aretomo": _program("AreTomo", "lamella.formats.aretomo"),
        "relion5": _program("RELION-5", "lamella.formats.relion_exchange"),
        "warp": _program("Warp", "lamella.formats.warp"),
        "ctffind": _program("CTFFIND", "lamella.formats.ctffind", gives="ctf"),
        "gctf": _program("Gctf", "lamella.formats.gctf", gives="ctf"),
    }
)
