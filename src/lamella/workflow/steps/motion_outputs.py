"""Where `motion` puts what belongs to single movies: tables, and aligned frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lamella.formats.mrc_writer import MrcWriter
from lamella.records import MovieMotion
from lamella.workflow.context import Context
from lamella.workflow.steps.motion_input import OpenedMovies

__all__ = ["FrameFiles", "movie_table"]


def movie_table(folder: Path, opened: OpenedMovies, view: int) -> Path:
    """``FOLDER/NAME/MOVIE.star``: MOVIE is the frame file's name without its last suffix, its dots kept."""
    stems = [file.path.stem for file in opened.files]
    name = stems[view] if stems.count(stems[view]) == 1 else f"{stems[view]}_{view + 1:03d}"
    return folder / opened.series.name / f"{name}.star"


class FrameFiles:
    """Files of aligned frames, ``NAME/MOVIE_frames.mrcs``, each open while its movie is summed."""

    def __init__(
        self,
        opened: OpenedMovies,
        motions: Sequence[MovieMotion],
        shape: tuple[int, int],
        pixel_size_ang: float,
        kind: str,
        context: Context,
    ) -> None:
        self._make: Callable[[int], MrcWriter] = lambda view: MrcWriter(
            movie_table(context.folder, opened, view).with_name(f"{opened.files[view].path.stem}_frames.mrcs"),
            (len(motions[view]), *shape),
            pixel_size_ang,
            kind,
        )
        self._context = context
        self._open: dict[int, MrcWriter] = {}

    def __enter__(self) -> FrameFiles:
        return self

    def __exit__(self, kind: Any, error: Any, at: Any) -> None:
        for writer in self._open.values():
            writer.__exit__(kind, error, at)
        self._open.clear()

    def open(self, view: int) -> Any:
        """The sink of one movie's frames."""
        self._open[view] = self._make(view).__enter__()
        return self._open[view].image_sink()

    def close(self, view: int) -> None:
        """Finish one movie's file, if it has one."""
        writer = self._open.pop(view, None)
        if writer is not None:
            writer.__exit__(None, None, None)
            self._context.outputs.append(writer.path)
