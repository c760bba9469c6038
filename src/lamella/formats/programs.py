"""Programs with which alignments are exchanged, by the name that ``lamella import --format`` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from lamella.records import Note, TiltSeries

__all__ = ["PROGRAMS", "Program"]

Import = Callable[[Path, TiltSeries], tuple[TiltSeries, tuple[Note, ...]]]
Export = Callable[[Sequence[TiltSeries], Path, Path], tuple[tuple[Path, ...], tuple[Note, ...]]]


@dataclass(frozen=True)
class Program:
    """How to take one program's alignment, and how to give it ours.

    Attributes
    ----------
    title
        the program's own name.
    import_series
        ``(path, series)`` -> the record with that program's alignment, and what was assumed or dropped.
    export_series
        ``(series, folder, root)`` -> the files written, and what could not be said in them.
    """

    title: str
    import_series: Import
    export_series: Export


def _program(title: str, module: str) -> Program:
    """A program whose module is loaded when it is first used."""

    def import_series(path: Path, series: TiltSeries) -> tuple[TiltSeries, tuple[Note, ...]]:
        call: Import = import_module(module).import_series
        return call(path, series)

    def export_series(
        series: Sequence[TiltSeries], folder: Path, root: Path
    ) -> tuple[tuple[Path, ...], tuple[Note, ...]]:
        call: Export = import_module(module).export_series
        return call(series, folder, root)

    return Program(title, import_series, export_series)


PROGRAMS: Mapping[str, Program] = MappingProxyType(
    {
        "imod": _program("IMOD", "lamella.formats.imod"),
        "aretomo": _program("AreTomo", "lamella.formats.aretomo"),
        "relion5": _program("RELION-5", "lamella.formats.relion_exchange"),
    }
)
